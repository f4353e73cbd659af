"""``visus compress``: a smaller or faster model that is measured to say nearly the same, or word that there is none."""

from __future__ import annotations

import math
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from visus.core.errors import DivergedError, UsageError, VisusError, did_you_mean, first_line
from visus.core.figures import Table
from visus.core.recipe import Choice, Draft
from visus.core.scores import SMALLER_IS_BETTER, UNBOUNDED, Score, kind_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from visus.metrics.compare import Difference
    from visus.verbs.compressing import Bench, Form
    from visus.verbs.load import Model

MOST_PICTURES = 2000
"""Validation pictures that are judged, where no number is asked for."""

FEWEST = 8
"""Pictures of a part below which there is nothing to learn from, and nothing to judge by."""

MOST = 10**18
"""Pictures that nobody has."""

TARGETS = ("latency", "size")


@dataclass(frozen=True)
class Tried:
    """A candidate, or the float32 model itself, and what was measured of it as an .onnx file in onnxruntime.

    Attributes:
        method: that proposed it; ``settings``: that made it, by name.
        score: on the validation pictures; of the float32 model, that of its weights themselves.
        bytes: of the file on disk.
        seconds: a picture, median.
        memory: most bytes in memory of a process that runs it and nothing else; None where the system does not tell.
        change: of the score, candidate minus float32 model, with its paired interval; None of the float32 model itself.
        latency: seconds as a share of the float32 model's, both taking turns; ``fastest``, ``slowest``: its interval,
            0 and infinity where it was timed too few times for one.
        keeps: the promise is kept: the upper end of the interval of the drop is no larger than what was allowed.
        chance: by which each of the two intervals may miss what it is of.
    """

    method: str
    settings: Mapping[str, Any]
    score: Score
    bytes: int
    seconds: float
    memory: int | None
    change: Difference | None = None
    latency: float = 1.0
    fastest: float = 1.0
    slowest: float = 1.0
    keeps: bool = True
    chance: float = 0.05

    @property
    def name(self) -> str:
        """The method with its settings: ``int8 (calibration minmax)``."""
        told = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return f"{self.method} ({told})" if told else self.method

    @property
    def drop(self) -> tuple[float, float, float]:
        """How far the score fell, in points, and the ends of its interval; below zero where it rose."""
        return drop_of(self.change) if self.change is not None else (0.0, 0.0, 0.0)

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        drop, low, high = self.drop
        told = {name: getattr(self, name) for name in ("method", "bytes", "seconds", "memory", "latency", "keeps")}
        return {**told, "settings": dict(self.settings), "score": self.score.json(),
                "latency_interval": [self.fastest, self.slowest],
                "drop": {"value": drop, "low": low, "high": high}}  # fmt: skip


