"""Convolutions whose weights are scaled for each picture by its style, and kept at unit variance.

Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020, section 2.2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.filters import BINOMIAL, smooth
from visus.models.generators._equalised import GAIN, Linear, rectified

EPSILON = 1e-8


def modulated(
    maps: Float[Tensor, "B I H W"],
    style: Float[Tensor, "B I"],
    weight: Float[Tensor, "O I k k"],
    *,
    demodulate: bool = True,
    double: bool = False,
) -> Float[Tensor, "B O h w"]:
    """Return each picture's maps, convolved with the weights that its own style has scaled.

    The paper scales the weights, and convolves each picture with its own.  A convolution is linear in both, so that
    scaling what goes in by the style, and what comes out by the demodulation, gives the same with one weight for all.

    Args:
        maps: of each picture.
        style: factor of each input channel.
        weight: shared by all pictures.
        demodulate: divide each output channel by the length of its scaled weights, in float32 at least: inputs of
            independent values of unit variance come out with unit variance.
        double: first double the size by zeros between the pixels, and smooth what comes out.

    Source:
        Karras et al., CVPR 2020, eqs. 1 to 3; the smoothing is of section 4.1 of Karras et al., CVPR 2019.
    """
    scaled = maps * style.to(maps.dtype)[:, :, None, None]
    if double:
        bare = F.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2)
        convolved = smooth(bare, BINOMIAL, weight.shape[-1] // 2, gain=2.0)
    else:
        convolved = F.conv2d(scaled, weight, padding=weight.shape[-1] // 2)
    if not demodulate:
        return convolved
    return convolved * demodulation(style, weight).to(convolved.dtype)[:, :, None, None]


def demodulation(style: Float[Tensor, "B I"], weight: Float[Tensor, "O I k k"]) -> Float[Tensor, "B O"]:
    """Return the factors that give each output channel's scaled weights unit length: eq. 3 of the paper."""
    precise = torch.promote_types(style.dtype, torch.float32)
    energy = weight.to(precise).square().sum((2, 3))
    return torch.rsqrt(style.to(precise).square() @ energy.t() + EPSILON)


class StyledConvolution(nn.Module):
    """A modulated convolution with noise, bias and rectification: one layer of StyleGAN2's synthesis network.

    Args:
        inputs, outputs: channels.
        style: length of a style.
        size: (height, width) of what comes out.
        double: the size of what goes in is half of it.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, size: tuple[int, int], *, double: bool) -> None:
        super().__init__()
        self.affine = Linear(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, *size))
        self.scale, self.doubles = 1 / math.sqrt(9 * inputs), double

    def forward(
        self, maps: Float[Tensor, "B I h w"], style: Float[Tensor, "B S"], noise: Float[Tensor, "_ 1 H W"] | None = None
    ) -> Float[Tensor, "B O H W"]:
        """Return the maps of the pictures' styles; without ``noise`` with the same fixed one in every picture."""
        maps = modulated(maps, self.affine(style), self.weight * self.scale, double=self.doubles)
        added = self.strength * (self.noise if noise is None else noise)
        shift = self.bias[:, None, None] + added
        return rectified((maps + shift.to(maps.dtype)) * GAIN)


class StyledPicture(nn.Module):
    """A modulated 1 x 1 convolution to the channels of a picture, without demodulation.

    Args:
        inputs: channels of the maps.
        channels: of the picture.
        style: length of a style.
    """

    def __init__(self, inputs: int, channels: int, style: int) -> None:
        super().__init__()
        self.affine = Linear(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, maps: Float[Tensor, "B I H W"], style: Float[Tensor, "B S"]) -> Float[Tensor, "B C H W"]:
        """Return what the maps add to the picture."""
        picture = modulated(maps, self.affine(style), self.weight * self.scale, demodulate=False)
        return picture + self.bias.to(picture.dtype)[:, None, None]
