"""Lovasz-softmax loss: the one that is made for IoU, extended from decisions to probabilities."""

import numpy as np
import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from visus.core.annotations import IGNORE
from visus.losses._regions import probabilities


def lovasz(logits: Float[Tensor, "B K H W"], classes: Integer[Tensor, "B H W"]) -> Float[Tensor, "B"]:
    """Return the Lovasz extension of one minus IoU for each picture, mean of the classes it shows.

    Unit: image.  Where probabilities are 0 and 1 it is one minus the IoU itself.  Every class that a picture shows has
    its pixels sorted by their error, which is what this loss costs.

    Args:
        logits: unnormalised scores of each class at each pixel; half precision is computed in float32.
        classes: true class of each pixel, 255 where it counts neither for nor against.

    Returns:
        Values in [0, 1]; 0 is a perfect overlap.  A picture without one known pixel costs 0.

    Source:
        Berman et al., The Lovasz-softmax loss, CVPR 2018, definition 1 and algorithm 1, averaged over the classes that
        are present.  The steps of the Jaccard loss are written out, not taken as differences of nearly equal numbers.
    """
    return torch.stack([_of_picture(*pair) for pair in zip(probabilities(logits), classes, strict=True)])


def _of_picture(probability: Float[Tensor, "K H W"], classes: Integer[Tensor, "H W"]) -> Float[Tensor, ""]:
    known = classes != IGNORE
    probability, classes = probability[:, known], classes[known]  # (K, P), (P,)
    shown = torch.bincount(classes).nonzero()[:, 0]
    true = classes == shown[:, None]  # (S, P)
    own = probability[shown]
    errors = torch.where(true, 1 - own, own)
    with torch.no_grad():
        order = _descending(errors)
        true = true.gather(1, order)
        area, passed = true.sum(1, keepdim=True), true.cumsum(1, dtype=torch.int32)
        left = (area - passed).to(errors.dtype)  # of the true area when all up to here are mistaken
        union = (area - passed + torch.arange(1, true.shape[1] + 1, device=true.device)).to(errors.dtype)
        steps = torch.where(true, 1 / union, left / (union * (union - 1).clamp(min=1)))
    return (errors.gather(1, order) * steps).sum() / max(len(shown), 1)


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
