"""Any style, in one pass: features of the photo take on mean and deviation of the painting's, channel by channel."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.models.stylizers import Stylizer
from visus.models.stylizers._layers import Block, Convolution, Residual, filled, nothing
from visus.models.stylizers._moments import Moments


class AdaIN(nn.Module):
    """Pictures in the style of others.

    The encoder is learned together with the decoder, where the paper takes a fixed VGG: the file then needs nobody's
    weights and is small, and what a place of the coarsest maps keeps is all that a decoder needs.  Nothing but the
    exchange of moments normalises, lest style be lost again.

    Args:
        width: channels at the full scale; twice and four times as many where it is halved and halved again.
        blocks: residual blocks on either side of the exchange.

    Attributes:
        reach: pixels beyond which nothing is seen, but through means and deviations.

    Source:
        Huang and Belongie, Arbitrary style transfer in real-time with adaptive instance normalization, ICCV 2017.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        coarse, self.reach = 4 * width, 24 + 16 * blocks
        self.encoder = nn.Sequential(
            Block(3, width, 9, normalisation=nothing),
            Block(width, 2 * width, stride=2, normalisation=nothing),
            Block(2 * width, coarse, stride=2, normalisation=nothing),
            *(Residual(coarse, nothing) for _ in range(blocks)),
        )
        self.moments = Moments()
        self.decoder = nn.Sequential(
            *(Residual(coarse, nothing) for _ in range(blocks)),
            Block(coarse, 2 * width, finer=True, normalisation=nothing),
            Block(2 * width, width, finer=True, normalisation=nothing),
            Convolution(width, 3, 9),
        )

    def forward(
        self, images: Float[Tensor, "B 3 H W"], paintings: Float[Tensor, "_ 3 h w"], strength: float = 1.0
    ) -> Float[Tensor, "B 3 H W"]:
        """Return pictures of the same size in the style of one painting each, or of one for all, in [-1, 1].

        Args:
            images: in [-1, 1].
            paintings: in [-1, 1].
            strength: between features as they were, at 0, and those with the painting's moments, at 1 (eq. 14).
        """
        return self.painted(images, *self.described(paintings), strength)

    def described(self, paintings: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor]:
        """Return (B, C, 1, 1) mean and deviation of their features: all that is taken from paintings."""
        held, self.moments.held = self.moments.held, None
        try:
            found: tuple[Tensor, Tensor] = self.moments(self.encoder(filled(paintings)))
        finally:
            self.moments.held = held
        return found

    def painted(
        self, images: Float[Tensor, "B 3 H W"], mean: Tensor, deviation: Tensor, strength: float = 1.0
    ) -> Float[Tensor, "B 3 H W"]:
        """Return pictures in the style of paintings that were described; see ``forward``."""
        maps = self.encoder(filled(images))
        exchanged = exchange(maps, self.moments(maps), (mean, deviation))
        painted: Tensor = self.decoder(maps.lerp(exchanged, strength)).tanh()
        return painted[..., : images.shape[2], : images.shape[3]]

    def example(self, rows: int) -> tuple[Tensor, Tensor]:
        """Return what it can be asked for so many pictures, to measure what asking costs."""
        device = next(self.parameters()).device
        return torch.zeros(rows, 3, 256, 256, device=device), torch.zeros(rows, 3, 256, 256, device=device)


def exchange(
    maps: Float[Tensor, "B C H W"], own: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]
) -> Float[Tensor, "B C H W"]:
    """Return maps whose channels have another mean and deviation than their own (Huang and Belongie, eq. 8)."""
    return (maps - own[0]) / own[1] * other[1] + other[0]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    *,
    width: Annotated[int, Field(ge=1, le=256)] = 20,
    blocks: Annotated[int, Field(ge=1, le=64)] = 2,
) -> AdaIN:
    """Return the network with fresh weights; see ``AdaIN``."""
    return AdaIN(width, blocks)


STYLIZER = Stylizer(
    build,
    "any style in one pass, of paintings like those it learned from",
    any_style=True,
    defaults={"stylize.content_gain": 0.02},  # means and deviations of two pictures are less far apart than products
)
