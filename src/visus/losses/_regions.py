"""The soft areas of classes in pictures: what the losses of regions have in common."""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from visus.core.annotations import IGNORE

SMOOTH = 1.0
"""Pixels added to both sides of an overlap's fraction, so that a tiny object's gradient stays within bounds."""


def areas(
    logits: Float[Tensor, "B K H W"], classes: Integer[Tensor, "B H W"]
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Return what each class's probability and truth share in each picture, what is said and what is true, in pixels.

    Pixels whose class is ignored are in none of them.  Half precision is computed in float32.
    """
    probability = probabilities(logits)
    true = classes[:, None] == torch.arange(logits.shape[1], device=classes.device)[:, None, None]  # (B, K, H, W)
    shared = torch.where(true, probability, 0).sum((2, 3))
    said = torch.where((classes != IGNORE)[:, None], probability, 0).sum((2, 3))
    return shared, said, true.sum((2, 3)).to(probability.dtype)


def mean_of_shown(values: Float[Tensor, "B K"], true: Float[Tensor, "B K"]) -> Float[Tensor, "B"]:
    """Return the mean over the classes that a picture shows; 0 where it shows none."""
    shown = true > 0
    return torch.where(shown, values, 0).sum(1) / shown.sum(1).clamp(min=1)


def probabilities(logits: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
    """Return the softmax over classes, in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
