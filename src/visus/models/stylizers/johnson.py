"""One style, in one pass: a narrow network of residual blocks at a quarter of the scale."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from visus.models.stylizers import Stylizer
from visus.models.stylizers._layers import Block, Convolution, Residual, filled
from visus.models.stylizers._moments import InstanceNorm


class Johnson(nn.Module):
    """Pictures in the style that it learned.

    Args:
        size: (height, width) of the painting that it keeps.
        width: channels at the full scale; twice and four times as many where it is halved and halved again.
        blocks: residual blocks at the coarsest scale.

    Attributes:
        painting: what it learned from, as pixels; black before it has.
        reach: pixels beyond which nothing is seen, but through means and deviations.

    Source:
        Johnson, Alahi and Fei-Fei, Perceptual losses for real-time style transfer and super-resolution, ECCV 2016, at
        half the width; instance normalisation after Ulyanov, Vedaldi and Lempitsky, CVPR 2017.
    """

    painting: UInt8[Tensor, "3 H W"]

    def __init__(self, size: tuple[int, int], width: int, blocks: int) -> None:
        super().__init__()
        coarse, self.reach = 4 * width, 24 + 8 * blocks
        self.enter = nn.Sequential(
            Block(3, width, 9, normalisation=InstanceNorm),
            Block(width, 2 * width, stride=2, normalisation=InstanceNorm),
            Block(2 * width, coarse, stride=2, normalisation=InstanceNorm),
        )
        self.middle = nn.Sequential(*(Residual(coarse, InstanceNorm) for _ in range(blocks)))
        self.leave = nn.Sequential(
            Block(coarse, 2 * width, finer=True, normalisation=InstanceNorm),
            Block(2 * width, width, finer=True, normalisation=InstanceNorm),
        )
        self.head = Convolution(width, 3, 9)
        self.register_buffer("painting", torch.zeros(3, *size, dtype=torch.uint8))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Return pictures of the same size, in [-1, 1]."""
        painted: Tensor = self.head(self.leave(self.middle(self.enter(filled(images))))).tanh()
        return painted[..., : images.shape[2], : images.shape[3]]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    *,
    width: Annotated[int, Field(ge=1, le=256)] = 16,
    blocks: Annotated[int, Field(ge=1, le=64)] = 5,
) -> Johnson:
    """Return the network with fresh weights; see ``Johnson``."""
    return Johnson(size, width, blocks)


STYLIZER = Stylizer(build, "one style in one pass, narrow enough for a processor")
