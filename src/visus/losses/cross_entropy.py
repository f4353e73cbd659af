"""Cross entropy: the loss of one true class a picture, or of shares of several."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy(
    logits: Float[Tensor, "B K"],
    label: Int[Tensor, "B"] | Float[Tensor, "B K"],
    *,
    smoothing: float = 0.0,
    class_weights: Float[Tensor, "K"] | None = None,
) -> Float[Tensor, "B"]:
    """Return how many nats each image's true class (or mixture of classes) was surprising.

    Unit: image.  A weight multiplies its class's term, and the caller divides by the *number* of labelled images, not
    by the sum of their weights as ``torch.nn.CrossEntropyLoss`` does: the denominator is known before any forward pass
    and does not depend on the labels drawn.  Balanced weights average to one over the training part, so both agree on
    average.

    Args:
        logits: unnormalised scores of each class; half precision is computed in float32.
        label: true class, -1 where unknown; or the share of each class, rows summing to one.
        smoothing: share of the truth that is spread evenly over all classes.
        class_weights: factor of each class's term.

    Returns:
        Values from 0 upward; 0 for an unknown class.

    Source:
        Smoothing: Szegedy et al., Rethinking the Inception architecture, CVPR 2016, section 7.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = None if class_weights is None else class_weights.to(logits)
    label = label.to(logits.dtype) if label.is_floating_point() else label.long()
    return F.cross_entropy(logits, label, weights, ignore_index=-1, reduction="none", label_smoothing=smoothing)


LOSS = cross_entropy
