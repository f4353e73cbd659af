"""visus' own segmenter, for real time on a processor: plain 3 x 3 convolutions on few channels, context from afar."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.models.backbones.csp import Unit
from visus.models.blocks import Activation, Normalisation
from visus.models.segmenters import Segmenter
from visus.models.trunks import STRIDES, Trunk

SIZES = {"nano": (0.5, 1.0, 64), "small": (0.75, 1.0, 96), "medium": (1.0, 1.5, 128)}
"""Factors of width and depth of the backbone ``csp``, channels of the decoder."""


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    scale: Literal["nano", "small", "medium"] = "nano",
    width: Annotated[int, Field(ge=0)] = 0,
    stride: Literal[4, 8] = 4,
    normalisation: Normalisation = "batch",
    activation: Activation = "relu",
) -> Fast:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: ``csp``, ``efficientnet_lite0`` or any network, ours or timm's, that has maps of these strides.
        scale: of the decoder, and of the backbone ``csp``.
        width: channels of the decoder, half as many at stride 4; 0 for those of the scale.
        stride: pixels a logit stands for along each side; 8 is faster and loses what is thin.
        normalisation: of decoder and ``csp``: ``batch``, ``group``, ``layer`` or ``none``.
        activation: of decoder and ``csp``.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Lin et al., Feature pyramid networks, CVPR 2017 (coarse to fine, by sums); Yu et al., BiSeNet, ECCV 2018,
        section 3.2 (the mean of the coarsest map as context).
    """
    wide, deep, usual = SIZES[scale]
    own = {"width": wide, "depth": deep, "normalisation": normalisation, "activation": activation}
    strides = (4, *STRIDES) if stride == 4 else STRIDES
    trunk = Trunk(backbone, channels, size, own if backbone == "csp" else {}, strides)
    return Fast(trunk, outputs, width or usual, normalisation, activation)


class Fast(nn.Module):
    """See ``build``.

    Attributes:
        heads: prefixes of what starts fresh on a pretrained backbone.
    """

    heads = ("head", "decoder")

    def __init__(self, trunk: Trunk, outputs: int, width: int, norm: Normalisation, act: Activation) -> None:
        super().__init__()
        self.backbone = trunk
        widths = [width] * len(STRIDES)
        if len(trunk.widths) > len(STRIDES):
            widths.insert(0, max(1, width // 2))
        self.decoder = Decoder(trunk.widths, widths, norm, act)
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K h w"]:
        """Return logits at a quarter or an eighth of the size."""
        logits: Tensor = self.head(self.decoder(self.backbone(images)))
        return logits


class Decoder(nn.Module):
    """The finest map, told what the coarser ones mean, and these what the whole picture shows.

    Args:
        inputs: channels of the maps, the finest first.
        widths: channels to which each is brought.
        norm, act: by name.
    """

    def __init__(self, inputs: Sequence[int], widths: Sequence[int], norm: Normalisation, act: Activation) -> None:
        super().__init__()
        self.enter = nn.ModuleList(Unit(each, w, 1, 1, norm, act) for each, w in zip(inputs, widths, strict=True))
        self.context = nn.Conv2d(widths[-1], widths[-1], 1)  # one place a picture: nothing to normalise
        self.far = Unit(widths[-1], widths[-1], 3, 1, norm, act)
        self.narrow = nn.ModuleList(
            Unit(coarse, fine, 1, 1, norm, act) if coarse != fine else nn.Identity()
            for fine, coarse in pairwise(widths)
        )
        self.mix = nn.ModuleList(Unit(w, w, 3, 1, norm, act) for w in widths[:-1])

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B D h w"]:
        """Return one map, of the finest one's size."""
        *finer, coarsest = [enter(each) for enter, each in zip(self.enter, maps, strict=True)]
        told: Tensor = self.far(coarsest + self.context(coarsest.mean((2, 3), keepdim=True)))
        for i in range(len(finer) - 1, -1, -1):
            nearer = F.interpolate(self.narrow[i](told), finer[i].shape[2:], mode="bilinear", align_corners=False)
            told = self.mix[i](finer[i] + nearer)
        return told


SEGMENTER = Segmenter(build, "csp", "visus' own segmenter: backbone, coarse-to-fine sums, context of the whole picture")
