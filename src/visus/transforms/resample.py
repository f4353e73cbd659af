"""Pictures moved by one matrix each, with one resampling, by the cheapest kernel that gives the right pixels.

What a matrix asks for is read off the matrix itself:

- whole pixels moved by whole pixels (padding, cropping, mirroring) are copied;
- a whole-pixel box stretched to a whole-pixel box is cut out and resized, antialiased, on the integers a file holds;
- everything else is read by ``grid_sample``, from a picture that was first reduced (antialiased) by the shrinkage at
  the middle of the new picture, along each of its own axes, where that exceeds 1.25 old pixels a step.

Every kernel works on each picture by itself, so the pixels of one do not depend on the others in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray as Array
from torch import Tensor

Interpolation = Literal["bilinear", "bicubic"]
Size = tuple[int, int]
Box = tuple[int, int, int, int]

_NEAR = 1e-6  # pixels: what float64 matrices of real pictures may be off by
_REDUCED = 1.25  # old pixels a step, beyond which a picture is reduced before it is read
_BLOCK = 2**22  # numbers that one call of grid_sample reads and writes


def warp(
    images: Tensor | Sequence[Tensor],
    matrices: Float64[Array, "B 3 3"],
    size: Size,
    *,
    interpolation: Interpolation = "bilinear",
    fill: Sequence[float] = (0.0,),
    reflect: int = 0,
) -> Tensor:
    """Return the pictures moved by their matrices into ``size`` (height, width), in the same dtype.

    Args:
        images: (B, C, H, W), or B of (C, H, W) where sizes differ; uint8 or float32.
        matrices: from present pixels to new ones.
        size: of the new pictures.
        interpolation: between pixels.
        fill: level of each channel (or one for all) where nothing comes from.
        reflect: pixels by which each picture goes on beyond its edges as in a mirror (edge pixels are not repeated).

    Returns:
        (B, C, height, width); the very input where no pixel moves.
    """
    if not len(images):
        raise ValueError("there is no picture to move, so the number of channels is unknown")
    sizes = sizes_of(images)
    plan = _plan(matrices, sizes, size, reflect)
    colour = torch.tensor(fill, dtype=torch.float32).expand(images[0].shape[-3])
    if isinstance(images, Tensor) and plan.straight.all():
        if (plan.source == plan.source[0]).all() and (plan.target == plan.target[0]).all():
            moved = _stretch(images, plan.source[0], plan.target[0], size, interpolation, colour)
            return _mirror(moved.clone(), plan.mirrored) if plan.mirrored.any() else moved
        if plan.slides(size):
            return _mirror(_windows(images, plan.source, size), plan.mirrored)
    moved = images[0].new_empty(len(images), images[0].shape[-3], *size)
    for i in np.flatnonzero(plan.straight).tolist():
        part = _stretch(images[i][None], plan.source[i], plan.target[i], size, interpolation, colour)
        moved[i] = _mirror(part, plan.mirrored[i : i + 1])[0]
    for rows in _grid_rows(images, plan, size):
        picked = images.index_select(0, torch.from_numpy(rows)) if isinstance(images, Tensor) else images[rows[0]][None]
        shrinkage = plan.shrinkage[rows[0]] if plan.alone[rows[0]] else None
        moved[rows] = _read(picked, plan.inverses[rows], shrinkage, size, interpolation, colour, reflect)
    return moved


def sizes_of(images: Tensor | Sequence[Tensor]) -> Int64[Array, "B 2"]:
    """Return the (height, width) of each picture."""
    if isinstance(images, Tensor):
        return np.tile(np.array(images.shape[-2:], np.int64), (len(images), 1))
    return np.array([image.shape[-2:] for image in images], np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class _Plan:
    """How each picture is moved.

    Attributes:
        inverses: from new pixels to present ones.
        straight: a box of whole pixels goes to a box of whole pixels.
        source: xyxy of that box in the present picture; may reach into its reflection.
        target: xyxy of that box in the new picture before it is mirrored.
        mirrored: whether the new picture is then mirrored across and down.
        shrinkage: old pixels a step along x and y.
        alone: no more of the picture is read than is seen, and reduced: it is shrunk, or much larger than the new one.
    """

    inverses: Float64[Array, "B 3 3"]
    straight: Bool[Array, "B"]
    source: Int64[Array, "B 4"]
    target: Int64[Array, "B 4"]
    mirrored: Bool[Array, "B 2"]
    shrinkage: Float64[Array, "B 2"]
    alone: Bool[Array, "B"]

    def slides(self, size: Size) -> bool:
        """Return whether every new picture is a window of its old one, pixel for pixel."""
        whole = np.array([0, 0, size[1], size[0]])
        return bool((self.target == whole).all() and (self.source[:, 2:] - self.source[:, :2] == whole[2:]).all())


def _plan(matrices: Float64[Array, "B 3 3"], sizes: Int64[Array, "B 2"], size: Size, reflect: int) -> _Plan:
    inverses = np.linalg.inv(matrices)
    affine = (matrices[:, 2] == (0, 0, 1)).all(1)
    inverses[affine, 2] = (0, 0, 1)
    new, extent = np.array([size[1], size[0]], np.float64), sizes[:, ::-1].astype(np.float64)
    across = np.abs(inverses[:, [0, 1], [1, 0]]) * new[::-1]  # how far a side of the new picture runs off its old axis
    step = inverses[:, [0, 1], [0, 1]]
    start = inverses[:, :2, 2]
    straight = affine & (across < _NEAR).all(1)

    mirrored = step < 0
    step = np.where(straight[:, None], np.abs(step), 1.0)
    low = np.where(mirrored, start - step * new, start)  # the new picture's box in the old one, per axis
    first, last = np.maximum(low, -reflect), np.minimum(low + step * new, extent + reflect)
    last = np.maximum(first, last)
    ends = np.concatenate([first, last, (first - low) / step, (last - low) / step], 1)
    empty = (first >= last).any(1)
    ends[empty] = 0
    whole = np.rint(ends)
    straight &= (np.abs(ends - whole) < _NEAR).all(1)
    whole = whole.astype(np.int64)
    shrinkage = _shrinkage(inverses, size)
    alone = (shrinkage > _REDUCED).any(1) | (sizes.prod(1) > 4 * size[0] * size[1])
    return _Plan(inverses, straight, whole[:, :4], whole[:, 4:], mirrored & straight[:, None], shrinkage, alone)


def _stretch(
    images: Tensor,
    source: Int64[Array, "4"],
    target: Int64[Array, "4"],
    size: Size,
    interpolation: Interpolation,
    fill: Float32[Tensor, "C"],
) -> Tensor:
    """Return the box ``source`` of (N, C, H, W) pictures resized to the box ``target`` of new ones."""
    x0, y0, x1, y1 = target.tolist()
    new = y1 - y0, x1 - x0
    if 0 in new:
        return _blank(images, size, fill)
    part = _cut(images, (int(source[0]), int(source[1]), int(source[2]), int(source[3])))
    if part.shape[-2:] != new:
        part = _resized(part, new, interpolation)
    if new == size:
        return part
    placed = _blank(images, size, fill)
    placed[..., y0:y1, x0:x1] = part
    return placed


def _windows(images: Tensor, source: Int64[Array, "B 4"], size: Size) -> Tensor:
    """Return each picture's own window of ``size``, all of them by one gather from one strided view.

    Window ``o`` of the view begins at number ``o`` of the padded batch, wherever that is; few of them are ever read.
    """
    height, width = images.shape[-2:]
    left, top = np.maximum(-source[:, :2].min(0), 0).tolist()
    right, bottom = np.maximum(source[:, 2:].max(0) - (width, height), 0).tolist()
    padded = _reflected(images, left, top, right, bottom).contiguous()
    B, C, H, W = padded.shape
    reach = (C - 1) * H * W + (size[0] - 1) * W + size[1]
    view = padded.as_strided((padded.numel() - reach + 1, C, *size), (1, H * W, W, 1))
    starts = np.arange(B) * C * H * W + (source[:, 1] + top) * W + source[:, 0] + left
    return view.index_select(0, torch.from_numpy(starts))


def _mirror(images: Tensor, mirrored: Bool[Array, "N 2"]) -> Tensor:
    """Return the pictures, those asked for mirrored across, down, or both; writes into them where not all are alike."""
    for dims, asked in (([-1], (True, False)), ([-2], (False, True)), ([-2, -1], (True, True))):
        rows = torch.from_numpy(np.flatnonzero((mirrored == asked).all(1)))
        if len(rows) == len(images):
            return images.flip(dims)
        if len(rows):
            images.index_copy_(0, rows, images.index_select(0, rows).flip(dims))
    return images


def _grid_rows(images: Tensor | Sequence[Tensor], plan: _Plan, size: Size) -> Iterator[Int64[Array, "n"]]:
    """Yield the pictures that are neither copied nor resized, together where one kernel can read several."""
    alone = np.flatnonzero(~plan.straight & plan.alone)
    together = np.flatnonzero(~plan.straight & ~plan.alone)
    yield from alone[:, None]
    n = max(1, _BLOCK // (images[0].numel() + images[0].shape[0] * size[0] * size[1]))
    if not isinstance(images, Tensor):
        n = 1
    yield from (together[i : i + n] for i in range(0, len(together), n))


def _read(
    images: Tensor,
    inverses: Float64[Array, "N 3 3"],
    shrinkage: Float64[Array, "2"] | None,
    size: Size,
    interpolation: Interpolation,
    fill: Float32[Tensor, "C"],
    reflect: int,
) -> Tensor:
    """Return (N, C, H, W) pictures read at the places their inverses name.

    Args:
        shrinkage: of a single picture, of which no more is cut out than is seen, and reduced; None for whole ones.
    """
    height, width = images.shape[-2:]
    box = -reflect, -reflect, width + reflect, height + reflect
    x, y = 1.0, 1.0
    if shrinkage is not None:
        x, y = (float(s) if s > _REDUCED else 1.0 for s in shrinkage)
        box = _seen(inverses[0], size, box, 2 * math.ceil(max(x, y)) + 2)
    part = _cut(images, box)
    wide, high = box[2] - box[0], box[3] - box[1]
    less = max(1, round(high / y)), max(1, round(wide / x))
    if less != (high, wide):
        part = _resized(part, less, interpolation)
    unit = np.array([[2 / wide, 0, -1 - 2 * box[0] / wide], [0, 2 / high, -1 - 2 * box[1] / high], [0, 0, 1]])
    levels = part.to(torch.float32, memory_format=torch.contiguous_format) - fill[:, None, None]
    moved = F.grid_sample(
        levels, _grid(unit @ inverses, size), mode=interpolation, padding_mode="zeros", align_corners=False
    )
    moved += fill[:, None, None]
    return moved.round_().clamp_(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else moved


def _grid(places: Float64[Array, "N 3 3"], size: Size) -> Float32[Tensor, "N height width 2"]:
    """Return where each new pixel's centre lies in the old picture, whose edges are at -1 and 1."""
    across = torch.from_numpy(places[:, :, :1] * (np.arange(size[1]) + 0.5)).float()[:, :, None]  # (N, 3, 1, width)
    down = torch.from_numpy(places[:, :, 1:2] * (np.arange(size[0]) + 0.5) + places[:, :, 2:]).float()[..., None]
    grid = torch.empty(len(places), *size, 2)
    for axis in (0, 1):
        torch.add(across[:, axis], down[:, axis], out=grid[..., axis])
    if (places[:, 2] != (0, 0, 1)).any():
        depth = (across[:, 2] + down[:, 2])[..., None]
        grid = (grid / depth).masked_fill(depth <= 0, 9.0).clamp_(-9, 9)  # behind the horizon there is no picture
    return grid


