"""Average precision of detections under weights of their pictures: the area below precision over recall, interpolated.

Detections are sorted and matched once.  Precision and recall change their course only at detections that are right,
so under any weights, those of a thousand resamples among them, an area is a sum over these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visus.metrics.bootstrap import Numbers, Sums, Weights, ratio, summing


class Axis(NamedTuple):
    """The places on the recall axis at which precision is read, the best from there on; their mean is the area.

    Attributes:
        passed: from recall in [0, 1] to how many places lie at or below it.
        places: how many there are.
    """

    passed: Callable[[Numbers], Numbers]
    places: int


_RECALLS: Numbers = np.linspace(0.0, 1.0, 101)
_ROWS, _LINES = 4096, 32


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
    """Detections of all classes, each right or wrong at each of T thresholds of the IoU.

    Args:
        label, image: (D,) class and picture of each, by class and from the highest score to the lowest.
        right, counted: (D, T) bool; what does not count is neither right nor wrong.
        objects: (K, n) matrix that counts the objects of each class, see ``objects_of``.
    """

    def __init__(
        self,
        label: NDArray[np.int64],
        image: NDArray[np.int64],
        right: NDArray[np.bool_],
        counted: NDArray[np.bool_],
        objects: Sums,
    ) -> None:
        self._objects, self._steps = objects, right.shape[1]
        n = objects.shape[1]
        marks = np.flatnonzero(right.any(1))
        always: NDArray[np.bool_] = np.logical_and.reduce(counted, axis=1)
        self._runs = []
        start = 0
        for stop in _few_at_once(np.flatnonzero(np.diff(label[marks], append=-1)) + 1):
            own = marks[start:stop]
            first = np.searchsorted(label, label[own[0]])
            part = slice(first, own[-1] + 1)
            self._runs.append(_Run(label[part], image[part], right[part], counted[part], always[part], n))
            start = stop

    def areas(self, weights: Weights, axis: Axis = COCO) -> Numbers:
        """Return (T, K, r) average precision of each class; NaN where it has no object.

        Args:
            weights: (n, r) how often each picture counts in each of r resamples.
            axis: ``COCO``, ``VOC07`` or ``VOC``.
        """
        n_objects = self._objects @ weights  # (K, r)
        found = np.zeros((self._steps, *n_objects.shape))
        for run in self._runs:
            for t, right, named, rows in run.counts(weights):
                found[t, rows.classes] = _areas(right, named, n_objects, rows, axis)
        return np.where(n_objects > 0, found, np.nan)

    def curve(self, k: int) -> tuple[Numbers, Numbers]:
        """Return recall and precision of class ``k`` at the first threshold, from the surest detection on."""
        ones = np.ones((self._objects.shape[1], 1))
        for run in self._runs:
            for t, right, named, rows in run.counts(ones):
                if t == 0 and k in rows.classes:
                    own = rows.places[rows.label[rows.places] == k]
                    return right[own, 0] / (self._objects[[k]] @ ones)[0], right[own, 0] / named[own, 0]
        return np.zeros(1), np.zeros(1)


def _areas(right: Numbers, named: Numbers, n_objects: Numbers, rows: _Rows, axis: Axis) -> Numbers:
    """Return (C, r) the area of each class of some rows, whose counts are used up."""
    best = np.divide(right, named, out=named, where=named > 0)
    best += rows.apart  # whole numbers keep the classes apart
    rows.rising(best)
    best -= rows.apart
    np.divide(right, n_objects[rows.label], out=right, where=right > 0)
    passed = axis.passed(right)
    earned = passed - passed[rows.before]
    earned[rows.first] = passed[rows.first]
    earned *= best
    areas: Numbers = (rows.sums @ earned) / axis.places
    return areas


class _Run:
    """Some classes of ``Ranked``, few enough for the processor's cache to hold their counts under many weights.

    What counts at every threshold is summed once for all of them; the rest, on crowds or of another size, is little.
    """

    def __init__(
        self,
        label: NDArray[np.int64],
        image: NDArray[np.int64],
        right: NDArray[np.bool_],
        counted: NDArray[np.bool_],
        always: NDArray[np.bool_],
        n: int,
    ) -> None:
        marks = np.flatnonzero(right.any(1))
        self._rows = _Rows(label[marks])
        self._named = self._rows.segments(label, image, always, marks, n)
        self._steps = []
        for t in range(right.shape[1]):
            at = np.flatnonzero(right[:, t])
            if len(at):
                rows = _Rows(label[at])
                rest = counted[:, t] & ~always
                of_all = self._rows.places[np.searchsorted(marks, at)][rows.laid]
                some = rows.segments(label, image, rest, at, n) if rest.any() else None
                self._steps.append((t, rows, image[at][rows.laid], of_all, some))

    def counts(self, weights: Weights) -> Iterator[tuple[int, Numbers, Numbers, _Rows]]:
        """Yield for each threshold how many of a class are right so far and how many were named, as ``_Rows`` lie."""
        named = self._rows.within(self._named @ weights)
        for t, rows, image, of_all, some in self._steps:
            right = weights[image]
            right[rows.padding] = 0
            so_far = named[of_all]
            if some is not None:
                so_far += rows.within(some @ weights)
            yield t, rows.within(right), so_far, rows


class _Rows:
    """How rows of sorted classes lie in memory: side by side in blocks, so that running sums add many rows at once.

    Row u lies at ``places[u]``, in line u % L of block u // L; the lines of all blocks follow each other.

    Attributes:
        laid: (P,) which row lies where, P >= U; the last row fills the end, which is ``padding``.
        label: (P,) class; classes: (C,) that occur; apart: (P, 1) a number for each class, larger for earlier ones.
        first: (C,) where the first row of each class lies; before: (P,) where the row before lies.
        sums: (C, P) matrix that sums each class.
    """

    def __init__(self, label: NDArray[np.int64]) -> None:
        u = len(label)
        self._lines = max(1, min(_LINES, int(np.sqrt(u))))
        blocks = -(-u // self._lines)
        every = np.arange(self._lines * blocks)
        place = every % self._lines * blocks + every // self._lines
        self.places, self.padding = place[:u], place[u:]
        self.laid = np.empty(len(every), np.int64)
        self.laid[place] = np.minimum(every, u - 1)
        self.label = label[self.laid]
        new = np.flatnonzero(np.diff(label, prepend=-1))
        self.classes, self.first = label[new], place[new]
        self.before = np.empty(len(every), np.int64)
        self.before[place[1:]] = place[:-1]
        self.before[place[0]] = place[0]
        self.apart = (label[-1] - self.label)[:, None].astype(np.float64)
        self._of = np.repeat(np.arange(len(new)), np.diff(new, append=u))[self.laid]
        self.sums = summing(self._of[self.places], len(new), len(every), self.places)

    def segments(
        self,
        label: NDArray[np.int64],
        image: NDArray[np.int64],
        kept: NDArray[np.bool_],
        ends: NDArray[np.int64],
        n: int,
    ) -> Sums:
        """Return the (P, n) matrix that counts the kept detections of a class up to each end, behind the one before."""
        last = np.full(label[-1] + 1, -1)
        last[label[ends]] = ends
        at = np.flatnonzero(kept & (np.arange(len(label)) <= last[label]))  # what follows is no concern of any end
        return summing(self.places[np.searchsorted(ends, at)], len(self.laid), n, image[at])

    def within(self, values: Numbers) -> Numbers:
        """Return sums over the rows of a class so far, in place."""
        lines = values.reshape(self._lines, -1, values.shape[1])
        for i in range(1, len(lines)):
            np.add(lines[i], lines[i - 1], out=lines[i])
        lines[:, 1:] += np.cumsum(lines[-1], axis=0)[:-1]
        before = values[self.before[self.first]]
        before[0] = 0
        values -= before[self._of]
        return values

    def rising(self, values: Numbers) -> None:
        """Replace each row by the largest from there to the end."""
        lines = values.reshape(self._lines, -1, values.shape[1])
        for i in range(len(lines) - 2, -1, -1):
            np.maximum(lines[i], lines[i + 1], out=lines[i])
        after = np.maximum.accumulate(lines[0][::-1], axis=0)[::-1]
        np.maximum(lines[:, :-1], after[1:], out=lines[:, :-1])


def _few_at_once(ends: NDArray[np.int64]) -> Iterator[int]:
    """Yield where to cut rows, at ends of classes only: each part of some thousand rows, or one class that has more."""
    start = 0
    for end, following in zip(ends, np.append(ends[1:], np.iinfo(np.int64).max), strict=False):
        if following - start > _ROWS:
            yield int(end)
            start = end


def reached(right: Sums, objects: Sums, weights: Weights) -> Numbers:
    """Return (K, r) the share of the objects of each class that were found; NaN where it has none."""
    return ratio(right @ weights, objects @ weights)
