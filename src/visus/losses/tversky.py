"""Tversky loss: Dice's with a say in what is worse, pixels of a class that are missed or such that are made up."""

from jaxtyping import Float, Integer
from torch import Tensor

from visus.core.errors import UsageError
from visus.losses._regions import SMOOTH, areas, mean_of_shown


def tversky(
    logits: Float[Tensor, "B K H W"],
    classes: Integer[Tensor, "B H W"] | Integer[Tensor, "B K H W"],
    *,
    alpha: float = 0.3,
    class_weights: Float[Tensor, "K"] | None = None,
) -> Float[Tensor, "B"]:
    """Return one minus the soft Tversky index of each picture, mean of the classes it shows.

    Unit: image.  ``alpha`` 0.5 is the Dice loss, with twice as much smoothing.

    Args:
        logits: unnormalised scores of each class at each pixel; half precision is computed in float32.
        classes: true class of each pixel, or 1 and 0 of every class; 255 where it counts neither for nor against.
        alpha: weight in [0, 1] of what is wrongly said to be of a class; what is missed of it weighs 1 - alpha.
        class_weights: weight of each class in that mean.

    Returns:
        Values in [0, 1]; 0 is a perfect overlap.  A picture without one known pixel costs 0.

    Raises:
        UsageError: ``alpha`` is no share.

    Source:
        Salehi et al., Tversky loss function for image segmentation using 3D fully convolutional deep networks, MLMI
        2017, section 2, for each class, with the alpha that served best there and beta = 1 - alpha.
    """
    if not 0 <= alpha <= 1:
        raise UsageError("LOSS-003", f"the Tversky loss weighs false alarms by a share, and alpha is {alpha:g}",
                         fix="--set loss.alpha=0.3, or any number from 0 to 1")  # fmt: skip
    shared, said, true = areas(logits, classes)
    amiss = alpha * (said - shared) + (1 - alpha) * (true - shared)
    return mean_of_shown(1 - (shared + SMOOTH) / (shared + amiss + SMOOTH), true > 0, class_weights)


LOSS = tversky