@dataclass(frozen=True)
class Compressed:
    """What a search came to.

    Attributes:
        path: of the model that is kept; None where no candidate kept the promise and was smaller or faster.
        page: what was measured, to be read in a browser.
        model, data: what was made smaller, judged on the validation part of which data.
        score: name of the score.
        max_drop: points it may fall; ``target``: what is to become less, ``latency`` or ``size``.
        whole: the float32 model; ``tried``: every candidate, in the order they were made.
        kept: the one that is kept; where none is, None, and ``best`` is the one nearest to it.
        notes: a sentence each.
        cut: what ended the search before its end, or empty.
    """

    path: Path | None
    page: Path
    model: str
    data: str
    score: str
    max_drop: float
    target: str
    whole: Tried
    tried: tuple[Tried, ...]
    kept: Tried | None
    best: Tried
    notes: tuple[str, ...] = ()
    cut: str = ""

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "kept": str(self.path) if self.path is not None else None, "page": str(self.page), "model": self.model,
            "data": self.data, "score": self.score, "max_drop": self.max_drop, "target": self.target,
            "verdict": self.verdict, "float32": self.whole.json(),
            "candidates": [one.json() | {"level": 1 - one.chance} for one in self.tried],
            "best": self.tried.index(self.best), "notes": list(self.notes),
        }  # fmt: skip

    @property
    def unit(self) -> str:
        """What a drop is counted in: points are hundredths of scores of at most one."""
        return "points" if _unit(self.score) == 100 else self.score

    @property
    def verdict(self) -> str:
        """Whether the promise is kept, in a sentence."""
        best, (drop, low, high) = self.best, self.best.drop
        told = f"{self.score} falls by {drop:+.2f} {self.unit} ({low:+.2f} to {high:+.2f})"
        if self.kept is not None:
            return f"{best.name}: {told}, within {self.max_drop:g}; {_gains(best, self.whole)}"
        if not best.keeps:
            return f"nothing is shown to lose at most {self.max_drop:g} {self.unit}; nearest is {best.name}: {told}"
        what = "shown to be faster" if self.target == "latency" else "smaller"
        best_of_them = f"best is {best.name}: {told}; {_gains(best, self.whole)}"
        return f"nothing that loses at most {self.max_drop:g} {self.unit} is {what}; {best_of_them}"

    def table(self) -> Table:
        """Return a line a candidate, below the float32 model."""
        from visus.report.words import label

        rows = [_row(one, self.whole, mark="kept" if one is self.kept else "yes" if one.keeps else "no")
                for one in self.tried]  # fmt: skip
        columns = ("model", label(self.score), f"drop in {self.unit}", "interval", "size", "latency", "faster",
                   "memory", "keeps")  # fmt: skip
        n = self.whole.score.n
        title = f"{self.model} on {n:,} validation pictures of {self.data}, one at a time in onnxruntime"
        forms = f"all {len(self.tried)} forms that were tried" if len(self.tried) > 1 else "the form that was tried"
        note = f"The intervals of the drop are wide enough to hold at once, at 95 %, for {forms}."
        note += f" The search was cut short: {self.cut}." if self.cut else ""
        return Table(title, columns, [_row(self.whole, self.whole, mark=""), *rows], note)


