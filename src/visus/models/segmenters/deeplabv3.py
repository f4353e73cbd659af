"""DeepLabV3: kernels of several reaches and the whole picture on a map that stays large; torchvision's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from visus.models import torchvision_parts as parts
from visus.models.segmenters import Segmenter

Rate = Annotated[int, Field(gt=0)]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    rates: tuple[Rate, Rate, Rate] = (12, 24, 36),
    stride: Literal[0, 8, 16, 32] = 0,
) -> parts.Pixels:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that can spread its kernels (see ``trunks.dilated``); with stride 32 any
            that has a map of it.
        rates: places between the taps of its three spread kernels.
        stride: of the backbone's map; 0 for torchvision's own: 16 on its MobileNetV3, 8 on all others.

    Raises:
        UsageError: a backbone that does not exist, or has no such map.

    Source:
        Chen et al., Rethinking atrous convolution for semantic image segmentation, 2017.
    """
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead

    trunk = parts.spread_trunk(backbone, channels, size, stride)
    return parts.Pixels(trunk, DeepLabHead(trunk.widths[0], outputs, rates), "4")


SEGMENTER = Segmenter(
    build, "efficientnet_lite0", "DeepLabV3: kernels of several reaches on a large map; torchvision's",
    parameters=6_261_013, renamed=parts.renamed_pixels,
    published={
        "resnet50": "deeplabv3_resnet50", "resnet101": "deeplabv3_resnet101",
        "mobilenet_v3_large": "deeplabv3_mobilenet_v3_large",
    },
)  # fmt: skip
