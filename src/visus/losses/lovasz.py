"""Lovasz-softmax loss: the one that is made for IoU, extended from decisions to probabilities."""

import torch
from jaxtyping import Float, Integer
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
    errors, order = torch.where(true, 1 - own, own).sort(dim=1, descending=True, stable=True)
    with torch.no_grad():
        true = true.gather(1, order)
        left = true.sum(1, keepdim=True) - true.cumsum(1)  # of the true area when all up to here are mistaken
        union = true.sum(1, keepdim=True) + (~true).cumsum(1)
        left, union = left.to(errors.dtype), union.to(errors.dtype)
        steps = torch.where(true, 1 / union, left / (union * (union - 1).clamp(min=1)))
    return (errors * steps).sum() / max(len(shown), 1)


LOSS = lovasz
