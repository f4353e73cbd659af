"""LR-ASPP: a coarse map weighed by the whole picture, and a fine one beside it, for speed; torchvision's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from visus.models import torchvision_parts as parts
from visus.models.segmenters import Segmenter
from visus.models.trunks import dilated, is_mobilenet


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    width: Annotated[int, Field(gt=0)] = 128,
) -> LRASPP:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that has a map of stride 8 and can spread its kernels to keep
            one of 16 as its last (see ``trunks.dilated``).
        width: channels of the coarse map.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Howard et al., Searching for MobileNetV3, ICCV 2019, section 6.4.
    """
    from torchvision.models.segmentation.lraspp import LRASPPHead

    strides = (8, 8, 16) if is_mobilenet(backbone) else (8, 16)  # torchvision takes the first map of stride 8
    trunk = dilated(backbone, channels, size, strides, settled=False)
    return LRASPP(trunk, LRASPPHead(trunk.widths[0], trunk.widths[-1], outputs, width), "low_classifier")


class LRASPP(parts.Pixels):
    """See ``build``."""

    def said(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K h w"]:
        """Return logits at an eighth of the size."""
        logits: Tensor = self.classifier({"low": maps[0], "high": maps[-1]})
        return logits


SEGMENTER = Segmenter(
    build, "efficientnet_lite0", "LR-ASPP: two maps and the whole picture, for speed; torchvision's",
    parameters=3_044_594, published={"mobilenet_v3_large": "lraspp_mobilenet_v3_large"}, renamed=parts.renamed_pixels,
)  # fmt: skip
