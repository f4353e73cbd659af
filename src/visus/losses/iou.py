"""IoU loss: the share of the joint area of a predicted box and the true one that they do not share."""

from jaxtyping import Float
from torch import Tensor

from visus.losses._apart import apart


def iou(predictions: Float[Tensor, "N 4"], boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N"]:
    """Return one minus the intersection over union of each predicted box and its true one.

    Unit: box.  It does not pull boxes that do not touch; the others of its family do.

    Args:
        predictions: xyxy, in any unit of length; half precision is computed in float32.
        boxes: xyxy in the same unit, NaN where unknown.

    Returns:
        Values in [0, 1]; 0 for an unknown box.

    Source:
        Rezatofighi et al., Generalized intersection over union, CVPR 2019, algorithm 2.
    """
    return apart(predictions, boxes, "iou")


LOSS = iou
