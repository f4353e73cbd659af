"""Dice loss: how far the soft area of each class is from its true one, whatever the size of either."""

from jaxtyping import Float, Integer
from torch import Tensor

from visus.losses._regions import SMOOTH, areas, mean_of_shown


def dice(
    logits: Float[Tensor, "B K H W"],
    classes: Integer[Tensor, "B H W"] | Integer[Tensor, "B K H W"],
    *,
    class_weights: Float[Tensor, "K"] | None = None,
) -> Float[Tensor, "B"]:
    """Return one minus the soft Dice overlap of each picture, mean of the classes it shows.

    Unit: image.  Each picture is scored on its own, so a sum over a batch does not depend on how it was split.

    Args:
        logits: unnormalised scores of each class at each pixel; half precision is computed in float32.
        classes: true class of each pixel, or 1 and 0 of every class; 255 where it counts neither for nor against.
        class_weights: weight of each class in that mean.

    Returns:
        Values in [0, 1]; 0 is a perfect overlap.  A picture without one known pixel costs 0.

    Source:
        Milletari et al., V-Net, 3DV 2016, section 3, with sums in the denominator in place of sums of squares.
    """
    shared, said, true = areas(logits, classes)
    return mean_of_shown(1 - (2 * shared + SMOOTH) / (said + true + SMOOTH), true > 0, class_weights)


LOSS = dice
