"""``visus evaluate``: how good a model is on a data set, each number with its interval."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visus.core.errors import DataError, UsageError, did_you_mean
from visus.core.figures import Figure
from visus.core.recipe import DataSettings
from visus.core.scores import Score
from visus.data.dataset import SPLITS, Dataset

if TYPE_CHECKING:
    from rich.table import Table as Grid
    from torch import nn

    from visus.core.task import Metric
    from visus.verbs.load import Model


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

    def json(self) -> dict[str, Any]:
        """Return ``{"scores": {name: {value, low, high, n}}, ...}``."""
        return {
            "model": self.model, "data": self.data, "split": self.split, "n": self.n,
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
    split: str = "test",
    network: str | nn.Module | None = None,
    batch: int = 0,
    precision: str | None = None,
    download: bool = False,
) -> Evaluation:
    """Measure a model on a part of a data set: every score with its 95 % interval.

    Args:
        model: a model file, a run folder, or a loaded model.
        data: as for ``train``.  What it lacks of splits is carved as for the run that trained the model.
        split: ``train``, ``val``, ``test`` or ``all``.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        batch: pictures looked at at once; as trained by default.
        precision: ``float32`` or ``bfloat16``; as trained by default.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.

    Raises:
        UsageError: no such split, or nothing in it.
        DataError: the data cannot be read, or shows classes that the model does not know.
    """
    from visus.verbs.load import Model, load

    check_split(split)
    loaded = model if isinstance(model, Model) else load(model, model=network, precision=precision)
    return measure(loaded, opened_for(loaded, data, download=download), str(data), split, batch)


def check_split(split: str) -> None:
    """Refuse a split that no data set has.

    Raises:
        UsageError: it is none.
    """
    if split not in (*SPLITS, "all"):
        raise UsageError("USE-015", f"there is no split {split!r}", fix=did_you_mean(split, (*SPLITS, "all")))


def measure(model: Model, dataset: Dataset, data: str, split: str, batch: int = 0) -> Evaluation:
    """Measure a loaded model on a part of an open data set, whose classes stand in the model's order.

    Raises:
        UsageError: there is nothing in that part.
        ResourceError: memory ran out.
    """
    from visus.engine.device import short_of_memory
    from visus.engine.evaluate import judge
    from visus.verbs.assembly import feed

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
        time.perf_counter() - began, metric,
    )  # fmt: skip


def opened_for(model: Model, data: str | Path, *, download: bool = False) -> Dataset:
    """Return a data set whose classes stand in the model's order.

    Raises:
        DataError: it shows classes that the model does not know, or knows nothing the task reads.
    """
    from visus.data.reading import open_data

    dataset = open_data(data, _readable(model.recipe.data, data), seed=model.recipe.seed, download=download)
    wanted = model.recipe.target.column
    reads = (wanted,) if wanted else model.task.reads
    if not set(reads) & set(dataset.columns):
        raise DataError(
            "DATA-091", f"{dataset.name} does not say what the model was trained for",
            where=f"it has {', '.join(dataset.columns) or 'no labels'}; the model reads {' or '.join(reads)}",
        )  # fmt: skip
    return in_order(dataset, model.classes)


def _readable(trained: DataSettings, data: str | Path) -> DataSettings:
    """Return how to read data: as the model's own was, unless that was of another format."""
    from visus.data.formats import FORMATS

    fits = trained.format == "auto" or FORMATS[trained.format].sniff(Path(data)) is not None
    return trained if fits else trained.model_copy(update={"format": "auto"})


def in_order(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Return the data set with its names in the given order; of numbers, only those that are asked for.

    Raises:
        DataError: it shows a class that is none of them, or lacks one of the numbers.
    """
    names = dataset.classes or dataset.numbers
    if tuple(names) == tuple(classes):
        return dataset
    _check_names(dataset, classes)
    columns = dict(dataset.columns)
    if "numbers" in columns:
        columns["numbers"] = columns["numbers"][:, [names.index(name) for name in classes]]
        return dataset.with_(columns=columns, numbers=tuple(classes))
    place = np.array([list(classes).index(name) for name in names], dtype=np.int64)
    if "label" in columns:
        labels = columns["label"].astype(np.int64)
        columns["label"] = np.where(labels >= 0, place[np.maximum(labels, 0)], -1)
    if "labels" in columns:
        wide = np.zeros((len(dataset), len(classes)), columns["labels"].dtype)
        wide[:, place] = columns["labels"]
        columns["labels"] = wide
    return dataset.with_(columns=columns, classes=tuple(classes))


def _check_names(dataset: Dataset, classes: Sequence[str]) -> None:
    if dataset.classes:
        wrong, fix = sorted(set(dataset.classes) - set(classes)), "rename them, or leave those records out"
        said = "shows {}, which the model does not know"
    else:
        wrong, fix = sorted(set(classes) - set(dataset.numbers)), "add those columns"
        said = "lacks {}, which the model was trained for"
    if wrong:
        raise DataError(
            "DATA-092", f"{dataset.name} " + said.format(", ".join(map(repr, wrong[:5]))),
            where=f"the model knows {', '.join(classes[:12])}{' ...' if len(classes) > 12 else ''}", fix=fix,
        )  # fmt: skip
