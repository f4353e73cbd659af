"""Absolute error: the loss of numbers whose median is wanted; outliers pull no harder than their neighbours."""

import torch
from jaxtyping import Float
from torch import Tensor


def absolute_error(predictions: Float[Tensor, "B M"], numbers: Float[Tensor, "B M"]) -> Float[Tensor, "B"]:
    """Return the sum of absolute errors over the known numbers of each image.

    Unit: number.  The mean is taken by the caller, over all known numbers, so that each counts the same.

    Args:
        predictions: in any unit; half precision is computed in float32.
        numbers: in the same unit, NaN where unknown.
    """
    predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
    known = ~numbers.isnan()  # replaced before the subtraction: NaN * 0 is NaN, in the gradient too
    errors = predictions.where(known, 0) - numbers.to(predictions.dtype).where(known, 0)
    return errors.abs().sum(1)


LOSS = absolute_error
