"""Average precision of detections under weights of their pictures: the area below precision over recall, interpolated.

Detections are sorted and matched once.  Precision and recall change their course only at detections that are right,
so under any weights, those of a thousand resamples among them, an area is a sum over these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visus.metrics.bootstrap import Numbers, Sums, Weights, ratio, summing, summing_runs


class Axis(NamedTuple):
    """The places on the recall axis at which precision is read, the best from there on; their mean is the area.

    Attributes:
        passed: from recall in [0, 1] to how many places lie at or below it.
        places: how many there are.
    """

    passed: Callable[[Numbers], Numbers]
    places: int


_RECALLS: Numbers = np.linspace(0.0, 1.0, 101)


def _of_coco(recall: Numbers) -> Numbers:
    """Count 0, 0.01, ..., 1 as floats: whether 7 of 100 reach 0.07 is a question of its last bit."""
    nearest = np.rint(100 * recall)
    passed: Numbers = nearest + (_RECALLS[nearest.astype(np.int64)] <= recall)
    return passed


def _of_voc07(recall: Numbers) -> Numbers:
    """Count 0, 0.1, ..., 1, compared in exact tenths."""
    passed: Numbers = np.floor(10 * recall) + 1
    return passed


COCO = Axis(_of_coco, 101)
"""Lin et al., Microsoft COCO, ECCV 2014; pycocotools' ``COCOeval.accumulate``."""

VOC07 = Axis(_of_voc07, 11)
"""Everingham et al., The Pascal visual object classes challenge, IJCV 2010, eq. 1."""

VOC = Axis(lambda recall: recall, 1)
"""The area below the whole curve: the same, a retrospective, IJCV 2015 (VOC 2010 to 2012)."""


def objects_of(label: NDArray[np.int64], image: NDArray[np.int64], n_classes: int, n: int) -> Sums:
    """Return the (K, n) matrix that counts the objects of each class under weights of n pictures."""
    return summing(label, n_classes, n, image)


class Ranked:
    """Detections of all classes that count, each right or wrong.

    Args:
        label, image: (D,) class and picture of each, by class and from the highest score to the lowest.
        right: (D,) bool.
        objects: (K, n) matrix that counts the objects of each class, see ``objects_of``.
    """

    def __init__(
        self, label: NDArray[np.int64], image: NDArray[np.int64], right: NDArray[np.bool_], objects: Sums
    ) -> None:
        self._objects = objects
        at = np.flatnonzero(right)
        last = np.full(objects.shape[0], -1)
        last[label[at]] = at
        kept = np.arange(len(label)) <= last[label]  # what comes after the last right one of a class changes nothing
        self._items = image[kept]
        self._ends = np.cumsum(kept)[at]
        self.label, self._image = label[at], image[at]

    def areas(self, weights: Weights, axis: Axis = COCO) -> Numbers:
        """Return (K, r) average precision of each class; NaN where it has no object.

        Args:
            weights: (n, r) how often each picture counts in each of r resamples.
            axis: ``COCO``, ``VOC07`` or ``VOC``.
        """
        n_objects = self._objects @ weights  # (K, r)
        found = np.zeros_like(n_objects)
        if len(self.label):
            named = self._within(self._segments @ weights)
            right = self._within(weights[self._image])
            precision = np.divide(right, named, out=np.zeros_like(right), where=named > 0)
            # The best precision from here to the last of the class: whole numbers keep the classes apart.
            apart = (self.label[-1] - self.label)[:, None]
            precision += apart
            best = np.maximum.accumulate(precision[::-1])[::-1] - apart
            passed = axis.passed(np.divide(right, n_objects[self.label], out=right, where=right > 0))
            passed[1:] -= np.where(self._new[1:, None], 0, passed[:-1])
            found[self.label[self._first]] = np.add.reduceat(passed * best, self._first, axis=0) / axis.places
        return np.where(n_objects > 0, found, np.nan)

    def curve(self, k: int) -> tuple[Numbers, Numbers]:
        """Return recall and precision of class ``k`` as it finds its objects, from the surest detection on."""
        own = self.label == k
        named = self._within(np.diff(self._ends, prepend=0)[:, None])[own, 0]
        right = np.arange(1, own.sum() + 1)
        return right / self._objects[[k]].sum(), right / named

    def _within(self, values: NDArray[np.float64] | NDArray[np.int64]) -> Numbers:
        """Return sums over the detections of a class so far."""
        total = np.cumsum(values, axis=0, dtype=np.float64)
        before = total[self._first - 1]
        before[0] = 0
        total -= np.repeat(before, np.diff(self._first, append=len(total)), axis=0)
        return total

    @cached_property
    def _new(self) -> NDArray[np.bool_]:
        new: NDArray[np.bool_] = np.diff(self.label, prepend=-1) != 0
        return new

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._new)

    @cached_property
    def _segments(self) -> Sums:
        """(detections that are right, n): each with the wrong ones before it."""
        return summing_runs(self._items, np.append(0, self._ends), self._objects.shape[1])


def reached(right: Sums, objects: Sums, weights: Weights) -> Numbers:
    """Return (K, r) the share of the objects of each class that were found; NaN where it has none."""
    return ratio(right @ weights, objects @ weights)
