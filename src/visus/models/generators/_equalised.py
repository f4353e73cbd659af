"""Layers whose weights learn at one rate, however many numbers each of their outputs sums.

The weights begin with unit variance and are scaled each time they are used, so that an optimiser that moves every
weight by about the same step changes every layer by about the same share.

Karras et al., Progressive growing of GANs, ICLR 2018, section 4.1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2
GAIN = math.sqrt(2)
"""Of layers before ``rectified``, which halves the mean square of what is spread about zero (nearly: 0.52)."""


def rectified(maps: Tensor) -> Tensor:
    """Return the leaky rectification of maps that already bear ``GAIN``: it commutes with any positive factor."""
    return F.leaky_relu(maps, SLOPE)


class Linear(nn.Module):
    """A matrix with equalised rate.

    Args:
        inputs, outputs: lengths of its rows and columns.
        bias: of all outputs at first.
        gain: of the outputs.
        rate: how fast it learns beside the others; what it gives at first does not depend on it.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, gain: float = 1.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.bias_scale = gain * rate / math.sqrt(inputs), gain * rate

    def forward(self, vectors: Float[Tensor, "B I"]) -> Float[Tensor, "B O"]:
        """Return the products, ``gain`` times."""
        return F.linear(vectors, self.weight * self.scale, self.bias * self.bias_scale)


class Convolution(nn.Module):
    """A convolution with equalised rate that keeps the size.

    Args:
        inputs, outputs: channels.
        kernel: pixels, odd.
        bias: it has one, zero at first.
        gain: of the outputs.
        halve: take every second place only, without anything beyond the edge: of (2n + 1) pixels n remain.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, gain: float = 1.0, halve: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.gain = gain / math.sqrt(inputs * kernel**2), gain
        self.stride, self.padding = (2, 0) if halve else (1, kernel // 2)

    def forward(self, maps: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return the convolved maps, ``gain`` times."""
        bias = None if self.bias is None else self.bias * self.gain
        return F.conv2d(maps, self.weight * self.scale, bias, self.stride, self.padding)
