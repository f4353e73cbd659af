"""``visus evaluate``: how good a model is on a data set, each number with its interval."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import UsageError
from visus.core.figures import Figure, Table
from visus.core.scores import Score, WithoutLeaks

if TYPE_CHECKING:
    from rich.table import Table as Grid
    from torch import nn

    from visus.core.task import Metric
    from visus.verbs.judging import Explained
    from visus.verbs.load import Model
    from visus.verbs.parts import Part


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        model, data, split: what was measured on what.
        score: name of the headline score.
        scores: by the field's names, each with its interval.
        figures: tables and curves.
        n: pictures that were judged; ``bad``: (id, reason) of those that could not be read.
        readable: no more pictures could not be read than the model's recipe allows of the whole data set.
        seconds: it took.
        metric: the sums behind the scores, for a comparison.
        notes: what reading the data and choosing the part have to say, a sentence each.
        without_leaks: the scores also without pictures that the parts before give away, where the model was trained on
            these.
        results: ``model`` is a file of anyone's answers; ``explained``: what makes those it was compared with better or
            worse, where there are some.
    """

    model: str
    data: str
    split: str
    score: str
    scores: Mapping[str, Score]
    figures: Sequence[Figure]
    n: int
    bad: tuple[tuple[str, str], ...]
    readable: bool
    seconds: float
    metric: Metric
    notes: tuple[str, ...] = ()
    without_leaks: WithoutLeaks | None = None
    results: bool = False
    explained: Explained | None = None

    def json(self) -> dict[str, Any]:
        """Return ``{"scores": {name: {value, low, high, n}}, ...}``."""
        return {
            "model": self.model, "data": self.data, "split": self.split, "n": self.n,
            "notes": list(self.notes),
            "scores": {name: score.json() for name, score in self.scores.items()},
            "without_leaks": self.without_leaks.json() if self.without_leaks is not None else None,
            "bad": [{"file": name, "why": why} for name, why in self.bad], "seconds": round(self.seconds, 3),
            **({"compared": self.explained.json()} if self.explained is not None else {}),
        }  # fmt: skip

    def summary(self) -> str:
        """Return the lines that matter: the headline score with its interval, the worst classes, what was measured."""
        from visus.report.story import Story
        from visus.report.terminal import summary

        return summary(Story(
            self.model, score=self.score, split=self.split, scores=self.scores, figures=self.figures,
            data={"name": Path(self.data).name}, chosen=not self.results,
        ))  # fmt: skip

    def table(self) -> Grid:
        """Return every score with its interval, for a terminal."""
        from visus.report.terminal import score_table

        return score_table(self.scores)

    def tables(self) -> list[Grid]:
        """Return every table of the figures, for a terminal."""
        from visus.report.terminal import figure_table

        return [figure_table(figure) for figure in self.figures if isinstance(figure, Table)]


def evaluate(
    model: str | Path | Model | None = None,
    data: str | Path | None = None,
    *,
    predictions: str | Path | None = None,
    compare: str | Path | None = None,
    split: str | None = None,
    network: str | nn.Module | None = None,
    batch: int = 0,
    precision: str | None = None,
    classifier: str | Path | None = None,
    set: Mapping[str, Any] | None = None,
    download: bool = False,
) -> Evaluation:
    """Measure a model, or anyone's boxes, on a part of a data set: every score with its 95 % interval.

    Where the model was trained on the parts before the one that is judged, pictures that these give away are looked
    for, and the scores are given also without them, if that takes ten seconds at most, or no longer than judging did;
    not where the model was trained with ``data.leaks=false``.

    Args:
        model: a model file, a run folder, or a loaded model; None with ``predictions``.
        data: as for ``train``; with ``predictions`` one whose pictures and classes have numbers, such as a COCO file,
            and no picture needs to be there.
        predictions: a COCO results file, a list of ``{"image_id", "category_id", "bbox": [x, y, width, height],
            "score"}``, which is judged in place of a model.
        compare: another results file; told is what makes it better or worse than ``predictions``.
        split: ``train``, ``val``, ``test`` or ``all``; what the data lacks of it is carved as for the run that trained
            the model.  By default its own test part; where it has none, what was held back from the model if it was
            trained on this data, else all of it.  Of ``predictions``, the part on whose pictures they all are.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        batch: pictures looked at at once; as trained by default.
        precision: ``float32`` or ``bfloat16``; as trained by default.
        classifier: of a generator: the model file of a classifier, by whose features its pictures are judged, and by
            the classes that it sees; as trained by default.
        set: how the model is asked, where it was trained otherwise: ``flips``, ``input.tiles``, ``input.seam``,
            ``segment.scales``, ``generate.extractor``, ``stylize.style``.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.

    Raises:
        UsageError: no such split, or nothing in it; neither model nor predictions, or both.
        DataError: the data cannot be read, or shows classes that the model does not know; results that cannot be read,
            or are of other data.
    """
    from visus.verbs.load import Model, load
    from visus.verbs.parts import check_split, part_for

    check_split(split)
    if data is None or (model is None) == (predictions is None) or (compare and predictions is None):
        raise UsageError(
            "USE-056", "evaluate takes data, and either a model or a results file, which another can be compared with",
            fix="visus evaluate MODEL DATA, or visus evaluate --predictions results.json [--compare theirs.json] DATA",
        )  # fmt: skip
    if model is None:
        return _of_results(predictions, compare, data, split, download)  # type: ignore[arg-type]  # it is there
    loaded = model if isinstance(model, Model) else load(model, model=network, precision=precision)
    judge = {} if classifier is None else {"generate.extractor": str(classifier)}
    loaded = loaded.asking({**(set or {}), **judge})
    part = part_for(loaded, data, split, download=download)
    return _with_copies(_with_leaks(measure(loaded, part, str(data), batch), loaded, part), loaded, part)