def compress(
    model: str | Path | Model,
    *,
    method: str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    max_drop: float = 0.5,
    target: Literal["latency", "size"] = "latency",
    minutes: float | None = None,
    steps: int | None = None,
    set: Mapping[str, Any] | None = None,
    network: str | nn.Module | None = None,
    pictures: int = MOST_PICTURES,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
) -> Compressed:
    """Look for the smallest or fastest form of a model whose score is shown to fall no further than allowed.

    Every candidate is measured as an .onnx file in onnxruntime against the same model in float32: on the same
    validation pictures; its latency in turns with it.  A candidate keeps the promise if the upper end of the interval
    of its drop, see ``compressing.compared``, is at most ``max_drop``; the intervals are so wide that they hold at 95 %
    for all candidates at once, see ``chance_of``.  The test part is never looked at.

    Args:
        model: a model file, a run folder, or a loaded model.
        method: one of ``visus list compressors``; by default all, but those that train only with a budget.
        data: pictures as for ``train``, whose validation part is judged and from whose training part methods learn.
            By default the data the model was trained on, where the run still knows its place and it has not changed.
        out: the file; by default the model's own name with that of the method.  Its page lies beside it.
        max_drop: points, which are hundredths of scores of at most one; of others, in their own unit.
        target: what is to become less: ``latency`` or ``size``.
        minutes: for all methods that train together; or ``steps`` of the optimiser, for each of them.
        set: settings of ``distill``: its student, ``model.name`` and other keys of ``model``, and those of ``distill``.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        pictures: validation pictures that are judged at most, spread over all of them.
        watch: told what happens.

    Raises:
        UsageError: bad arguments, a missing library, a network that cannot be exported, no data, or no such method.
        DataError: the data cannot be read, or has too few pictures.
        DivergedError: the only method that was tried trains, and cannot.
        Interrupted, ResourceError: SIGINT or SIGTERM came, or memory or disk ran out.  Where a form had been measured
            by then the search ends as it would have ended there, and ``done`` says what is kept.
    """
    from visus.compressors import COMPRESSORS
    from visus.engine.device import short_of_memory
    from visus.engine.signals import breaking_off, broken_off
    from visus.verbs.compressing import Bench
    from visus.verbs.load import Model, load

    tell = watch or (lambda row: None)
    loaded = model if isinstance(model, Model) else load(model, model=network, precision="float32")
    _check(loaded.answering("compress"), max_drop, target, minutes, steps, pictures)
    names = _methods(method, out, minutes is not None or steps is not None)
    places = {name: Path(out) if out else loaded.path.with_name(f"{loaded.path.stem}.{name}{COMPRESSORS[name].suffix}")
              for name in names}  # fmt: skip
    for place in dict.fromkeys(places.values()):
        _check_free(place)
    wanted = _wanted(set or {}, names)
    if method is not None:  # of several, what one refuses is a note
        COMPRESSORS[method].check(loaded.task)
    with breaking_off("searching") as signals, tempfile.TemporaryDirectory(prefix="visus-compress-") as folder:
        bench = Bench.begin(loaded, data, Path(folder), pictures, tell)
        bench.wanted = wanted
        training = sum(COMPRESSORS[name].trains for name in names)
        bench.minutes, bench.steps = minutes / training if minutes else None, steps
        signals.begun = True  # from here on what is broken off breaks itself off, and what was measured is written
        forms, stop = _search(bench, names, max_drop, tell)
        tried = tuple(one for one, _ in forms)
        kept = _best([one for one in tried if one.keeps and _less(one, bench.whole, target)], target)
        best = kept or _nearest(tried, target)
        cut = "" if stop is None else stop.what if isinstance(stop, VisusError) else first_line(stop)
        path, moved = _free(places[best.method])
        result = Compressed(path if kept else None, path.with_suffix(".html"), "/".join(loaded.path.parts[-2:]),
                            bench.name, loaded.task.score, max_drop, target, bench.whole, tried, kept, best,
                            (*bench.notes, *moved), cut)  # fmt: skip
        form, file, unfitted = forms[tried.index(best)][1], None, ""
        if not best.keeps:
            result = replace(result, notes=(*result.notes, *too_few(result, len(names), bench.behind)))
        if kept is not None:
            form, fault = _fitted(bench, form, kept)
            if fault is not None:
                stop, unfitted = stop or fault, "its decoder is that of the float32 model"
                why = fault.what if isinstance(fault, VisusError) else first_line(fault)
                result = replace(result, notes=(*result.notes, f"{unfitted}: {why}"))
        with short_of_memory("nothing was written", "less else running, --pictures FEWER, or --method NAME"):
            if kept is not None:
                bench.describe(form, kept, result.verdict)
                file = form.file
            _write(result, file)
    if signals.came:
        stop = stop or broken_off(signals.came[0], "writing")
    if isinstance(stop, VisusError):
        told = (result.verdict, unfitted, *moved, f"see {path if kept else result.page}")
        stop.done = f"{len(tried):,} tried until then: {'; '.join(filter(None, told))}"
    if stop is not None:
        raise stop
    return result


def chance_of(k: int, methods: int) -> float:
    """Return the chance by which the interval of a method's k-th form, from 1 on, may miss: 0.05 / (M k (k + 1)).

    Of all forms of M methods, however many, these add up to 0.05 at most: in 95 of 100 searches no interval misses, so
    neither does that of the one which is picked for what was measured of it.  Which form is a method's k-th is settled
    by training pictures; a verdict on an earlier one, of whichever method, may only end the method.  So no chance
    depends on what the validation pictures said, or the sum would bound nothing.

    Source:
        Bonferroni's inequality in unequal parts; Foster and Stine, Alpha-investing, JRSS B 2008 (alpha-spending).
    """
    return 0.05 / (methods * k * (k + 1))


