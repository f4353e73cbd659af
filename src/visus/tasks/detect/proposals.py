"""How a detector that first proposes and then judges is learned from and read: ``faster_rcnn``.

B pictures, P proposals of a picture, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from visus.core.recipe import Recipe
from visus.core.task import Batch, Term
from visus.models.detectors.faster_rcnn import FasterRCNN
from visus.tasks.detect.matching import BACKGROUND, drawn, matched, objects_of, outside_regions
from visus.tasks.detect.terms import UNIT, box_loss, class_loss, precise, weights

OFFSETS = BoxCoder((1.0, 1.0, 1.0, 1.0))
"""From anchors to objects."""
CORRECTIONS = BoxCoder((10.0, 10.0, 5.0, 5.0))
"""From proposals to objects: larger numbers, as the proposals are near already."""
ANCHOR_LOW, ANCHOR_HIGH, ANCHOR_SHARE = 0.3, 0.7, 0.5
"""Overlaps below which an anchor is background and from which on it learns an object, and the share of these drawn."""
PROPOSAL_HIGH, PROPOSAL_SHARE = 0.5, 0.25
"""Overlap from which on a proposal learns an object, and the share of these drawn."""


class Drawn(NamedTuple):
    """The boxes of each picture that learn, R of them.

    Attributes:
        boxes: (R, 4) xyxy in pixels.
        labels: (R,) what each shows, 0 for background.
        objects: (R, 4) boxes of the objects that they learn.
        which: (R,) which of ``objects_of`` the picture that is; below 0 for none.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    objects: list[Tensor]
    which: list[Tensor]


class Proposals:
    """Losses and answers of a network that proposes and one that judges.

    Of each picture some anchors and some proposals are drawn to learn, by numbers that depend on the step and the
    picture alone.  Each picture's losses are means over what was drawn of it, and it counts for its objects and one
    more: its part of a batch's sums, in the unit of objects, depends on no other picture.

    Args:
        recipe: its settings.

    Raises:
        UsageError: a loss that does not fit.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.detect = recipe, recipe.detect
        self.class_loss = class_loss(recipe, ("label",))
        self.first_loss = box_loss("huber", OFFSETS)
        self.box_loss = box_loss(recipe.detect.box_loss, CORRECTIONS)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Term]:
        """Return the losses of both networks: what holds something and where, and what it is and where.

        The second network learns from proposals of the first and from the objects' own boxes.  In regions in which
        nothing is counted no background is drawn.

        Source:
            Ren et al., Faster R-CNN, NeurIPS 2015, section 3.1; Girshick, Fast R-CNN, ICCV 2015, section 2.3.
        """
        assert isinstance(model, FasterRCNN)
        (images,) = batch.inputs
        maps = model.maps(images)
        said = model.propose(images, maps)
        drawn_boxes = self._drawn_proposals(said.proposals, batch)
        boxes = drawn_boxes.boxes
        logits, corrections = (precise(each) for each in model.judge(images, maps, boxes))
        label, objects = torch.cat(drawn_boxes.labels), torch.cat(drawn_boxes.objects)
        counts = torch.tensor([len(each) for each in boxes], device=images.device)
        share = weights(batch, counts).repeat_interleave(counts)
        holds = label > 0
        apart = self.box_loss(corrections[holds, label[holds]], torch.cat(boxes)[holds], objects[holds])
        return {
            **self._first(precise(said.objectness), precise(said.offsets), said.anchors, batch),
            self.recipe.loss.name: Term((self.class_loss(logits, label) * share).sum(), UNIT),
            self.detect.box_loss: Term(self.detect.box_gain * (apart * share[holds]).sum(), UNIT),
            **self._further(model, images, maps, drawn_boxes, batch),
        }

    def _further(
        self, model: FasterRCNN, images: Tensor, maps: Sequence[Tensor], learning: Drawn, batch: Batch
    ) -> dict[str, Term]:
        """Return the losses of what else is said of the proposals that learn."""
        return {}

    def answer(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Return boxes (B, P, K, 4) in pixels, one a class, and the score of each class there (B, P, K)."""
        _, _, proposals, logits, corrections = model(images)
        return self.read(proposals, logits, corrections)

    def read(self, proposals: Tensor, logits: Tensor, corrections: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes (B, P, K, 4) and scores (B, P, K) that are meant by what the second network says."""
        proposals, logits, corrections = (precise(said) for said in (proposals, logits, corrections))
        boxes = CORRECTIONS.decode_single(corrections.flatten(2).flatten(0, 1), proposals.flatten(0, 1))
        return boxes.reshape(corrections.shape)[:, :, 1:], logits.softmax(2)[..., 1:]

    def _first(
        self, objectness: Float[Tensor, "B A"], offsets: Float[Tensor, "B A 4"], anchors: Tensor, batch: Batch
    ) -> dict[str, Term]:
        """Return the losses of the network that proposes."""
        taken = torch.zeros_like(objectness, dtype=torch.bool)
        truth, wanted = torch.zeros_like(objectness), torch.zeros_like(offsets)
        for row in range(len(batch)):
            objects, _ = objects_of(batch, row)
            at = matched(anchors, objects, ANCHOR_LOW, ANCHOR_HIGH, each=True)
            holds = at >= 0
            empty = (at == BACKGROUND) & outside_regions(anchors, batch, row)
            taken[row] = drawn(holds, empty, self.detect.drawn // 2, ANCHOR_SHARE, batch.generator("anchors", row))
            truth[row, holds] = 1
            wanted[row, holds] = objects[at[holds]].to(wanted)
        share = weights(batch, taken.sum(1))[:, None].expand_as(taken)
        holds = taken & (truth > 0)
        surprise = F.binary_cross_entropy_with_logits(objectness[taken], truth[taken], reduction="none")
        apart = self.first_loss(offsets[holds], anchors.expand_as(offsets)[holds], wanted[holds])
        return {
            "objectness": Term((surprise * share[taken]).sum(), UNIT),
            "proposals": Term((apart * share[holds]).sum(), UNIT),
        }

    @torch.no_grad()
    def _drawn_proposals(self, proposals: Float[Tensor, "B P 4"], batch: Batch) -> Drawn:
        """Return the boxes that learn."""
        found = Drawn([], [], [], [])
        for row, proposed in enumerate(proposals):
            objects, classes = objects_of(batch, row)
            objects = objects.to(proposed)
            mine = torch.cat([objects, proposed[(proposed[:, 2:] > proposed[:, :2]).all(1)]])
            at = matched(mine, objects, PROPOSAL_HIGH, PROPOSAL_HIGH, each=False)
            holds, empty = at >= 0, (at == BACKGROUND) & outside_regions(mine, batch, row)
            taken = drawn(holds, empty, self.detect.drawn, PROPOSAL_SHARE, batch.generator("proposals", row))
            label, learned = torch.zeros_like(at), torch.zeros_like(mine)
            label[holds], learned[holds] = classes[at[holds]] + 1, objects[at[holds]]
            found.boxes.append(mine[taken])
            found.labels.append(label[taken])
            found.objects.append(learned[taken])
            found.which.append(at[taken])
        return found


READING = Proposals
