"""Values that geometry can move: each knows its own ``warp``, so one matrix moves the pixels and all their labels.

Matrices are (3, 3), map present pixel coordinates to new ones, and act on (x, y, 1) with pixel *edges* at integers: the
centre of the first pixel is (0.5, 0.5).  ``size`` is the new (height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.pixels import IGNORE, MOST_SEVERAL

if TYPE_CHECKING:
    from visus.core.shapes import Shape


@runtime_checkable
class Annotation(Protocol):
    """What is known about a picture."""

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Self:
        """Return the annotation after the picture was moved by ``matrix`` into ``size``."""
        ...


@dataclass(frozen=True)
class Label:
    """One class of the whole picture: a dense index into the data set's ``classes``."""

    index: int

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Label:
        """Return itself: the class of a picture does not move."""
        return self


@dataclass(frozen=True)
class Labels:
    """Several classes of the whole picture: (K,) uint8, 1 where the class is shown."""

    shown: Tensor

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Labels:
        """Return itself: classes of a picture do not move."""
        return self


@dataclass(frozen=True)
class Numbers:
    """Measured numbers of the whole picture: (M,) float32, NaN where one is unknown."""

    values: Tensor

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Numbers:
        """Return itself: numbers of a picture do not move."""
        return self


@dataclass(frozen=True)
class Points:
    """Points: (N, 2) float32 x, y in pixels of the present frame; ``visible`` (N,) bool is false for what left it."""

    xy: Tensor
    visible: Tensor

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Points:
        """Move every point; one that leaves the frame, or falls behind a perspective's horizon, becomes invisible."""
        moved = move_points(self.xy, matrix)
        inside = (moved >= 0).all(1) & (moved[:, 0] < size[1]) & (moved[:, 1] < size[0])
        return Points(moved, self.visible & inside & (_lift(self.xy, matrix)[:, 2] > _HORIZON))