def too_few(result: Compressed, methods: int, behind: NDArray[np.float64]) -> list[str]:
    """Return the note that so few pictures could not show the promise kept of anything, where that is so.

    Args:
        result: of the search.
        methods: how many were asked.
        behind: (kinds, K) pictures behind the parts that the score is the mean of, see ``RowMetric.behind``.
    """
    from visus.verbs.compressing import unseen

    score, n, chance = result.score, result.whole.score.n, chance_of(1, methods)

    def floor(pictures: float) -> float:
        return unseen(score, result.whole.score.value, behind * (pictures / n), chance)

    wanted = result.max_drop / _unit(score)
    if floor(n) <= wanted:
        return []
    told = f"of {n:,} pictures no drop below {_unit(score) * floor(n):.2g} {result.unit} could be shown"
    more = ""
    if wanted:
        enough = bisect_left(range(MOST), True, lo=n, key=lambda pictures: floor(pictures) <= wanted)
        more = f": {result.max_drop:g} takes {enough:,} like them at least"
    return [f"{told}, were every answer the same{more}"]


def drop_of(change: Difference) -> tuple[float, float, float]:
    """Return how far a score fell from A to B in its unit, and the ends of its interval."""
    sign = _unit(change.score) * (1 if kind_of(change.score) in SMALLER_IS_BETTER else -1)
    low, high = sorted((sign * change.low, sign * change.high))
    return sign * change.value + 0.0, low + 0.0, high + 0.0  # there is no zero below zero


def _unit(score: str) -> int:
    return 1 if kind_of(score) in UNBOUNDED else 100


def _search(
    bench: Bench, names: Sequence[str], max_drop: float, tell: Callable[[Mapping[str, Any]], None]
) -> tuple[list[tuple[Tried, Form]], Exception | None]:
    """Return what was measured of every candidate, and what cut the search short, if anything did.

    Raises:
        Exception: what cut it short, or the reason why the last method was left out, where there is no candidate.
    """
    from visus.engine.device import short_of_memory
    from visus.engine.signals import breaking_off

    forms: list[tuple[Tried, Form]] = []
    refused: VisusError | None = None
    stop: Exception | None = None
    try:
        with (
            breaking_off("searching"),
            short_of_memory("nothing was written", "less else running, --pictures FEWER, or --method NAME"),
        ):
            for name in names:
                try:
                    for one, form in _candidates(bench, name, max_drop, len(names)):
                        forms.append((one, form))
                        drop, _, most = one.drop
                        tell({"note": f"{one.name}: drop {drop:+.2f}, up to {most:+.2f}; {_gains(one, bench.whole)}"})
                except (UsageError, DivergedError) as error:
                    refused = error
                    measured = sum(one.method == name for one, _ in forms)
                    ended = f"ended after {measured:,} form{'s' * (measured > 1)}" if measured else "was left out"
                    bench.notes.append(f"{name} {ended}: {error.what}")
                    tell({"note": bench.notes[-1]})
    except Exception as error:
        stop = error
    if not forms:
        raise stop or refused or UsageError("COMPRESS-009", f"{', '.join(names)}: nothing was proposed",
                                            done="nothing was written", fix="visus list compressors")  # fmt: skip
    return forms, stop


def _fitted(bench: Bench, form: Form, kept: Tried) -> tuple[Form, Exception | None]:
    """Return the form that is kept with a decoder fitted to it; or as it was measured, and what kept it from that."""
    from visus.engine.device import short_of_memory
    from visus.engine.signals import breaking_off

    try:
        with breaking_off("searching"), short_of_memory("nothing was written", "less else running"):
            return bench.fitted(form, kept), None
    except Exception as error:
        return form, error


def _candidates(bench: Bench, name: str, max_drop: float, methods: int) -> Iterator[tuple[Tried, Form]]:
    """Yield what was measured of each candidate of a method; ``methods``: how many are asked in all."""
    from visus.compressors import COMPRESSORS

    proposals = COMPRESSORS[name].propose(bench.subject)
    try:
        candidate = next(proposals)
        for k in count(1):
            one, form = bench.measure(name, candidate, chance_of(k, methods))
            one = replace(one, keeps=one.drop[2] <= max_drop)  # false for NaN
            yield one, form
            candidate = proposals.send(one.keeps)
    except StopIteration:
        return
    finally:
        proposals.close()


