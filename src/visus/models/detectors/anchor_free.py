"""visus' own detector: each place of three maps says what lies there and how far its four sides are.

Backbone, feature pyramid, decoupled head; how it learns stands in ``tasks/detect``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.models.backbones.csp import Unit
from visus.models.blocks import Activation, Normalisation
from visus.models.detectors import Detector
from visus.models.pyramid import Pyramid
from visus.models.trunks import STRIDES, Trunk, extended

SIZES = {
    "nano": (0.5, 0.5, 32, 1, 1),
    "small": (0.5, 1.0, 64, 1, 2),
    "medium": (1.0, 1.5, 128, 2, 2),
    "large": (1.5, 2.0, 192, 3, 2),
}
"""Factors of width and depth of ``csp``, channels of pyramid and head, blocks in the pyramid, layers of the head."""

PRIOR = 0.01
"""Probability of an object at a place before anything was learned (Lin et al., ICCV 2017, section 4.1)."""

REACH = 2.0
"""Each side before anything was learned: objects are then about four strides wide."""

Count = Annotated[int, Field(gt=0)]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    scale: Literal["nano", "small", "medium", "large"] = "small",
    width: Annotated[int, Field(ge=0)] = 0,
    layers: Annotated[int, Field(ge=0, le=4)] = 0,
    normalisation: Normalisation = "batch",
    activation: Activation = "relu",
) -> AnchorFree:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: ``csp``, ``efficientnet_lite0`` or any network, ours or timm's, that has maps of strides 8, 16, 32.
        scale: of pyramid and head, and of the backbone ``csp``.
        width: channels of pyramid and head; 0 for those of the scale.
        layers: 3 x 3 convolutions of each branch of the head; 0 for those of the scale.
        normalisation: of pyramid, head and ``csp``: ``batch``, ``group``, ``layer`` or ``none``.
        activation: of pyramid, head and ``csp``.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Tian et al., FCOS, ICCV 2019 (sides from places); Ge et al., YOLOX, 2021, section 2.1 (decoupled head).
    """
    wide, deep, usual, blocks, refining = SIZES[scale]
    own = {"width": wide, "depth": deep, "normalisation": normalisation, "activation": activation}
    trunk = Trunk(backbone, channels, size, own if backbone == "csp" else {})
    return AnchorFree(trunk, outputs, width or usual, blocks, layers or refining, normalisation, activation)


class AnchorFree(nn.Module):
    """See ``build``.

    Attributes:
        heads: prefixes of what starts fresh on a pretrained backbone.
        strides: pixels between neighbouring places, of each map.
    """

    heads = ("head", "pyramid")

    def __init__(
        self,
        trunk: Trunk,
        outputs: int,
        width: int,
        blocks: int,
        layers: int,
        norm: Normalisation,
        act: Activation,
    ) -> None:
        super().__init__()
        self.strides, self.backbone = STRIDES, trunk
        self.pyramid = Pyramid(trunk.widths, width, blocks, norm, act)
        self.head = nn.ModuleList(Branches(width, layers, outputs, norm, act) for _ in STRIDES)

    def forward(self, images: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B A K"], Float[Tensor, "B A 4"]]:
        """Return for every place of all maps, row by row, the finest map first (see ``places``): logits, sides.

        Sides are the distances to the left, top, right and bottom of the object, in strides of the place's map,
        before ``softplus`` makes them positive.
        """
        maps = self.pyramid(self.backbone(images))
        said = [branches(each) for branches, each in zip(self.head, maps, strict=True)]
        return torch.cat([logits for logits, _ in said], 1), torch.cat([sides for _, sides in said], 1)


class Branches(nn.Module):
    """The head of one map: what lies at each place, and where its sides are, apart from each other.

    Args:
        width: channels of the map.
        layers: convolutions of each branch.
        outputs: classes.
        norm, act: by name.
    """

    def __init__(self, width: int, layers: int, outputs: int, norm: Normalisation, act: Activation) -> None:
        super().__init__()
        self.what = nn.Sequential(*(Unit(width, width, 3, 1, norm, act) for _ in range(layers)))
        self.where = nn.Sequential(*(Unit(width, width, 3, 1, norm, act) for _ in range(layers)))
        self.logits, self.sides = nn.Conv2d(width, outputs, 1), nn.Conv2d(width, 4, 1)
        for last, start in ((self.logits, -math.log((1 - PRIOR) / PRIOR)), (self.sides, REACH)):
            nn.init.normal_(last.weight, std=0.01)
            assert last.bias is not None
            nn.init.constant_(last.bias, start)

    def forward(self, features: Float[Tensor, "B D h w"]) -> tuple[Float[Tensor, "B P K"], Float[Tensor, "B P 4"]]:
        """Return logits and sides of each place, row by row."""
        logits, sides = self.logits(self.what(features)), self.sides(self.where(features))
        return logits.flatten(2).transpose(1, 2), sides.flatten(2).transpose(1, 2)


def places(size: tuple[int, int], strides: Sequence[int] = STRIDES) -> tuple[Float[Tensor, "A 2"], Float[Tensor, "A"]]:
    """Return x and y of every place in pixels, in the order of the network's answer, and the stride of its map.

    Args:
        size: (height, width) of the pictures.
        strides: of the maps, the finest first.
    """
    points, steps = [], []
    height, width = extended(size)
    for stride in strides:
        rows, columns = height // stride, width // stride
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        points.append(torch.stack([x, y], -1).reshape(-1, 2) * stride)
        steps.append(torch.full((rows * columns,), float(stride)))
    return torch.cat(points), torch.cat(steps)


DETECTOR = Detector(
    build, "csp", "visus' own detector: backbone, feature pyramid, a decoupled head without anchors", "places"
)
