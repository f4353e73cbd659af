"""U-Net++: a U-Net between whose maps of a size lie others, each shown all before it; of smp's parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from visus.models import smp_parts as parts
from visus.models.segmenters import Segmenter

Each = Annotated[int, Field(gt=0)]
Widths = tuple[Each, Each, Each, Each, Each]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    widths: Widths = (256, 128, 64, 32, 16),
    normalisation: parts.Norm = "batch",
    attention: Literal["none", "scse"] = "none",
    interpolation: Literal["nearest", "bilinear"] = "nearest",
) -> parts.Pixels:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that has maps of strides 4, 8, 16, 32, best of 2, too.
        widths: channels of the decoder at strides 16, 8, 4, 2 and 1.
        normalisation: of the decoder: ``batch``, ``instance`` (each picture for itself) or ``none``.
        attention: ``scse`` weighs channels and places of each map (Roy et al., MICCAI 2018).
        interpolation: by which the decoder doubles its maps.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Zhou et al., UNet++, DLMIA 2018.
    """
    from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder

    return parts.stepwise(
        UnetPlusPlusDecoder, outputs, channels, size, backbone, widths, normalisation, attention, interpolation
    )


SEGMENTER = Segmenter(
    build, "efficientnet_lite0", "U-Net++: nested decoders that share their maps, to full size; smp's decoder",
    licence="MIT and Apache-2.0", parameters=5_432_581, renamed=parts.renamed,
)  # fmt: skip
