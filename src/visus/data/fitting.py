"""Marked objects made fit to learn from: cut at the edges of their pictures, and what is left out or odd is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from visus.data import polygons
from visus.data.edges import SMALLEST, on_picture
from visus.data.objects import Objects, Original, Outlines, Remark

ROUNDING = 0.02
"""Pixels that numbers of two decimals may reach past an edge without a word."""

FAR = 1e9
"""Pixels beyond which nothing lies, whatever a file says."""

MANY_CORNERS = 10_000
"""Corners of one object from which on it is remarked."""

MOST_REMARKS = 1000
"""Remarks of one kind on one file that are listed one by one; of more, only how many there are."""

Tell: TypeAlias = Callable[[int, str, str, str, str], None]
"""Told of an object: its index, the status and code of a remark, what of it, and why."""


class Remarks:
    """The remarks of one reading, of which no more are listed than anybody reads."""

    def __init__(self) -> None:
        self._listed: list[Remark] = []
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, file: str, status: str, code: str, why: str, where: str = "", picture: str = "") -> None:
        """Make a remark; see ``Remark``."""
        kind = file, status, code
        self._counts[kind] += 1
        if self._counts[kind] <= MOST_REMARKS:
            self._listed.append(Remark(file, status, code, why, where, picture))

    def all(self) -> tuple[Remark, ...]:
        """Return them in their order; where there are too many of a kind, a last one says how many more."""
        rest = [(kind, n - MOST_REMARKS) for kind, n in self._counts.items() if n > MOST_REMARKS]
        return (*self._listed, *(Remark(*kind, f"{n:,} more of this kind") for kind, n in rest))


def mask_sizes(objects: Objects, original: Original | None) -> NDArray[np.int64]:
    """Return (N, 2) height and width of what the run lengths of each record were drawn on; zeros where it has none."""
    sizes = np.zeros((len(objects), 2), np.int64)
    if objects.masks is not None and original is not None:
        masked = objects.records[objects.masks.lengths > 0]
        sizes[masked] = original.sizes[masked]
    return sizes


def misfit(drawn_on: NDArray[np.int64], size: Sequence[int]) -> str:
    """Return why run lengths say nothing of a picture of another (height, width); an empty string where they fit."""
    if not drawn_on.any() or drawn_on.tolist() == list(size):
        return ""
    (height, width), (high, wide) = drawn_on.tolist(), size
    return f"its masks were drawn on {width:,} x {height:,} pixels, the picture has {wide:,} x {high:,}"


def fit_boxes(
    boxes: NDArray[np.float64], edges: NDArray[np.int64], tell: Tell
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return boxes cut at the edges of their pictures, and which of them are kept: ``on_picture`` for many at once.

    Told are DATA-220 clipped, DATA-221 skipped for lying outside, DATA-222 skipped for having no area.

    Args:
        boxes: (M, 4) x0, y0, x1, y1, finite.
        edges: (M, 2) height and width of their pictures; 0 where they are not known.
        tell: of every box that is cut or left out.
    """
    limits = np.where(edges > 0, edges, FAR)[:, [1, 0, 1, 0]]
    cut = np.clip(boxes, 0, limits) + 0.0  # no -0.0
    kept = np.ones(len(boxes), np.bool_)
    thin = np.any(cut[:, 2:] - cut[:, :2] < SMALLEST, axis=1)
    past = ((boxes < -ROUNDING) | (boxes > limits + ROUNDING)).any(1)
    for m in np.flatnonzero(thin | past).tolist():
        x0, y0, x1, y1 = boxes[m].tolist()
        left, status, why = on_picture((x0, y0, x1, y1), (int(edges[m, 0]), int(edges[m, 1])), ROUNDING)
        kept[m] = left is not None
        if status:
            gone = "DATA-222" if min(x1 - x0, y1 - y0) < SMALLEST else "DATA-221"
            tell(m, status, gone if left is None else "DATA-220", "bbox", why)
    return cut, kept


def fit_outlines(outlines: Outlines, edges: NDArray[np.int64], tell: Tell) -> tuple[Outlines, NDArray[np.bool_]]:
    """Return outlines cut at the edges of their pictures, and which objects are kept; one without an outline is.

    Told are DATA-223 clipped, DATA-224 skipped for lying outside, DATA-225 warned of very many corners, DATA-226 warned
    of a polygon that crosses itself.

    Args:
        outlines: of M objects, finite; each polygon has a corner at least.
        edges: (M, 2) height and width of their pictures; 0 where they are not known.
        tell: of every object whose outline is cut, left out or odd.
    """
    size = np.where(edges > 0, edges, FAR)
    object_of = np.repeat(np.arange(len(outlines)), np.diff(outlines.parts))
    low = np.minimum.reduceat(outlines.xy, outlines.corners[:-1])
    high = np.maximum.reduceat(outlines.xy, outlines.corners[:-1])
    past = np.maximum(-low, high - size[object_of][:, ::-1]).max(1, initial=0)
    changed = {}
    for q in np.flatnonzero(past > 0).tolist():
        polygon = np.clip(outlines.xy[outlines.corners[q] : outlines.corners[q + 1]], -FAR, FAR)
        edge = size[object_of[q]]
        cut = polygons.cut(polygon, edge.tolist()) if past[q] > ROUNDING else np.clip(polygon, 0, edge[::-1])
        changed[q] = cut if len(cut) >= 3 else cut[:0]
    for m in np.unique(object_of[past > ROUNDING]).tolist():
        tell(m, "clipped", "DATA-223", "segmentation", "the outline reaches past the edge of the picture")
    fitted = _with_parts(outlines, changed)
    empty = (np.diff(fitted.parts) == 0) & (np.diff(outlines.parts) > 0)
    for m in np.flatnonzero(empty).tolist():
        tell(m, "skipped", "DATA-224", "segmentation", "the outline lies outside the picture")
    corners = np.diff(outlines.corners[outlines.parts])
    for m in np.flatnonzero(corners > MANY_CORNERS).tolist():
        tell(m, "warned", "DATA-225", "segmentation", f"the outline has {corners[m]:,} corners")
    object_of = np.repeat(np.arange(len(fitted)), np.diff(fitted.parts))
    for m in np.unique(object_of[polygons.turns(fitted) != 1]).tolist():
        tell(m, "warned", "DATA-226", "segmentation", "the outline crosses itself")
    return fitted, ~empty


def _with_parts(outlines: Outlines, changed: dict[int, NDArray[np.float64]]) -> Outlines:
    """Return outlines with some parts replaced; a part of no corners is left out."""
    if not changed:
        return outlines
    pieces, lengths, done = [], np.diff(outlines.corners), 0
    for q in sorted(changed):
        pieces += [outlines.xy[done : outlines.corners[q]], changed[q]]
        done = int(outlines.corners[q + 1])
        lengths[q] = len(changed[q])
    kept = np.concatenate([[0], np.cumsum(lengths > 0)])
    corners = np.concatenate([[0], np.cumsum(lengths[lengths > 0])])
    return Outlines(kept[outlines.parts], corners, np.concatenate([*pieces, outlines.xy[done:]]))
