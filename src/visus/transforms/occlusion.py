"""What is seen of objects when something covers a part of their picture."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray as Array
from torch import Tensor

from visus.core.annotations import Boxes


def seen(boxes: Boxes, shown: Bool[Tensor, "H W"], least: float) -> Boxes:
    """Return the boxes of a picture of which only some pixels are shown: each tight around what is shown in it.

    An object stays as it is where every pixel of its box is shown.  It is dropped where of the pixels of its box less
    than ``least`` or none are shown, a region of many only where none are; slivers along its edges are cut off as well.
    Outlines end here: the rest of an object may have another shape.  Shapes stay, without what is covered.
    """
    pixels = shown.numpy()
    kept, tight = [], []
    for i, (x0, y0, x1, y1) in enumerate(boxes.xyxy.tolist()):
        left, top = math.floor(x0), math.floor(y0)
        window = pixels[top : math.ceil(y1), left : math.ceil(x1)]
        share = float(window.mean()) if window.size else 0.0
        if not share or (share < least and not boxes.crowd[i]):
            continue
        if share < 1:
            across, down = (_counted(window.mean(axis), least) for axis in (0, 1))
            x0, x1 = max(x0, left + int(across[0])), min(x1, left + int(across[-1]) + 1)
            y0, y1 = max(y0, top + int(down[0])), min(y1, top + int(down[-1]) + 1)
        kept.append(i)
        tight.append((x0, y0, x1, y1))
    at = torch.tensor(kept, dtype=torch.int64)
    xyxy = torch.tensor(tight, dtype=boxes.xyxy.dtype).reshape(-1, 4)
    shapes = None
    if boxes.shapes is not None:
        shapes = tuple((shape := boxes.shapes[i]) and shape.under(pixels) for i in kept)
    return Boxes(xyxy, boxes.labels[at], None, boxes.crowd[at], shapes)


def _counted(shares: Array, least: float) -> Array:
    """Return which lines of pixels, of which these shares are shown, count as seen.

    Lines that show less than ``least`` do not, nor do neighbouring ones apart from the others that have together less
    than ``least`` of all that is shown: slivers along what covers the rest.
    """
    shown = np.append(np.where(shares >= min(least, shares.max()), shares, 0), 0)
    run = np.cumsum(shown == 0)  # each stretch of lines that show something has a number of its own
    weights = np.bincount(run, shown)
    return np.flatnonzero((shown > 0) & (weights[run] >= min(least * weights.sum(), weights.max())))