def _check(model: Model, max_drop: float, target: str, minutes: float | None, steps: int | None, pictures: int) -> None:
    """Refuse what makes no sense before anything is read.

    Raises:
        UsageError: COMPRESS-001 to 003, and 008.
    """
    if model.contract is not None:
        raise UsageError("COMPRESS-001", f"{model.path}: is an exported file, which is made smaller no more",
                         done="nothing was written", fix="name the model file it was made of")  # fmt: skip
    if not (max_drop >= 0 and math.isfinite(max_drop)):
        raise UsageError("COMPRESS-002", f"--max-drop {max_drop}: points that a score may fall, 0 or more",
                         done="nothing was written", fix="--max-drop 0.5")  # fmt: skip
    if target not in TARGETS:
        raise UsageError("COMPRESS-002", f"--target {target}: latency or size", done="nothing was written",
                         fix=did_you_mean(target, TARGETS))  # fmt: skip
    bounds = [bound for bound in (minutes, steps) if bound is not None]
    if len(bounds) > 1 or not all(0 < bound < math.inf for bound in bounds):
        raise UsageError("COMPRESS-003", "--minutes or --steps: one of them, above 0", done="nothing was written",
                         fix="--minutes 10")  # fmt: skip
    if pictures < FEWEST:
        raise UsageError("COMPRESS-008", f"--pictures {pictures}: {FEWEST} at least, to judge by",
                         done="nothing was written", fix=f"--pictures {MOST_PICTURES}")  # fmt: skip


def _methods(method: str | None, out: str | Path | None, budget: bool) -> list[str]:
    """Return the names of the methods that are tried, those without training first.

    Raises:
        UsageError: there is no such method, it trains and has no budget or has one and does not, or it writes no such
            file.
    """
    from visus.compressors import COMPRESSORS

    suffix = Path(out).suffix if out is not None else ""
    if method is not None:
        if COMPRESSORS[method].trains != budget:
            why = "does not train, and has no use for --minutes or --steps" if budget else "trains, and has no budget"
            raise UsageError("COMPRESS-004", f"{method} {why}", done="nothing was written",
                             fix="leave it out" if budget else "--minutes 10")  # fmt: skip
        if suffix not in ("", COMPRESSORS[method].suffix):
            raise UsageError("COMPRESS-005", f"{out}: {method} writes {COMPRESSORS[method].suffix} files",
                             done="nothing was written", fix=f"--out NAME{COMPRESSORS[method].suffix}")  # fmt: skip
        return [method]
    every = sorted(COMPRESSORS, key=lambda name: COMPRESSORS[name].trains)
    names = [name for name in every if (budget or not COMPRESSORS[name].trains)
             and suffix in ("", COMPRESSORS[name].suffix)]  # fmt: skip
    if not names:
        raise UsageError("COMPRESS-005", f"{out}: no method writes {suffix} files", done="nothing was written",
                         fix="--out NAME.onnx; methods that write .safetensors train: --minutes 10")  # fmt: skip
    return names