def _of_results(
    predictions: str | Path, compare: str | Path | None, data: str | Path, split: str | None, download: bool
) -> Evaluation:
    """Return what there is to say of a results file, and of another one."""
    from visus.verbs.judging import explain, judge_results

    found = judge_results(predictions, data, split=split, download=download)
    if compare is None:
        return found
    other = judge_results(compare, data, split=found.split, download=download)
    return replace(found, explained=explain(found, other))


def measure(model: Model, part: Part, data: str, batch: int = 0) -> Evaluation:
    """Measure a loaded model on a part of an open data set.

    Raises:
        UsageError: there is nothing in that part.
        ResourceError: memory ran out.
    """
    from visus.engine.device import short_of_memory
    from visus.engine.evaluate import judge
    from visus.report.words import few, looked_at, sampled
    from visus.report.words import part as named
    from visus.verbs.assembly import feed, judged_of

    dataset, split = part.dataset, part.split
    indices = judged_of(model.task, dataset, split)
    if not len(indices):
        raise UsageError("USE-016", f"{dataset.name}: the {split} split is empty", fix="--split all")
    began = time.perf_counter()
    recipe = model.recipe.model_copy(update={"batch": batch} if batch else {})
    device = model.device()
    with short_of_memory("nothing was written", "less else running, or fewer pictures at once: --batch 1"):
        with feed(dataset, indices, model.task, recipe, device, train=False) as judged:
            metric, bad = judge(model.task, model.network, judged, device, micro=model.at_once)
        scores, figures = metric.compute(), metric.figures()
    about = few(scores, split) if scores else f"{named(split)} shows nothing that a score could be made of"
    ways = looked_at(model.recipe.flat())
    sample = sampled(len(indices), len(dataset.indices(split)), split)
    told = (about, f"pictures were looked at {ways}" if ways else "", sample, *part.notes)
    return Evaluation(
        str(model.path), data, split, model.task.score, scores, figures,
        len(indices) - len(bad), (*dataset.bad, *bad), len(bad) <= recipe.data.most_bad(len(dataset)),
        time.perf_counter() - began, metric, tuple(filter(None, told)),
    )  # fmt: skip


def _with_copies(found: Evaluation, model: Model, part: Part) -> Evaluation:
    """Return an evaluation with how near a generator's pictures lie to those it was trained on, where these are there.

    That is a table of its own: the scores are those that the run which trained it measured.
    """
    from visus.verbs.copying import copying

    known = part.seen or part.dataset.fingerprint() == model.card.data.get("fingerprint")
    if model.task.name != "generate" or not known:
        return found
    copied = copying(model.task, model.network, part.dataset, model.recipe, model.device())
    return replace(found, figures=(*found.figures, copied.table()))


def _with_leaks(found: Evaluation, model: Model, part: Part) -> Evaluation:
    """Return an evaluation with what is to be said of pictures that parts the model was trained on give away."""
    import numpy as np

    from visus.data.dataset import SPLITS
    from visus.data.leaks import Reading
    from visus.report.words import leaking as told
    from visus.verbs import leaking
    from visus.verbs.assembly import judged_of

    dataset, recipe = part.dataset, model.recipe
    known = part.seen or dataset.fingerprint() == model.card.data.get("fingerprint")
    if not recipe.data.leaks or not known or found.split not in SPLITS[1:] or not len(dataset.indices("train")):
        return found
    judged, others = leaking.records(dataset, found.split, {(found.split, name) for name, _ in found.bad})
    judged = judged[np.isin(judged, judged_of(model.task, dataset, found.split))]
    expected = leaking.seconds_for(dataset, found.split, found.seconds / max(1, found.n))
    reading = Reading(dataset, recipe.input.channels, recipe.data.stored, workers=recipe.data.workers)
    limit = max(leaking.CHEAP, found.seconds)
    leaks = leaking.without_leaks(found.score, found.metric, reading, judged, others, expected, limit)
    notes = (*found.notes, *filter(None, [told(leaks, found.split)]))
    return replace(found, without_leaks=leaks, notes=notes)
