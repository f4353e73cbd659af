"""Boundary loss: what is said on the wrong side of a contour costs by how far it lies from it."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Integer
from numpy import ndarray as Array
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from visus.losses._regions import mean_of_shown, planes, probabilities


def boundary(
    logits: Float[Tensor, "B K H W"],
    classes: Integer[Tensor, "B H W"] | Integer[Tensor, "B K H W"],
    *,
    class_weights: Float[Tensor, "K"] | None = None,
) -> Float[Tensor, "B"]:
    """Return the distance from the contours of what is wrongly said, mean of known pixels and classes of each picture.

    Unit: image.  Meant beside a loss of regions or pixels, not alone: it hardly pulls near a contour.  The contours are
    traced on the CPU, a distance transform or two for every class that a picture shows.

    Args:
        logits: unnormalised scores of each class at each pixel; half precision is computed in float32.
        classes: true class of each pixel, or 1 and 0 of every class; 255 where it counts neither for nor against.
        class_weights: weight of each class in that mean.

    Returns:
        Values in [0, 1], in diagonals of the picture; 0 where every pixel is surely right.  A class that is nowhere or
        everywhere in a picture has no contour there, and is left out of its mean.

    Source:
        Kervadec et al., Boundary loss for highly unbalanced segmentation, MIDL 2019, section 2.  The integral over the
        truth, a constant that is dropped there, is kept, so that a perfect answer costs 0; slopes are the same.
    """
    probability = probabilities(logits, classes)
    true, known = planes(classes, logits.shape[1])
    pictures = zip(true.cpu().numpy(), known[:, 0].cpu().numpy(), strict=True)
    distances = torch.from_numpy(np.stack([_signed_distances(*picture) for picture in pictures])).to(probability)
    cost = (distances * (probability - true.to(probability.dtype))).sum((2, 3))
    contoured = (distances != 0).flatten(2).any(2)
    return mean_of_shown(cost / known.sum((2, 3)).clamp(min=1), contoured, class_weights)


def _signed_distances(own: Bool[Array, "K H W"], known: Bool[Array, "H W"]) -> Float32[Array, "K H W"]:
    """Return how far each pixel's centre lies outside of each class (below zero: inside), in diagonals.

    It is 0 for classes without a contour and where nothing is known.
    """
    found = np.zeros(own.shape, np.float32)
    others = ~own & known
    contoured = np.flatnonzero(own.any((1, 2)) & others.any((1, 2)))
    if not len(contoured):
        return found
    own, others = own[contoured], others[contoured]
    outside = np.stack([distance_transform_edt(~each) for each in own])  # to the nearest pixel of each class
    if (own.sum(0) == known).all():  # one class a pixel: what is not of a class is of the nearest other one
        inside = np.where(own, np.inf, outside).min(0)
    else:
        inside = np.stack([distance_transform_edt(~each) for each in others])
    distances = np.where(own, 0.5 - inside, outside - 0.5)  # contours run between pixels
    found[contoured] = distances * known / math.hypot(*known.shape)
    return found


LOSS = boundary
