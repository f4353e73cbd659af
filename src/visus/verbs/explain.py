"""``visus explain``: why a model says what it says of pictures, and whether the explanation can be believed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError, UsageError, did_you_mean
from visus.core.figures import Table
from visus.core.scores import Score

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visus.core.task import Batch, Target, Task
    from visus.data.dataset import Images
    from visus.explainers import Explainer
    from visus.explainers._asking import Asking
    from visus.explainers._faithfulness import Faithfulness
    from visus.report.explain_page import Page, Shown
    from visus.verbs.load import Model

CONVENTION = (
    "1 is what speaks for it the most (the strongest 0.5 % of the pixels, and what is as strong), "
    "0 is what says nothing or speaks against it"
)
"""What the values of every map mean."""

STRONGEST = 0.995
"""Quantile of a map that becomes 1, lest a single pixel make all others dark."""

UNTRAINED = 3
"""Untrained networks whose maps a map is compared with."""


@dataclass(frozen=True)
class Explanation:
    """Why one thing is said of one picture.

    Attributes:
        file: of the picture.
        label: what is said: a class, or the name of a number.
        score: how surely, in [0, 1]; of a number, the number.
        map: (H, W) float32 in original pixels; see ``CONVENTION``.
        layer: the map that was looked at and its places; empty for methods that look at none.
        box: x0, y0, x1, y1 in original pixels, of an object.
        region: (H, W) bool, where a class is said of some pixels.
        faithfulness: what was measured of the map; None where that was not asked for.
    """

    file: str
    label: str
    score: float
    map: NDArray[np.float32]
    layer: str = ""
    box: tuple[float, float, float, float] | None = None
    region: NDArray[np.bool_] | None = None
    faithfulness: Faithfulness | None = None

    @property
    def title(self) -> str:
        """What is said, and how surely: "cat 0.93"."""
        return f"{self.label} {self.score:.3g}"

    def json(self) -> dict[str, Any]:
        """Return plain values; the map as the box of its upper half and the place of its largest value."""
        y, x = np.unravel_index(int(self.map.argmax()), self.map.shape)
        told: dict[str, Any] = {"file": self.file, "label": self.label, "score": self.score}
        if self.box is not None:
            told["box"] = [round(side, 2) for side in self.box]
        if self.region is not None:
            told["area"] = round(float(self.region.mean()), 6)
        told |= {"layer": self.layer, "peak": [int(x), int(y)], "empty": not self.map.any()}
        if (measured := self.faithfulness) is not None:
            told["faithfulness"] = {
                "gain": measured.gain, "random_maps_beaten": measured.beaten,
                "random_maps": len(measured.random_deletion), "shares": measured.shares.tolist(),
                "deletion": measured.deletion.tolist(), "insertion": measured.insertion.tolist(),
                "correlation_untrained": measured.correlation, "similarity_untrained": measured.similarity,
            }  # fmt: skip
        return told


@dataclass(frozen=True)
class Explanations:
    """What was explained, picture by picture, and how far it can be believed.

    Attributes:
        model: that was asked; ``method``: by which it was, and ``why``: the reason for it.
        explanations: in the order of the files, of each the surest first.
        gain: mean of ``Faithfulness.gain`` over pictures, with its interval; None where nothing was measured.
        correlation: mean rank correlation with maps of untrained networks.
        warnings: what speaks against believing the maps, a sentence each.
        problems: (what was named, reason): what could not be read or explained.
        readable: there are no more problems than the model's recipe allows of so many files.
        notes: what was passed over or chosen, a sentence each.
        drawn: where overlays were written; ``page``: the page with all of it.
    """

    model: str
    method: str
    why: str
    explanations: tuple[Explanation, ...]
    gain: Score | None = None
    correlation: Score | None = None
    warnings: tuple[str, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    readable: bool = True
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    page: str = ""

    def __len__(self) -> int:
        return len(self.explanations)

    def __iter__(self) -> Iterator[Explanation]:
        return iter(self.explanations)

    def json(self) -> dict[str, Any]:
        """Return plain values with the fields' names; maps are arrays, and stay behind."""
        return {
            "model": self.model, "method": self.method, "convention": CONVENTION,
            "explanations": [one.json() for one in self],
            "gain": self.gain.json() if self.gain is not None else None,
            "correlation_untrained": self.correlation.json() if self.correlation is not None else None,
            "warnings": list(self.warnings),
            "problems": [{"file": file, "why": why} for file, why in self.problems],
            "notes": list(self.notes), "drawn": list(self.drawn), "page": self.page,
        }  # fmt: skip

    def summary(self) -> str:
        """Return the lines that matter: the method, what was measured, what speaks against believing it, the page."""
        lines = [f"method    {self.method}: {self.why}"]
        if self.gain is not None and self.correlation is not None:
            ends = f" [{self.gain.low:+.3f}, {self.gain.high:+.3f}]" if self.gain.n > 1 else ""
            lines.append(f"gain      {self.gain.value:+.3f}{ends} over random maps as smooth (n = {self.gain.n:,})")
            lines.append(f"untrained {self.correlation.value:.2f} rank correlation with maps of untrained networks")
        lines += [f"warning   {sentence}" for sentence in self.warnings]
        return "\n".join(lines + ([f"page      {self.page}"] if self.page else []))

    def table(self) -> Table:
        """Return a line an explanation."""
        measured = any(one.faithfulness is not None for one in self)
        columns = ("file", "label", "score", *(("gain", "beats random", "like untrained") if measured else ()), "layer")
        rows = []
        for one in self:
            found = one.faithfulness
            told = (
                ()
                if found is None
                else (found.gain, f"{found.beaten} of {len(found.random_deletion)}", found.correlation)
            )
            rows.append((one.file, one.label, one.score, *told, one.layer))
        return Table("", columns, rows)


