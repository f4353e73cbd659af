"""Layers that both kinds of stylising networks are made of: reflected edges, and no transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STRIDE = 4
"""Pixels that a place of the coarsest maps stands for; sides are filled up to a multiple of it."""


class Convolution(nn.Conv2d):
    """A convolution that sees a picture reflected beyond its edges: no dark rim is painted."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride)

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return maps of the same size, or shrunk by the stride."""
        beyond = self.kernel_size[0] // 2
        seen = repeatably_reflected(maps, beyond) if maps.is_cuda else F.pad(maps, (beyond,) * 4, mode="reflect")
        return F.conv2d(seen, self.weight, self.bias, self.stride)


class Finer(nn.Module):
    """Maps of twice the size, in which each place is repeated."""

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """Return them."""
        return repeatably_finer(maps) if maps.is_cuda else F.interpolate(maps, scale_factor=2.0, mode="nearest")


class Block(nn.Sequential):
    """Convolution, normalisation, rectifier; made twice as fine before, where asked.

    A finer map repeats each place: transposed convolutions would paint a chequerboard.

    Source:
        Odena, Dumoulin and Olah, Deconvolution and checkerboard artifacts, Distill 2016.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, normalisation: Callable[[int], nn.Module],
        stride: int = 1, finer: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if finer:
            self.finer = Finer()
        self.convolution = Convolution(inputs, outputs, kernel, stride)
        self.normalisation = normalisation(outputs)
        self.rectifier = nn.ReLU(inplace=True)


class Residual(nn.Module):
    """Two convolutions beside an identity.

    Source:
        Johnson, Alahi and Fei-Fei, Perceptual losses for real-time style transfer and super-resolution, ECCV 2016,
        supplementary material; nothing is rectified after the sum (Gross and Wilber, 2016).
    """

    def __init__(self, channels: int, normalisation: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.first = Block(channels, channels, normalisation=normalisation)
        self.second = nn.Sequential(Convolution(channels, channels, 3), normalisation(channels))

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the maps, changed a little."""
        changed: Tensor = maps + self.second(self.first(maps))
        return changed


def nothing(channels: int) -> nn.Module:
    """Return what leaves maps as they are, where a normalisation could stand."""
    return nn.Identity()


def filled(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Return pictures reflected beyond their right and lower edge until both sides are multiples of the stride."""
    height, width = images.shape[2:]
    beyond = (0, -width % STRIDE, 0, -height % STRIDE)
    return F.pad(images, beyond, mode="reflect") if any(beyond) else images


def repeatably_reflected(maps: Float[Tensor, "B C H W"], beyond: int) -> Float[Tensor, "B C h w"]:
    """Return maps reflected beyond their edges, as ``F.pad`` does; on a GPU its gradient repeats bit for bit."""
    for axis in (2, 3):
        side = maps.shape[axis]
        before, after = maps.narrow(axis, 1, beyond), maps.narrow(axis, side - 1 - beyond, beyond)
        maps = torch.cat([before.flip(axis), maps, after.flip(axis)], axis)
    return maps


def repeatably_finer(maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Return maps of twice the size, as ``F.interpolate`` does it; the gradient as of ``repeatably_reflected``."""
    b, c, height, width = maps.shape
    return maps[..., None, :, None].expand(b, c, height, 2, width, 2).reshape(b, c, 2 * height, 2 * width)
