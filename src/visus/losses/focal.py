"""Focal loss of one class a picture: cross entropy that dwells on what is still wrong."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def focal(
    logits: Float[Tensor, "B K"],
    label: Int[Tensor, "B"] | Float[Tensor, "B K"],
    *,
    gamma: float = 2.0,
    class_weights: Float[Tensor, "K"] | None = None,
) -> Float[Tensor, "B"]:
    """Return cross entropy in which each term is multiplied by (1 - p) ** gamma, p the probability of its class.

    Unit: image; weights do not enter the denominator, see ``cross_entropy``.  ``gamma`` 0 is cross entropy.

    Args:
        logits: unnormalised scores of each class; half precision is computed in float32.
        label: true class, -1 where unknown; or the share of each class, rows summing to one.
        gamma: focusing power.
        class_weights: factor of each class's term; the paper's alpha for more than two classes.

    Returns:
        Values from 0 upward; 0 for an unknown class.

    Source:
        Lin et al., Focal loss for dense object detection, ICCV 2017, eq. 5, with softmax in place of the sigmoid.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = 1 if class_weights is None else class_weights.to(logits)
    surprise = -logits.log_softmax(1)
    missing = (-torch.expm1(-surprise)).clamp(min=torch.finfo(logits.dtype).tiny)  # 1 - p; 0 has no slope for gamma < 1
    terms = weights * missing**gamma * surprise  # (B, K): what each class would cost if it were the true one
    if label.is_floating_point():
        return (label.to(logits.dtype) * terms).sum(1)
    return terms.gather(1, label.clamp(min=0).long()[:, None])[:, 0] * (label >= 0)


LOSS = focal
