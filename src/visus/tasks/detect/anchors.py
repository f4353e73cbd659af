"""How a detector of anchors is learned from and read: ``retinanet``.

B pictures, A anchors of a picture, K classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder

from visus.core.recipe import Recipe
from visus.core.task import Batch, Term
from visus.tasks.detect.matching import BACKGROUND, BETWEEN, matched, objects_of, outside_regions
from visus.tasks.detect.terms import UNIT, box_loss, class_loss, precise, weights

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))
LOW, HIGH = 0.4, 0.5
"""Overlaps below which an anchor is background, and from which on it learns an object."""


class Anchors:
    """Losses and answers of a network of anchors.

    Each picture's losses are divided by the anchors that learn an object in it, and it counts for its objects and one
    more: its part of a batch's sums, in the unit of objects, depends on no other picture.

    Args:
        recipe: its settings.

    Raises:
        UsageError: a loss that does not fit.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.detect = recipe, recipe.detect
        self.class_loss = class_loss(recipe, ("labels", "quality"))
        self.box_loss = box_loss(recipe.detect.box_loss, CODER)

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Term]:
        """Return the loss of the classes over all anchors, and that of the boxes over those that learn an object.

        Nothing is learned by anchors that overlap an object neither enough nor little enough, nor by background in
        regions in which nothing is counted.

        Source:
            Lin et al., Focal loss for dense object detection, ICCV 2017, section 4.1.
        """
        logits, offsets, anchors = (precise(said) for said in model(*batch.inputs))
        truth = torch.zeros_like(logits)
        wanted = torch.zeros_like(anchors)
        for row, mine in enumerate(anchors):
            objects, labels = objects_of(batch, row)
            at = matched(mine, objects, LOW, HIGH, each=True)
            learning = at >= 0
            truth[row, learning, labels[at[learning]]] = 1
            truth[row, (at == BETWEEN) | ((at == BACKGROUND) & ~outside_regions(mine, batch, row))] = -1
            wanted[row, learning] = objects[at[learning]].to(wanted)
        learning = (truth > 0).any(2)
        share = weights(batch, learning.sum(1))
        surprise = self.class_loss(logits.flatten(0, 1), truth.flatten(0, 1)).reshape(learning.shape)
        apart = self.box_loss(offsets[learning], anchors[learning], wanted[learning])
        rows = learning.nonzero()[:, 0]
        return {
            self.recipe.loss.name: Term((surprise.sum(1) * share).sum(), UNIT),
            self.detect.box_loss: Term(self.detect.box_gain * (apart * share[rows]).sum(), UNIT),
        }

    def answer(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Return boxes (B, A, 4) in pixels, and the score of each class there (B, A, K)."""
        logits, offsets, anchors = (precise(said) for said in model(images))
        boxes = CODER.decode_single(offsets.flatten(0, 1), anchors.flatten(0, 1))
        return boxes.reshape(anchors.shape), logits.sigmoid()


READING = Anchors
