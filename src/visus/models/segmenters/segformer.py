"""SegFormer's decoder: every map through one linear layer to a quarter of the size, then one more; of smp's parts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from visus.models import smp_parts as parts
from visus.models.segmenters import Segmenter


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    width: Annotated[int, Field(gt=0)] = 256,
) -> parts.Pixels:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that has maps of strides 4, 8, 16, 32, and if it has it of 2, too.
        width: channels of the decoder.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Xie et al., SegFormer, NeurIPS 2021, section 3.2.
    """
    from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder

    trunk = parts.trunk(backbone, channels, size)
    decoder = SegformerDecoder(parts.widths(trunk, channels), segmentation_channels=width)
    return parts.Pixels(trunk, decoder, width, outputs, kernel=1)


SEGMENTER = Segmenter(
    build, "efficientnet_lite0", "SegFormer's decoder: linear layers alone on all maps; smp's",
    licence="MIT and Apache-2.0", parameters=3_424_789, renamed=parts.renamed,
)  # fmt: skip
