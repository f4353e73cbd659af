"""Boxes that cannot be right: outside their picture, without area, drawn twice; objects too small; pictures without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from visus.checks import Check, Consequence, Finding, Item, Status, Subject, are, ranked
from visus.data.objects import Objects

Rows: TypeAlias = NDArray[np.int64]

OUTSIDE = 1.0
"""Pixels by which a box may reach beyond its picture: rounding, and tools that count from 1."""

SAME = 0.95
"""Overlap over union from which on two boxes of a class are one object drawn twice."""

TINY = 8.0
"""Pixels of an object's side (the root of its area) at the training size below which networks hardly find it."""

_ROWS = 256  # boxes that are compared with all of their picture at once, which bounds the memory

USUAL, LARGEST = 640, 1536
"""Pixels of the longer side detectors are usually trained at, where no recipe says it; and beyond which tiles help."""


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the boxes of the data set; nothing for data without boxes."""
    objects = subject.dataset.objects
    if objects is None or not len(objects.boxes):
        return
    known = _Known.of(subject, objects)
    yield from _without_area(known)
    yield from _outside(known)
    yield from _twice(known)
    yield from _tiny(subject, known)
    yield from _without_objects(subject, objects)


@dataclass(frozen=True)
class _Known:
    """M objects beside their pictures: record, its size (0 where it cannot be read), and the area of the box."""

    subject: Subject
    objects: Objects
    record: Rows
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    area: NDArray[np.float64]

    @staticmethod
    def of(subject: Subject, objects: Objects) -> _Known:
        """Return the objects of a subject beside their pictures."""
        record = objects.records
        height, width = subject.seen.size[record].astype(np.int64).T
        sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
        area = np.where((sides > 0).all(1), sides.prod(1), 0.0)
        return _Known(subject, objects, record, height, width, np.nan_to_num(area))

    def finding(
        self, code: str, what: str, why: str, fix: str, status: Status, found: list[tuple[int, str, float]],
        consequence: Consequence,
    ) -> Finding:  # fmt: skip
        """Return a finding on objects, each (object, why, score)."""
        starts, ids = self.objects.starts, self.subject.dataset.ids
        items = [
            Item(ids[int(self.record[m])], status, said, index=int(self.record[m]), score=score,
                 where=f"box {m - int(starts[self.record[m]]) + 1}")
            for m, said, score in found
        ]  # fmt: skip
        title = f"{len(found):,} of {len(self.record):,} boxes {what}"
        items.sort(key=lambda item: -item.score)
        return Finding(code, "warning", title, why, fix, tuple(items), consequence=consequence)


def _without_area(known: _Known) -> Iterator[Finding]:
    empty = np.flatnonzero(known.area <= 0).tolist()
    if empty:
        found = [(m, f"from {_corners(known, m)}", 0.0) for m in empty]
        yield known.finding(
            "CHECK-022", f"{are(len(empty), 'has', 'have')} no area",
            "nothing can be learned from them; they are left out", "draw them again, or remove them", "skipped", found,
            "loss",
        )  # fmt: skip


def _outside(known: _Known) -> Iterator[Finding]:
    x0, y0, x1, y1 = known.objects.boxes.T
    beyond = np.maximum.reduce([-x0, -y0, x1 - known.width, y1 - known.height])
    reach = np.flatnonzero((beyond > OUTSIDE) & (known.height > 0) & (known.area > 0)).tolist()
    if reach:
        found = [
            (m, f"{beyond[m]:,.0f} pixels beyond its {known.width[m]:,} x {known.height[m]:,} picture"
             f" ({_corners(known, m)})", float(beyond[m]))
            for m in reach
        ]  # fmt: skip
        yield known.finding(
            "CHECK-021", f"{are(len(reach), 'reaches', 'reach')} out of the picture",
            "they are cut at its edge; where many are, the labels were drawn on pictures of another size, or turned",
            "compare the size the labels were drawn at with that of the pictures", "clipped", found, "loss",
        )  # fmt: skip


def _twice(known: _Known) -> Iterator[Finding]:
    """Yield the boxes that are a box before them again: the same class, nearly the same place."""
    objects, found = known.objects, []
    for first, stop in zip(objects.starts[:-1].tolist(), objects.starts[1:].tolist(), strict=True):
        if stop - first < 2:
            continue
        boxes, labels, crowd = objects.boxes[first:stop], objects.labels[first:stop], objects.crowd[first:stop]
        before = np.full(len(boxes), -1)
        for low in range(0, len(boxes), _ROWS):
            rows = np.arange(low, min(low + _ROWS, len(boxes)))
            again = (_overlap(boxes[rows], boxes) >= SAME) & (labels[rows, None] == labels)
            again &= ~(crowd[rows, None] | crowd) & (rows[:, None] < np.arange(len(boxes)))
            new = (before < 0) & again.any(0)
            before[new] = rows[again[:, new].argmax(0)]
        for k in np.flatnonzero(before >= 0).tolist():
            found.append((first + k, f"nearly box {before[k] + 1} again, of the same class", 0.0))
    if found:
        yield known.finding(
            "CHECK-023", f"{are(len(found), 'is another one', 'are other ones')} drawn twice",
            "an object that counts twice weighs twice, and one of the two can never be found",
            "remove one of each pair", "warned", found, "mislead",
        )  # fmt: skip


def _tiny(subject: Subject, known: _Known) -> Iterator[Finding]:
    """Yield the objects that are too small at the training size, with a size, or tiles, at which most are not."""
    trained = max(subject.recipe.input.size) if subject.recipe is not None else USUAL
    longer = np.maximum(known.height, known.width)
    sides = np.sqrt(known.area)
    counted = (longer > 0) & (known.area > 0) & ~known.objects.crowd
    shown = sides * trained / np.maximum(longer, 1)
    small = np.flatnonzero(counted & (shown < TINY))
    if not len(small):
        return
    found = [(int(m), f"{sides[m]:.0f} pixels a side, {shown[m]:.1f} at {trained}", -float(shown[m])) for m in small]
    yield known.finding(
        "CHECK-024", f"{are(len(small), 'is', 'are')} tiny at the training size of {trained}",
        f"an object of less than {TINY:.0f} x {TINY:.0f} pixels leaves hardly a trace in a network",
        _remedy(trained, sides[small], longer[small])
        + "; of so few it may not be worth the time" * (10 * len(small) < int(counted.sum())), "warned", found, "weak",
    )  # fmt: skip


def _without_objects(subject: Subject, objects: Objects) -> Iterator[Finding]:
    empty = np.flatnonzero(np.diff(objects.starts) == 0).tolist()
    if empty:
        total = len(subject.dataset)
        yield Finding(
            "CHECK-036", "note", f"{len(empty):,} of {total:,} pictures {are(len(empty), 'shows', 'show')} no object",
            "they are learned as background: objects that they show, but that nobody marked, are learned to be missed",
            "look at some of them: mark what they show, or leave them out",
            ranked(subject.dataset, "ok", [(i, "nothing is marked on it", -i) for i in empty]), consequence="fact",
        )  # fmt: skip


def _remedy(trained: int, sides: NDArray[np.float64], longer: NDArray[np.int64]) -> str:
    """Return the size that shows nine of ten tiny objects, as long as pictures have so many pixels; else the tiles."""
    wanted = int(-(-np.quantile(longer * TINY / sides, 0.9) // 32) * 32)
    if wanted <= min(LARGEST, float(np.median(longer))):
        return f"--size {wanted} shows nine of ten of them large enough"
    if wanted <= np.median(longer):
        across = max(32, int(trained * np.quantile(sides, 0.1) / TINY) // 32 * 32)
        return f"--tiles {across} reads pictures in tiles, which show nine of ten of them large enough"
    return "pictures of more pixels, or from nearer by: enlarging these adds nothing"


def _overlap(some: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (L, K) overlap over union of boxes; 1 for a pair of equal ones, whatever their area."""
    low = np.maximum(some[:, None, :2], boxes[:, :2])
    high = np.minimum(some[:, None, 2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    mine, theirs = (np.clip(of[:, 2:] - of[:, :2], 0, None).prod(1) for of in (some, boxes))
    union = mine[:, None] + theirs - shared
    equal = (some[:, None] == boxes).all(2)
    return np.where(equal, 1.0, shared / np.maximum(union, 1e-12))


def _corners(known: _Known, m: int) -> str:
    x0, y0, x1, y1 = known.objects.boxes[m]
    return f"{x0:g}, {y0:g} to {x1:g}, {y1:g}"


CHECK = Check("boxes outside their picture, without area, drawn twice or tiny; pictures without any", look)
