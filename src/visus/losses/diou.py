"""Distance-IoU loss: the centres are pulled together too, straight and fast."""

from jaxtyping import Float
from torch import Tensor

from visus.losses._apart import apart


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
    return apart(predictions, boxes, "diou")


LOSS = diou
