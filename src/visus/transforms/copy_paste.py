"""Copy-paste: objects of one picture are laid into another one, over what lies there."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy import ndarray as Array
from torch import Tensor

from visus.core.annotations import Boxes
from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms.occlusion import seen


def chosen(augment: AugmentSettings, draws: Draws) -> Bool[Array, "B"]:
    """Return which samples take objects of their donors: each with the chance ``copy_paste``."""
    return draws.chance("copy_paste", augment.copy_paste)


def paste(
    images: Float32[Tensor, "B C H W"],
    boxes: list[Boxes],
    donors: Float32[Tensor, "B C H W"],
    theirs: list[Boxes],
    augment: AugmentSettings,
    draws: Draws,
) -> tuple[Float32[Tensor, "B C H W"], list[Boxes]]:
    """Paste objects of donors into some pictures, in place, and return the pictures with the boxes of what they show.

    With the chance ``copy_paste`` a picture takes each object of its donor with a chance of one half, at the place that
    it has there: its pixels inside its outline or mask, or inside its box where it has none.  A box brings the ground
    around its object along, and whatever else it shows: the other objects of the donor count as far as they are seen
    there, as those of the picture count as far as they are still seen (see ``occlusion.seen``).  Edges are not blended,
    which the paper found to bring nothing.

    Args:
        images: pictures, (B, C, H, W).
        boxes: of the objects in each.
        donors: the picture from which each one takes objects, augmented by numbers of its own.
        theirs: of the objects in each donor; a region of many is not taken.
        augment: the chance ``copy_paste`` and the share ``visible``.
        draws: the random numbers of each picture.

    Source:
        Ghiasi et al., Simple copy-paste is a strong data augmentation method for instance segmentation, CVPR 2021.
    """
    most = max(map(len, theirs), default=0)
    if not most:
        return images, boxes
    coins = torch.from_numpy(draws.uniform("copy_paste_objects", most) < 0.5)
    after = list(boxes)
    for i in np.flatnonzero(chosen(augment, draws)).tolist():
        donor = theirs[i]
        taken = coins[i, : len(donor)] & ~donor.crowd
        if not taken.any():
            continue
        laid, others = donor.rows(taken.nonzero()[:, 0]), donor.rows((~taken).nonzero()[:, 0])
        covered = shape(laid, (images.shape[-2], images.shape[-1]))
        images[i] = torch.where(covered, donors[i], images[i])
        laid = Boxes(laid.xyxy, laid.labels, None, laid.crowd, laid.shapes)
        after[i] = Boxes.joined(
            [seen(boxes[i], ~covered, augment.visible), laid, seen(others, covered, augment.visible)]
        )
    return images, after


def shape(boxes: Boxes, size: tuple[int, int]) -> Bool[Tensor, "H W"]:
    """Return the pixels of some objects: inside an outline, else of a mask, else every one that a box touches."""
    from PIL import Image, ImageDraw

    raster = Image.new("1", (size[1], size[0]))
    pen = ImageDraw.Draw(raster)
    masks = np.zeros(size, np.bool_)
    for i, (x0, y0, x1, y1) in enumerate(boxes.xyxy.tolist()):
        parts = boxes.outlines[i] if boxes.outlines is not None else ()
        mask = boxes.shapes[i] if boxes.shapes is not None and not parts else None
        if mask is not None:
            left, top, right, bottom = math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
            masks[top:bottom, left:right] |= mask.drawn((left, top, right, bottom), (bottom - top, right - left))
            continue
        for part in parts:
            pen.polygon([(x - 0.5, y - 0.5) for x, y in part.tolist()], fill=1)  # Pillow counts from pixel centres
        if not parts:
            pen.rectangle((math.floor(x0), math.floor(y0), math.ceil(x1) - 1, math.ceil(y1) - 1), fill=1)
    return torch.from_numpy(np.array(raster) | masks)