def explain(
    model: str | Path | Model,
    files: str | Path | Sequence[str | Path],
    *,
    method: str | None = None,
    label: str | None = None,
    layer: str | None = None,
    most: int = 4,
    least: float | None = None,
    check: bool = True,
    out: str | Path | None = None,
    network: str | nn.Module | None = None,
    batch: int = 16,
) -> Explanations:
    """Return which parts of pictures speak for what a model says of them, and how far that can be believed.

    Each map is measured: the answer must fall when the marked places are covered first and rise when they are shown
    first, more than for random maps as smooth as this one; and it must be another map when the network has learned
    nothing.  A method whose maps fail is named in ``warnings``.

    Args:
        model: a model file, a run folder, or a loaded model.
        files: files, folders (looked through for pictures) and globs.
        method: one of ``visus list explainers``; by default ``grad_cam``, and ``layer_cam`` for objects.
        label: class, or number, that is explained; by default what the model says.
        layer: module of the network at whose maps is looked; by default chosen by rule, which is told.
        most: things explained of one picture at most, such as boxes, the surest first.
        least: score from which on an object is found; by default that of the best F1 on the validation part.
        check: measure each map; it takes some hundred answers of the model for each.
        out: folder for overlays, explanations.json and report.html.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        batch: versions of a picture looked at at once.

    Raises:
        DataError: there is not one picture, or in none of them anything that could be explained.
        UsageError: no such method, class or layer; a method that does not suit the network; ``out`` cannot be written.
        ResourceError: memory ran out.
    """
    from visus.data.dataset import FileImages, Strings
    from visus.verbs.load import Model, load
    from visus.verbs.predict import check_least, gather, make_folder

    if most < 1 or batch < 1:
        raise UsageError("EXPLAIN-009", f"most = {most}, batch = {batch}: both are at least 1", fix="leave them out")
    found, missing, notes = gather([files] if isinstance(files, str | Path) else files)
    loaded = model if isinstance(model, Model) else load(model, model=network)
    check_least(loaded, least)
    asked = Asked.settle(loaded, method, label or "", layer or "", least, most=most, check=check, batch=batch)
    if out is not None:
        make_folder(Path(out))
    images = FileImages(Path(), Strings(found), loaded.recipe.data.max_pixels)
    bad: dict[str, str] = {}
    explanations = tuple(asked.explain(images, found, bad))
    problems = (*bad.items(), *missing)
    if not explanations:
        (name, why), more = problems[0], len(problems) - 1
        raise DataError(
            "EXPLAIN-010", f"{name}: {why}", where=f"and {more:,} more" if more else "",
            done="nothing was explained", fix="other pictures, or less sure objects: --least 0.05",
        )  # fmt: skip
    readable = len(problems) <= loaded.recipe.data.max_bad * (len(found) + len(missing))
    result = judged(Explanations(
        str(loaded.path), asked.method, asked.why, explanations, problems=problems, readable=readable,
        notes=(*notes, *asked.notes()),
    ))  # fmt: skip
    return result if out is None else written(loaded, images, found, result, Path(out))


