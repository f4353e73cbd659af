"""Distribution focal loss: a box's sides as distributions over whole distances, drawn to the two next to the truth."""

import torch
from jaxtyping import Float
from torch import Tensor


def distribution_focal(logits: Float[Tensor, "N S R"], distances: Float[Tensor, "N S"]) -> Float[Tensor, "N"]:
    """Return the mean cross entropy of each place's sides against the two whole distances on either side of the truth.

    Unit: box.  The nearer of the two gets the greater share, so the mean of the best distribution is the truth.

    Args:
        logits: unnormalised score of the distances 0 to R - 1 of each side; half precision is computed in float32.
        distances: of the sides from their place, in steps of the distribution; what is outside [0, R - 1] counts as the
            nearer end; NaN where unknown.

    Returns:
        Means over the known sides, from 0 upward; 0 for a place of which no side is known.

    Source:
        Li et al., Generalized focal loss, NeurIPS 2020, equation 6.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    known = ~distances.isnan()
    steps = logits.shape[2] - 1
    truth = distances.to(logits.dtype).where(known, 0).clamp(0, steps)  # (N, S)
    below = truth.floor().clamp(max=max(steps - 1, 0))
    above = (below + 1).clamp(max=steps)
    surprise = -logits.log_softmax(2)  # (N, S, R)
    at_below, at_above = (surprise.gather(2, at.long()[..., None])[..., 0] for at in (below, above))
    terms = (1 - (truth - below)) * at_below + (truth - below) * at_above
    return (terms * known).sum(1) / known.sum(1).clamp(min=1)


LOSS = distribution_focal
