"""Complete IoU loss: overlap, distance of the centres and proportions of a box together."""

import torch
from jaxtyping import Float
from torch import Tensor

from visus.core.boxes import overlaps


def ciou(predictions: Float[Tensor, "N 4"], boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N"]:
    """Return one minus the complete IoU of each predicted box and its true one.

    Unit: box.  The weight of the proportions is a number to the gradient, not a function, as in the paper's code.

    Args:
        predictions: xyxy, in any unit of length; half precision is computed in float32.
        boxes: xyxy in the same unit, NaN where unknown.

    Returns:
        Values in [0, 2.5]; 0 for an unknown box.

    Source:
        Zheng et al., Distance-IoU loss: faster and better learning for bounding box regression, AAAI 2020, equation 10.
    """
    predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
    known = ~boxes.isnan().any(1)
    truth = boxes.to(predictions.dtype).where(known[:, None], 0)
    return (1 - overlaps(predictions, truth, "ciou")) * known


LOSS = ciou
