"""Complete IoU loss: overlap, distance of the centres and proportions of a box together."""

from jaxtyping import Float
from torch import Tensor

from visus.losses._apart import apart


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
    return apart(predictions, boxes, "ciou")


LOSS = ciou
