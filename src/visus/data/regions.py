"""The connected regions of a class map, as objects: polygons, or run lengths where there are holes.

COCO's polygons have no holes.  So a region without any is one polygon, whose corners are whole numbers, and which every
program that fills polygons as COCO does fills to the very pixel; a region with holes is a mask of run lengths.  Either
way the map that is painted from them is the one they were made of.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from visus.core.run_lengths import compress, encode_part
from visus.data.objects import Mark, Polygon


def regions_of(class_map: NDArray[np.uint8], classes: int) -> list[Mark]:
    """Return the regions of each class, one class after the other, each with its box and its area in pixels.

    Pixels are of one region where a way leads from side to side through pixels of their class; those that touch at a
    corner alone are of two.

    Args:
        class_map: (H, W) class of each pixel; what is no class, such as 255, is in no region.
        classes: how many there are.
    """
    marks = []
    for k in np.flatnonzero(np.bincount(class_map.ravel(), minlength=classes)[:classes]).tolist():
        labels, count = ndimage.label(class_map == k)
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        outlines = _outlines(labels, count)
        for i, ((down, across), loops) in enumerate(zip(ndimage.find_objects(labels), outlines, strict=True)):
            mask, polygons = "", loops
            if len(loops) > 1:
                inside = labels[down, across] == i + 1
                mask, polygons = compress(encode_part(inside, (down.start, across.start), class_map.shape)), []
            box = (float(across.start), float(down.start), float(across.stop), float(down.stop))
            marks.append(Mark(box, k, area=float(areas[i]), polygons=polygons, mask=mask))
    return marks


def _outlines(labels: NDArray[np.int32], count: int) -> list[list[Polygon]]:
    """Return the closed ways around each region and around its holes, as corners (P, 2) x, y.

    A corner is where two of the four pixels around a point are inside, diagonally, or one of them is, or three.  Along
    each line of the grid the first corner and the second are the ends of an edge, the third and the fourth, and so on.
    A point that two pixels of a region share diagonally is two corners, each of one of these pixels, so that a way that
    touches itself there goes on around the same pixel.
    """
    wide = np.pad(labels, 1)
    inside = wide > 0
    a, b, c, d = inside[:-1, :-1], inside[:-1, 1:], inside[1:, :-1], inside[1:, 1:]
    y, x = np.nonzero(a ^ b ^ c ^ d)  # of four pixels around a point, one is inside or three are
    owner = np.max([wide[y, x], wide[y, x + 1], wide[y + 1, x], wide[y + 1, x + 1]], 0)
    one, other = np.nonzero((a == d) & (b == c) & (a != b))  # two are, and touch at this point
    falls = a[one, other]  # the upper one lies left, and its corner joins the edges to the left and up
    left = np.where(falls, wide[one, other], wide[one + 1, other])
    right = np.where(falls, wide[one + 1, other + 1], wide[one, other + 1])
    ys, xs = np.concatenate([y, one, one]), np.concatenate([x, other, other])
    owners = np.concatenate([owner, left, right])
    nothing, low, high = np.zeros_like(y), np.zeros_like(one), np.ones_like(one)
    across = np.lexsort((np.concatenate([nothing, low, high]), xs, ys))
    down = np.lexsort((np.concatenate([nothing, np.where(falls, 0, 1), np.where(falls, 1, 0)]), ys, xs))
    beside, below = np.empty_like(across), np.empty_like(down)
    beside[across[0::2]], beside[across[1::2]] = across[1::2], across[0::2]
    below[down[0::2]], below[down[1::2]] = down[1::2], down[0::2]
    found: list[list[Polygon]] = [[] for _ in range(count)]
    points = np.stack([xs, ys], 1).astype(np.float64)
    sideways, updown, left_over = beside.tolist(), below.tolist(), np.ones(len(points), np.bool_).tolist()
    for start in range(len(points)):
        if left_over[start]:
            way, at = [], start
            while left_over[at]:
                after = sideways[at]
                left_over[at] = left_over[after] = False
                way += [at, after]
                at = updown[after]
            found[int(owners[start]) - 1].append(points[way])
    return found
