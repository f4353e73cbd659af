"""What can be said of many polygons at once, and a polygon cut at the picture's edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from visus.data.objects import Outlines, Polygon


def cut(polygon: Polygon, size: Sequence[float]) -> Polygon:
    """Return the part of a polygon (P, 2) inside (height, width), to a millionth of a pixel; (0, 2) when none is left.

    Source:
        Sutherland and Hodgman, Reentrant polygon clipping, CACM 1974.
    """
    height, width = size
    for axis, edge, sign in ((0, 0.0, 1), (0, width, -1), (1, 0.0, 1), (1, height, -1)):
        depth = sign * (polygon[:, axis] - edge)  # at least 0 inside
        before, depth_before = np.roll(polygon, 1, 0), np.roll(depth, 1)
        inside = depth >= 0
        crossing = inside != (depth_before >= 0)
        share = np.where(crossing, depth_before / np.where(crossing, depth_before - depth, 1), 0)
        entry = before + share[:, None] * (polygon - before)
        entry[:, axis] = edge
        polygon = np.stack([entry, polygon], 1)[np.stack([crossing, inside], 1)]
    return np.round(polygon, 6)


def areas(outlines: Outlines) -> NDArray[np.float64]:
    """Return (M,) the area of each object's polygons, in pixels, as COCO's own files state it: that of its parts."""
    found = [np.zeros(0)]
    for xy, after, corners in _portions(outlines):
        crossed = xy[:, 0] * after[:, 1] - xy[:, 1] * after[:, 0]
        found.append(np.abs(_sums(crossed, corners)) / 2)
    return _sums(np.concatenate(found), outlines.parts)


def boxes(outlines: Outlines) -> NDArray[np.float64]:
    """Return (M, 4) x0, y0, x1, y1, the tight boxes of objects that have at least one polygon each."""
    first = outlines.corners[outlines.parts[:-1]]
    return np.concatenate([np.minimum.reduceat(outlines.xy, first), np.maximum.reduceat(outlines.xy, first)], 1)


def turns(outlines: Outlines) -> NDArray[np.int64]:
    """Return (Q,) how often the boundary of each polygon turns round, in whole turns, as far as it can be said.

    A polygon that does not cross itself turns round once.  One that turns back on its own way, by half a turn, is said
    to turn once.

    Source:
        Hopf, Über die Drehung der Tangenten und Sehnen ebener Kurven, Compositio Mathematica 2, 1935.
    """
    found = [np.zeros(0, np.int64)]
    for xy, after, corners in _portions(outlines):
        owner = np.repeat(np.arange(len(corners) - 1), np.diff(corners))
        ways = after - xy
        moving = (ways != 0).any(1)  # a corner that is there twice is no turn
        ways, owner = ways[moving], owner[moving]
        bounds = np.searchsorted(owner, np.arange(len(corners)))
        following = ways[_next(bounds)]
        cross = ways[:, 0] * following[:, 1] - ways[:, 1] * following[:, 0]
        dot = (ways * following).sum(1)
        whole = np.rint(np.abs(_sums(np.arctan2(cross, dot), bounds)) / (2 * np.pi)).astype(np.int64)
        back = _sums(((cross == 0) & (dot < 0)).astype(np.float64), bounds) > 0
        found.append(np.where(back | (np.diff(bounds) < 3), 1, whole))
    return np.concatenate(found)


_PORTION = 1 << 20


def _portions(
    outlines: Outlines,
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]]:
    """Yield corners, the corner after each, and the bounds of polygons, about a million corners at a time."""
    corners = outlines.corners
    part = 0
    while part < len(corners) - 1:
        stop = max(part + 1, int(np.searchsorted(corners, corners[part] + _PORTION, "right")) - 1)
        xy = outlines.xy[corners[part] : corners[stop]]
        bounds = corners[part : stop + 1] - corners[part]
        yield xy, xy[_next(bounds)], bounds
        part = stop


def _next(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of what follows each item in its own range, the first one after the last."""
    after = np.arange(1, int(bounds[-1]) + 1)
    held = np.diff(bounds) > 0
    after[bounds[1:][held] - 1] = bounds[:-1][held]
    return after


def _sums(values: NDArray[np.float64], bounds: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum of each range; 0 of an empty one."""
    total = np.zeros(len(bounds) - 1)
    held = np.diff(bounds) > 0
    if held.any():
        total[held] = np.add.reduceat(values, bounds[:-1][held])
    return total
