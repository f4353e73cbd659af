"""Judging anyone's results file by the objects of a data set, and what makes one file better than another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.core.figures import Table
from visus.core.recipe import DataSettings
from visus.core.run_lengths import area as area_of
from visus.core.shapes import overlaps
from visus.data.dataset import SPLITS, Dataset
from visus.data.marked import shape_of
from visus.data.objects import Objects
from visus.data.paths import shown
from visus.data.reading import open_data
from visus.data.results import Results, own_numbers, read_results
from visus.metrics.bootstrap import Measures
from visus.metrics.box_errors import KINDS
from visus.metrics.compare import Difference
from visus.metrics.detection import Detection, differences
from visus.report.words import few

if TYPE_CHECKING:
    from visus.verbs.evaluate import Evaluation

_MOST_ROWS = 20
_EMPTY = "the results hold no detection: every object is missed"
_EDGES = ("DATA-220", "DATA-221", "DATA-222")


@dataclass(frozen=True)
class Explained:
    """What makes results B better or worse than results A on the same pictures: B minus A, with paired intervals.

    Attributes:
        a, b: the files; ``score``: name of the headline score.
        differences: of every score.
        classes: of the average precision of each class, the largest difference first; that of a class on fewer than six
            pictures may be anything.
        mistakes: of what each kind of mistake costs in AP50; a smaller cost is better.
        counts: how many mistakes of each kind A makes, and B, each from the score on at which its F1 is best.
    """

    a: str
    b: str
    score: str
    differences: Mapping[str, Difference]
    classes: Mapping[str, Difference]
    mistakes: Mapping[str, Difference]
    counts: Mapping[str, tuple[int, int]]

    @property
    def verdict(self) -> str:
        """The headline in words: "+0.6 +- 0.9: no difference shown"."""
        return self.differences[self.score].verdict if self.score in self.differences else "the data defines no score"

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        told = {
            name: {key: difference.json() for key, difference in getattr(self, name).items()}
            for name in ("differences", "classes", "mistakes")
        }
        for kind, (a, b) in self.counts.items():
            told["mistakes"][kind] |= {"count_a": a, "count_b": b}
        return {"a": self.a, "b": self.b, "score": self.score, "verdict": self.verdict, **told}

    def tables(self) -> list[Table]:
        """Return tables of the scores, of the classes that differ most, and of the kinds of mistakes."""
        from visus.report.words import label, plural

        more = len(self.classes) - _MOST_ROWS
        note = f"and {plural(more, 'class')} that differ less" if more > 0 else ""
        costs = [(kind, *self.counts[kind], *_row(difference)) for kind, difference in self.mistakes.items()]
        return [
            Table(f"A {self.a}\nB {self.b}", ("score", *_COLUMNS),
                  [(label(name), *_row(difference)) for name, difference in self.differences.items()]),
            Table("Classes, by average precision", ("class", *_COLUMNS),
                  [(name, *_row(difference)) for name, difference in list(self.classes.items())[:_MOST_ROWS]], note),
            Table("Kinds of mistakes, by what they cost in AP50", ("kind", "count A", "count B", *_COLUMNS), costs),
        ]  # fmt: skip


_COLUMNS = ("A", "B", "B - A", "95 % interval", "better")


def judge_results(
    predictions: str | Path, data: str | Path, *, split: str | None = None, download: bool = False
) -> Evaluation:
    """Judge a COCO results file; see ``visus.evaluate``.

    Raises:
        DataError: DATA-200 to 203 and 320 to 322, the file is no results file, or not of this data; DATA-324 and 325,
            the data has no numbers of pictures, or nothing to judge boxes by.
    """
    from visus.verbs.evaluate import Evaluation

    began = time.perf_counter()
    dataset = open_data(data, DataSettings(), download=download, carve=False)
    if dataset.objects is None:
        raise DataError(
            "DATA-325", f"{dataset.name}: nothing is marked on its pictures, by which boxes could be judged",
            where=f"it was read as {dataset.format}", fix="name data with boxes, such as COCO's instances_val2017.json",
        )  # fmt: skip
    results = read_results(Path(predictions))
    chosen = split or _part_of(dataset, results)
    metric = _metric(dataset, chosen, results)
    scores = metric.compute()
    return Evaluation(
        str(predictions), str(data), chosen, "map", scores, metric.figures(), len(metric.indices), dataset.bad, True,
        time.perf_counter() - began, metric,
        (*filter(None, [_EMPTY * (not len(results)), few(scores, chosen)]), *dataset.notes, *_edges(dataset)),
        results=True,
    )  # fmt: skip


def explain(a: Evaluation, b: Evaluation) -> Explained:
    """Return what makes results B better or worse than results A, both judged on the same part of the same data."""
    assert isinstance(a.metric, Detection)
    assert isinstance(b.metric, Detection)
    of_a, of_b = (metric.judged() for metric in (a.metric, b.metric))
    gains, values = differences(a.metric, b.metric), (of_a.measures, of_b.measures)

    def difference(score: str, key: str, at: int | None = None) -> Difference:
        parts = (np.asarray(part) for part in (values[0][key][0], values[1][key][0], *gains[key]))
        one, other, value, low, high = (float(part if at is None else part[at]) for part in parts)
        if key == "AP" and of_a.scarce[at]:
            low, high = -1.0, 1.0
        return Difference(score, one, other, value, low, high, of_a.n)

    classes = {
        name: difference("map", "AP", k)
        for k, name in sorted(enumerate(a.metric.classes), key=lambda item: -_size(gains, item[0]))
        if _size(gains, k) >= 0
    }
    return Explained(
        a.model, b.model, a.score,
        {name: difference(name, name) for name in Detection.SCORES if name in a.scores and name in b.scores},
        classes, {kind: difference("cost", "cost", i) for i, kind in enumerate(KINDS)},
        {kind: (of_a.mistakes[kind], of_b.mistakes[kind]) for kind in KINDS},
    )  # fmt: skip


def _size(gains: Measures, k: int) -> float:
    """Return how large the difference of a class is; -1 where it is not defined."""
    value = float(np.asarray(gains["AP"][0])[k])
    return -1.0 if np.isnan(value) else abs(value)


def _row(difference: Difference) -> tuple[object, ...]:
    return *difference.values, difference.change, difference.interval, difference.better


def _part_of(dataset: Dataset, results: Results) -> str:
    """Return the part of the data on whose pictures all results are: the test part first, all of it last."""
    numbers = own_numbers(dataset)[0]
    wanted = np.unique(results.images)
    for part in reversed(SPLITS):
        held = dataset.indices(part)
        if len(held) and np.isin(wanted, numbers[held]).all():
            return part
    return "all"


def _metric(dataset: Dataset, split: str, results: Results) -> Detection:
    """Return a metric that has seen the results on one part of the data.

    Pictures are taken in the order of their numbers, as COCO does: equal scores of two pictures rank in that order.

    Raises:
        DataError: the results are of other data.
    """
    numbers = own_numbers(dataset)[0][dataset.indices(split)]
    records = dataset.indices(split)[np.argsort(numbers, kind="stable")]
    numbers = np.sort(numbers)
    if repeated := numbers[1:][numbers[1:] == numbers[:-1]][:1].tolist():
        raise DataError(
            "DATA-326", f"{dataset.name}: {repeated[0]} is the number of two pictures, in parts of their own",
            where="results name pictures by their number", fix="name one part: --split test",
        )  # fmt: skip
    objects = dataset.objects.take(records)  # type: ignore[union-attr]  # there are some
    held = objects.labels >= 0
    area = np.where(np.isnan(objects.area), (objects.boxes[:, 2:] - objects.boxes[:, :2]).prod(1), objects.area)
    columns: Mapping[str, NDArray[Any]] = {
        "index": np.arange(len(records)),
        "found_index": results.records(numbers, f"{dataset.name}" if split == "all" else f"the {split} part"),
        "found_label": results.labels(dataset), "found_score": results.scores, "found_box": results.boxes,
        "truth_index": objects.records[held], "truth_label": objects.labels[held], "truth_box": objects.boxes[held],
        "truth_crowd": objects.crowd[held], "truth_area": area[held],
    }  # fmt: skip
    columns = {**columns, **_masks(dataset, objects, records, results, columns)}
    metric = Detection(dataset.classes)
    metric.load([{name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in columns.items()}])
    return metric


def _masks(
    dataset: Dataset, objects: Objects, records: NDArray[np.int64], results: Results, boxes: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return the columns of a metric that are about masks: empty where the data or the results have none.

    Args:
        dataset: with the sizes of its pictures.
        objects: of the pictures that are judged.
        records: (N,) of these.
        results: D detections.
        boxes: the other columns of the metric.

    Raises:
        DataError: DATA-327, masks of another size than their picture.
    """
    none, real = np.zeros(0, np.int64), np.zeros(0)
    of_picture, original = boxes["found_index"], dataset.original
    if results.masks is None or original is None or (objects.outlines is None and objects.masks is None):
        return {
            "found_area": np.full(len(results), np.nan), "truth_masked": np.zeros(len(boxes["truth_index"]), np.bool_),
            "masked_index": none, "pair_index": none, "pair_found": none, "pair_truth": none, "pair_overlap": real,
        }  # fmt: skip
    for d, mask in enumerate(results.masks):
        if int(mask.sum()) != (pixels := int(original.sizes[records[of_picture[d]]].prod())):
            raise DataError(
                "DATA-327", f"{shown(results.path)}: detections[{d}].segmentation: its mask has {int(mask.sum()):,}"
                f" pixels, its picture {pixels:,}", fix="write masks in pixels of the pictures as the data states them",
            )  # fmt: skip
    order = np.argsort(of_picture, kind="stable")
    ends = np.searchsorted(of_picture[order], np.arange(len(records) + 1))
    known: list[bool] = []
    pairs: list[tuple[NDArray[Any], ...]] = [(none, none, none, real)]
    for i, record in enumerate(records.tolist()):
        mine = [m for m in range(int(objects.starts[i]), int(objects.starts[i + 1])) if objects.labels[m] >= 0]
        size = int(original.sizes[record, 0]), int(original.sizes[record, 1])
        shapes = [shape_of(objects, m, size) for m in mine]
        there = np.array([shape is not None for shape in shapes], np.bool_)
        known += there.tolist()
        rows, at, overlap = overlaps(
            [results.masks[d] for d in order[ends[i] : ends[i + 1]].tolist()],
            [shape.lengths() for shape in shapes if shape is not None], objects.crowd[mine][there],
        )  # fmt: skip
        pairs.append((np.full(len(rows), i), rows, np.flatnonzero(there)[at], overlap))
    index, found, truth, overlap = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    return {
        "found_area": np.array([area_of(mask) for mask in results.masks], np.float64),
        "truth_masked": np.array(known, np.bool_), "masked_index": np.arange(len(records)),
        "pair_index": index, "pair_found": found, "pair_truth": truth, "pair_overlap": overlap,
    }  # fmt: skip


def _edges(dataset: Dataset) -> list[str]:
    """Return what to know of objects that other programs judge as they stand."""
    count = sum(remark.code in _EDGES for remark in dataset.remarks)
    if not count:
        return []
    said = f"{count:,} objects were cut at a picture's edge, or left out for having no area or lying outside"
    return [f"{said}; programs that judge them as they stand say other numbers"]