@dataclass(frozen=True)
class Boxes:
    """Boxes: (N, 4) float32 xyxy, absolute pixels of the present frame, half-open; ``labels`` (N,) int64.

    ``outlines`` optionally holds the parts of each box's object, polygons of (P, 2) corners; with them a moved box is
    the tight box of all parts of the moved object, without them (or where an object has no part) of its own moved
    corners.  ``crowd`` (N,) bool marks regions of many in which nothing is counted; left out, there are none.
    ``shapes`` optionally holds the pixels of each object, None where they are not known; unlike outlines, they stay
    when something covers an object.
    """

    xyxy: Tensor
    labels: Tensor
    outlines: tuple[tuple[Tensor, ...], ...] | None = None
    crowd: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    shapes: tuple[Shape | None, ...] | None = None

    def __post_init__(self) -> None:
        if not len(self.crowd):
            object.__setattr__(self, "crowd", torch.zeros(len(self.labels), dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.labels)

    def warp(self, matrix: Tensor, size: tuple[int, int], least: float = 0.0, within: Tensor | None = None) -> Boxes:
        """Move, clip to the frame, and drop boxes of which nothing is left.

        Args:
            matrix: from present pixels to new ones.
            size: of the new frame.
            least: share of its moved box that must be left of an object inside the frame, or it is dropped; regions of
                many stay while anything of them is left.
            within: (K, 2) corners of a convex part of the new frame in which alone the picture is shown; outlines end
                there, as the part of an object may have another shape.
        """
        if not len(self):
            return self
        height, width = size
        region = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
        if within is not None:
            if not len(within):
                return self.rows(torch.zeros(0, dtype=torch.int64))
            region = np.clip(within.double().numpy(), 0, (width, height))
        outlines = _Polygons.around(self.xyxy) if self.outlines is None else _Polygons.of(self.outlines, self.xyxy)
        inside, whole = outlines.tight(matrix.double().numpy(), region)
        xyxy = torch.from_numpy(inside).to(self.xyxy.dtype)
        keep = (xyxy[:, 2:] > xyxy[:, :2]).all(1)
        if least:
            enough = torch.from_numpy(_area(inside) >= least * _area(whole))
            keep &= enough | self.crowd
        at = keep.nonzero()[:, 0]
        moved = None
        if self.outlines is not None and within is None:
            moved = tuple(_moved(self.outlines[i], matrix, size) for i in at.tolist())
        shapes = None
        if self.shapes is not None:
            by, ends = matrix.double().numpy(), None if within is None else within.double().numpy()
            of = [self.shapes[i] for i in at.tolist()]
            shapes = tuple(shape and shape.moved(by, ends) for shape in of)
        return Boxes(xyxy[at], self.labels[at], moved, self.crowd[at], shapes)

    def rows(self, keep: Tensor) -> Boxes:
        """Return some boxes: (K,) indices."""
        outlines = tuple(self.outlines[i] for i in keep.tolist()) if self.outlines is not None else None
        shapes = tuple(self.shapes[i] for i in keep.tolist()) if self.shapes is not None else None
        return Boxes(self.xyxy[keep], self.labels[keep], outlines, self.crowd[keep], shapes)

    @staticmethod
    def joined(parts: Sequence[Boxes]) -> Boxes:
        """Return the boxes of several pictures that became one, in order; at least one part is given."""
        outlines = None
        if any(part.outlines is not None for part in parts):
            outlines = tuple(chain.from_iterable(part.outlines or ((),) * len(part) for part in parts))
        shapes = None
        if any(part.shapes is not None for part in parts):
            shapes = tuple(chain.from_iterable(part.shapes or (None,) * len(part) for part in parts))
        return Boxes(
            torch.cat([part.xyxy for part in parts]), torch.cat([part.labels for part in parts]), outlines,
            torch.cat([part.crowd for part in parts]), shapes,
        )  # fmt: skip


@dataclass(frozen=True)
class Stated:
    """Objects as the user's data states them, in original pixels: what predictions are judged against.

    Attributes:
        boxes: (N, 4) float64 xyxy, half-open.
        labels: (N,) int64.
        crowd: (N,) bool marks regions of many in which nothing is counted.
        area: (N,) float64 in square pixels, as stated, else that of the box.
        shapes: the pixels of each, None where they are not known; or None where those of no object are.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    area: Tensor
    shapes: tuple[Shape | None, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Stated:
        """Return itself: original pixels are where they were."""
        return self


@dataclass(frozen=True)
class ClassMap:
    """A class for each pixel: (H, W) uint8, ``ignore`` where none is stated, and for what comes from outside.

    Where a pixel may show several classes, or none, they are the bits of (H, W) int64: bit k is 1 where class k is
    shown, and ``ignore`` is -1.
    """

    classes: Tensor
    ignore: int = IGNORE

    @property
    def several(self) -> bool:
        """Whether a pixel may show several classes."""
        return self.classes.dtype == torch.int64

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> ClassMap:
        """Move by nearest neighbour."""
        source, inside = _nearest(self.classes.shape, matrix, size)
        return ClassMap(self.classes.flatten()[source].where(inside, self.ignore).reshape(size), self.ignore)

    def of(self, k: int) -> Tensor:
        """Return (H, W) bool, where class ``k`` is shown."""
        if self.several:
            return ((self.classes >> k & 1) == 1) & (self.classes != self.ignore)
        return self.classes == k

    def shown(self) -> dict[int, int]:
        """Return how many pixels show each class that is shown."""
        known = self.classes[self.classes != self.ignore]
        if self.several:
            found = {k: int((known >> k & 1).sum()) for k in range(MOST_SEVERAL)}
        else:
            found = dict(enumerate(torch.bincount(known.int()).tolist()))
        return {k: many for k, many in found.items() if many}


@dataclass(frozen=True)
class StatedMap:
    """A class for each pixel as the user's data states it, in original pixels: what predictions are judged against.

    Attributes:
        classes: (H, W) uint8, ``IGNORE`` where none is stated.
    """

    classes: Tensor

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> StatedMap:
        """Return itself: original pixels are where they were."""
        return self


@dataclass(frozen=True)
class Masks:
    """Masks of N objects: (N, H, W) bool; ``labels`` (N,) int64; ``crowd`` (N,) bool marks regions not counted."""

    masks: Tensor
    labels: Tensor
    crowd: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Masks:
        """Move by nearest neighbour and drop masks of which nothing is left."""
        source, inside = _nearest(self.masks.shape[1:], matrix, size)
        moved = self.masks.flatten(1).index_select(1, source) & inside
        keep = moved.any(1)
        crowd = self.crowd[keep] if len(self.crowd) else self.crowd
        return Masks(moved[keep].reshape(-1, *size), self.labels[keep], crowd)


def move_points(xy: Tensor, matrix: Tensor) -> Tensor:
    """Return points (N, 2) moved by a (3, 3) matrix; a perspective divides by the third coordinate."""
    lifted = _lift(xy, matrix)
    return (lifted[:, :2] / lifted[:, 2:]).to(xy.dtype)


def warp_polygon(points: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the part of a polygon (P, 2), moved by a (3, 3) matrix, inside (height, width); (0, 2) when none is left.

    The polygon is cut before the division by the third coordinate, so what a perspective throws behind its horizon
    does not come back on the other side.

    Source:
        Sutherland and Hodgman, Reentrant polygon clipping, CACM 1974, with homogeneous coordinates.
    """
    lifted = _lift(points, matrix)
    height, width = size
    sides = ((0, 0, 1, -_HORIZON), (1, 0, 0, 0), (-1, 0, width, 0), (0, 1, 0, 0), (0, -1, height, 0))
    for side in torch.tensor(sides, dtype=torch.float64):
        depth = (lifted * side[:3]).sum(1) + side[3]  # at least 0 inside
        before, depth_before = lifted.roll(1, 0), depth.roll(1)
        inside = depth >= 0
        crossing = inside != (depth_before >= 0)
        share = (depth_before / (depth_before - depth)).where(crossing, 0)
        corners = torch.stack([before + share[:, None] * (lifted - before), lifted], 1)
        lifted = corners[torch.stack([crossing, inside], 1)]
    return (lifted[:, :2] / lifted[:, 2:]).to(points.dtype)


_HORIZON = 1e-9  # third coordinates up to this are behind a perspective's horizon


def _lift(xy: Tensor, matrix: Tensor) -> Tensor:
    """Return (N, 3) homogeneous float64 coordinates of points moved by a matrix."""
    return torch.cat([xy.double(), torch.ones(len(xy), 1, dtype=torch.float64)], 1) @ matrix.double().T


def _moved(parts: tuple[Tensor, ...], matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """Return the parts of an outline as they are after a move, each cut at the frame; without those outside it."""
    affine = matrix[2].tolist() == [0, 0, 1]
    cut = []
    for part in parts:
        moved = move_points(part, matrix) if affine else part
        low, high = torch.aminmax(moved, dim=0)
        if not affine or min(low.tolist()) < 0 or high[0] > size[1] or high[1] > size[0]:
            moved = warp_polygon(part, matrix, size)
        if len(moved):
            cut.append(moved)
    return tuple(cut)


_Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class _Polygons:
    """The outlines of N objects in flat arrays, so that all of them are moved at once.

    Attributes:
        corners: (R, 2) of all parts, one after the other.
        parts: (Q,) at which corner each part begins.
        objects: (N,) at which part each object begins; each has one at least.
    """

    corners: _Array
    parts: NDArray[np.int64]
    objects: NDArray[np.int64]

    @staticmethod
    def around(xyxy: Tensor) -> _Polygons:
        """Return boxes as polygons of their four corners."""
        corners = xyxy.double().numpy()[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
        return _Polygons(corners, np.arange(0, len(corners), 4), np.arange(len(xyxy)))

    @staticmethod
    def of(outlines: Sequence[Sequence[Tensor]], xyxy: Tensor) -> _Polygons:
        """Return outlines, each of which has parts; where one has none, the corners of its box."""
        boxes = xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        whole = [tuple(parts) or (boxes[i],) for i, parts in enumerate(outlines)]
        flat = [part.double().numpy() for parts in whole for part in parts]
        return _Polygons(np.concatenate(flat), _begins(list(map(len, flat))), _begins(list(map(len, whole))))

    def tight(self, matrix: _Array, region: _Array) -> tuple[_Array, _Array]:
        """Return the (N, 4) tight boxes of the moved objects inside a region, and those of the whole moved objects.

        What a polygon and a convex region share has its extremes at ends of the polygon's edges cut at the region, or
        at corners of the region inside the polygon.  Where they share nothing, the box is of no size.  An object that
        reaches behind a perspective's horizon is endless.

        Args:
            matrix: (3, 3), from present pixels to new ones.
            region: (K, 2) corners of a convex polygon.

        Source:
            Liang and Barsky, A new concept and method for line clipping, ACM TOG 1984, with homogeneous coordinates.
        """
        after = self._after()
        here = self.corners @ matrix[:, :2].T + matrix[:, 2]  # (R, 3)
        edges = self.parts[self.objects]

        begins = here @ _sides(region).T  # (R, K + 1): how far inside each side of the region, and before the horizon
        begins[:, -1] -= _HORIZON
        ends = begins[after]
        with np.errstate(divide="ignore", invalid="ignore"):  # of an edge along a side, whose share is not looked at
            share = begins / (begins - ends)
        enters, leaves = np.where(begins < 0, share, 0).max(1), np.where(ends < 0, share, 1).min(1)
        seen = ~((begins < 0) & (ends < 0)).any(1) & (enters <= leaves)
        along = (here[after] - here)[seen]
        cut = np.concatenate([here[seen] + enters[seen, None] * along, here[seen] + leaves[seen, None] * along], 1)
        ways = np.full((len(here), 2, 2), np.nan)
        ways[seen] = np.clip(
            cut.reshape(-1, 2, 3)[..., :2] / cut.reshape(-1, 2, 3)[..., 2:], region.min(0), region.max(0)
        )

        corner = np.where(self._covers(matrix, region)[..., None], region, np.nan)  # (N, K, 2)
        low = np.fmin(np.fmin.reduceat(np.fmin(ways[:, 0], ways[:, 1]), edges), np.fmin.reduce(corner, 1))
        high = np.fmax(np.fmax.reduceat(np.fmax(ways[:, 0], ways[:, 1]), edges), np.fmax.reduce(corner, 1))
        inside = np.nan_to_num(np.concatenate([low, high], 1))

        before = here[:, 2:] > _HORIZON
        with np.errstate(divide="ignore", invalid="ignore"):
            flat = here[:, :2] / here[:, 2:]
        low = np.minimum.reduceat(np.where(before, flat, -np.inf), edges)
        high = np.maximum.reduceat(np.where(before, flat, np.inf), edges)
        return inside, np.concatenate([low, high], 1)

    def _after(self) -> NDArray[np.int64]:
        """Return the corner to which each one is joined: the next of its part, the last one to the first."""
        after = np.arange(1, len(self.corners) + 1)
        after[np.append(self.parts[1:], len(self.corners)) - 1] = self.parts
        return after

    def _covers(self, matrix: _Array, points: _Array) -> NDArray[np.bool_]:
        """Return which of (K, 2) new points lie in each moved object: (N, K), by the edges crossed on the way out."""
        back = np.linalg.inv(matrix) @ np.append(points, np.ones((len(points), 1)), 1).T  # (3, K)
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = back[:2] / back[2]
        (x0, y0), (x1, y1) = self.corners.T[..., None], self.corners[self._after()].T[..., None]  # (R, 1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            crossed = ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
        odd = np.add.reduceat(crossed, self.parts, axis=0, dtype=np.int64) % 2 == 1
        covered: NDArray[np.bool_] = np.logical_or.reduceat(odd, self.objects) & (back[2] > 0)
        return covered


def _sides(region: _Array) -> _Array:
    """Return (K + 1, 3) half-planes that hold a convex polygon, and last the one before a perspective's horizon."""
    after = np.roll(region, -1, 0)
    (x0, y0), (x1, y1) = region.T, after.T
    turn = np.sign((x0 * y1 - x1 * y0).sum())  # 1 where its corners go on from x to y
    sides = turn * np.stack([y0 - y1, x1 - x0, x0 * y1 - x1 * y0], 1)
    return np.concatenate([sides, [[0, 0, 1]]])


def _begins(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Return where each of some stretches begins."""
    return np.cumsum([0, *lengths[:-1]], dtype=np.int64)


def _area(boxes: _Array) -> _Array:
    """Return the area of (N, 4) boxes; one without an inside has none."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1))


def _nearest(old: torch.Size, matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return for each new pixel the old one in which its centre lies: flat index, and whether there is one.

    Centres that fall on an edge between pixels belong to the pixel after it, whatever the last bit of the matrix says.
    A row and a column are each the sum of what x and what y give; where one of them gives nothing, which is most
    moves, a place is computed once for a whole line.
    """
    inverse = torch.linalg.inv(matrix.double())
    across = inverse[:, :1] * (torch.arange(size[1]) + 0.5)  # (3, width)
    down = inverse[:, 1:2] * (torch.arange(size[0]) + 0.5) + inverse[:, 2:]  # (3, height)
    flat = matrix[2].tolist() == [0, 0, 1]
    depth = None if flat else across[2] + down[2][:, None]
    inside = torch.ones(size, dtype=torch.bool) if depth is None else depth > 0
    at = []
    for axis, limit in enumerate((old[1], old[0])):
        x, y = across[axis][None], down[axis][:, None]
        if flat and inverse[axis, 0] == 0:
            x = x[:, :1]
        if flat and inverse[axis, 1] == 0:
            y = y[:1]
        place = (x + y if depth is None else (x + y) / depth).add_(1e-6).floor_()
        there = (place >= 0) & (place < limit)
        inside = inside & there
        at.append(place.where(there, 0).long())
    column, row = at
    return (row * old[1] + column).expand(size).flatten(), inside.flatten()
