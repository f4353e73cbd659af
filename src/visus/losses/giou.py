"""Generalised IoU loss: boxes that do not touch are pulled together as well."""

from jaxtyping import Float
from torch import Tensor

from visus.losses._apart import apart


def giou(predictions: Float[Tensor, "N 4"], boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N"]:
    """Return one minus the generalised intersection over union of each predicted box and its true one.

    Unit: box.

    Args:
        predictions: xyxy, in any unit of length; half precision is computed in float32.
        boxes: xyxy in the same unit, NaN where unknown.

    Returns:
        Values in [0, 2]; 0 for an unknown box.

    Source:
        Rezatofighi et al., Generalized intersection over union, CVPR 2019, algorithm 2.
    """
    return apart(predictions, boxes, "giou")


LOSS = giou
