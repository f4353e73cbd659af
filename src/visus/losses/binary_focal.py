"""Focal loss of classes that are shown or not: binary cross entropy that dwells on what is still wrong."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def binary_focal(
    logits: Float[Tensor, "B K"],
    labels: Float[Tensor, "B K"],
    *,
    gamma: float = 2.0,
    alpha: float = -1.0,
    class_weights: Float[Tensor, "K"] | None = None,
) -> Float[Tensor, "B"]:
    """Return binary cross entropy, each term multiplied by (1 - p) ** gamma, p the probability of the truth.

    Unit: image.  Each image is averaged over its own known classes; the paper divides by the positive anchors.
    ``gamma`` 0 is binary cross entropy.

    Args:
        logits: unnormalised score of each class; half precision is computed in float32.
        labels: 1 where the class is shown, 0 where it is not, between for shares; negative or NaN where unknown.
        gamma: focusing power.
        alpha: factor of a shown class's term, and 1 - alpha of the others'; negative for none.
        class_weights: further factor of each class's term where it is shown.

    Returns:
        Values from 0 upward; 0 for an image of which nothing is known.

    Source:
        Lin et al., Focal loss for dense object detection, ICCV 2017, eq. 4 and 5.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = labels >= 0  # false for NaN
    truth = labels.to(logits.dtype).where(known, 0)
    tiny = torch.finfo(logits.dtype).tiny  # 0 has no slope for gamma < 1
    shown = logits.neg().sigmoid().clamp(min=tiny) ** gamma * F.softplus(-logits)
    absent = logits.sigmoid().clamp(min=tiny) ** gamma * F.softplus(logits)
    if class_weights is not None:
        shown = class_weights.to(logits) * shown
    if alpha >= 0:
        shown, absent = alpha * shown, (1 - alpha) * absent
    terms = truth * shown + (1 - truth) * absent  # (B, K)
    return (terms * known).sum(1) / known.sum(1).clamp(min=1)


LOSS = binary_focal
