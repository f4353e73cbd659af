"""Varifocal loss: classes scored by how well their box fits; good boxes weigh more, easy background less."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def varifocal(
    logits: Float[Tensor, "N K"], quality: Float[Tensor, "N K"], *, gamma: float = 2.0, alpha: float = 0.75
) -> Float[Tensor, "N"]:
    """Return each place's binary cross entropy against qualities q, weighted by q, or alpha * p ** gamma where q is 0.

    Unit: the caller's; the paper divides by the number of places that hold an object.

    Args:
        logits: unnormalised score of each class at each place; half precision is computed in float32.
        quality: overlap of the place's box with the object of its class, in [0, 1]; 0 for a class that is not there;
            negative or NaN where unknown, as inside a crowd.
        gamma: focusing power on what is not there.
        alpha: factor of what is not there; negative for none.

    Returns:
        Sums over the known classes, from 0 upward; 0 for a place of which nothing is known.

    Source:
        Zhang et al., VarifocalNet, CVPR 2021, equation 2.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = quality >= 0  # false for NaN
    truth = quality.to(logits.dtype).where(known, 0)
    tiny = torch.finfo(logits.dtype).tiny  # 0 has no slope for gamma < 1
    absent = (alpha if alpha >= 0 else 1) * logits.sigmoid().clamp(min=tiny) ** gamma
    weights = torch.where(truth > 0, truth, absent)
    terms = weights * F.binary_cross_entropy_with_logits(logits, truth, reduction="none")  # (N, K)
    return (terms * known).sum(1)


LOSS = varifocal