@dataclass(frozen=True)
class Asked:
    """Everything that is settled before the first picture is looked at.

    Attributes:
        model: that is asked.
        task: as it was trained, but at one scale, without mirrored views, and for less sure objects too.
        method: name of the explainer; ``why``: it was chosen.
        label, layer: what is explained and where is looked; empty for what the model says and for the rule.
        most: things explained of one picture.
        check: measure each map.
        batch: versions of a picture looked at at once.
        passed: files of which not everything was explained, and of how many things.
    """

    model: Model
    task: Task
    explainer: Explainer
    method: str
    why: str
    label: str
    layer: str
    most: int
    check: bool
    batch: int
    passed: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def settle(
        model: Model,
        method: str | None,
        label: str,
        layer: str,
        least: float | None,
        *,
        most: int,
        check: bool,
        batch: int,
    ) -> Asked:
        """Return what was asked for, after everything that can be seen to be wrong with it was.

        Raises:
            UsageError: no such method, class or layer, or a layer for a method that looks at none.
        """
        from visus.explainers import EXPLAINERS
        from visus.tasks import TASKS

        places = "objects" in model.task.reads
        chosen = method or ("layer_cam" if places else "grad_cam")
        why = (
            "it tells one object from another of its class"
            if places
            else "the usual one: quick, and any network has maps"
        )
        why = "as asked" if method else why
        explainer = EXPLAINERS[chosen]
        if label and label not in model.classes:
            raise UsageError("EXPLAIN-002", f"the model knows no {label!r}", fix=did_you_mean(label, model.classes))
        if layer and explainer.reads != "layer":
            raise UsageError(
                "EXPLAIN-011", f"{chosen} looks at no layer", fix="leave --layer out, or --method grad_cam"
            )
        modules = [name for name, _ in model.network.named_modules() if name]
        if layer and layer not in modules:
            raise UsageError("EXPLAIN-003", f"the network has no layer {layer!r}", fix=did_you_mean(layer, modules))
        recipe = model.recipe
        unsure = recipe.detect.model_copy(update={"least": 1e-6})  # the score of an object that is covered is asked for
        once = recipe.segment.model_copy(update={"scales": (1.0,)})
        plain = recipe.model_copy(update={"flips": False, "detect": unsure, "segment": once})
        task = TASKS[recipe.task](plain, model.classes)
        shown = {"threshold": recipe.detect.least, **model.card.calibration}
        task.calibrate(shown if least is None else {"threshold": least})
        return Asked(model, task, explainer, chosen, why, label, layer, most, check, batch)

    def explain(self, images: Images, names: Sequence[str], bad: dict[str, str]) -> Iterator[Explanation]:
        """Yield the explanations of pictures; those that cannot be read, or show nothing, go into ``bad``."""
        from visus.data.dataset import Dataset, Strings
        from visus.engine.device import float32_as_stated, short_of_memory
        from visus.verbs.assembly import feed
        from visus.verbs.predict import readable_batches, reasons

        device = replace(self.model.device(), precision="float32")
        data = Dataset("files", Path(), "files", "named", Strings(names), images, {}, np.zeros(len(names), np.uint8))
        recipe = self.model.recipe.model_copy(update={"batch": 1})
        channels = recipe.input.channels
        with (
            short_of_memory("nothing was written", "less else running, --batch 1, or --no-check"),
            float32_as_stated(device),
            feed(data, np.arange(len(names)), self.task, recipe, device, train=False) as shown,
        ):
            for batch in readable_batches(shown, bad, lambda: reasons(images, names, channels)):
                if not len(batch):
                    continue
                (name,) = batch.ids
                found = list(self._of(batch.to(device.device, device.memory_format), name))
                if not found:
                    bad[name] = f"the model finds no {self.label or 'object'} here that could be explained"
                yield from found

    def notes(self) -> list[str]:
        """Return what was passed over."""
        if not self.passed:
            return []
        name, n = next(iter(self.passed.items()))
        more = f", and more of {len(self.passed) - 1:,} other pictures" if len(self.passed) > 1 else ""
        return [f"{name}: {self.most} of {n:,} things that are said were explained{more}; --most {n} explains all"]

    def _of(self, batch: Batch, name: str) -> Iterator[Explanation]:
        import torch

        from visus.explainers._asking import Asking

        asking = Asking(self.task, self.model.network.eval(), batch, self.batch)
        with torch.no_grad():
            targets = self.task.targets(asking.raw(asking.image), self.label)
        if len(targets) > self.most:
            self.passed[name] = len(targets)
        for i, target in enumerate(targets[: self.most]):
            yield self._why(asking, target, name, i)

    def _why(self, asking: Asking, target: Target, name: str, i: int) -> Explanation:
        """Return the explanation of one thing that is said of a picture."""
        from visus.core.boxes import moved
        from visus.core.seeds import derive

        seed = derive(self.model.recipe.seed, "explain", i)
        layer, told = self.layer, self.layer
        if self.explainer.reads == "layer" and not layer:
            from visus.explainers._maps import choose

            chosen = choose(self._question(asking, target, "", seed), target.box)
            layer, told = chosen.layer, str(chosen)
        evidence = self._evidence(asking, target, layer, seed)
        frame, size = asking.batch.frames[0], _size(asking.batch)
        box = None
        if target.box is not None:
            x0, y0, x1, y1 = moved(target.box[None].double().cpu(), frame.double().cpu())[0].tolist()
            box = (max(0.0, x0), max(0.0, y0), min(float(size[1]), x1), min(float(size[0]), y1))
        region = None if target.region is None else _home(target.region.float(), frame, size) >= 0.5
        measured = self._measured(asking, target, layer, seed, evidence) if self.check else None
        return Explanation(
            name, target.label, target.score, unit(_home(evidence, frame, size)), told, box, region, measured
        )

    def _question(self, asking: Asking, target: Target, layer: str, seed: int) -> Any:
        from visus.explainers import Question

        return Question(
            asking.network, asking.image, lambda images: asking.value(target, images), layer, seed, self.batch
        )

    def _evidence(self, asking: Asking, target: Target, layer: str, seed: int) -> Tensor:
        """Return (H, W) signed evidence at present pixels."""
        from visus.explainers._maps import spread

        found = self.explainer.explain(self._question(asking, target, layer, seed)).detach().cpu()
        height, width = asking.image.shape[2:]
        return spread(found, (height, width))

    def _measured(self, asking: Asking, target: Target, layer: str, seed: int, evidence: Tensor) -> Faithfulness:
        from visus.core.seeds import derive
        from visus.explainers import _faithfulness as faithfulness
        from visus.explainers._asking import shuffled

        like, alike = [], []
        own = torch_unit(evidence)
        for i in range(UNTRAINED):
            other = asking.of(shuffled(asking.network, derive(seed, "untrained", i)))
            theirs = torch_unit(self._evidence(other, target, layer, seed))
            like.append(faithfulness.rank_correlation(own, theirs))
            alike.append(faithfulness.structural_similarity(own, theirs))
        found = faithfulness.curves(asking, target, evidence, seed)
        return faithfulness.Faithfulness(*found, float(np.mean(like)), float(np.mean(alike)))


