"""RetinaNet: nine anchors at each place of five maps, each a score for every class; torchvision's, on any backbone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models import torchvision_parts as parts
from visus.models.detectors import Detector
from visus.models.trunks import Trunk

MAPS, GROUPS = 5, 32


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    width: Annotated[int, Field(gt=0)] = 256,
    smallest: Annotated[float, Field(gt=0)] = 32.0,
    version: Literal[1, 2] = 1,
) -> RetinaNet:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours or timm's, that has maps of strides 8, 16, 32.
        width: channels of pyramid and head; a multiple of 32 from 64 on for version 2.
        smallest: side of the smallest anchors, pixels; those of each further map are twice as large.
        version: of torchvision's; 2 normalises in the head and makes its coarse maps from the backbone's own.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps; a width that version 2 cannot normalise.

    Source:
        Lin et al., Focal loss for dense object detection, ICCV 2017, section 4; version 2: Li et al., Benchmarking
        detection transfer learning with vision transformers, 2021.
    """
    if version == 2 and (width < 2 * GROUPS or width % GROUPS):
        raise UsageError(
            "MODEL-011", f"retinanet: width = {width}: version 2 normalises its head in {GROUPS} groups of channels",
            fix=f"a multiple of {GROUPS} from {2 * GROUPS} on, or --set model.options.version=1",
        )  # fmt: skip
    return RetinaNet(Trunk(backbone, channels, size, {}), outputs, width, smallest, version)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's tensors by this network's names.

    Version 1 was published with layers numbered together with their activations.
    """
    first = parts.exact(tensors)
    pattern = re.compile(r"(_head\.conv)\.(\d+)\.(weight|bias)$")
    return parts.renamed(
        {pattern.sub(lambda m: f"{m[1]}.{int(m[2]) // 2}.0.{m[3]}", key): tensor for key, tensor in first.items()}
    )


def implied(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options that torchvision's tensors imply."""
    return {"version": 2 if any(re.search(r"_head\.conv\.0\.1\.weight$", key) for key in tensors) else 1}


class RetinaNet(nn.Module):
    """See ``build``.

    Attributes:
        heads: prefixes of what starts fresh on a pretrained backbone.
    """

    heads = ("head", "pyramid")

    def __init__(self, trunk: Trunk, outputs: int, width: int, smallest: float, version: int) -> None:
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.retinanet import RetinaNetHead
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

        super().__init__()
        self.backbone = trunk
        coarse = trunk.widths[-1] if version == 2 else width
        self.pyramid = FeaturePyramidNetwork(list(trunk.widths), width, LastLevelP6P7(coarse, width))
        sides = [[int(smallest * 2 ** (i + third / 3)) for third in range(3)] for i in range(MAPS)]
        self.anchors = AnchorGenerator(tuple(map(tuple, sides)), (parts.RATIOS,) * MAPS)
        norm = partial(nn.GroupNorm, GROUPS) if version == 2 else None
        self.head = RetinaNetHead(width, 3 * len(parts.RATIOS), outputs, norm)

    def forward(
        self, images: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B A K"], Float[Tensor, "B A 4"], Float[Tensor, "B A 4"]]:
        """Return for every anchor, the finest map first: logits, offsets to the object, and the anchor itself.

        Offsets are of the middle, in sides of the anchor, and of the logarithm of width and height; anchors are xyxy
        in pixels.
        """
        maps = parts.told(self.pyramid, self.backbone(images))
        said = self.head(maps)
        laid = parts.anchors(self.anchors, images, maps)
        return said["cls_logits"], said["bbox_regression"], laid.expand(images.shape[0], -1, -1)

    def outputs_in(self, tensors: Mapping[str, Tensor]) -> int:
        """Return how many classes the tensors of a whole network tell apart, 0 where they hold no head."""
        return len(tensors.get("head.classification_head.cls_logits.bias", ())) // (3 * len(parts.RATIOS))


DETECTOR = Detector(
    build, "efficientnet_lite0", "RetinaNet: anchors and focal loss, torchvision's head and pyramid", "anchors",
    parameters=12_494_068, published={"resnet50": "retinanet_resnet50_fpn"}, renamed=renamed,
    implied=implied,
    judging={"detect.candidates": 5000, "detect.least": 0.05, "detect.overlap": 0.5, "detect.most": 300},
)  # fmt: skip
