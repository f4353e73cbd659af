"""Faster R-CNN: one network proposes where something is, a second says what each proposal shows; torchvision's."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.core.boxes import clip
from visus.core.suppression import kept, top
from visus.models import torchvision_parts as parts
from visus.models.detectors import Detector
from visus.models.origins.torchvision_zoo import PREFIX
from visus.models.trunks import Trunk

STRIDES, COARSE = (4, 8, 16, 32), (32, 32)
SIZES = 5
"""Sizes of anchors, each twice as large as the one before."""

CROP = 7
"""Places a side at which the map is read within a proposal."""

ALIKE = 0.7
"""Overlap above which two proposals of a map are one."""

LIKELY = 0.05
"""Score from which on a place of coarse maps is a proposal."""


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
    version: Literal[1, 2] = 1,
    coarse: bool | None = None,
) -> FasterRCNN:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: any network, ours, timm's or a chain of torchvision's, that has maps of strides 4, 8, 16, 32.
        width: channels of the pyramid.
        hidden: numbers by which a proposal is judged.
        smallest: side of the smallest anchors, pixels; those of each further map are twice as large.
        proposals: of a picture, and of each map before those of the same thing are reduced to one.
        version: of torchvision's; 2 normalises in the pyramid and judges proposals by four convolutions.
        coarse: only two maps of stride 32 are looked at, whose places have anchors of every size: far less to compute,
            and nearly blind to small objects.  The default on torchvision's MobileNets, as it is torchvision's own.

    Raises:
        UsageError: a backbone that does not exist, or has no such maps.

    Source:
        Ren et al., Faster R-CNN, NeurIPS 2015; Lin et al., Feature pyramid networks, CVPR 2017, sections 4 and 5;
        version 2: Li et al., Benchmarking detection transfer learning with vision transformers, 2021.
    """
    trunk, sides, likely = ground(backbone, channels, size, smallest, coarse)
    return FasterRCNN(trunk, outputs, width, hidden, sides, proposals, likely, version)


def ground(
    backbone: str, channels: int, size: tuple[int, int], smallest: float, coarse: bool | None
) -> tuple[Trunk, list[list[float]], float]:
    """Return the backbone, the sides of the anchors of each map, and the score from which a place is a proposal.

    Args:
        backbone, channels, size, smallest, coarse: see ``build``.
    """
    if coarse is None:
        coarse = backbone.removeprefix(PREFIX).startswith("mobilenet_")
    trunk = Trunk(backbone, channels, size, {}, COARSE if coarse else STRIDES)
    sizes = [smallest * 2**i for i in range(SIZES)]
    sides = [sizes] * (len(COARSE) + 1) if coarse else [[each] for each in sizes]
    return trunk, sides, LIKELY if coarse else 0.0


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return torchvision's tensors by this network's names."""
    return parts.renamed(parts.exact(tensors))


def implied(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options that torchvision's tensors imply."""
    version = 2 if any(re.search(r"box_head\.0\.0\.weight$", key) for key in tensors) else 1
    laid = next((len(each) for key, each in tensors.items() if key.endswith("cls_logits.weight")), 0)
    return {"version": version, "coarse": laid == SIZES * len(parts.RATIOS)}


class Proposed(NamedTuple):
    """What the first network says.

    Attributes:
        objectness: (B, A) logits of each anchor holding something.
        offsets: (B, A, 4) from each anchor to what it holds: of the middle in sides of the anchor, and of the
            logarithm of width and height.
        anchors: (A, 4) xyxy in pixels, the finest map first.
        proposals: (B, P, 4) xyxy in pixels within the picture, the likeliest first; zeros where there are no more.
    """

    objectness: Float[Tensor, "B A"]
    offsets: Float[Tensor, "B A 4"]
    anchors: Float[Tensor, "A 4"]
    proposals: Float[Tensor, "B P 4"]


