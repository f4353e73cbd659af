"""Values that geometry can move: each knows its own ``warp``, so one matrix moves the pixels and all their labels.

Matrices are (3, 3), map present pixel coordinates to new ones, and act on (x, y, 1) with pixel *edges* at integers: the
centre of the first pixel is (0.5, 0.5).  ``size`` is the new (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

import torch
import torch.nn.functional as F
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
        """Move every point; one that leaves the frame keeps its place and becomes invisible."""
        moved = move_points(self.xy, matrix)
        inside = (moved >= 0).all(1) & (moved[:, 0] < size[1]) & (moved[:, 1] < size[0])
        return Points(moved, self.visible & inside)


@dataclass(frozen=True)
class Boxes:
    """Boxes: (N, 4) float32 xyxy, absolute pixels of the present frame, half-open; ``labels`` (N,) int64.

    ``outlines`` optionally holds (P, 2) polygon points of each box's object; with them a rotated box is the tight box of
    the rotated object, without them the tight box of its own rotated corners.
    """

    xyxy: Tensor
    labels: Tensor
    outlines: tuple[Tensor, ...] | None = None

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Boxes:
        """Move, clip to the frame, and drop boxes of which nothing is left."""
        outlines = self.outlines if self.outlines is not None else tuple(_corners(box) for box in self.xyxy)
        moved = tuple(clip_polygon(move_points(outline, matrix), size) for outline in outlines)
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
    """A class for each pixel: (H, W) int64, ``ignore`` where none is stated; what comes from outside is ``ignore`` too."""

    classes: Tensor
    ignore: int = 255

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> ClassMap:
        """Move by nearest neighbour."""
        moved = _warp_nearest(self.classes[None].double() + 1, matrix, size)[0].round().long() - 1
        return ClassMap(moved.where(moved >= 0, self.ignore), self.ignore)


@dataclass(frozen=True)
class Masks:
    """Masks of N objects: (N, H, W) bool; ``labels`` (N,) int64; ``crowd`` (N,) bool marks regions not counted."""

    masks: Tensor
    labels: Tensor
    crowd: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    def warp(self, matrix: Tensor, size: tuple[int, int]) -> Masks:
        """Move by nearest neighbour and drop masks of which nothing is left."""
        moved = _warp_nearest(self.masks.double(), matrix, size) > 0.5
        keep = moved.flatten(1).any(1)
        crowd = self.crowd[keep] if len(self.crowd) else self.crowd
        return Masks(moved[keep], self.labels[keep], crowd)


def move_points(xy: Tensor, matrix: Tensor) -> Tensor:
    """Return points (N, 2) moved by a (3, 3) matrix; a perspective divides by the third coordinate."""
    lifted = torch.cat([xy.double(), torch.ones(len(xy), 1, dtype=torch.float64)], 1) @ matrix.double().T
    return (lifted[:, :2] / lifted[:, 2:]).to(xy.dtype)


def clip_polygon(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the part of a polygon (P, 2) inside (height, width); empty when nothing is left.

    Source:
        Sutherland and Hodgman, Reentrant polygon clipping, CACM 1974.
    """
    height, width = size
    for axis, bound, sign in ((0, 0.0, 1), (0, float(width), -1), (1, 0.0, 1), (1, float(height), -1)):
        if not len(points):
            return points
        inside = sign * (points[:, axis] - bound) >= 0
        kept: list[Tensor] = []
        for i in range(len(points)):
            before, here = points[i - 1], points[i]
            if inside[i] != inside[i - 1]:
                share = (bound - before[axis]) / (here[axis] - before[axis])
                kept.append(before + share * (here - before))
            if inside[i]:
                kept.append(here)
        points = torch.stack(kept) if kept else points[:0]
    return points


def _corners(box: Tensor) -> Tensor:
    x0, y0, x1, y1 = box.unbind()
    return torch.stack([x0, y0, x1, y0, x1, y1, x0, y1]).reshape(4, 2)


def _warp_nearest(planes: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (N, height, width) planes moved by ``matrix``; zero where nothing comes from."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    source = move_points(torch.stack([x, y], -1).reshape(-1, 2).double(), torch.linalg.inv(matrix.double()))
    extent = torch.tensor([planes.shape[-1], planes.shape[-2]], dtype=torch.float64)
    grid = (2 * source / extent - 1).reshape(1, height, width, 2)
    return F.grid_sample(planes[None], grid, mode="nearest", padding_mode="zeros", align_corners=False)[0]