def _shrinkage(inverses: Float64[Array, "B 3 3"], size: Size) -> Float64[Array, "B 2"]:
    """Return how many old pixels, along x and along y, one step in the middle of the new picture passes at most."""
    middle = inverses[:, :, 0] * (size[1] / 2) + inverses[:, :, 1] * (size[0] / 2) + inverses[:, :, 2]
    depth = np.where(middle[:, 2:] > _NEAR, middle[:, 2:], np.inf)  # nothing is seen there
    slopes = (inverses[:, :2, :2] - middle[:, :2, None] * inverses[:, 2:, :2] / depth[:, None]) / depth[:, None]
    return np.asarray(np.sqrt(slopes[:, :, 0] ** 2 + slopes[:, :, 1] ** 2))


def _seen(inverse: Float64[Array, "3 3"], size: Size, limits: Box, margin: int) -> Box:
    """Return the part of ``limits`` that the new picture shows, with a margin, and at least one pixel."""
    corners = np.array([[0, 0, 1], [size[1], 0, 1], [size[1], size[0], 1], [0, size[0], 1]], np.float64)
    x, y, depth = inverse @ corners.T
    if (depth <= _NEAR).any():
        return limits
    x, y = x / depth, y / depth
    x0 = int(np.clip(np.floor(x.min()) - margin, limits[0], limits[2] - 1))
    y0 = int(np.clip(np.floor(y.min()) - margin, limits[1], limits[3] - 1))
    x1 = int(np.clip(np.ceil(x.max()) + margin, x0 + 1, limits[2]))
    y1 = int(np.clip(np.ceil(y.max()) + margin, y0 + 1, limits[3]))
    return x0, y0, x1, y1


