"""UPerNet: a feature pyramid whose coarsest map is told means of parts of the picture; of smp's parts."""

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
    width: Annotated[int, Field(gt=0)] = 256,
    normalisation: Literal["batch", "none"] = "batch",
) -> parts.Pixels:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that has maps of strides 4, 8, 16, 32.
        width: channels of the decoder.
        normalisation: of most of the decoder: ``batch`` or ``none``.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Xiao et al., Unified perceptual parsing for scene understanding, ECCV 2018, section 4.1.
    """
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    trunk = Trunk(backbone, channels, size, {}, parts.FINE)
    decoder = UPerNetDecoder(parts.widths(trunk, channels), decoder_channels=width, use_norm=parts.NORMS[normalisation])
    return parts.Pixels(trunk, decoder, width, outputs, kernel=1)


SEGMENTER = Segmenter(
    build, "efficientnet_lite0", "UPerNet: pooled context and a feature pyramid; smp's decoder",
    licence="MIT and Apache-2.0", parameters=10_569_461, renamed=parts.renamed,
)  # fmt: skip
