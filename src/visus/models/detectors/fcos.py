"""FCOS: each place of five maps says what lies there, how far its sides are and how central it is; torchvision's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.models import torchvision_parts as parts
from visus.models.detectors import Detector
from visus.models.trunks import Trunk

SQUARES = (8, 16, 32, 64, 128)
"""Side of the square that a place of each map stands for: its stride."""


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    width: Annotated[int, Field(ge=64, multiple_of=32)] = 256,
    layers: Annotated[int, Field(ge=0, le=8)] = 4,
) -> FCOS:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that has maps of strides 8, 16, 32.
        width: channels of pyramid and head, a multiple of 32 from 64 on.
        layers: 3 x 3 convolutions of each branch of the head.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Tian et al., FCOS: a simple and strong anchor-free object detector, TPAMI 2020.
    """
    return FCOS(Trunk(backbone, channels, size, {}), outputs, width, layers)


class FCOS(nn.Module):
    """See ``build``.

    Attributes:
        heads: prefixes of what starts fresh on a pretrained backbone.
    """

    heads = ("head", "pyramid")

    def __init__(self, trunk: Trunk, outputs: int, width: int, layers: int) -> None:
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.fcos import FCOSHead
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

        super().__init__()
        self.backbone = trunk
        self.pyramid = FeaturePyramidNetwork(list(trunk.widths), width, LastLevelP6P7(width, width))
        self.squares = AnchorGenerator(tuple((side,) for side in SQUARES), ((1.0,),) * len(SQUARES))
        self.head = FCOSHead(width, 1, outputs, layers)

    def forward(
        self, images: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B A K"], Float[Tensor, "B A 4"], Float[Tensor, "B A"], Float[Tensor, "B A 4"]]:
        """Return for every place, the finest map first: logits, sides, logit of its centrality, and its square.

        Sides are the distances to the left, top, right and bottom of the object, in sides of the square; squares are
        xyxy in pixels, about the places.
        """
        maps = parts.told(self.pyramid, self.backbone(images))
        said = self.head(maps)
        laid = parts.anchors(self.squares, images, maps).expand(images.shape[0], -1, -1)
        return said["cls_logits"], said["bbox_regression"], said["bbox_ctrness"].squeeze(2), laid

    def outputs_in(self, tensors: Mapping[str, Tensor]) -> int:
        """Return how many classes the tensors of a whole network tell apart, 0 where they hold no head."""
        return len(tensors.get("head.classification_head.cls_logits.bias", ()))


DETECTOR = Detector(
    build, "efficientnet_lite0", "FCOS: places, sides and centrality, torchvision's head and pyramid", "centres",
    parameters=10_951_509, published={"resnet50": "fcos_resnet50_fpn"}, renamed=parts.renamed,
    judging={"detect.candidates": 5000, "detect.least": 0.2, "detect.overlap": 0.6, "detect.most": 100},
)  # fmt: skip