def _cut(images: Tensor, box: Box) -> Tensor:
    """Return a box of (N, C, H, W) pictures, which go on beyond their edges as in a mirror."""
    height, width = images.shape[-2:]
    x0, y0, x1, y1 = box
    left, top, right, bottom = max(0, -x0), max(0, -y0), max(0, x1 - width), max(0, y1 - height)
    images = _reflected(images, left, top, right, bottom)
    return images[..., y0 + top : y1 + top, x0 + left : x1 + left]


def _reflected(images: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Return pictures extended by their mirror image, over and over where they are smaller than the extension."""
    if images.shape[-2] == 1:  # a single row or column is its own mirror image
        images, top, bottom = images.expand(-1, -1, 1 + top + bottom, -1), 0, 0
    if images.shape[-1] == 1:
        images, left, right = images.expand(-1, -1, -1, 1 + left + right), 0, 0
    while left or top or right or bottom:
        high, wide = images.shape[-2] - 1, images.shape[-1] - 1
        now = min(left, wide), min(right, wide), min(top, high), min(bottom, high)
        images = F.pad(images, now, mode="reflect")
        left, right, top, bottom = left - now[0], right - now[1], top - now[2], bottom - now[3]
    return images


def _resized(images: Tensor, size: Size, interpolation: Interpolation) -> Tensor:
    if images.dtype == torch.uint8 and images.shape[1] == 3:
        images = images.contiguous(memory_format=torch.channels_last)  # PyTorch's fast kernel; the pixels are the same
    return F.interpolate(images, size=size, mode=interpolation, antialias=True)


def _blank(images: Tensor, size: Size, fill: Float32[Tensor, "C"]) -> Tensor:
    levels = fill.to(images.dtype)[:, None, None]
    return levels.expand(images.shape[0], -1, *size).contiguous()
