"""Binary cross entropy: the loss of classes that are shown or not, each on its own."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def binary_cross_entropy(
    logits: Float[Tensor, "B K"], labels: Float[Tensor, "B K"], *, class_weights: Float[Tensor, "K"] | None = None
) -> Float[Tensor, "B"]:
    """Return the mean surprise, in nats, over the classes that are known of each image.

    Unit: image.  Each image is averaged over its own known classes, so a sum over a batch does not depend on how the
    batch was split, and an image of which little is known counts as much as any other.

    Args:
        logits: unnormalised score of each class; half precision is computed in float32.
        labels: 1 where the class is shown, 0 where it is not, between for shares; negative or NaN where unknown.
        class_weights: factor of each class's term where it is shown.

    Returns:
        Values from 0 upward; 0 for an image of which nothing is known.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = labels >= 0  # false for NaN
    truth = labels.to(logits.dtype).where(known, 0)
    weights = None if class_weights is None else class_weights.to(logits)
    terms = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights, reduction="none")  # (B, K)
    return (terms * known).sum(1) / known.sum(1).clamp(min=1)


LOSS = binary_cross_entropy
