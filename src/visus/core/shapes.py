"""What of a picture an object covers: kept as it was stated, and drawn only where and when it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from visus.core.annotations import warp_polygon
from visus.core.run_lengths import Counts, compress, decode, decompress, encode, fill, trace

Numbers: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

SURE = 0.5
"""Of a soft mask, from which on a pixel is the object's."""


@dataclass(frozen=True)
class Shape:
    """The pixels of one object, which moves and is hidden without being drawn.

    Attributes:
        size: (height, width) of the picture in which it is stated.
        parts: (P, 2) polygons in its pixels; the object is all of them together.
        runs: COCO's compressed run lengths in place of polygons; holes and whatever else are as they are there.
        matrix: (3, 3) from the pixels in which it is stated to present ones.
        within: (K, 2) corners of convex parts of the present picture outside which nothing of it is seen.
        shown: (H, W) of the present picture, false where something else covers it.
    """

    size: tuple[int, int]
    parts: tuple[Numbers, ...] = ()
    runs: str = ""
    matrix: Numbers | None = None
    within: tuple[Numbers, ...] = ()
    shown: tuple[Flags, ...] = ()

    def moved(self, matrix: Numbers, within: Numbers | None = None) -> Shape:
        """Return it moved by a (3, 3) matrix, and seen only in a convex part (K, 2) of the new picture.

        Raises:
            ValueError: something covers it already; what is hidden moves no more.
        """
        if self.shown:
            raise ValueError("a shape that something covers does not move")
        before = tuple(_moved(region, matrix) for region in self.within)
        return replace(
            self,
            matrix=matrix if self.matrix is None else matrix @ self.matrix,
            within=before if within is None else (*before, within),
        )

    def under(self, shown: Flags) -> Shape:
        """Return it with what covers it: ``shown`` (H, W) is false there."""
        return replace(self, shown=(*self.shown, shown))

    def drawn(self, box: Sequence[float], size: tuple[int, int]) -> Flags:
        """Return which places of a grid over a box it covers, by their centres.

        Args:
            box: x0, y0, x1, y1 in present pixels, with an area.
            size: (height, width) of the grid.
        """
        x0, y0, x1, y1 = box
        across, down = size[1] / (x1 - x0), size[0] / (y1 - y0)
        onto = np.array([[across, 0, -x0 * across], [0, down, -y0 * down], [0, 0, 1]])
        whole = onto if self.matrix is None else onto @ self.matrix
        covered = _looked_up(decode(decompress(self.runs), self.size), whole, size) if self.runs else (
            fill([_cut(part, whole, size) for part in self.parts], size))  # fmt: skip
        for region in self.within:
            covered &= fill([_cut(region, onto, size)], size)
        for shown in self.shown:
            covered &= _looked_up(shown, onto, size)
        return covered

    def lengths(self) -> Counts:
        """Return its run lengths as it was stated, to the pixel those that COCO's own programs make of it."""
        if self.runs:
            return decompress(self.runs)
        if len(self.parts) == 1:
            return trace(self.parts[0], self.size)
        return encode(fill(self.parts, self.size))


@dataclass(frozen=True)
class SoftMasks:
    """Masks of the objects that were found in one picture, each over its box.

    Attributes:
        values: (N, S, S) in [0, 1], on a grid over each box.
        size: (height, width) of the original picture.
    """

    values: NDArray[np.float32]
    size: tuple[int, int]

    def take(self, rows: Flags) -> SoftMasks:
        """Return some of them."""
        return SoftMasks(self.values[rows], self.size)

    def lengths(self, boxes: Numbers) -> list[Counts]:
        """Return the run lengths of each in the original picture; (N, 4) boxes are in its pixels."""
        return [pasted(one, box, self.size) for one, box in zip(self.values, boxes, strict=True)]

    def runs(self, boxes: Numbers) -> list[str]:
        """Return the same as COCO compresses them."""
        return [compress(each) for each in self.lengths(boxes)]