class FasterRCNN(nn.Module):
    """See ``build``.  Its three steps are ``maps``, ``propose`` and ``judge``; ``forward`` is all of them.

    Attributes:
        heads: prefixes of what starts fresh on a pretrained backbone.
    """

    heads = ("head", "proposals", "pyramid")

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
    ) -> None:
        from torchvision.models.detection import _utils, anchor_utils, faster_rcnn, rpn
        from torchvision.ops import MultiScaleRoIAlign
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        super().__init__()
        self.backbone, self.most, self.likely = trunk, proposals, likely
        norm = nn.BatchNorm2d if version == 2 else None
        self.pyramid = FeaturePyramidNetwork(list(trunk.widths), width, LastLevelMaxPool(), norm)
        self.anchors = anchor_utils.AnchorGenerator(tuple(map(tuple, sides)), (parts.RATIOS,) * len(sides))
        self.laid = len(sides[0]) * len(parts.RATIOS)
        self.coder = _utils.BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.proposals = rpn.RPNHead(width, self.laid, version)
        self.crop = MultiScaleRoIAlign([str(i) for i in range(len(trunk.widths))], CROP, 2)
        self.head = nn.ModuleDict({
            "box_head": faster_rcnn.TwoMLPHead(width * CROP**2, hidden) if version == 1 else
                faster_rcnn.FastRCNNConvFCHead((width, CROP, CROP), [width] * 4, [hidden], norm),
            "box_predictor": faster_rcnn.FastRCNNPredictor(hidden, outputs + 1),
        })  # fmt: skip

    def forward(
        self, images: Float[Tensor, "B C H W"]
    ) -> tuple[
        Float[Tensor, "B A"], Float[Tensor, "B A 4"], Float[Tensor, "B P 4"], Float[Tensor, "B P L"],
        Float[Tensor, "B P L 4"],
    ]:  # fmt: skip
        """Return objectness, offsets and proposals (see ``Proposed``), and logits and corrections of each proposal."""
        maps = self.maps(images)
        said = self.propose(images, maps)
        logits, corrections = self.judge(images, maps, list(said.proposals))
        b, p = said.proposals.shape[:2]
        return *said[:2], said.proposals, logits.reshape(b, p, -1), corrections.reshape(b, p, -1, 4)

    def maps(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B D _ _"]]:
        """Return the maps of the backbone's strides, and one of twice the last."""
        return parts.told(self.pyramid, self.backbone(images))

    def propose(self, images: Float[Tensor, "B C H W"], maps: Sequence[Float[Tensor, "B D _ _"]]) -> Proposed:
        """Return what the first network says; no gradient passes through its proposals."""
        scores, moves = self.proposals(list(maps))
        objectness = torch.cat([_by_anchor(each, self.laid) for each in scores], 1).squeeze(2)
        offsets = torch.cat([_by_anchor(each, self.laid) for each in moves], 1)
        anchors = parts.anchors(self.anchors, images, maps)
        lengths = [each.shape[2] * each.shape[3] * self.laid for each in maps]
        with torch.no_grad():
            boxes = self.coder.decode_single(_precise(offsets).flatten(0, 1), anchors.repeat(images.shape[0], 1))
            boxes = clip(boxes.reshape(offsets.shape), (images.shape[2], images.shape[3]))
            proposals = _proposals(_precise(objectness), boxes, lengths, self.most, self.likely)
        return Proposed(objectness, offsets, anchors, proposals)

    def judge(
        self, images: Float[Tensor, "B C H W"], maps: Sequence[Float[Tensor, "B D _ _"]], boxes: list[Tensor]
    ) -> tuple[Float[Tensor, "R L"], Float[Tensor, "R L 4"]]:
        """Return what the second network says of some boxes.

        Args:
            images: the pictures.
            maps: theirs.
            boxes: (N, 4) xyxy in pixels, of each picture any number.

        Returns:
            Logits of the background and each class, and for each of these the offsets from box to object, of one
            picture after the other.
        """
        crops = self.cropped(self.crop, images, maps, boxes)
        logits, corrections = self.head["box_predictor"](self.head["box_head"](crops))
        return logits, corrections.reshape(*logits.shape, 4)

    def cropped(
        self,
        crop: nn.Module,
        images: Float[Tensor, "B C H W"],
        maps: Sequence[Float[Tensor, "B D _ _"]],
        boxes: list[Tensor],
    ) -> Float[Tensor, "R D _ _"]:
        """Return what the maps hold within some boxes, read by ``crop``; see ``judge``."""
        read = OrderedDict((str(i), _precise(each)) for i, each in enumerate(maps[: len(self.backbone.widths)]))
        crops: Tensor = crop(read, [each.to(read["0"]) for each in boxes], [tuple(images.shape[2:])])
        return crops

    def outputs_in(self, tensors: Mapping[str, Tensor]) -> int:
        """Return how many classes the tensors of a whole network tell apart from the background, 0 without a head."""
        said = tensors.get("head.box_predictor.cls_score.weight")
        return 0 if said is None else len(said) - 1


def _proposals(
    objectness: Float[Tensor, "B A"], boxes: Float[Tensor, "B A 4"], lengths: Sequence[int], most: int, least: float
) -> Float[Tensor, "B P 4"]:
    """Return the likeliest boxes of each picture, at most ``most`` of each map, those of the same thing reduced to one.

    Args:
        objectness: logits.
        boxes: xyxy, cut at the picture's edges.
        lengths: anchors of each map.
        most: rows of the answer, where there are as many anchors.
        least: score from which on a box is one of them.
    """
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    best = [top(each, min(most, each.shape[1])) + start
            for each, start in zip(torch.split(objectness, list(lengths), 1), starts, strict=True)]  # fmt: skip
    maps = torch.cat([torch.full_like(each, i) for i, each in enumerate(best)], 1)
    at = torch.cat(best, 1)
    logits, mine = objectness.gather(1, at), boxes.gather(1, at[..., None].expand(-1, -1, 4))
    scores = logits.sigmoid()
    real = (mine[..., 2:] - mine[..., :2] >= 1e-3).all(2) & logits.isfinite() & (scores >= least)
    scores = torch.where(real, scores, -1.0)
    scores = torch.where(kept(mine, scores, maps, len(lengths), ALIKE), scores, -1.0)
    order = top(scores, min(most, scores.shape[1]))
    real = scores.gather(1, order) >= 0
    return torch.where(real[..., None], mine.gather(1, order[..., None].expand(-1, -1, 4)), 0.0)


def _by_anchor(said: Float[Tensor, "B _ h w"], count: int) -> Float[Tensor, "B A _"]:
    """Return what is said of each anchor: of the ``count`` of a place one after the other, place by place."""
    b, _, h, w = said.shape
    return said.reshape(b, count, -1, h, w).permute(0, 3, 4, 1, 2).flatten(1, 3)


def _precise(said: Tensor) -> Tensor:
    return said.to(torch.promote_types(said.dtype, torch.float32))


DETECTOR = Detector(
    build, "efficientnet_lite0", "Faster R-CNN: proposals and what they show, torchvision's parts", "proposals",
    parameters=20_351_908, renamed=renamed, implied=implied,
    published={"resnet50": "fasterrcnn_resnet50_fpn", "mobilenet_v3_large": "fasterrcnn_mobilenet_v3_large_fpn"},
    judging={"detect.candidates": 20_000, "detect.least": 0.05, "detect.overlap": 0.5, "detect.most": 100},
)  # fmt: skip
