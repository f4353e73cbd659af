"""What readings share: the unit of their sums, losses from given boxes by their names, and what a picture weighs.

N boxes, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from visus.core.errors import UsageError
from visus.core.recipe import LossSettings, Recipe
from visus.core.task import Batch
from visus.losses import reads, settled

UNIT = "object"
IGNORED = -2
"""Label of a region in which nothing is counted."""

BEND = 1 / 9
"""Where the loss of offsets turns from squares to lines."""


def class_loss(recipe: Recipe, columns: tuple[str, ...]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the recipe's loss of classes, a sum over them: (logits (N, K), truth) -> (N,).

    Args:
        recipe: its settings.
        columns: what it may learn from: ``label``, or ``labels`` and ``quality``, 0 and 1 for each class.

    Raises:
        UsageError: no such loss, one that learns from something else, or weights of classes.
    """
    loss = settled(recipe.loss, columns)
    if recipe.loss.class_weights != "none":
        raise UsageError(
            "LOSS-002", f"the loss {recipe.loss.name!r} takes no class_weights here: objects all weigh the same",
            fix="leave it out",
        )  # fmt: skip
    if reads(recipe.loss.name) != "labels":
        return loss
    return lambda logits, truth: loss(logits, truth) * (truth >= 0).sum(1)  # it is a mean over the known classes


def box_loss(name: str, coder: BoxCoder) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the loss of boxes by its name: (offsets (N, 4), boxes they start from (N, 4), objects (N, 4)) -> (N,).

    One that learns from boxes compares these; one that learns from numbers compares the offsets.  The Huber loss turns
    from squares to lines at 1/9 and has a slope of one beyond, which is torchvision's smooth L1.

    Raises:
        UsageError: no such loss, or one that learns from something else.
    """
    huber = name == "huber"
    settings = LossSettings(name=name, delta=BEND) if huber else LossSettings(name=name)
    loss = settled(settings, ("boxes", "numbers"))
    if reads(name) == "boxes":
        return lambda offsets, starts, objects: loss(coder.decode_single(offsets, starts), objects)

    def of_offsets(offsets: Tensor, starts: Tensor, objects: Tensor) -> Tensor:
        wanted = coder.encode_single(objects.to(starts.dtype), starts)
        return loss(offsets, wanted) / (BEND if huber else 1)

    return of_offsets


def weights(batch: Batch, terms: Tensor) -> Tensor:
    """Return what each picture's mean over ``terms`` (B,) learning boxes weighs a box, so that it counts its objects.

    A picture weighs its objects and one more, as in the denominator: ``(objects + 1) / terms``.
    """
    objects: Tensor = (batch.targets["labels"] >= 0).sum(1) + 1
    return objects / terms.clamp(min=1)


def precise(said: Tensor) -> Tensor:
    """Return an answer of a network in at least float32."""
    return said.to(torch.promote_types(said.dtype, torch.float32))
