"""Values that geometry can move: each knows its own ``warp``, so one matrix moves the pixels and all their labels.

Matrices are (3, 3), map present pixel coordinates to new ones, and act on (x, y, 1) with pixel *edges* at integers: the
centre of the first pixel is (0.5, 0.5).  ``size`` is the new (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor


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

    ``outlines`` optionally holds (P, 2) polygon points of each box's object; with them a rotated box is the tight box
    of the rotated object, without them the tight box of its own rotated corners.
    """

    xyxy: Tensor
    labels: Tensor
    outlines: tuple[Tensor, ...] | None = None

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Boxes:
        """Move, clip to the frame, and drop boxes of which nothing is left."""
        outlines = self.outlines if self.outlines is not None else tuple(_corners(box) for box in self.xyxy)
        moved = tuple(warp_polygon(outline, matrix, size) for outline in outlines)
        keep = [i for i, points in enumerate(moved) if len(points) and bool((points.amax(0) > points.amin(0)).all())]
        tight = [torch.cat([moved[i].amin(0), moved[i].amax(0)]) for i in keep]
        at = torch.tensor(keep, dtype=torch.int64)
        return Boxes(
            torch.stack(tight) if tight else self.xyxy.new_zeros(0, 4),
            self.labels[at],
            tuple(moved[i] for i in keep) if self.outlines is not None else None,
        )


@dataclass(frozen=True)
class ClassMap:
    """A class for each pixel: (H, W) int64, ``ignore`` where none is stated, and for what comes from outside."""

    classes: Tensor
    ignore: int = 255

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> ClassMap:
        """Move by nearest neighbour."""
        source, inside = _nearest(self.classes.shape, matrix, size)
        return ClassMap(self.classes.flatten()[source].where(inside, self.ignore).reshape(size), self.ignore)


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


def _corners(box: Tensor) -> Tensor:
    x0, y0, x1, y1 = box.unbind()
    return torch.stack([x0, y0, x1, y0, x1, y1, x0, y1]).reshape(4, 2)


def _nearest(old: torch.Size, matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return for each new pixel the old one in which its centre lies: flat index, and whether there is one.

    Centres that fall on an edge between pixels belong to the pixel after it, whatever the last bit of the matrix says.
    """
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    lifted = _lift(torch.stack([x, y], -1).reshape(-1, 2), torch.linalg.inv(matrix.double()))
    at = (lifted[:, :2] / lifted[:, 2:] + 1e-6).floor()
    inside = (at >= 0).all(1) & (at[:, 0] < old[1]) & (at[:, 1] < old[0]) & (lifted[:, 2] > 0)
    column, row = at.where(inside[:, None], 0).long().unbind(1)
    return row * old[1] + column, inside
