"""Boundary loss: what is said on the wrong side of a contour costs by how far it lies from it."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer
from numpy import ndarray as Array
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from visus.core.annotations import IGNORE
from visus.losses._regions import probabilities


def boundary(logits: Float[Tensor, "B K H W"], classes: Integer[Tensor, "B H W"]) -> Float[Tensor, "B"]:
    """Return the distance from the contours of what is wrongly said, mean of known pixels and classes of each picture.

    Unit: image.  Meant beside a loss of regions or pixels, not alone: it hardly pulls near a contour.  The contours are
    traced on the CPU, one distance transform for every class that a picture shows.

    Args:
        logits: unnormalised scores of each class at each pixel; half precision is computed in float32.
        classes: true class of each pixel, 255 where it counts neither for nor against.

    Returns:
        Values in [0, 1], in diagonals of the picture; 0 where every pixel is surely right.  A picture that shows less
        than two classes has no contour and costs 0.

    Source:
        Kervadec et al., Boundary loss for highly unbalanced segmentation, MIDL 2019, section 2.  The integral over the
        truth, a constant that is dropped there, is kept, so that a perfect answer costs 0; slopes are the same.
    """
    probability = probabilities(logits)
    truth = classes.cpu().numpy()
    maps = np.stack([_signed_distances(picture, logits.shape[1]) for picture in truth])
    distances = torch.from_numpy(maps).to(probability)
    true = classes[:, None] == torch.arange(logits.shape[1], device=classes.device)[:, None, None]
    cost = (distances * (probability - true.to(probability.dtype))).sum((1, 2, 3))
    shown = (distances != 0).flatten(2).any(2).sum(1)  # classes that have a contour
    return cost / ((classes != IGNORE).sum((1, 2)) * shown).clamp(min=1)


def _signed_distances(classes: Integer[Array, "H W"], k: int) -> Float32[Array, "K H W"]:
    """Return how far each pixel's centre lies outside of each class (below zero: inside), in diagonals.

    It is 0 for classes without a contour and where the class is not known.
    """
    found = np.zeros((k, *classes.shape), np.float32)
    known = classes != IGNORE
    shown = np.unique(classes[known])
    if len(shown) < 2:
        return found
    outside = np.stack([distance_transform_edt(classes != c) for c in shown])  # to the nearest pixel of each class
    own = classes == shown[:, None, None]
    inside = np.where(own, np.inf, outside).min(0)  # to the nearest pixel of another class
    distances = np.where(own, 0.5 - inside, outside - 0.5)  # contours run between pixels
    found[shown.astype(np.int64)] = distances * known / math.hypot(*classes.shape)
    return found


LOSS = boundary
