"""Random erasing: a rectangle of a picture is replaced by the mean colour, which is 0 once pictures are normalised."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray as Array
from torch import Tensor

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws

_TRIES = 10
_RATIO = 0.3  # the paper's r1; r2 is its inverse


def erase(images: Float32[Tensor, "B C H W"], boxes: Int64[Array, "B 4"]) -> Float32[Tensor, "B C H W"]:
    """Set the pixels of each picture's box to 0, in place, and return them.

    Args:
        images: normalised pictures.
        boxes: xyxy of what is erased; all zeros for nothing.
    """
    for i in np.flatnonzero(boxes[:, 2] > boxes[:, 0]).tolist():
        x0, y0, x1, y1 = boxes[i].tolist()
        images[i, :, y0:y1, x0:x1] = 0
    return images


def rectangles(size: tuple[int, int], augment: AugmentSettings, draws: Draws) -> Int64[Array, "B 4"]:
    """Return the xyxy box that is erased in each picture of ``size`` (height, width); all zeros for none.

    Ten boxes are drawn, their share of the area uniform in ``erase_area`` and the logarithm of their height over width
    uniform within those of 0.3 and its inverse; the first that fits is taken.  Where none does, nothing is erased.

    Args:
        size: (height, width) of the pictures.
        augment: the chance ``erase`` and the range of areas ``erase_area``.
        draws: the random numbers of each picture.

    Source:
        Zhong et al., Random erasing data augmentation, AAAI 2020, algorithm 1.
    """
    unit = draws.uniform("erase", 2 * _TRIES + 3)
    low, high = augment.erase_area
    areas = size[0] * size[1] * (low + (high - low) * unit[:, :_TRIES])
    shapes = np.exp((2 * unit[:, _TRIES : 2 * _TRIES] - 1) * -math.log(_RATIO))
    tall, wide = np.rint(np.sqrt(areas * shapes)), np.rint(np.sqrt(areas / shapes))
    fits = (tall > 0) & (tall < size[0]) & (wide > 0) & (wide < size[1])
    first = fits.argmax(1)[:, None]
    h, w = np.take_along_axis(tall, first, 1)[:, 0], np.take_along_axis(wide, first, 1)[:, 0]
    x, y = np.floor(unit[:, -3] * (size[1] - w + 1)), np.floor(unit[:, -2] * (size[0] - h + 1))
    boxes = np.stack([x, y, x + w, y + h], 1)
    boxes[~(fits.any(1) & (unit[:, -1] < augment.erase))] = 0
    return boxes.astype(np.int64)
