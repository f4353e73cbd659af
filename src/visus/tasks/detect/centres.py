"""How a detector that knows how central its places are is learned from and read: ``fcos``.

B pictures, A places of a picture, K classes, M objects of a picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from visus.core.recipe import LossSettings, Recipe
from visus.core.task import Batch, Term
from visus.losses import settled
from visus.tasks.detect.matching import BACKGROUND, objects_of, outside_regions
from visus.tasks.detect.terms import UNIT, class_loss, precise, weights

RADIUS = 1.5
"""How far from an object's middle a place learns it, in sides of its square."""
NEAR, FAR = 4, 8
"""How far the farthest side of an object is from the places of one map that learn it, in sides of their square."""


class Centres:
    """Losses and answers of a network of places and their centrality.

    Each picture's losses are divided by the places that learn an object in it, and it counts for its objects and one
    more: its part of a batch's sums, in the unit of objects, depends on no other picture.

    Args:
        recipe: its settings.

    Raises:
        UsageError: a loss that does not fit.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.detect = recipe, recipe.detect
        self.class_loss = class_loss(recipe, ("labels", "quality"))
        self.box_loss = settled(LossSettings(name=recipe.detect.box_loss), ("boxes",))

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Term]:
        """Return the loss of the classes over all places, and of boxes and centrality over those that learn an object.

        Source:
            Tian et al., FCOS: a simple and strong anchor-free object detector, TPAMI 2020, section 3.
        """
        logits, sides, centrality, squares = (precise(said) for said in model(*batch.inputs))
        truth = torch.zeros_like(logits)
        wanted = torch.zeros_like(squares)
        for row, mine in enumerate(squares):
            objects, labels = objects_of(batch, row)
            at = central(mine, objects.to(mine))
            learning = at >= 0
            truth[row, learning, labels[at[learning]]] = 1
            truth[row, ~learning & ~outside_regions(mine, batch, row)] = -1
            wanted[row, learning] = objects[at[learning]].to(wanted)
        learning = (truth > 0).any(2)
        share = weights(batch, learning.sum(1))
        surprise = self.class_loss(logits.flatten(0, 1), truth.flatten(0, 1)).reshape(learning.shape)
        of_each = share[learning.nonzero()[:, 0]]
        apart = self.box_loss(boxes_of(sides, squares)[learning], wanted[learning])
        middling = F.binary_cross_entropy_with_logits(
            centrality[learning], centralities(squares[learning], wanted[learning]), reduction="none"
        )
        return {
            self.recipe.loss.name: Term((surprise.sum(1) * share).sum(), UNIT),
            self.detect.box_loss: Term(self.detect.box_gain * (apart * of_each).sum(), UNIT),
            "centrality": Term((middling * of_each).sum(), UNIT),
        }

    def answer(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Return boxes (B, A, 4) in pixels, and the score of each class there (B, A, K).

        A score is the root of its class's probability times the centrality.
        """
        logits, sides, centrality, squares = (precise(said) for said in model(images))
        return boxes_of(sides, squares), (logits.sigmoid() * centrality.sigmoid()[..., None]).sqrt()


@torch.no_grad()
def central(squares: Float[Tensor, "A 4"], objects: Float[Tensor, "M 4"]) -> Int[Tensor, "A"]:
    """Return the object that each place learns, or ``BACKGROUND``.

    A place learns an object that it lies in, near its middle, whose farthest side is as far as its map is for; of
    several the smallest.  The finest map takes all that are nearer, the coarsest all that are farther.
    """
    if not len(objects):
        return torch.full((len(squares),), BACKGROUND, device=squares.device)
    points, strides = (squares[:, :2] + squares[:, 2:]) / 2, squares[:, 2] - squares[:, 0]
    middles = (objects[:, :2] + objects[:, 2:]) / 2
    distances = torch.cat([points[:, None] - objects[:, :2], objects[:, 2:] - points[:, None]], 2)  # (A, M, 4)
    farthest = distances.amax(2)
    least = torch.where(strides == strides.min(), 0, NEAR * strides)[:, None]
    most = torch.where(strides == strides.max(), torch.inf, FAR * strides)[:, None]
    near = (points[:, None] - middles).abs().amax(2) < RADIUS * strides[:, None]
    fits = near & (distances.amin(2) > 0) & (farthest > least) & (farthest < most)
    areas = (objects[:, 2:] - objects[:, :2]).prod(1).expand(len(points), -1)
    smallest, at = areas.where(fits, torch.inf).min(1)
    return at.where(smallest.isfinite(), BACKGROUND)


def centralities(squares: Float[Tensor, "N 4"], objects: Float[Tensor, "N 4"]) -> Float[Tensor, "N"]:
    """Return how central each place lies in its object: 1 in its middle, 0 at its sides.

    Source:
        Tian et al., FCOS, ICCV 2019, equation 3.
    """
    points = (squares[:, :2] + squares[:, 2:]) / 2
    low, high = points - objects[:, :2], objects[:, 2:] - points
    return (torch.minimum(low, high) / torch.maximum(low, high)).prod(1).sqrt()


def boxes_of(sides: Float[Tensor, "B A 4"], squares: Float[Tensor, "B A 4"]) -> Float[Tensor, "B A 4"]:
    """Return the boxes that the answer means, xyxy in pixels."""
    points, strides = (squares[..., :2] + squares[..., 2:]) / 2, squares[..., 2:] - squares[..., :2]
    return torch.cat([points - sides[..., :2] * strides, points + sides[..., 2:] * strides], -1)


READING = Centres
