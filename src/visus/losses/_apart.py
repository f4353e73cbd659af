"""How far predicted boxes are from what they should be: what the losses of boxes have in common."""

import torch
from jaxtyping import Float
from torch import Tensor

from visus.core.boxes import Overlap, overlaps


def apart(predictions: Float[Tensor, "N 4"], boxes: Float[Tensor, "N 4"], kind: Overlap) -> Float[Tensor, "N"]:
    """Return one minus the overlap of each predicted box and its true one; 0 where the true one is NaN, unknown."""
    predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
    known = ~boxes.isnan().any(1)
    truth = boxes.to(predictions.dtype).where(known[:, None], 0)
    return (1 - overlaps(predictions, truth, kind)) * known
