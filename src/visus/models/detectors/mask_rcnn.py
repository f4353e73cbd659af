"""Mask R-CNN: Faster R-CNN with a third network, which says which pixels of a box are the object's; torchvision's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from visus.models.detectors import Detector, faster_rcnn
from visus.models.detectors.faster_rcnn import FasterRCNN
from visus.models.trunks import Trunk

CROP = 14
"""Places a side at which the map is read within a box; the mask has twice as many."""

MASK = 2 * CROP
"""Places of a mask a side."""

_FIRST = re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d)\.")


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    width: Annotated[int, Field(gt=0)] = 256,
    hidden: Annotated[int, Field(gt=0)] = 1024,
    smallest: Annotated[float, Field(gt=0)] = 32.0,
    proposals: Annotated[int, Field(gt=0)] = 1000,
    layers: Annotated[int, Field(gt=0)] = 4,
    version: Literal[1, 2] = 1,
    coarse: bool | None = None,
) -> MaskRCNN:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: as for ``faster_rcnn``, and so are ``hidden``, ``smallest``, ``proposals`` and ``coarse``.
        width: channels of the pyramid, and of the network of masks.
        hidden: numbers by which a proposal is judged.
        smallest: side of the smallest anchors, pixels.
        proposals: of a picture.
        layers: convolutions of the network of masks.
        version: of torchvision's; 2 normalises in the pyramid and the heads.
        coarse: only two maps of stride 32 are looked at.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        He et al., Mask R-CNN, ICCV 2017, section 3 and figure 4 (right).
    """
    trunk, sides, likely = faster_rcnn.ground(backbone, channels, size, smallest, coarse)
    return MaskRCNN(trunk, outputs, width, hidden, sides, proposals, likely, version, layers)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's tensors by this network's names; its first file numbers the convolutions of masks from 1."""
    named = {
        _FIRST.sub(lambda at: f"roi_heads.mask_head.{int(at[1]) - 1}.0.", key): each for key, each in tensors.items()
    }
    return faster_rcnn.renamed(named)


class MaskRCNN(FasterRCNN):
    """See ``build``.  To the steps of Faster R-CNN comes ``outline``."""

    def __init__(
        self,
        trunk: Trunk,
        outputs: int,
        width: int,
        hidden: int,
        sides: Sequence[Sequence[float]],
        proposals: int,
        likely: float,
        version: int,
        layers: int,
    ) -> None:
        from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
        from torchvision.ops import MultiScaleRoIAlign

        super().__init__(trunk, outputs, width, hidden, sides, proposals, likely, version)
        self.mask_crop = MultiScaleRoIAlign(self.crop.featmap_names, CROP, 2)
        self.head["mask_head"] = MaskRCNNHeads(width, [width] * layers, 1, nn.BatchNorm2d if version == 2 else None)
        self.head["mask_predictor"] = MaskRCNNPredictor(width, width, outputs + 1)

    def forward(self, images: Float[Tensor, "B C H W"]) -> tuple[Tensor, ...]:  # type: ignore[override]  # one tensor more
        """Return what ``FasterRCNN`` does and, (B, P, S, S), logits of the mask of each proposal's likeliest class."""
        maps = self.maps(images)
        said = self.propose(images, maps)
        boxes = list(said.proposals)
        logits, corrections = self.judge(images, maps, boxes)
        masks = self.outline(images, maps, boxes, logits[:, 1:].argmax(1) + 1)
        b, p = said.proposals.shape[:2]
        return (
            *said[:2], said.proposals, logits.reshape(b, p, -1), corrections.reshape(b, p, -1, 4),
            masks.reshape(b, p, MASK, MASK),
        )  # fmt: skip

    def outline(
        self,
        images: Float[Tensor, "B C H W"],
        maps: Sequence[Float[Tensor, "B D _ _"]],
        boxes: list[Tensor],
        labels: Int[Tensor, "R"],
    ) -> Float[Tensor, "R S S"]:
        """Return which places of a grid over some boxes show an object of the box's class.

        Args:
            images: the pictures.
            maps: theirs.
            boxes: (N, 4) xyxy in pixels, of each picture any number.
            labels: of each box of one picture after the other, from 1; 0 is the background.

        Returns:
            Logits; classes do not compete.
        """
        crops = self.cropped(self.mask_crop, images, maps, boxes)
        logits: Tensor = self.head["mask_predictor"](self.head["mask_head"](crops))
        return logits[torch.arange(len(labels), device=labels.device), labels]


DETECTOR = Detector(
    build, "efficientnet_lite0", "Mask R-CNN: boxes and the pixels of each object, torchvision's parts", "masks",
    parameters=22_995_445, renamed=renamed, implied=faster_rcnn.implied, masks=True,
    published={"resnet50": "maskrcnn_resnet50_fpn"}, judging=faster_rcnn.DETECTOR.judging,
)  # fmt: skip
