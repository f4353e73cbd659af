"""DeepLabV3+: spread kernels of several reaches on a map that stays large, sharpened by a fine one; of smp's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from visus.core.errors import UsageError
from visus.models import smp_parts as parts
from visus.models.segmenters import Segmenter
from visus.models.trunks import dilated

Rate = Annotated[int, Field(gt=0)]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    width: Annotated[int, Field(gt=0)] = 256,
    rates: tuple[Rate, Rate, Rate] = (12, 24, 36),
    stride: Literal[8, 16] = 16,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
) -> parts.Pixels:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that has maps of strides 4 and 8 or 16, and can spread its kernels (see
            ``trunks.dilated``).
        width: channels of the decoder.
        rates: places between the taps of its three spread kernels.
        stride: of the backbone's last map; 8 is finer and takes about three times as long.
        dropout: rate before the maps of all reaches are joined with the fine one.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Chen et al., Encoder-decoder with atrous separable convolution, ECCV 2018.
    """
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

    trunk = dilated(backbone, channels, size, (4, stride))
    decoder = DeepLabV3PlusDecoder(
        [channels, 0, *trunk.widths], 5, width, rates, stride, aspp_separable=True, aspp_dropout=dropout
    )
    return parts.Pixels(trunk, decoder, width, outputs, kernel=1)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the library's tensors by this network's names, where they answer here as there.

    Raises:
        UsageError: they are of an encoder of the library's own, which spreads one kernel more than timm's networks do.
    """
    if any(key.startswith("encoder.") and not key.startswith("encoder.model.") for key in tensors):
        raise UsageError(
            "MODEL-015", "these weights are of an encoder of segmentation-models-pytorch's own",
            where="it spreads the first kernel of a stage, too: the same tensors would answer otherwise here",
            fix="weights on an encoder of timm's: its name there begins with tu-",
        )  # fmt: skip
    return parts.renamed(tensors)


SEGMENTER = Segmenter(
    build, "efficientnet_lite0", "DeepLabV3+: kernels of several reaches, sharpened by a fine map; smp's decoder",
    licence="MIT and Apache-2.0", parameters=3_863_909, renamed=renamed,
)  # fmt: skip
