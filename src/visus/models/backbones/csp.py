"""A dense network in five halvings, made for maps of several strides: what detectors look at, fast on a processor.

Each stage halves the map by a strided convolution and refines it by a cross-stage partial block: one half of the
channels goes through residual blocks, the other goes round them.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.models.backbones import Backbone
from visus.models.blocks import Activation, Normalisation, activation, convolution, normalisation

WIDTHS, BLOCKS = (32, 64, 128, 256, 512), (0, 1, 2, 2, 1)
Factor = Annotated[float, Field(gt=0, le=4)]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    *,
    width: Factor = 0.5,
    depth: Factor = 1.0,
    normalisation: Normalisation = "batch",
    activation: Activation = "relu",
) -> CrossStagePartialNetwork:
    """Return the network.

    Args:
        outputs: length of the last axis.
        channels: of the pictures.
        size: (height, width) of the pictures; any, since the last map is averaged over its places.
        width: factor of the channels 32, 64, 128, 256 and 512 of its five halvings, to multiples of 8.
        depth: factor of the blocks 0, 1, 2, 2 and 1 in each.
        normalisation: ``batch``, ``group``, ``layer`` or ``none``.  Only ``batch`` couples the pictures of a batch.
        activation: ``relu``, ``silu``, ``gelu``, ...

    Source:
        Wang et al., CSPNet: a new backbone that can enhance learning capability of CNN, CVPR workshops 2020, fig. 2.
    """
    widths = [max(8, 8 * round(each * width / 8)) for each in WIDTHS]
    blocks = [math.ceil(each * depth) for each in BLOCKS]
    return CrossStagePartialNetwork(outputs, channels, widths, blocks, normalisation, activation)


class Unit(nn.Sequential):
    """Convolution, normalisation, activation.

    Args:
        inputs, width: channels.
        kernel, stride: of the convolution.
        norm, act: by name.
    """

    def __init__(self, inputs: int, width: int, kernel: int, stride: int, norm: Normalisation, act: Activation) -> None:
        bent = nn.ReLU(inplace=True) if act == "relu" else activation(act)  # nothing else reads what it is given
        super().__init__(
            convolution(inputs, width, kernel, stride, bias=norm == "none"), normalisation(norm, width), bent
        )


class PartialBlock(nn.Module):
    """A cross-stage partial block: half of the channels through residual blocks, half round them, then both together.

    Args:
        inputs, width: channels.
        blocks: residual blocks of two 3 x 3 convolutions, one at least.
        norm, act: by name.
        residual: each block adds to what it was given.
    """

    def __init__(
        self, inputs: int, width: int, blocks: int, norm: Normalisation, act: Activation, *, residual: bool = True
    ) -> None:
        super().__init__()
        half = width // 2
        self.residual = residual
        self.split = Unit(inputs, 2 * half, 1, 1, norm, act)
        self.blocks = nn.ModuleList(
            nn.Sequential(Unit(half, half, 3, 1, norm, act), Unit(half, half, 3, 1, norm, act)) for _ in range(blocks)
        )
        self.join = Unit(2 * half, width, 1, 1, norm, act)

    def forward(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B E h w"]:
        """Return the refined map."""
        both = self.split(features)
        width: int = self.blocks[0][0][0].in_channels  # type: ignore[index]
        round_, through = both.split((both.shape[1] - width, width), 1)
        for block in self.blocks:
            through = through + block(through) if self.residual else block(through)
        joined: Tensor = self.join(torch.cat([through, round_], 1))
        return joined


class CrossStagePartialNetwork(nn.Module):
    """See ``build``, whose arguments it takes with everything stated."""

    def __init__(
        self,
        outputs: int,
        channels: int,
        widths: list[int],
        blocks: list[int],
        norm: Normalisation,
        act: Activation,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for before, width, count in zip((channels, *widths), widths, blocks, strict=False):
            halving = Unit(before, width, 3, 2, norm, act)
            refining = [PartialBlock(width, width, count, norm, act)] if count else []
            self.stages.append(nn.Sequential(halving, *refining))
        self.widths = tuple(widths)
        self.head = nn.Linear(widths[-1], outputs)

    def forward_maps(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the maps of strides 2, 4, 8, 16 and 32."""
        maps = list[Tensor]()
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps

    def forward_features(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return the last map."""
        return self.forward_maps(images)[-1]

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Return the outputs."""
        outputs: Tensor = self.head(self.forward_features(images).mean((2, 3)))
        return outputs


BACKBONE = Backbone(build, "a dense network in five halvings: small and fast, for detectors and larger pictures")
