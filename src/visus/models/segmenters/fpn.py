"""FPN: a feature pyramid whose maps are brought to a quarter of the size and added up; of smp's parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from visus.models import smp_parts as parts
from visus.models.segmenters import Segmenter
from visus.models.trunks import Trunk


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    pyramid: Annotated[int, Field(gt=0)] = 256,
    width: Annotated[int, Field(gt=0, multiple_of=32)] = 128,
    merge: Literal["add", "cat"] = "add",
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
) -> parts.Pixels:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that has maps of strides 4, 8, 16, 32.
        pyramid: channels of the pyramid.
        width: channels to which its maps are brought, a multiple of 32.
        merge: they are added up, or laid side by side.
        dropout: rate at which whole channels are left out before the last layer.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Kirillov et al., Panoptic feature pyramid networks, CVPR 2019, section 3.1.
    """
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

    trunk = Trunk(backbone, channels, size, {}, parts.FINE)
    decoder = FPNDecoder(
        parts.widths(trunk, channels),
        pyramid_channels=pyramid,
        segmentation_channels=width,
        dropout=dropout,
        merge_policy=merge,
    )
    return parts.Pixels(trunk, decoder, decoder.out_channels, outputs, kernel=1)


SEGMENTER = Segmenter(
    build, "efficientnet_lite0", "FPN: a feature pyramid added up at a quarter of the size; smp's decoder",
    licence="MIT and Apache-2.0", parameters=4_713_365, renamed=parts.renamed,
)  # fmt: skip
