"""Lovasz-softmax loss: the one that is made for IoU, extended from decisions to probabilities."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor

from visus.losses._regions import mean_of_shown, planes, probabilities


def lovasz(
    logits: Float[Tensor, "B K H W"],
    classes: Integer[Tensor, "B H W"] | Integer[Tensor, "B K H W"],
    *,
    class_weights: Float[Tensor, "K"] | None = None,
) -> Float[Tensor, "B"]:
    """Return the Lovasz extension of one minus IoU for each picture, mean of the classes it shows.

    Unit: image.  Where probabilities are 0 and 1 it is one minus the IoU itself.  Every class that a picture shows has
    its pixels sorted by their error, which is what this loss costs.

    Args:
        logits: unnormalised scores of each class at each pixel; half precision is computed in float32.
        classes: true class of each pixel, or 1 and 0 of every class; 255 where it counts neither for nor against.
        class_weights: weight of each class in that mean.

    Returns:
        Values in [0, 1]; 0 is a perfect overlap.  A picture without one known pixel costs 0.

    Source:
        Berman et al., The Lovasz-softmax loss, CVPR 2018, definition 1 and algorithm 1, averaged over the classes that
        are present.  The steps of the Jaccard loss are written out, not taken as differences of nearly equal numbers.
    """
    true, known = planes(classes, logits.shape[1])
    pictures = zip(probabilities(logits, classes), true, known[:, 0], strict=True)
    values = torch.stack([_of_picture(*picture) for picture in pictures])
    return mean_of_shown(values, true.flatten(2).any(2), class_weights)


def _of_picture(
    probability: Float[Tensor, "K H W"], true: Bool[Tensor, "K H W"], known: Bool[Tensor, "H W"]
) -> Float[Tensor, "K"]:
    """Return the loss of each class that a picture shows, and 0 of the others."""
    probability, true = probability[:, known], true[:, known]  # (K, P)
    shown = true.any(1)
    own, true = probability[shown], true[shown]  # (S, P)
    errors = torch.where(true, 1 - own, own)
    with torch.no_grad():
        order = _descending(errors)
        true = true.gather(1, order)
        area, passed = true.sum(1, keepdim=True), true.cumsum(1, dtype=torch.int32)
        left = (area - passed).to(errors.dtype)  # of the true area when all up to here are mistaken
        union = (area - passed + torch.arange(1, true.shape[1] + 1, device=true.device)).to(errors.dtype)
        steps = torch.where(true, 1 / union, left / (union * (union - 1).clamp(min=1)))
    return errors.new_zeros(len(shown)).masked_scatter(shown, (errors.gather(1, order) * steps).sum(1))


def _descending(errors: Float[Tensor, "S P"]) -> Int64[Tensor, "S P"]:
    """Return the order of each row's errors, the largest first, equal ones as they stand.

    The bits of float32 numbers from zero upward have the order of the numbers.  On the CPU they are sorted by halves,
    for which numpy counts instead of comparing: a third of the time.
    """
    if errors.device.type != "cpu" or errors.dtype != torch.float32:
        return errors.argsort(dim=1, descending=True, stable=True)
    bits = ~errors.detach().numpy().view(np.uint32)
    order = np.argsort(bits.astype(np.uint16), axis=1, kind="stable")
    upper = np.take_along_axis((bits >> 16).astype(np.uint16), order, 1)
    return torch.from_numpy(np.take_along_axis(order, np.argsort(upper, axis=1, kind="stable"), 1))


LOSS = lovasz
