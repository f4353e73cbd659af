"""The soft areas of classes in pictures: what the losses of regions have in common.

The truth is one class a pixel, (B, H, W), of which probabilities are a softmax; or several, (B, K, H, W), 1 where a
class is shown and 0 where it is not, each with a sigmoid of its own.  255 (of any class) leaves a pixel out.
"""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from visus.core.pixels import IGNORE

SMOOTH = 1.0
"""Pixels added to both sides of an overlap's fraction, so that a tiny object's gradient stays within bounds."""


def areas(
    logits: Float[Tensor, "B K H W"], classes: Integer[Tensor, "B H W"] | Integer[Tensor, "B K H W"]
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Return what each class's probability and truth share in each picture, what is said and what is true, in pixels.

    Pixels whose class is ignored are in none of them.  Half precision is computed in float32.
    """
    probability = probabilities(logits, classes)
    true, known = planes(classes, logits.shape[1])
    shared = torch.where(true, probability, 0).sum((2, 3))
    said = torch.where(known, probability, 0).sum((2, 3))
    return shared, said, true.sum((2, 3)).to(probability.dtype)


def mean_of_shown(
    values: Float[Tensor, "B K"], shown: Bool[Tensor, "B K"], class_weights: Float[Tensor, "K"] | None = None
) -> Float[Tensor, "B"]:
    """Return the mean over the classes that a picture shows, weighted where weights are given; 0 where it shows none.

    Each picture has a mean of its own, so a sum over pictures does not depend on how their batch was split.
    """
    weights = shown.to(values.dtype) * (1 if class_weights is None else class_weights.to(values))
    total = weights.sum(1)
    return torch.where(shown, weights * values, 0).sum(1) / total.where(total > 0, 1)


def probabilities(
    logits: Float[Tensor, "B K H W"], classes: Integer[Tensor, "B H W"] | Integer[Tensor, "B K H W"]
) -> Float[Tensor, "B K H W"]:
    """Return the softmax over classes, or the sigmoid of each where there may be several, in float32 at least."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.softmax(1) if classes.dim() == 3 else logits.sigmoid()


def planes(
    classes: Integer[Tensor, "B H W"] | Integer[Tensor, "B K H W"], k: int
) -> tuple[Bool[Tensor, "B K H W"], Bool[Tensor, "B 1 H W"]]:
    """Return where each of ``k`` classes is, and where something is known."""
    if classes.dim() == 4:
        known = (classes != IGNORE).all(1, keepdim=True)
        return (classes == 1) & known, known
    return classes[:, None] == torch.arange(k, device=classes.device)[:, None, None], (classes != IGNORE)[:, None]
