"""The judging transform as tensor operations alone, so that a network can be exported together with it.

It gives the pixels of ``pipeline.Pipeline`` bit for bit where pictures have 8 bits: along each axis the resize is a
product with whole numbers over a power of two, as PyTorch's kernel for uint8 weighs pixels, and is rounded as it
rounds.  A float32 holds every such sum exactly up to a shrinkage of eight; beyond, one pixel in a hundred thousand may
differ by a level.  What is cut off has the weight zero, so that a picture of any size takes the same operations.

A new pixel is weighed from a few old ones near it.  So sixteen neighbours are one small product of their own with the
old pixels that any of them needs, which is a tenth of the work of one product for a whole axis of 500.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Float32, Shaped
from torch import SymInt, Tensor, nn

from visus.core.recipe import InputSettings

_MIDDLE = 128.0
_NEAR = 1e-6  # pixels: what float64 matrices may be off by
_BITS = 22
"""Of a weight, at most: PyTorch's, as many as keep the largest below 2^15."""
_BLOCK = 16
"""New pixels that are weighed together: fewer make products too small, more too much that weighs nothing."""


class Axis(NamedTuple):
    """How one axis of a picture becomes one of the network's, by tensors of float64 unless stated.

    Attributes:
        places: (blocks * L,) int64, the old pixels that each block of new ones needs.
        weights: (blocks, new of a block, L) float32, of each of these in each new one.
        over: (new, 1) float32, what is added to centred levels of 8 bits before they are rounded down.
        shown: (new,) bool, the new pixels that show the picture; the others are padding.
        step: () old pixels a new one; ``start``: () where the new axis begins on the old one.
        old: (old,) 0, 1, ... of the old pixels.
    """

    places: Tensor
    weights: Tensor
    over: Tensor
    shown: Tensor
    step: Tensor
    start: Tensor
    old: Tensor

    @property
    def extent(self) -> Tensor:
        """() how many old pixels there are."""
        return self.old[-1] + 1

    def taken(self, levels: Shaped[Tensor, "B old M N"]) -> Shaped[Tensor, "B blocks L M N"]:
        """Return the old pixels that each block of new ones needs."""
        blocks, _, long = self.weights.shape
        rows = levels.index_select(1, self.places)
        return rows.reshape(rows.shape[0], blocks, long, *rows.shape[2:])

    def weighed(self, levels: Float32[Tensor, "B blocks L M N"]) -> Float32[Tensor, "B new M N"]:
        """Return the new pixels."""
        sums = (self.weights @ levels.flatten(3)).flatten(1, 2)[:, : self.shown.shape[0]]
        return sums.reshape(*sums.shape[:2], *levels.shape[3:])

    def rounded(self, levels: Float32[Tensor, "B new M N"]) -> Float32[Tensor, "B new M N"]:
        """Return levels, counted from the middle, rounded and cut as the kernel for uint8 does.

        Counted so, the sums of twice as fine weights are exact.
        """
        return torch.floor(levels + self.over[..., None]).clamp(-_MIDDLE, _MIDDLE - 1)

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
        beyond = torch.tensor([min(max(mean, 0.0), 1.0) for mean in input.mean], dtype=torch.float64) * top
        for name, level in (
            ("mean", torch.tensor(input.mean, dtype=torch.float64) * top),
            ("std", torch.tensor(input.std, dtype=torch.float64) * top),
            ("beyond", beyond if deep else beyond.round()),
        ):  # one a column: a runtime that keeps channels last is slow with rows of three numbers
            row = level.float()[:, None, None].expand(-1, 1, input.size[1])
            self.register_buffer(name, row.contiguous(), persistent=False)
        self.fixed = self._view(*size) if size is not None else None

    def forward(self, pictures: Tensor) -> tuple[Float32[Tensor, "B C h w"], View]:
        """Return normalised images and their view."""
        view = self.fixed or self._view(pictures.shape[1], pictures.shape[2])
        columns = view.across.taken(pictures.permute(0, 2, 3, 1))  # (B, blocks, L, C, H), still of few bytes
        if self.deep:
            images = view.across.weighed(columns.float() / 65535)
            images = view.down.weighed(view.down.taken(images.permute(0, 3, 1, 2))).permute(0, 3, 1, 2)
        else:
            levels = view.across.rounded(view.across.weighed(columns.float() - _MIDDLE))
            levels = view.down.taken(levels.permute(0, 3, 1, 2))
            images = view.down.rounded(view.down.weighed(levels)).permute(0, 3, 1, 2) + _MIDDLE
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
        spans = [_BLOCK * rows // input.size[0] + 1, _BLOCK * columns // input.size[1] + 1]
        if input.fit == "pad":  # both axes shrink as the one that shrinks more, and to whole pixels, one at least
            spans = [2 * torch.sym_max(*spans)] * 2
        return View(
            self._axis(down, y, high, new_high, input.size[0], spans[0]),
            self._axis(across, x, wide, new_wide, input.size[1], spans[1]),
        )

    def _axis(self, old: Tensor, first: Tensor, length: Tensor, new: Tensor, side: int, span: int | SymInt) -> Axis:
        """Return how ``length`` of the ``old`` pixels, from the ``first`` on, become the middle ``new`` of ``side``.

        Each new pixel is weighed from the few old ones about it; a block of new ones is ``span`` old ones long at most.

        Source:
            ``aten/src/ATen/native/cpu/UpSampleKernel.cpp`` of PyTorch, ``compute_index_ranges_int16_weights``.
        """
        cubic = self.input.interpolation == "bicubic"
        before = ((side - new) / 2).floor()
        step = length / new
        wide = step.clamp(min=1)
        place = torch.arange(side, dtype=torch.float64)
        shown = (place >= before) & (place < before + new)
        blocks = -(-side // _BLOCK)
        place = torch.arange(blocks * _BLOCK, dtype=torch.float64).clamp(max=side - 1) - before  # fills the last block
        centre = ((place + 0.5) * step + first).reshape(blocks, _BLOCK, 1)
        reach = (1 + cubic) * (span // _BLOCK + 1)
        taps = 2 * reach + 2
        at = (centre - reach).floor() + torch.arange(taps, dtype=torch.float64)  # (blocks, new, taps)
        apart = (at + 0.5 - centre).abs() / wide
        weights = _cubic(apart) if cubic else (1 - apart).clamp(min=0)
        weights = torch.where((at >= first) & (at < first + length), weights, 0)
        if self.input.fit == "pad":
            real = ((place >= 0) & (place < new)).reshape(blocks, _BLOCK, 1)
            weights = torch.where(real, weights, 0) / torch.where(real, weights.sum(2, keepdim=True), 1)
        else:
            weights = weights / weights.sum(2, keepdim=True)
        if not self.deep:
            powers = torch.exp2(torch.arange(_BITS + 1, dtype=torch.float64))
            bits = ((weights.max() * powers[1:] + 0.5).floor() < 2**15).sum()
            one = powers.index_select(0, bits.reshape(1))
            whole = weights * one
            weights = whole.sign() * (whole.abs() + 0.5).floor() / one
        over = _MIDDLE * (weights.sum(2).reshape(-1, 1)[:side] - 1) + 0.5
        begin = at[:, :1, :1]
        among = torch.zeros(blocks, _BLOCK, span + taps).scatter(2, (at - begin).long(), weights.float())
        places = begin.reshape(-1, 1) + torch.arange(span + taps, dtype=torch.float64)
        places = torch.minimum(places.clamp(min=0), old[-1]).long().reshape(-1)  # beyond the ends nothing weighs
        return Axis(places, among, over.float(), shown, step, first - before * step, old)


def _cubic(apart: Tensor) -> Tensor:
    """Return Keys' cubic kernel with a = -0.5 at some distances."""
    near = (1.5 * apart - 2.5) * apart * apart + 1
    far = ((-0.5 * apart + 2.5) * apart - 4) * apart + 2
    return torch.where(apart < 1, near, torch.where(apart < 2, far, 0))