def _wanted(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return settings for methods, of which only ``distill`` takes any.

    Raises:
        UsageError: COMPRESS-007, nothing takes one of them; or it is misspelt, or of a wrong value.
    """
    for key in settings:
        if "distill" not in names or key.partition(".")[0] not in ("model", "distill") or key in _SETTLED:
            raise UsageError(
                "COMPRESS-007", f"--set {key}: no method that is tried takes it", done="nothing was written",
                fix="--method distill --minutes 30 --set model.name=NAME",
            )  # fmt: skip
    return Draft(Choice(key, value, "set") for key, value in settings.items()).wanted()


_SETTLED = ("distill.teacher", "distill.sha256")


def _check_free(place: Path) -> None:
    """Refuse to write over a file, but for the page of an earlier search.

    Raises:
        UsageError: COMPRESS-006.
    """
    if file := _taken(place):
        raise UsageError("COMPRESS-006", f"{file}: is there already", done="nothing was written",
                         fix="remove it, or --out FILE")  # fmt: skip
    if not place.absolute().parent.is_dir():
        raise UsageError("COMPRESS-006", f"{place.parent}: there is no such folder to write to",
                         done="nothing was written", fix=f"mkdir {place.parent}")  # fmt: skip


def _free(place: Path) -> tuple[Path, list[str]]:
    """Return where to write after a search, in which a file may have come to lie there, and a note on that."""
    others = (place.with_stem(f"{place.stem}-{k}") for k in count(2))
    free = next(other for other in chain([place], others) if not _taken(other))
    if free == place:
        return free, []
    return free, [f"{_taken(place)} was written meanwhile by something else, so this is {free.stem}"]


def _taken(place: Path) -> Path | None:
    """Return which of model and page is there already, but for the page of an earlier search."""
    from visus.report.compress_page import is_page

    page = place.with_suffix(".html")
    there = (
        file for file in (place, page) if file.exists() and not (file == page and file.is_file() and is_page(file))
    )
    return next(there, None)


def _less(one: Tried, whole: Tried, target: str) -> bool:
    """Tell whether a candidate is shown to be less than the float32 model in what was asked for."""
    return one.slowest < 1 if target == "latency" else one.bytes < whole.bytes


def _cost(one: Tried, target: str) -> float:
    return one.latency if target == "latency" else one.bytes


def _best(tried: Sequence[Tried], target: str) -> Tried | None:
    return min(tried, key=lambda one: _cost(one, target), default=None)


def _nearest(tried: Sequence[Tried], target: str) -> Tried:
    """Return the best of what keeps the promise, or what comes nearest to it."""
    best = _best([one for one in tried if one.keeps], target)
    return best or min(tried, key=lambda one: (math.isnan(one.drop[2]), one.drop[2], one.drop[0]))


def _gains(one: Tried, whole: Tried) -> str:
    """Return how much faster and smaller: ``2.10x as fast (1.90 to 2.30), 0.26 of the size``."""
    between = "timed too few times to tell how sure that is"
    if one.fastest > 0:
        between = f"{1 / one.slowest:.2f} to {1 / one.fastest:.2f}"
    return f"{1 / one.latency:.2f}x as fast ({between}), {one.bytes / whole.bytes:.2f} of the size"


def _row(one: Tried, whole: Tried, mark: str) -> tuple[object, ...]:
    from visus.report.words import value_of

    drop, low, high = one.drop
    compared = one is not whole
    return (
        one.name, value_of(one.score), f"{drop:+.2f}" if compared else "",
        f"{low:+.2f} to {high:+.2f}" if compared else "", f"{one.bytes / 1e6:.2f} MB", f"{1000 * one.seconds:.2f} ms",
        f"{1 / one.latency:.2f}x" if compared else "", f"{one.memory / 1e6:.0f} MB" if one.memory else "", mark,
    )  # fmt: skip


def _write(result: Compressed, file: Path | None) -> None:
    """Write the page and the model, or none of them: a page without its model is written over by the next search."""
    from visus.core.files import replacing, write_text

    page = _page(result)
    write_text(result.page, page)
    if file is None or result.path is None:
        return
    try:
        with replacing(result.path, file.stat().st_size) as place:
            place.write(file.read_bytes())
    except BaseException:
        if not result.path.exists():
            result.page.unlink(missing_ok=True)
        raise


def _page(result: Compressed) -> str:
    from visus.report.compress_page import Form, Page, render

    forms = [
        Form(one.method, (one.score.value, one.score.low, one.score.high), 1000 * one.seconds, one.bytes / 1e6)
        for one in (result.whole, *result.tried)
    ]
    what = "fastest" if result.target == "latency" else "smallest"
    promise = f"the {what} form that is shown to lose at most {result.max_drop:g} {result.unit} of {result.score}"
    facts = [(str(name), str(value)) for name, value in result.best.settings.items()]
    return render(Page(
        result.model, result.verdict, result.path.name if result.path is not None else "", promise, result.score,
        result.table(), forms, facts, result.notes,
    ))  # fmt: skip
