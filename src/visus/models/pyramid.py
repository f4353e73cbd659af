"""A feature pyramid: maps of several strides told of each other, coarse to fine and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visus.models.backbones.csp import PartialBlock, Unit
from visus.models.blocks import Activation, Normalisation


class Pyramid(nn.Module):
    """Every map learns what the coarser ones mean, then what the finer ones see.

    Any picture size is taken: a coarser map is brought to the very size of the finer one.

    Args:
        inputs: channels of the maps, the finest first.
        width: channels of each map that is returned.
        blocks: of each cross-stage partial block.
        norm, act: by name.

    Source:
        Lin et al., Feature pyramid networks, CVPR 2017 (coarse to fine); Liu et al., Path aggregation network, CVPR
        2018, section 3.1 (and back).
    """

    def __init__(self, inputs: Sequence[int], width: int, blocks: int, norm: Normalisation, act: Activation) -> None:
        super().__init__()
        steps = len(inputs) - 1
        self.enter = nn.ModuleList(Unit(each, width, 1, 1, norm, act) for each in inputs)
        self.down = nn.ModuleList(_mixing(width, blocks, norm, act) for _ in range(steps))
        self.halve = nn.ModuleList(Unit(width, width, 3, 2, norm, act) for _ in range(steps))
        self.up = nn.ModuleList(_mixing(width, blocks, norm, act) for _ in range(steps))

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B W _ _"]]:
        """Return the maps, each of its own size and of ``width`` channels."""
        told = [enter(each) for enter, each in zip(self.enter, maps, strict=True)]
        for i in range(len(told) - 2, -1, -1):
            coarser = F.interpolate(told[i + 1], size=told[i].shape[2:])
            told[i] = self.down[i](torch.cat([told[i], coarser], 1))
        for i in range(1, len(told)):
            told[i] = self.up[i - 1](torch.cat([self.halve[i - 1](told[i - 1]), told[i]], 1))
        return told


def _mixing(width: int, blocks: int, norm: Normalisation, act: Activation) -> PartialBlock:
    return PartialBlock(2 * width, width, blocks, norm, act, residual=False)
