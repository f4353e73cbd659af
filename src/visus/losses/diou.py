"""Distance-IoU loss: the centres are pulled together too, straight and fast."""

import torch
from jaxtyping import Float
from torch import Tensor

from visus.core.boxes import overlaps


def diou(predictions: Float[Tensor, "N 4"], boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N"]:
    """Return one minus the distance IoU of each predicted box and its true one.

    Unit: box.

    Args:
        predictions: xyxy, in any unit of length; half precision is computed in float32.
        boxes: xyxy in the same unit, NaN where unknown.

    Returns:
        Values in [0, 2]; 0 for an unknown box.

    Source:
        Zheng et al., Distance-IoU loss: faster and better learning for bounding box regression, AAAI 2020, equation 7.
    """
    predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
    known = ~boxes.isnan().any(1)
    truth = boxes.to(predictions.dtype).where(known[:, None], 0)
    return (1 - overlaps(predictions, truth, "diou")) * known


LOSS = diou
