"""Huber loss: squares for small errors, lines for large ones."""

import torch
from jaxtyping import Float
from torch import Tensor


def huber(
    predictions: Float[Tensor, "B M"], numbers: Float[Tensor, "B M"], *, delta: float = 1.0
) -> Float[Tensor, "B"]:
    """Return each image's sum of ``e**2 / 2`` for errors below ``delta`` and ``delta * (|e| - delta / 2)`` above.

    Unit: number.  The mean is taken by the caller, over all known numbers, so that each counts the same.

    Args:
        predictions: in any unit; half precision is computed in float32.
        numbers: in the same unit, NaN where unknown.
        delta: the error at which squares turn into lines, in that unit.

    Source:
        Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 1964.
    """
    predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
    known = ~numbers.isnan()  # replaced before the subtraction: NaN * 0 is NaN, in the gradient too
    errors = (predictions.where(known, 0) - numbers.to(predictions.dtype).where(known, 0)).abs()
    return torch.where(errors < delta, errors.square() / 2, delta * (errors - delta / 2)).sum(1)


LOSS = huber