def pasted(mask: NDArray[np.float32], box: Numbers, size: tuple[int, int]) -> Counts:
    """Return the run lengths of a soft mask (S, S) that lies over a box, read between its places by straight lines.

    A pixel is the object's where the mask is 0.5 or more at its centre; beyond the box nothing is.

    Args:
        mask: in [0, 1].
        box: x0, y0, x1, y1 in pixels of the picture; it may reach beyond it.
        size: (height, width) of the picture.

    Source:
        He et al., Mask R-CNN, ICCV 2017, section 3.1, "Inference".
    """
    height, width = size
    left, top = np.clip(np.floor(box[:2]), 0, (width, height)).astype(np.int64).tolist()
    right, bottom = np.clip(np.ceil(box[2:]), 0, (width, height)).astype(np.int64).tolist()
    if right <= left or bottom <= top or not (box[2:] > box[:2]).all():
        return np.array([height * width], np.int64)
    across = _weights(np.arange(left, right), box[0], box[2], mask.shape[1])
    down = _weights(np.arange(top, bottom), box[1], box[3], mask.shape[0])
    columns = np.zeros((height, right - left), np.bool_)
    columns[top:bottom] = down @ mask @ across.T >= SURE
    lengths = encode(columns)
    lengths[0] += left * height
    after = (width - right) * height
    if len(lengths) % 2:
        lengths[-1] += after
        return lengths
    return np.append(lengths, after) if after else lengths


def overlaps(
    found: Sequence[Counts], truth: Sequence[Counts], crowd: Flags
) -> tuple[NDArray[np.int64], NDArray[np.int64], Numbers]:
    """Return which masks of one picture share pixels, and how far: intersection over union, over ``found`` in a crowd.

    Args:
        found, truth: run lengths of D and of M masks.
        crowd: (M,) regions of many.

    Returns:
        Rows of ``found``, rows of ``truth`` and the overlap of each such pair.
    """
    begins, ends, owners = [], [], []
    for d, lengths in enumerate(found):
        edges = np.cumsum(lengths)
        ends.append(edges[1::2])
        begins.append(edges[1::2] - lengths[1::2])
        owners.append(np.full(len(edges) // 2, d))
    none = np.zeros(0, np.int64)
    begin, end, owner = (np.concatenate([none, *parts]) for parts in (begins, ends, owners))
    own = np.bincount(owner, end - begin, len(found))
    rows, at, overlap = [none], [none], [np.zeros(0)]
    for m, lengths in enumerate(truth):
        edges = np.concatenate([[0], np.cumsum(lengths)])
        inside = np.concatenate([[0], np.cumsum(np.where(np.arange(len(lengths)) % 2, lengths, 0))])
        area = inside[-1]
        # how many pixels of the object come before a place is straight between the ends of runs
        shared = np.bincount(owner, np.interp(end, edges, inside) - np.interp(begin, edges, inside), len(found))
        near = np.flatnonzero(shared)
        rows.append(near)
        at.append(np.full(len(near), m))
        overlap.append(shared[near] / (own[near] if crowd[m] else own[near] + area - shared[near]))
    return np.concatenate(rows), np.concatenate(at), np.concatenate(overlap)


def _weights(pixels: NDArray[np.int64], low: float, high: float, places: int) -> Numbers:
    """Return (n, places) what each place of a line from ``low`` to ``high`` gives to each pixel's centre."""
    at = (pixels + 0.5 - low) / (high - low) * places - 0.5
    weights: Numbers = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(places)))
    return weights


def _moved(points: Numbers, matrix: Numbers) -> Numbers:
    """Return points (P, 2) moved by a (3, 3) matrix, none of which goes behind a horizon."""
    lifted = np.append(points, np.ones((len(points), 1)), 1) @ matrix.T
    moved: Numbers = lifted[:, :2] / lifted[:, 2:]
    return moved


def _cut(polygon: Numbers, matrix: Numbers, size: tuple[int, int]) -> Numbers:
    """Return a polygon (P, 2) after a move, what reaches beyond the grid cut away where that is far or bent."""
    if matrix[2].tolist() == [0, 0, 1]:
        moved = _moved(polygon, matrix)
        if np.abs(moved).max() < _FAR * max(size):
            return moved
    return warp_polygon(torch.from_numpy(polygon), torch.from_numpy(matrix), size).numpy()


_FAR = 4


def _looked_up(pixels: Flags, matrix: Numbers, size: tuple[int, int]) -> Flags:
    """Return (height, width) the pixels that centres of a grid lie in; false beyond them."""
    inverse = np.linalg.inv(matrix)
    x, y = np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5)
    old = np.einsum("ij,jhw->ihw", inverse, np.stack([x, y, np.ones_like(x)]))
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.floor(old[:2] / old[2] + 1e-6)
    height, width = pixels.shape
    there = (at[0] >= 0) & (at[0] < width) & (at[1] >= 0) & (at[1] < height) & (old[2] > 0)
    column, row = np.where(there, at, 0).astype(np.int64)
    found: Flags = pixels[row, column] & there
    return found
