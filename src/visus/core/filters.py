"""Filters of a few taps that smooth, double and halve maps, with gradients of any order from plain operators.

A filter is linear and has nothing to learn, so that its backward pass is the same filter turned round, and the backward
pass of that one the filter again.  Said so, a penalty on gradients costs no more than they do; left to a convolution
with a group for each channel, it would make gradients of weights that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

BINOMIAL = (1.0, 3.0, 3.0, 1.0)
"""The taps of bilinear interpolation to twice the size."""


def smooth(
    maps: Float[Tensor, "B C H W"], taps: Sequence[float], padding: int, gain: float = 1.0
) -> Float[Tensor, "B C h w"]:
    """Return maps correlated with the taps along both axes, zero beyond their edges.

    Args:
        maps: any.
        taps: whose sum counts as one.
        padding: pixels added at each edge: T taps make H + 2 padding - T + 1 pixels of H.
        gain: along each axis.
    """
    return _gathered(maps, _kernel(taps, gain, maps), 1, padding)


def double(maps: Float[Tensor, "B C H W"], taps: Sequence[float]) -> Float[Tensor, "B C h w"]:
    """Return maps of twice the height and width: zeros between the pixels, then smoothed, the brightness kept.

    Beyond the edges maps are zero.  An even number of taps keeps the corners of the picture where they are.
    """
    return _scattered(maps, _kernel(taps, 2.0, maps), 2, len(taps) // 2 - 1, (0, 0))


def halve(
    maps: Float[Tensor, "B C H W"], taps: Sequence[float], padding: int | None = None
) -> Float[Tensor, "B C h w"]:
    """Return every second pixel of smoothed maps along both axes, zero beyond their edges.

    Args:
        maps: any.
        taps: whose sum counts as one.
        padding: pixels added at each edge; by default such that H pixels become H / 2.
    """
    return _gathered(maps, _kernel(taps, 1.0, maps), 2, len(taps) // 2 - 1 if padding is None else padding)


def _kernel(taps: Sequence[float], gain: float, like: Tensor) -> Float[Tensor, "T T"]:
    line = torch.tensor(taps, dtype=torch.float64) * (gain / sum(taps))
    return torch.outer(line, line).to(like.device)


def _gathered(maps: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    if torch.is_grad_enabled() and maps.requires_grad:
        gathered: Tensor = _Gather.apply(maps, kernel, stride, padding)
        return gathered
    return _gather(maps, kernel, stride, padding)


def _scattered(maps: Tensor, kernel: Tensor, stride: int, padding: int, more: tuple[int, int]) -> Tensor:
    if torch.is_grad_enabled() and maps.requires_grad:
        scattered: Tensor = _Scatter.apply(maps, kernel, stride, padding, more)
        return scattered
    return _scatter(maps, kernel, stride, padding, more)


def _gather(maps: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
    """Return the correlation of each channel with the kernel at every ``stride``-th place."""
    C = maps.shape[1]
    return F.conv2d(maps, kernel.to(maps.dtype).expand(C, 1, *kernel.shape), None, stride, padding, groups=C)


def _scatter(maps: Tensor, kernel: Tensor, stride: int, padding: int, more: tuple[int, int]) -> Tensor:
    """Return what ``_gather`` is the transpose of; ``more`` rows and columns at the end, which a stride leaves open."""
    if stride == 1:
        return _gather(maps, kernel.flip(0, 1), 1, len(kernel) - 1 - padding)
    C = maps.shape[1]
    return F.conv_transpose2d(
        maps, kernel.to(maps.dtype).expand(C, 1, *kernel.shape), None, stride, padding, more, groups=C
    )


class _Gather(torch.autograd.Function):
    """``_gather``, whose backward pass is ``_Scatter``."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernel: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.stride, ctx.padding = stride, padding
        height, width = (side + 2 * padding - len(kernel) for side in maps.shape[2:])
        ctx.more = (height % stride, width % stride)
        return _gather(maps, kernel, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (kernel,) = ctx.saved_tensors
        return _scattered(gradient, kernel, ctx.stride, ctx.padding, ctx.more), None, None, None


class _Scatter(torch.autograd.Function):
    """``_scatter``, whose backward pass is ``_Gather``."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernel: Tensor, stride: int, padding: int, more: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.stride, ctx.padding = stride, padding
        return _scatter(maps, kernel, stride, padding, more)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (kernel,) = ctx.saved_tensors
        return _gathered(gradient, kernel, ctx.stride, ctx.padding), None, None, None, None
