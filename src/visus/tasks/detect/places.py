"""How a detector that answers for each place is learned from and read: ``anchor_free``.

B pictures, A places of a picture, K classes, N objects.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.recipe import LossSettings, Recipe
from visus.core.task import Batch, Term
from visus.losses import settled
from visus.models.detectors.anchor_free import places
from visus.tasks.detect.assignment import Objects, task_aligned
from visus.tasks.detect.matching import outside_regions
from visus.tasks.detect.terms import UNIT, precise


class Places:
    """Losses and answers of a network of places.

    The losses of a batch are sums over its places, in the unit of objects; each picture counts as one object more, so
    that the denominator follows from the targets alone and a picture without objects has its weight.

    Args:
        recipe: its settings.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.detect = recipe, recipe.detect
        self.class_loss: Callable[[Tensor, Tensor], Tensor] = settled(recipe.loss, ("quality",))
        self.box_loss: Callable[[Tensor, Tensor], Tensor] = settled(
            LossSettings(name=recipe.detect.box_loss), ("boxes",)
        )

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Term]:
        """Return the loss of the classes over all places, and that of the boxes over the places that learn one.

        A place that learns an object learns the quality of its own box as the score of its class, and its box by that
        weight; all other scores learn zero, but for those in regions in which nothing is counted.
        """
        (images,) = batch.inputs
        logits, sides = (precise(said) for said in model(images))
        points, strides = _places(tuple(images.shape[2:]), images.device)
        boxes = boxes_of(sides, points, strides)
        objects = Objects.of(batch.targets["boxes"], batch.targets["labels"])
        assigned = task_aligned(
            logits.sigmoid(), boxes, points, objects,
            most=self.detect.places, alpha=self.detect.alpha, beta=self.detect.beta,
        )  # fmt: skip
        quality = torch.zeros_like(logits)
        quality[assigned.pictures, assigned.places, objects.labels[assigned.objects]] = assigned.quality
        values = self.class_loss(logits.flatten(0, 1), quality.flatten(0, 1)).reshape(logits.shape[:2])
        spots = points.repeat(1, 2)  # boxes without an area
        counted = torch.stack([outside_regions(spots, batch, row) for row in range(len(batch))])
        counted[assigned.pictures, assigned.places] = True
        apart = self.box_loss(boxes[assigned.pictures, assigned.places], objects.boxes[assigned.objects])
        return {
            self.recipe.loss.name: Term(values.where(counted, 0).sum(), UNIT),
            self.detect.box_loss: Term(self.detect.box_gain * (apart * assigned.quality).sum(), UNIT),
        }

    def answer(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Return boxes (B, A, 4) in pixels, and the score of each class there (B, A, K)."""
        logits, sides = (precise(said) for said in model(images))
        points, strides = _places(tuple(images.shape[2:]), images.device)
        return boxes_of(sides, points, strides), logits.sigmoid()


def boxes_of(
    sides: Float[Tensor, "B A 4"], points: Float[Tensor, "A 2"], strides: Float[Tensor, "A"]
) -> Float[Tensor, "B A 4"]:
    """Return the boxes that the answer means, xyxy in pixels."""
    reach = F.softplus(sides) * strides[:, None]
    return torch.cat([points - reach[..., :2], points + reach[..., 2:]], -1)


@lru_cache(maxsize=16)
def _places(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # whoever asks first, these are kept for those who learn
        points, strides = places(size)
        return points.to(device), strides.to(device)


READING = Places
