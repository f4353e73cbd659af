"""Quality focal loss: classes scored by how well their box fits; what is far from its quality weighs more."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def quality_focal(
    logits: Float[Tensor, "N K"], quality: Float[Tensor, "N K"], *, gamma: float = 2.0
) -> Float[Tensor, "N"]:
    """Return each place's binary cross entropy against qualities, each term times ``|quality - p| ** gamma``.

    Unit: the caller's; the paper divides by the number of places that hold an object.

    Args:
        logits: unnormalised score of each class at each place; half precision is computed in float32.
        quality: overlap of the place's box with the object of its class, in [0, 1]; 0 for a class that is not there;
            negative or NaN where unknown, as inside a crowd.
        gamma: focusing power, the paper's beta; 0 is binary cross entropy.

    Returns:
        Sums over the known classes, from 0 upward; 0 for a place of which nothing is known.

    Source:
        Li et al., Generalized focal loss, NeurIPS 2020, equation 2.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = quality >= 0  # false for NaN
    truth = quality.to(logits.dtype).where(known, 0)
    tiny = torch.finfo(logits.dtype).tiny  # 0 has no slope for gamma < 1
    missing = (truth - logits.sigmoid()).abs().clamp(min=tiny)
    terms = missing**gamma * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")  # (N, K)
    return (terms * known).sum(1)


LOSS = quality_focal
