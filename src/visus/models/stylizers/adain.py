"""Any style, in one pass: each layer's maps of the photo take on means and deviations that a painting asks for."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.models.stylizers import Stylizer
from visus.models.stylizers._layers import Block, Convolution, Finer, filled, nothing
from visus.models.stylizers._moments import Moments

GAIN = 0.1
"""Deviation of what a fresh network makes of a painting: it tells paintings apart from its first steps."""


class AdaIN(nn.Module):
    """Pictures in the style of others.

    Huang and Belongie exchange moments once, between an encoder that others have trained, VGG, and a decoder.  Here all
    is learned, so that the file needs nobody's weights: a small network looks at the painting, and from means and
    deviations of its maps come those of every layer that paints.

    Args:
        width: channels at the full scale; twice and four times as many where it is halved and halved again.
        blocks: residual blocks at the coarsest scale.

    Attributes:
        reach: pixels beyond which nothing of the photo is seen, but through means and deviations.

    Source:
        Huang and Belongie, Arbitrary style transfer in real-time with adaptive instance normalization, ICCV 2017,
        eq. 8; at every layer and learned from the painting as in Ghiasi et al., Exploring the structure of a real-time,
        arbitrary neural artistic stylization network, BMVC 2017, section 3.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        coarse, self.reach = 4 * width, 24 + 8 * blocks
        self.enter = nn.ModuleList(
            [Adaptive(3, width, 9), Adaptive(width, 2 * width, stride=2), Adaptive(2 * width, coarse, stride=2)]
        )
        self.middle = nn.ModuleList(AdaptiveResidual(coarse) for _ in range(blocks))
        self.finer = Finer()
        self.leave = nn.ModuleList([Adaptive(coarse, 2 * width), Adaptive(2 * width, width)])
        self.head = Convolution(width, 3, 9)
        self.widths = [layer.width for layer in self.modules() if isinstance(layer, Adaptive)]
        self.style = Style(coarse, 2 * sum(self.widths))

    def forward(
        self, images: Float[Tensor, "B 3 H W"], paintings: Float[Tensor, "_ 3 h w"]
    ) -> Float[Tensor, "B 3 H W"]:
        """Return pictures of the same size in the style of one painting each, or of one for all, in [-1, 1].

        Args:
            images: in [-1, 1].
            paintings: in [-1, 1].
        """
        return self.painted(images, self.described(paintings))

    def described(self, paintings: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P"]:
        """Return all that is taken from paintings: deviations and means for each channel of each layer."""
        found: Tensor = self.style(filled(paintings))
        return found

    def painted(self, images: Float[Tensor, "B 3 H W"], asked: Float[Tensor, "_ P"]) -> Float[Tensor, "B 3 H W"]:
        """Return pictures in the style of paintings that were described; see ``forward``."""
        widths = [width for width in self.widths for _ in range(2)]
        each = iter(torch.split(asked[..., None, None].to(images.dtype), widths, 1))
        maps = filled(images)
        for layer in self.enter:
            maps = F.relu(layer(maps, next(each), next(each)))
        for block in self.middle:
            maps = block(maps, next(each), next(each), next(each), next(each))
        for layer in self.leave:
            maps = F.relu(layer(self.finer(maps), next(each), next(each)))
        painted: Tensor = self.head(maps).tanh()
        return painted[..., : images.shape[2], : images.shape[3]]

    def example(self, rows: int) -> tuple[Tensor, Tensor]:
        """Return what it can be asked for so many pictures, to measure what asking costs."""
        device = next(self.parameters()).device
        return torch.zeros(rows, 3, 256, 256, device=device), torch.zeros(rows, 3, 256, 256, device=device)


class Adaptive(nn.Module):
    """A convolution, whose maps then take on other means and deviations (Huang and Belongie, eq. 8)."""

    def __init__(self, inputs: int, width: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.width = width
        self.convolution = Convolution(inputs, width, kernel, stride)
        self.moments = Moments()

    def forward(self, maps: Tensor, deviation: Tensor, mean: Tensor) -> Float[Tensor, "B D h w"]:
        """Return maps with this mean, and this deviation beside 1."""
        maps = self.convolution(maps)
        own, spread = self.moments(maps)
        scale = (1 + deviation) / spread
        return torch.addcmul(mean - own * scale, maps, scale)


class AdaptiveResidual(nn.Module):
    """Two of them beside an identity; nothing is rectified after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = Adaptive(channels, channels), Adaptive(channels, channels)

    def forward(self, maps: Float[Tensor, "B C H W"], *asked: Tensor) -> Float[Tensor, "B C H W"]:
        """Return the maps, changed a little."""
        changed: Tensor = maps + self.second(F.relu(self.first(maps, *asked[:2])), *asked[2:])
        return changed


class Style(nn.Module):
    """What a painting asks for: of means and deviations of its maps at three scales."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        widths = [width // 2, width, width]
        self.levels = nn.ModuleList(
            Block(i, o, stride=2, normalisation=nothing) for i, o in zip([3, *widths], widths, strict=False)
        )
        self.leave = nn.Linear(2 * sum(widths), outputs)

    def forward(self, paintings: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P"]:
        """Return it."""
        maps, found = paintings, []
        for level in self.levels:
            maps = level(maps)
            mean = maps.mean((2, 3))
            deviation = ((maps - mean[..., None, None]).square().mean((2, 3)) + 1e-5).sqrt()
            both = torch.cat([mean, deviation], 1)
            found.append(both / (both.square().mean(1, keepdim=True) + 1e-5).sqrt())
        asked: Tensor = GAIN * self.leave(torch.cat(found, 1))
        return asked


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    *,
    width: Annotated[int, Field(ge=1, le=256)] = 16,
    blocks: Annotated[int, Field(ge=1, le=64)] = 5,
) -> AdaIN:
    """Return the network with fresh weights; see ``AdaIN``."""
    return AdaIN(width, blocks)


STYLIZER = Stylizer(build, "any style in one pass, of paintings like those it learned from", any_style=True)
