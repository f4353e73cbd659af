"""The mathematics of boxes: areas, overlaps, conversions and clipping, one vectorised function each.

Boxes are (..., 4) xyxy in absolute pixels, half-open: the box 0, 0, 2, 1 holds two pixels.  A box whose sides do not
run forward (x1 <= x0 or y1 <= y0) is empty: it is legal everywhere and has no area.  Half precision and integers are
computed in float32, float64 in float64.  All gradients are finite for coordinates whose squares the type can hold, also
where boxes are empty, alike, inverted or far apart; torchvision's are NaN for some of these.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from visus.core.catalog import UnknownName
from visus.core.errors import did_you_mean

Overlap = Literal["iou", "giou", "diou", "ciou"]
OVERLAPS: tuple[Overlap, ...] = ("iou", "giou", "diou", "ciou")


def areas(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N"]:
    """Return the area of each box in square pixels, 0 for an empty one."""
    x0, y0, x1, y1 = boxes.to(_type(boxes)).unbind(-1)
    return (x1 - x0).clamp(min=0) * (y1 - y0).clamp(min=0)


def overlaps(a: Float[Tensor, "*N 4"], b: Float[Tensor, "*N 4"], kind: Overlap = "iou") -> Float[Tensor, "*N"]:
    """Return how well each box of ``a`` fits the one of ``b`` that stands at its place; shapes broadcast.

    All kinds are symmetric, are 1 for boxes that are alike and not empty, and do not change when both boxes are moved
    or scaled alike.  Of sides below a billionth of a pixel nothing is promised but that all stays finite and in bounds.

    Args:
        a: boxes.
        b: boxes.
        kind: ``iou``, the shared area over the joint one, in [0, 1]; ``giou``, less the share of the enclosing box that
            neither covers, in [-1, 1]; ``diou``, less the squared distance of the centres over the squared diagonal of
            the enclosing box, in [-1, 1]; ``ciou``, less how far the proportions differ too, in [-1.5, 1].

    Raises:
        UnknownName: no such kind.

    Source:
        Rezatofighi et al., Generalized intersection over union, CVPR 2019, algorithm 1; Zheng et al., Distance-IoU
        loss, AAAI 2020, equations 6 and 7 (diou), 8 to 11 (ciou).  The enclosing box is taken about all corners, so the
        bounds hold for inverted boxes too.  As in the authors' code and in
        torchvision, the trade-off of equation 11 is a number to the gradient, not a function.
    """
    if kind not in OVERLAPS:
        raise UnknownName("USE-004", f"there is no overlap named {kind!r}", fix=did_you_mean(kind, OVERLAPS))
    dtype = torch.promote_types(_type(a), _type(b))
    a, b = a.to(dtype), b.to(dtype)
    least = torch.finfo(dtype).tiny ** 0.5  # of a denominator: its reciprocal times a length is still a number
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a.unbind(-1), b.unbind(-1)
    shared = _shared(a, b)
    joint = areas(a) + areas(b) - shared
    iou = shared / joint.clamp(min=least)
    if kind == "iou":
        return iou

    width, height = _extent(ax0, ax1, bx0, bx1), _extent(ay0, ay1, by0, by1)
    if kind == "giou":
        hull = width * height
        return iou - (hull - joint).clamp(min=0) / hull.clamp(min=least)

    apart = (ax0 + ax1 - bx0 - bx1).square() / 4 + (ay0 + ay1 - by0 - by1).square() / 4
    diou = iou - apart / (width.square() + height.square()).clamp(min=least)
    if kind == "diou":
        return diou

    differ = 4 / math.pi**2 * (_slant(a) - _slant(b)).square()
    with torch.no_grad():
        trade = differ / (1 - iou + differ).clamp(min=torch.finfo(dtype).eps)
    return diou - trade * differ


def pairwise_iou(
    a: Float[Tensor, "N 4"], b: Float[Tensor, "M 4"], crowd: Bool[Tensor, "M"] | None = None
) -> Float[Tensor, "N M"]:
    """Return the intersection over union of every box of ``a`` with every box of ``b``.

    For the other kinds of overlap: ``overlaps(a[:, None], b, kind)``.

    Args:
        a: boxes, such as found ones.
        b: boxes, such as stated ones.
        crowd: which boxes of ``b`` are regions of many objects.  Against these counts the share of ``a``'s own area
            that the region covers, as in the evaluation of COCO.

    Returns:
        Values in [0, 1]; 0 where the denominator is empty.
    """
    if crowd is None or not crowd.any():
        return overlaps(a[:, None], b)
    dtype = torch.promote_types(_type(a), _type(b))
    a, b = a.to(dtype)[:, None], b.to(dtype)
    shared, own = _shared(a, b), areas(a)
    joint = torch.where(crowd, own, own + areas(b) - shared)
    return shared / joint.clamp(min=torch.finfo(dtype).tiny ** 0.5)


def xyxy_to_cxcywh(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Return centre x, centre y, width and height of each box; the size of an inverted box is negative."""
    x0, y0, x1, y1 = boxes.to(_type(boxes)).unbind(-1)
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1)


def cxcywh_to_xyxy(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Return the corners of boxes that are given as centre x, centre y, width and height."""
    x, y, width, height = boxes.to(_type(boxes)).unbind(-1)
    return torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)


def clip(boxes: Float[Tensor, "*N 4"], size: tuple[int, int]) -> Float[Tensor, "*N 4"]:
    """Return the part of each box inside a picture of ``size`` (height, width); a box that is outside becomes empty."""
    height, width = size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def moved(boxes: Float[Tensor, "N 4"], matrices: Float[Tensor, "*N 3 3"]) -> Float[Tensor, "N 4"]:
    """Return the rectangle around the moved corners of each box.

    Args:
        boxes: xyxy.
        matrices: from the pixels of the boxes to others: one for all, or one for each.
    """
    x0, y0, x1, y1 = boxes.unbind(1)
    corners = torch.stack([torch.stack([x, y, torch.ones_like(x)], 1) for x in (x0, x1) for y in (y0, y1)], 1)
    lifted = corners @ matrices.transpose(-1, -2)
    flat = lifted[..., :2] / lifted[..., 2:]
    return torch.cat([flat.amin(1), flat.amax(1)], 1)


def _type(boxes: Tensor) -> torch.dtype:
    """Return the type to compute in: at least float32."""
    return torch.promote_types(boxes.dtype, torch.float32)


def _shared(a: Tensor, b: Tensor) -> Tensor:
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a.unbind(-1), b.unbind(-1)
    width = (torch.minimum(ax1, bx1) - torch.maximum(ax0, bx0)).clamp(min=0)
    return width * (torch.minimum(ay1, by1) - torch.maximum(ay0, by0)).clamp(min=0)


def _extent(a0: Tensor, a1: Tensor, b0: Tensor, b1: Tensor) -> Tensor:
    """Return the length from the first to the last of four coordinates."""
    last = torch.maximum(torch.maximum(a0, a1), torch.maximum(b0, b1))
    return last - torch.minimum(torch.minimum(a0, a1), torch.minimum(b0, b1))


def _slant(boxes: Tensor) -> Tensor:
    """Return the angle between each box's diagonal and its height, in radians; 45 degrees for a point."""
    least = torch.finfo(boxes.dtype).tiny ** 0.25  # its square, in the gradient's denominator, is not 0
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.atan2((x1 - x0).clamp(min=least), (y1 - y0).clamp(min=least))