def judged(result: Explanations) -> Explanations:
    """Return explanations with what all of their measurements together say."""
    measured = [one for one in result if one.faithfulness is not None]
    empty = sum(not one.map.any() for one in result)
    warnings = []
    if empty:
        warnings.append(
            f"{empty:,} of {len(result):,} maps are empty: by {result.method} nothing speaks for what is said"
        )
    if not measured:
        return replace(result, warnings=tuple(warnings))
    gain = _mean([(one.file, one.faithfulness.gain) for one in measured if one.faithfulness])
    like = _mean([(one.file, one.faithfulness.correlation) for one in measured if one.faithfulness])
    from visus.explainers._faithfulness import LIKE

    if like.value >= LIKE:
        warnings.append(
            f"{result.method} draws nearly the same maps for networks that have learned nothing (rank correlation "
            f"{like.value:.2f}): they show the picture, not what the model makes of it"
        )
    if not gain.value > 0 or gain.low <= 0:
        warnings.append(
            f"the maps are not shown to mark what the answer depends on: covering and showing it first gains "
            f"{gain.value:+.3f} over random maps" + (f" [{gain.low:+.3f}, {gain.high:+.3f}]" if gain.n > 1 else "")
        )
    return replace(result, gain=gain, correlation=like, warnings=tuple(warnings))


