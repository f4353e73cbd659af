"""FCN: two convolutions on a map that stays large say a class of each place; torchvision's, on any backbone."""

from __future__ import annotations

from typing import Literal

from visus.models import torchvision_parts as parts
from visus.models.segmenters import Segmenter


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    stride: Literal[0, 8, 16, 32] = 0,
) -> parts.Pixels:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that can spread its kernels (see ``trunks.dilated``); with stride 32 any
            that has a map of it.
        stride: of the backbone's map; 0 for torchvision's own: 16 on its MobileNetV3, 8 on all others.

    Raises:
        UsageError: a backbone that does not exist, or has no such map.

    Source:
        Long et al., Fully convolutional networks for semantic segmentation, CVPR 2015.
    """
    from torchvision.models.segmentation.fcn import FCNHead

    trunk = parts.spread_trunk(backbone, channels, size, stride)
    return parts.Pixels(trunk, FCNHead(trunk.widths[0], outputs), "4")


SEGMENTER = Segmenter(
    build, "efficientnet_lite0", "FCN: two convolutions on a large map; torchvision's",
    parameters=3_191_109, renamed=parts.renamed_pixels,
    published={"resnet50": "fcn_resnet50", "resnet101": "fcn_resnet101"},
)  # fmt: skip
