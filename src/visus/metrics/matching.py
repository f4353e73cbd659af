"""Which detection found which object: the greedy matching of COCO, of all pictures, classes and thresholds at once.

Detections and objects are rows of flat arrays.  Pictures and classes do not meet in a matching, so the first detection
of each picture and class takes its object, then the second of each, and so on: a few vectorised steps in place of a
loop over every picture, class, size and threshold.

Source:
    Lin et al., Microsoft COCO, ECCV 2014; the rules in detail are those of pycocotools' ``COCOeval.evaluateImg``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

THRESHOLDS: Numbers = np.linspace(0.5, 0.95, 10)
"""COCO's thresholds of the IoU, to the last digit."""

SIZES: Numbers = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
"""Least and largest area of all, small, medium and large objects, in square pixels of the original picture; a bound
belongs to both sides of it."""

MOST = 100
"""Detections of a picture and class that are judged, those of the highest scores."""

_PAIRS = 1 << 22  # looked at at once


@dataclass(frozen=True)
class Truth:
    """M objects of n pictures.

    Attributes:
        image: (M,) in [0, n); label: (M,) class.
        box: (M, 4) x0, y0, x1, y1, half-open; area: (M,) in square pixels, as stated.
        crowd: (M,) bool, regions of many: what is found there counts neither for nor against.
    """

    image: Indices
    label: Indices
    box: Numbers
    crowd: Flags
    area: Numbers

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Found:
    """D detections; attributes as of ``Truth``, and (D,) scores, larger means surer.

    ``area`` (D,) is given where it is not that of the box.
    """

    image: Indices
    label: Indices
    score: Numbers
    box: Numbers
    area: Numbers | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Indices | Flags) -> Found:
        """Return some of them."""
        area = None if self.area is None else self.area[rows]
        return Found(self.image[rows], self.label[rows], self.score[rows], self.box[rows], area)

    def order(self) -> Indices:
        """Return their order: by class, then falling scores, equal ones by picture, then as they came."""
        by_image = np.argsort(self.image, kind="stable")
        by_score = by_image[np.argsort(-self.score[by_image], kind="stable")]
        return by_score[np.argsort(self.label[by_score], kind="stable")]


@dataclass(frozen=True)
class Overlaps:
    """How far detections and objects overlap, where that is not said by their boxes: P pairs of one picture.

    Attributes:
        found, truth: (P,) rows of each pair.
        value: (P,) in [0, 1]; of a pair that is not named 0.
    """

    found: Indices
    truth: Indices
    value: Numbers


@dataclass(frozen=True)
class Matches:
    """What each detection found, for A ranges of size and T thresholds.

    Attributes:
        found: the D detections that are judged, ranked; ``rank``: (D,) place of each among those of its picture and
            class, from 0.
        near: (P,) those of them that overlap any object of their class as far as the lowest threshold asks.
        object: (P, A, T) int32, the object that each of these found, or -1.
        ignored: (M, A) bool, objects that do not count: crowds, and what is of another size.
        outside: (D, A) bool, detections of another size: they do not count where they found nothing.
    """

    found: Found
    rank: Indices
    near: Indices
    object: NDArray[np.int32]
    ignored: Flags
    outside: Flags

    def right(self, a: int, t: int) -> Flags:
        """Return (D,) which detections found an object that counts."""
        at = self.object[:, a, t]
        flags = np.zeros(len(self.found), np.bool_)
        flags[self.near] = (at >= 0) & ~self.ignored[at, a]
        return flags

    def counted(self, a: int, t: int) -> Flags:
        """Return (D,) which detections count, for or against."""
        at = self.object[:, a, t]
        flags = ~self.outside[:, a]
        flags[self.near] = np.where(at >= 0, ~self.ignored[at, a], flags[self.near])
        return flags


def iou(one: Numbers, other: Numbers, crowd: Flags | None = None) -> Numbers:
    """Return (P,) how far pairs of boxes (P, 4) overlap: intersection over union, or over ``one`` in a crowd."""
    sides, others = _sides(one), _sides(other)
    ends = np.minimum(one[:, :2] + sides, other[:, :2] + others)
    shared = np.maximum(ends - np.maximum(one[:, :2], other[:, :2]), 0).prod(1)
    own = sides.prod(1)
    union = own + others.prod(1) - shared
    if crowd is not None:
        union = np.where(crowd, own, union)
    overlap: Numbers = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return overlap


