"""The judging transform as tensor operations alone, so that a network can be exported together with it.

It gives the pixels of ``pipeline.Pipeline`` bit for bit where pictures have 8 bits: along each axis the resize is one
product with a matrix of whole numbers, as PyTorch's kernel for uint8 weighs pixels, and is rounded as it rounds.  A
float32 holds every such sum exactly up to a shrinkage of eight; beyond, one pixel in a hundred thousand may differ by a
level.  What is cut off has the weight zero, so that a picture of any size takes the same operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float32
from torch import SymInt, Tensor, nn

from visus.core.recipe import InputSettings

_MIDDLE = 128.0
_NEAR = 1e-6  # pixels: what float64 matrices may be off by
_BITS = 22
"""Of a weight, at most: PyTorch's, as many as keep the largest below 2^15."""


class Axis(NamedTuple):
    """How one axis of a picture becomes one of the network's, by tensors of float64 unless stated.

    Attributes:
        weights: (new, old) of each old pixel in each new one; float32, whole numbers where ``one`` is not 1.
        one: () what the weights of a new pixel add up to, but for their rounding.
        shown: (new,) bool, the new pixels that show the picture; the others are padding.
        step: () old pixels a new one; ``start``: () where the new axis begins on the old one.
        old: (old,) 0, 1, ... of the old pixels.
    """

    weights: Tensor
    one: Tensor
    shown: Tensor
    step: Tensor
    start: Tensor
    old: Tensor

    @property
    def extent(self) -> Tensor:
        """() how many old pixels there are."""
        return self.old[-1] + 1

    def way(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return between which two new pixels each old one lies, (old,) int64, and how far towards the second."""
        begin, end = -self.start / self.step, (self.extent - self.start) / self.step
        last = torch.tensor(self.shown.shape[0] - 1.0, dtype=torch.float64)
        low = torch.minimum((begin - 0.5 - _NEAR).ceil().clamp(min=0), last)
        high = torch.maximum(low, torch.minimum((end - 0.5 + _NEAR).floor(), last))
        at = (self.old + 0.5 - self.start) / self.step - 0.5
        at = torch.minimum(torch.maximum(at, low), high)
        at = torch.where((at - at.round()).abs() < _NEAR, at.round(), at)
        first = at.floor()
        return first.long(), torch.minimum(first + 1, high).long(), at - first


class View(NamedTuple):
    """Where in the original picture the network's pixels lie: the same for all pictures of a batch."""

    down: Axis
    across: Axis

    @property
    def outline(self) -> Float32[Tensor, "4"]:
        """Return xyxy of what of the network's picture shows the original."""
        ends = [(-axis.start / axis.step, (axis.extent - axis.start) / axis.step) for axis in (self.across, self.down)]
        sides = [axis.shown.shape[0] for axis in (self.across, self.down)]
        low = [begin.clamp(0, side) for (begin, _), side in zip(ends, sides, strict=True)]
        high = [end.clamp(0, side) for (_, end), side in zip(ends, sides, strict=True)]
        return torch.stack([*low, *high]).float()

    def at_home(self, scores: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K H W"]:
        """Return scores at original pixels, bilinear between the centres of the network's: ``core.home.at_home``."""
        for axis, dim in ((self.down, 2), (self.across, 3)):
            first, second, share = axis.way()
            share = share.to(scores.dtype).reshape(-1, 1) if dim == 2 else share.to(scores.dtype)
            before, after = scores.index_select(dim, first), scores.index_select(dim, second)
            scores = before + (after - before) * share
        return scores

    def home(self, boxes: Float[Tensor, "*N 4"]) -> Float32[Tensor, "*N 4"]:
        """Return boxes of the network's picture in original pixels."""
        step = torch.stack([self.across.step, self.down.step]).repeat(2)
        start = torch.stack([self.across.start, self.down.start]).repeat(2)
        return (boxes.double() * step + start).float()


class Judging(nn.Module):
    """Pictures (B, H, W, C) as they were decoded -> images (B, C, h, w) as the network reads them, and where they lie.

    Args:
        input: what the network reads.
        deep: pictures are uint16, else uint8.
        size: (H, W) of all pictures, whose weights are then made now; None for any.
    """

    def __init__(self, input: InputSettings, *, deep: bool = False, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.input, self.deep = input, deep
        top = 1.0 if deep else 255.0
        for name, values in (("mean", input.mean), ("std", input.std)):
            scaled = torch.tensor(values, dtype=torch.float64) * top
            self.register_buffer(name, scaled.float()[:, None, None], persistent=False)
        beyond = torch.tensor([min(max(mean, 0.0), 1.0) for mean in input.mean], dtype=torch.float64) * top
        beyond = beyond if deep else beyond.round()
        self.register_buffer("beyond", beyond.float()[:, None, None], persistent=False)
        self.fixed = self._view(*size) if size is not None else None

    def forward(self, pictures: Tensor) -> tuple[Float32[Tensor, "B C h w"], View]:
        """Return normalised images and their view."""
        view = self.fixed or self._view(pictures.shape[1], pictures.shape[2])
        images = pictures.movedim(-1, 1).float()
        if self.deep:
            images = view.down.weights @ (images / 65535 @ view.across.weights.T)
        else:
            images = _shrunk(images, view.across, lambda levels, weights: levels @ weights.T)
            images = _shrunk(images, view.down, lambda levels, weights: weights @ levels, upright=True)
        if self.input.fit == "pad":
            shown = view.down.shown[:, None] & view.across.shown
            images = torch.where(shown, images, self.get_buffer("beyond"))
        return (images - self.get_buffer("mean")) / self.get_buffer("std"), view

    def _view(self, rows: int | SymInt, columns: int | SymInt) -> View:
        """Return what ``geometry.judging`` does to a picture of that size, which may be symbolic."""
        down, across = (torch.arange(count, dtype=torch.float64) for count in (rows, columns))
        height, width = down[-1] + 1, across[-1] + 1
        input = self.input
        new_high, new_wide = (torch.tensor(float(side), dtype=torch.float64) for side in input.size)
        wide, high = width, height
        if input.fit == "crop":
            shape = input.size[1] / input.size[0]
            wide = (torch.minimum(width, height * shape) * input.margin).round().clamp(min=1)
            high = (torch.minimum(height, width / shape) * input.margin).round().clamp(min=1)
        x, y = ((width - wide) / 2).round(), ((height - high) / 2).round()
        if input.fit == "pad":
            scale = torch.minimum(new_wide / wide, new_high / high)
            new_wide, new_high = (wide * scale).round().clamp(min=1), (high * scale).round().clamp(min=1)
        steps = [rows // input.size[0] + 1, columns // input.size[1] + 1]
        if input.fit == "pad":  # both axes shrink as the one that shrinks more, and to whole pixels, one at least
            steps = [2 * (steps[0] + steps[1])] * 2
        return View(
            self._axis(down, y, high, new_high, input.size[0], steps[0]),
            self._axis(across, x, wide, new_wide, input.size[1], steps[1]),
        )

    def _axis(self, old: Tensor, first: Tensor, length: Tensor, new: Tensor, side: int, most: int | SymInt) -> Axis:
        """Return how ``length`` of the ``old`` pixels, from the ``first`` on, become the middle ``new`` of ``side``.

        Each new pixel is weighed from the few old ones about it; ``most`` old pixels a step are there at most.

        Source:
            ``aten/src/ATen/native/cpu/UpSampleKernel.cpp`` of PyTorch, ``compute_index_ranges_int16_weights``.
        """
        cubic = self.input.interpolation == "bicubic"
        before = ((side - new) / 2).floor()
        step = length / new
        wide = step.clamp(min=1)
        place = torch.arange(side, dtype=torch.float64) - before
        shown = (place >= 0) & (place < new)
        centre = (place + 0.5) * step + first
        reach = (1 + cubic) * most
        at = (centre - reach).floor()[:, None] + torch.arange(2 * reach + 2, dtype=torch.float64)  # (new, taps)
        apart = (at + 0.5 - centre[:, None]).abs() / wide
        weights = _cubic(apart) if cubic else (1 - apart).clamp(min=0)
        weights = torch.where((at >= first) & (at < first + length) & shown[:, None], weights, 0)
        weights = weights / torch.where(shown, weights.sum(1), 1)[:, None]
        one = torch.ones_like(step)
        if not self.deep:
            powers = torch.exp2(torch.arange(_BITS + 1, dtype=torch.float64))
            bits = ((weights.max() * powers[1:] + 0.5).floor() < 2**15).sum()
            one = powers.index_select(0, bits.reshape(1)).reshape(())
            whole = weights * one
            weights = torch.where(whole < 0, (whole - 0.5).ceil(), (whole + 0.5).floor())
        spots = torch.minimum(at.clamp(min=0), old[-1]).long()  # beyond the ends nothing weighs
        among = torch.zeros(side, old.shape[0]).scatter_add(1, spots, weights.float())
        return Axis(among, one, shown, step, first - before * step, old)


def _shrunk(
    images: Tensor, axis: Axis, product: Callable[[Tensor, Tensor], Tensor], *, upright: bool = False
) -> Tensor:
    """Return levels weighed along one axis, rounded and cut as the kernel for uint8 does.

    Levels are counted from the middle, which keeps the sums of twice as fine weights exact.
    """
    over = _MIDDLE * (axis.weights.sum(1) - axis.one.float()) + axis.one.float() / 2
    sums = product(images - _MIDDLE, axis.weights) + (over[:, None] if upright else over)
    return (torch.floor(sums / axis.one.float()) + _MIDDLE).clamp(0, 255)


def _cubic(apart: Tensor) -> Tensor:
    """Return Keys' cubic kernel with a = -0.5 at some distances."""
    near = (1.5 * apart - 2.5) * apart * apart + 1
    far = ((-0.5 * apart + 2.5) * apart - 4) * apart + 2
    return torch.where(apart < 1, near, torch.where(apart < 2, far, 0))