def unit(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map in [0, 1]: see ``CONVENTION``."""
    positive = np.maximum(evidence, 0)
    top = float(np.quantile(positive, STRONGEST)) or float(positive.max())
    scaled: NDArray[np.float32] = np.minimum(positive / top, 1) if top > 0 else positive
    return scaled.astype(np.float32)


def torch_unit(evidence: Tensor) -> Tensor:
    """Return ``unit`` of a tensor."""
    import torch

    return torch.from_numpy(unit(evidence.numpy()))


def _mean(values: Sequence[tuple[str, float]]) -> Score:
    """Return the mean over pictures of what was measured of each, with its interval where there are several."""
    from visus.metrics.bootstrap import measured

    by_file: dict[str, list[float]] = {}
    for file, value in values:
        by_file.setdefault(file, []).append(value)
    means = np.array([np.mean(each) for each in by_file.values()])
    if len(means) < 2:
        return Score(float(means[0]), math.nan, math.nan, 1)
    found = measured(lambda weights: {"mean": (weights * means[:, None]).sum(0) / weights.sum(0)}, len(means), 1000)
    value, low, high = (float(end) for end in found["mean"])
    return Score(value, low, high, len(means))


def _size(batch: Batch) -> tuple[int, int]:
    """Return the size of the original picture; the present one where that is not known."""
    height, width = (int(side) for side in batch.originals[0])
    return (height, width) if height and width else (batch.inputs[0].shape[2], batch.inputs[0].shape[3])


def _home(scores: Tensor, frame: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    from visus.core.home import at_home

    found: NDArray[np.float32] = at_home(scores.cpu().float()[None], frame, size)[0].numpy()
    return found


def written(model: Model, images: Images, names: Sequence[str], result: Explanations, out: Path) -> Explanations:
    """Write the overlays, the numbers and the page.

    Raises:
        UsageError: the folder cannot be written to.
        ResourceError: the disk is full.
    """
    from visus.core.files import write_bytes, write_json, write_text
    from visus.data.pixels import pictures
    from visus.report.explain_page import Shown, render
    from visus.report.overlays import overlay
    from visus.report.pictures import png
    from visus.tasks._captions import rgb

    source = pictures(images, model.recipe.input.channels)
    drawn: list[str] = []
    shown: list[Shown] = []
    pixels: dict[str, NDArray[np.uint8]] = {}
    for one in result:
        if one.file not in pixels:
            taken = source.take(np.array([names.index(one.file)]), lambda index: None)
            pixels = {one.file: rgb(taken.images[0])}
        picture = overlay(pixels[one.file], one.map, one.title, one.box, one.region)
        label = "".join(c if c.isalnum() else "_" for c in one.label)[:30]
        place = out / f"{len(drawn):05d}-{Path(one.file).stem[:60]}-{label}.png"
        write_bytes(place, png(picture))
        drawn.append(str(place))
        shown.append(Shown(one.title, one.file, _facts(one), pixels[one.file], picture))
    done = replace(result, drawn=tuple(drawn), page=str(out / "report.html"))
    write_json(out / "explanations.json", done.json())
    write_text(out / "report.html", render(_page(model, done, shown)))
    return done


def _facts(one: Explanation) -> list[tuple[str, str]]:
    """Return what is told of an explanation beside its pictures."""
    facts = [("layer", one.layer)] if one.layer else []
    if one.box is not None:
        facts.append(("box", " ".join(f"{side:.0f}" for side in one.box)))
    if one.region is not None:
        facts.append(("region", f"{one.region.mean():.1%} of the picture"))
    if (found := one.faithfulness) is not None:
        facts.append(
            ("gain", f"{found.gain:+.3f}; better than {found.beaten} of {len(found.random_deletion)} random maps")
        )
        facts.append(
            ("untrained", f"rank correlation {found.correlation:.2f}, structural similarity {found.similarity:.2f}")
        )
    return facts


def _page(model: Model, result: Explanations, shown: Sequence[Shown]) -> Page:
    """Return what the page tells."""
    from visus.explainers import EXPLAINERS
    from visus.explainers._faithfulness import LIKE
    from visus.report.explain_page import Curves, Page

    measured = [one.faithfulness for one in result if one.faithfulness is not None]
    names = ("deletion", "insertion", "random_deletion", "random_insertion")
    stacked = [np.stack([getattr(one, name) for one in measured]) for name in names] if measured else []
    explainer = EXPLAINERS[result.method]
    return Page(
        result.model, result.method, result.why, explainer.summary, explainer.source, CONVENTION, shown,
        result.gain, result.correlation, LIKE, result.warnings, result.notes, result.problems,
        Curves(measured[0].shares, *stacked) if measured else None, unit="numbers" not in model.task.reads,
    )  # fmt: skip
