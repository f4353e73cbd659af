"""``visus evaluate``: how good a model is on a data set, each number with its interval."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import UsageError
from visus.core.figures import Figure
from visus.core.scores import Score

if TYPE_CHECKING:
    from rich.table import Table as Grid
    from torch import nn

    from visus.core.task import Metric
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

    def json(self) -> dict[str, Any]:
        """Return ``{"scores": {name: {value, low, high, n}}, ...}``."""
        return {
            "model": self.model, "data": self.data, "split": self.split, "n": self.n,
            "notes": list(self.notes),
            "scores": {name: score.json() for name, score in self.scores.items()},
            "bad": [{"file": name, "why": why} for name, why in self.bad], "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def summary(self) -> str:
        """Return the lines that matter: the headline score with its interval, the worst classes, what was measured."""
        from visus.report.story import Story
        from visus.report.terminal import summary

        return summary(Story(
            self.model, score=self.score, split=self.split, scores=self.scores, figures=self.figures,
            data={"name": Path(self.data).name},
        ))  # fmt: skip

    def table(self) -> Grid:
        """Return every score with its interval, for a terminal."""
        from visus.report.terminal import score_table

        return score_table(self.scores)


def evaluate(
    model: str | Path | Model,
    data: str | Path,
    *,
    split: str | None = None,
    network: str | nn.Module | None = None,
    batch: int = 0,
    precision: str | None = None,
    download: bool = False,
) -> Evaluation:
    """Measure a model on a part of a data set: every score with its 95 % interval.

    Args:
        model: a model file, a run folder, or a loaded model.
        data: as for ``train``.
        split: ``train``, ``val``, ``test`` or ``all``; what the data lacks of it is carved as for the run that trained
            the model.  By default its own test part; where it has none, what was held back from the model if it was
            trained on this data, else all of it.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        batch: pictures looked at at once; as trained by default.
        precision: ``float32`` or ``bfloat16``; as trained by default.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.

    Raises:
        UsageError: no such split, or nothing in it.
        DataError: the data cannot be read, or shows classes that the model does not know.
    """
    from visus.verbs.load import Model, load
    from visus.verbs.parts import check_split, part_for

    check_split(split)
    loaded = model if isinstance(model, Model) else load(model, model=network, precision=precision)
    return measure(loaded, part_for(loaded, data, split, download=download), str(data), batch)


def measure(model: Model, part: Part, data: str, batch: int = 0) -> Evaluation:
    """Measure a loaded model on a part of an open data set.

    Raises:
        UsageError: there is nothing in that part.
        ResourceError: memory ran out.
    """
    from visus.engine.device import short_of_memory
    from visus.engine.evaluate import judge
    from visus.report.words import few
    from visus.verbs.assembly import feed

    dataset, split = part.dataset, part.split
    indices = dataset.indices(split)
    if not len(indices):
        raise UsageError("USE-016", f"{dataset.name}: the {split} split is empty", fix="--split all")
    began = time.perf_counter()
    recipe = model.recipe.model_copy(update={"batch": batch} if batch else {})
    device = model.device()
    with short_of_memory("nothing was written", "less else running, or fewer pictures at once: --batch 1"):
        with feed(dataset, indices, model.task, recipe, device, train=False) as judged:
            metric, bad = judge(model.task, model.network, judged, device)
        scores, figures = metric.compute(), metric.figures()
    return Evaluation(
        str(model.path), data, split, model.task.score, scores, figures,
        len(indices) - len(bad), (*dataset.bad, *bad), len(bad) <= recipe.data.most_bad(len(dataset)),
        time.perf_counter() - began, metric, (*filter(None, [few(scores, split)]), *part.notes),
    )  # fmt: skip
