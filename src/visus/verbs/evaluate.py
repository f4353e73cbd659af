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
from visus.core.scores import Score
from visus.data.dataset import SPLITS, Dataset

if TYPE_CHECKING:
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
    seconds: float
    metric: Metric

    def json(self) -> dict[str, Any]:
        """Return ``{"scores": {name: {value, low, high, n}}, ...}``."""
        return {
            "model": self.model, "data": self.data, "split": self.split, "n": self.n,
            "scores": {name: score.json() for name, score in self.scores.items()},
            "bad": [{"file": name, "why": why} for name, why in self.bad], "seconds": round(self.seconds, 3),
        }  # fmt: skip


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
    """Measure a model on a part of a data set.

    Args:
        model: a model file, a run folder, or a loaded model.
        data: as for ``train``.  What it lacks of splits is carved as for the run that trained the model.
        split: ``train``, ``val``, ``test`` or ``all``.
        network: ``FILE.py:Class`` or a module, when the network is the user's own.
        batch: pictures looked at at once; as trained by default.
        precision: ``float32`` or ``bfloat16``; as trained by default.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.

    Raises:
        UsageError: no such split.
        DataError: the data cannot be read, or shows classes that the model does not know.
    """
    from visus.engine.evaluate import judge
    from visus.verbs.assembly import feed
    from visus.verbs.load import Model, load

    if split not in (*SPLITS, "all"):
        raise UsageError("USE-015", f"there is no split {split!r}", fix=did_you_mean(split, (*SPLITS, "all")))
    loaded = model if isinstance(model, Model) else load(model, model=network, precision=precision)
    dataset = opened_for(loaded, data, download=download)
    if not len(dataset.indices(split)):
        raise UsageError("USE-016", f"{dataset.name}: the {split} split is empty", fix="--split all")
    began = time.perf_counter()
    recipe = loaded.recipe.model_copy(update={"batch": batch} if batch else {})
    device = loaded.device()
    with feed(dataset, split, loaded.task, recipe, device, train=False) as judged:
        metric, bad = judge(loaded.task, loaded.network, judged, device)
    n = len(dataset.indices(split)) - len(bad)
    return Evaluation(str(loaded.path), str(data), split, loaded.task.score, metric.compute(), metric.figures(), n,
                      tuple(bad), time.perf_counter() - began, metric)  # fmt: skip


def opened_for(model: Model, data: str | Path, *, download: bool = False) -> Dataset:
    """Return a data set whose classes stand in the model's order.

    Raises:
        DataError: it shows classes that the model does not know, or knows nothing the task reads.
    """
    from visus.data.reading import open_data

    dataset = open_data(data, model.recipe.data, seed=model.recipe.seed, download=download)
    if not set(model.task.reads) & set(dataset.columns):
        raise DataError("DATA-041", f"{dataset.name} does not say what the model was trained for",
                        where=f"it has {', '.join(dataset.columns) or 'no labels'}; the model reads {' or '.join(model.task.reads)}")  # fmt: skip
    return in_order(dataset, model.classes)


def in_order(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Return the data set with its names in the given order."""
    names = dataset.classes or dataset.numbers
    if tuple(names) == tuple(classes):
        return dataset
    unknown = sorted(set(names) - set(classes))
    missing = sorted(set(classes) - set(names))
    if unknown or (missing and not dataset.classes):
        raise DataError("DATA-042", f"{dataset.name} shows {', '.join(map(repr, (unknown or missing)[:5]))}, "
                        + ("which the model does not know" if unknown else "needs them and lacks them"),
                        where=f"the model knows {', '.join(classes[:12])}{' ...' if len(classes) > 12 else ''}",
                        fix="rename the classes, or leave those records out")  # fmt: skip
    place = np.array([list(classes).index(name) for name in names], dtype=np.int64)
    columns = dict(dataset.columns)
    if "label" in columns:
        labels = columns["label"].astype(np.int64)
        columns["label"] = np.where(labels >= 0, place[np.maximum(labels, 0)], -1)
    if "labels" in columns:
        wide = np.zeros((len(dataset), len(classes)), columns["labels"].dtype)
        wide[:, place] = columns["labels"]
        columns["labels"] = wide
    if "numbers" in columns:
        columns["numbers"] = columns["numbers"][:, np.argsort(place)]
    changed = {"classes": tuple(classes)} if dataset.classes else {"numbers": tuple(classes)}
    return dataset.with_(columns=columns, **changed)