def pairs(found_key: Indices, truth_key: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield every pair of a detection and an object of the same key, ordered by detection, some millions at a time."""
    order = np.argsort(truth_key, kind="stable")
    keys = truth_key[order]
    first = np.searchsorted(keys, found_key, "left")
    count = np.searchsorted(keys, found_key, "right") - first
    held = np.flatnonzero(count)
    ends = np.cumsum(count[held])
    start = 0
    while start < len(held):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, "right")))
        rows = held[start:stop]
        many = count[rows]
        offset = np.repeat(first[rows] - (ends[start:stop] - many - before), many) + np.arange(many.sum())
        yield np.repeat(rows, many), order[offset]
        start = stop


def match(
    truth: Truth,
    found: Found,
    *,
    thresholds: Numbers = THRESHOLDS,
    sizes: Numbers = SIZES,
    most: int = MOST,
    overlaps: Overlaps | None = None,
) -> Matches:
    """Return which detection found which object.

    From the highest score to the lowest, each detection takes the object of its class and picture that it overlaps
    most, of those that are not taken and that it overlaps at least as far as the threshold asks; of equals the last.
    An object that does not count is taken only where none that counts is left, a crowd as often as it is found.

    Args:
        truth: M objects.
        found: detections, in any order.
        thresholds: (T,) of the IoU, rising.
        sizes: (A, 2) least and largest area of the objects that count.
        most: detections of a picture and class that are judged, those of the highest scores.
        overlaps: of detections and objects; of their boxes by default.
    """
    order = found.order()
    ranked = found.take(order)
    rank = _ranks(_keys(ranked, truth, ranked))
    kept = rank < most
    if not kept.all():
        order, ranked, rank = order[kept], ranked.take(kept), rank[kept]
    area = (_sides(ranked.box).prod(1) if ranked.area is None else ranked.area)[:, None]
    ignored = truth.crowd[:, None] | (truth.area[:, None] < sizes[:, 0]) | (truth.area[:, None] > sizes[:, 1])
    outside = (area < sizes[:, 0]) | (area > sizes[:, 1])
    enough = np.minimum(thresholds, 1 - 1e-10)
    if overlaps is None:
        row, at, overlap = _overlapping(ranked, truth, enough[0])
    else:
        row, at, overlap = _named(overlaps, order, ranked, truth, enough[0])

    near, of = np.unique(row, return_inverse=True)
    step = _ranks(_keys(ranked.take(near), truth, ranked))[of]
    turn = np.lexsort((at, overlap, row, step))
    at, of, step = at[turn], of[turn], step[turn]
    wide = (len(sizes), len(thresholds))
    reached = overlap[turn, None] >= enough  # (pairs, T)
    taken = np.zeros((len(truth), *wide), np.bool_)
    objects = np.full((len(near), *wide), -1, np.int32)
    ends = np.unique(np.append(np.flatnonzero(np.diff(step)) + 1, len(step)))
    begin = 0
    for end in ends[ends > 0].tolist():
        here = at[begin:end]
        free = reached[begin:end, None] & (~taken[here] | truth.crowd[here, None, None])
        # The last pair of the highest overlap wins; one whose object counts wins over all whose object does not.
        place = np.arange(end - begin, dtype=np.int32)[:, None] + (end - begin) * ~ignored[here]
        value = np.where(free, place[:, :, None], -1)
        first = np.flatnonzero(np.diff(of[begin:end], prepend=-1))
        best = np.maximum.reduceat(value, first, axis=0)
        chosen = np.where(best >= 0, here[best % (end - begin)], -1)
        objects[of[begin:end][first]] = chosen
        which, a, t = np.nonzero(best >= 0)
        taken[chosen[which, a, t], a, t] = True
        begin = end
    return Matches(ranked, rank, near, objects, ignored, outside)


def _overlapping(found: Found, truth: Truth, least: float) -> tuple[Indices, Indices, Numbers]:
    """Return the pairs of one picture and class that overlap enough: detection, object, and how far."""
    kept = []
    for row, at in pairs(_keys(found, truth, found), _keys(truth, truth, found)):
        overlap = iou(found.box[row], truth.box[at], truth.crowd[at])
        near = overlap >= least
        kept.append((row[near], at[near], overlap[near]))
    none = np.zeros(0, np.int64)
    return tuple(map(np.concatenate, zip((none, none, np.zeros(0)), *kept, strict=True)))  # type: ignore[return-value]


def _named(
    overlaps: Overlaps, order: Indices, ranked: Found, truth: Truth, least: float
) -> tuple[Indices, Indices, Numbers]:
    """Return those of some pairs that are of one class and overlap enough, by the rows of what is ``ranked``."""
    place = np.full(int(max(order.max(initial=-1), overlaps.found.max(initial=-1))) + 1, -1)
    place[order] = np.arange(len(order))
    row = place[overlaps.found]
    near = (row >= 0) & (overlaps.value >= least)
    row, at, overlap = row[near], overlaps.truth[near], overlaps.value[near]
    same = ranked.label[row] == truth.label[at]
    return row[same], at[same], overlap[same]


def _keys(rows: Found | Truth, *all_rows: Found | Truth) -> Indices:
    """Return (N,) one number for picture and class together."""
    wide = 1 + max((int(some.image.max(initial=0)) for some in all_rows), default=0)
    return rows.label * wide + rows.image


def _ranks(keys: Indices) -> Indices:
    """Return (N,) the place of each row among those of its key, from 0, in the order of the rows."""
    order = np.argsort(keys, kind="stable")
    new = np.flatnonzero(np.diff(keys[order], prepend=-1))
    ranks = np.empty(len(keys), np.int64)
    ranks[order] = np.arange(len(keys)) - np.repeat(new, np.diff(new, append=len(keys)))
    return ranks


def _sides(box: Numbers) -> Numbers:
    """Return (N, 2) width and height of boxes, to the last bit as a COCO file states them in up to six decimals.

    x + width - x is not the width in its last bit, and an IoU of just 0.95 is no rarity in COCO's own files.
    """
    sides: Numbers = np.round(box[:, 2:] - box[:, :2], 6)
    return sides
