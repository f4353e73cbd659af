"""Layers that both kinds of stylising networks are made of: reflected edges, and no transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STRIDE = 4
"""Pixels that a place of the coarsest maps stands for; sides are filled up to a multiple of it."""


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that sees a picture reflected beyond its edges: no dark rim is painted."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect")


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
            self.finer = nn.Upsample(scale_factor=2, mode="nearest")
        self.convolution = convolution(inputs, outputs, kernel, stride)
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
        self.second = nn.Sequential(convolution(channels, channels, 3), normalisation(channels))

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
