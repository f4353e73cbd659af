"""Where every pixel goes: one (3, 3) matrix a sample for crop, resize, flip, rotation, shear, zoom and perspective.

Matrices map present pixel coordinates to new ones, act on (x, y, 1), and count pixel *edges* at integers, as in
``core/annotations.py``.  They are made in float64 for all samples at once, and each depends on its own sample alone.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray as Array

from visus.core.recipe import AugmentSettings, InputSettings, Range
from visus.core.seeds import Draws

WHOLE = (1.0, 1.0)
_TRIES = 10


def judging(sizes: Int64[Array, "B 2"], input: InputSettings) -> Float64[Array, "B 3 3"]:
    """Return the matrices that bring pictures to the network's size in the same way each time.

    Args:
        sizes: (height, width) of each picture.
        input: ``fit`` says how a picture of another shape is brought to ``size``.
    """
    boxes = central_boxes(sizes, input.size, input.margin) if input.fit == "crop" else whole_boxes(sizes)
    return onto(boxes, input.size, keep_shape=input.fit == "pad")


def training(
    sizes: Int64[Array, "B 2"],
    input: InputSettings,
    augment: AugmentSettings,
    draws: Draws,
    before: Float64[Array, "B 3 3"] | None = None,
    tiles: Int64[Array, "B 4"] | None = None,
) -> Float64[Array, "B 3 3"]:
    """Return the matrices of training: ``before``, then crop and resize, zoom, shear, rotation, perspective and flips.

    All but the crop act on the new picture about its middle, so that a rotation shows what lies beside the crop
    instead of a corner without pixels, and stays a rotation when the crop is stretched.  A random crop is stretched to
    the network's size, or keeps its shape where ``fit`` is ``pad``.

    Args:
        sizes: (height, width) of each picture.
        input: the network's size and fit.
        augment: the ranges to draw from.
        draws: the random numbers of each sample.
        before: what a policy did to the picture in its own pixels.
        tiles: what is kept of each picture where that is settled already.
    """
    boxes = kept_boxes(sizes, input, augment, draws) if tiles is None else tiles
    matrices = onto(boxes, input.size, keep_shape=input.fit == "pad")
    return moved(matrices if before is None else matrices @ before, input.size, augment, draws)


def kept_boxes(
    sizes: Int64[Array, "B 2"], input: InputSettings, augment: AugmentSettings, draws: Draws
) -> Int64[Array, "B 4"]:
    """Return xyxy boxes of what is kept of each picture in training: a random crop, or what ``fit`` says."""
    if augment.crop != WHOLE:
        boxes = random_boxes(sizes, augment.crop, augment.ratio, draws)
    else:
        boxes = central_boxes(sizes, input.size, 1.0) if input.fit == "crop" else whole_boxes(sizes)
    if augment.pad:
        shifts = np.floor(draws.uniform("pad", 2) * (2 * augment.pad + 1)).astype(np.int64) - augment.pad
        boxes = boxes + np.tile(shifts, 2)
    return boxes


def moved(
    matrices: Float64[Array, "B 3 3"], size: tuple[int, int], augment: AugmentSettings, draws: Draws
) -> Float64[Array, "B 3 3"]:
    """Return matrices followed by random zoom, shear, rotation, perspective and flips of a picture of ``size``."""
    if augment.scale != WHOLE:
        zoom = draws.between("scale", *augment.scale)
        matrices = about_middle(scalings(zoom, zoom), size) @ matrices
    if augment.shear:
        tangents = np.tan((2 * draws.uniform("shear", 2) - 1) * augment.shear)
        matrices = about_middle(shears(tangents[:, 0], tangents[:, 1]), size) @ matrices
    if augment.rotate:
        matrices = about_middle(rotations(draws.between("rotate", -augment.rotate, augment.rotate)), size) @ matrices
    if augment.perspective:
        matrices = corner_shifts((2 * draws.uniform("perspective", 8) - 1) * augment.perspective, size) @ matrices
    if augment.flip or augment.flip_vertical:
        across = np.where(draws.chance("flip", augment.flip), -1.0, 1.0)
        down = np.where(draws.chance("flip_vertical", augment.flip_vertical), -1.0, 1.0)
        matrices = about_middle(scalings(across, down), size) @ matrices
    return matrices


def whole_boxes(sizes: Int64[Array, "B 2"]) -> Int64[Array, "B 4"]:
    """Return xyxy boxes around the whole of each picture."""
    return np.concatenate([np.zeros_like(sizes), sizes[:, ::-1]], 1)


def central_boxes(sizes: Int64[Array, "B 2"], size: tuple[int, int], margin: float) -> Int64[Array, "B 4"]:
    """Return the largest central xyxy boxes of the shape of ``size``, their sides times ``margin``, in whole pixels."""
    height, width = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)
    shape = size[1] / size[0]
    wide = np.rint(np.minimum(width, height * shape) * margin).clip(1)
    high = np.rint(np.minimum(height, width / shape) * margin).clip(1)
    return _boxes(np.rint((width - wide) / 2), np.rint((height - high) / 2), wide, high)


def random_boxes(
    sizes: Int64[Array, "B 2"],
    area: Range,
    ratio: Range,
    draws: Draws,
    aims: Float64[Array, "B 2"] | None = None,
    stream: str = "crop",
) -> Int64[Array, "B 4"]:
    """Return random xyxy boxes in whole pixels.

    Ten boxes are drawn for each picture, their share of the area uniform in ``area`` and the logarithm of width over
    height uniform in the logarithms of ``ratio``; the first that fits is taken, at a uniform place.  Where none fits it
    is the largest central box whose shape lies in ``ratio``.

    Args:
        sizes: (height, width) of each picture.
        area: share of the picture's area, from and to.
        ratio: width over height, from and to.
        draws: the random numbers of each sample.
        aims: x, y of a point that the box shall hold; NaN for none.
        stream: name of the random numbers that are drawn.

    Source:
        Szegedy et al., Going deeper with convolutions, CVPR 2015, section 6; the distribution is that of torchvision's
        RandomResizedCrop.
    """
    height, width = sizes[:, :1].astype(np.float64), sizes[:, 1:].astype(np.float64)
    unit = draws.uniform(stream, 2 * _TRIES + 2)
    areas = height * width * (area[0] + (area[1] - area[0]) * unit[:, :_TRIES])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shapes = np.exp(low + (high - low) * unit[:, _TRIES : 2 * _TRIES])
    wide, tall = np.rint(np.sqrt(areas * shapes)), np.rint(np.sqrt(areas / shapes))
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.argmax(1)[:, None]

    limited = np.clip(width / height, *ratio)
    found = fits.any(1, keepdims=True)
    w = np.where(found, np.take_along_axis(wide, first, 1), np.rint(np.minimum(width, height * limited)).clip(1))
    h = np.where(found, np.take_along_axis(tall, first, 1), np.rint(np.minimum(height, width / limited)).clip(1))
    sides, room = np.concatenate([w, h], 1), np.concatenate([width - w, height - h], 1)
    aims = np.full_like(room, np.nan) if aims is None else aims
    start = np.where(found | ~np.isnan(aims), starts(room, sides, aims, unit[:, -2:]), np.floor(room / 2))
    return _boxes(start[:, 0], start[:, 1], w[:, 0], h[:, 0])


def starts(
    room: Float64[Array, "B 2"], sides: Float64[Array, "#B 2"], aims: Float64[Array, "B 2"], unit: Float64[Array, "B 2"]
) -> Float64[Array, "B 2"]:
    """Return x, y at which boxes begin, in whole pixels: any place in a picture, or any at which a point lies inside.

    Args:
        room: where the last box of a picture can begin.
        sides: of the boxes, (width, height).
        aims: x, y of a point that the box shall hold; NaN for none.
        unit: the place among those that may be, in [0, 1).
    """
    low = np.where(np.isnan(aims), 0, np.clip(np.ceil(aims) - sides, 0, room))
    high = np.where(np.isnan(aims), room, np.clip(np.floor(aims), 0, room))
    return np.asarray(np.floor(low + unit * (high - low + 1)))


def onto(boxes: Int64[Array, "B 4"], size: tuple[int, int], *, keep_shape: bool) -> Float64[Array, "B 3 3"]:
    """Return the matrices that bring xyxy boxes to a picture of ``size`` (height, width).

    Args:
        boxes: what is kept of each picture.
        size: of the new picture.
        keep_shape: scale both sides alike, to whole pixels, and centre; otherwise the box is stretched.
    """
    wide, high = (boxes[:, 2] - boxes[:, 0]).astype(np.float64), (boxes[:, 3] - boxes[:, 1]).astype(np.float64)
    new_wide, new_high = np.full_like(wide, size[1]), np.full_like(high, size[0])
    if keep_shape:
        scale = np.minimum(new_wide / wide, new_high / high)
        new_wide, new_high = np.rint(wide * scale).clip(1), np.rint(high * scale).clip(1)
    left, top = np.floor((size[1] - new_wide) / 2), np.floor((size[0] - new_high) / 2)
    matrices = scalings(new_wide / wide, new_high / high)
    matrices[:, 0, 2] = left - matrices[:, 0, 0] * boxes[:, 0]
    matrices[:, 1, 2] = top - matrices[:, 1, 1] * boxes[:, 1]
    return matrices


def translations(x: Float64[Array, "B"], y: Float64[Array, "B"]) -> Float64[Array, "B 3 3"]:
    """Return the matrices that move by x and y pixels."""
    matrices = identities(len(x))
    matrices[:, 0, 2], matrices[:, 1, 2] = x, y
    return matrices


def scalings(x: Float64[Array, "B"], y: Float64[Array, "B"]) -> Float64[Array, "B 3 3"]:
    """Return the matrices that make things x times as wide and y times as high; -1 mirrors."""
    matrices = identities(len(x))
    matrices[:, 0, 0], matrices[:, 1, 1] = x, y
    return matrices


def rotations(angle: Float64[Array, "B"]) -> Float64[Array, "B 3 3"]:
    """Return the matrices that turn the x axis towards the y axis (on the screen: clockwise) by an angle in radians."""
    matrices = identities(len(angle))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 1, 0] = np.sin(angle)
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return matrices


def shears(x: Float64[Array, "B"], y: Float64[Array, "B"]) -> Float64[Array, "B 3 3"]:
    """Return the matrices that shear along y by the tangent ``y``, then along x by ``x``; areas are kept."""
    matrices = identities(len(x))
    matrices[:, 0, 0] += x * y
    matrices[:, 0, 1], matrices[:, 1, 0] = x, y
    return matrices


def corner_shifts(shifts: Float64[Array, "B 8"], size: tuple[int, int]) -> Float64[Array, "B 3 3"]:
    """Return the perspectives that move the corners of a picture of ``size`` (height, width).

    Shifts that would fold the picture (or nearly so) are halved until its new outline is convex.

    Args:
        shifts: x and y of the corners left top, right top, right bottom, left bottom, as shares of the sides, each in
            [-0.5, 0.5].
        size: of the picture.
    """
    sides = np.array([size[1], size[0]], np.float64)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    moved = shifts.reshape(-1, 4, 2)
    for _ in range(2):
        moved = np.where(_convex(corners + moved)[:, None, None], moved, moved / 2)
    return perspectives(np.broadcast_to(corners * sides, moved.shape), (corners + moved) * sides)


def perspectives(old: Float64[Array, "B 4 2"], new: Float64[Array, "B 4 2"]) -> Float64[Array, "B 3 3"]:
    """Return the matrices that move four points each to four others.

    Source:
        Hartley and Zisserman, Multiple View Geometry, 2nd edition, section 4.1, with the last entry set to 1.
    """
    x, y = old[..., 0], old[..., 1]
    zeros, ones = np.zeros_like(x), np.ones_like(x)
    u, v = new[..., 0], new[..., 1]
    rows_u = np.stack([x, y, ones, zeros, zeros, zeros, -u * x, -u * y], -1)
    rows_v = np.stack([zeros, zeros, zeros, x, y, ones, -v * x, -v * y], -1)
    entries = np.linalg.solve(np.concatenate([rows_u, rows_v], 1), np.concatenate([u, v], 1)[..., None])[..., 0]
    return np.asarray(np.concatenate([entries, np.ones((len(old), 1))], 1).reshape(-1, 3, 3))


def about_middle(matrices: Float64[Array, "B 3 3"], size: tuple[int, int]) -> Float64[Array, "B 3 3"]:
    """Return the same movements about the middle of a picture of ``size`` instead of about its left top corner."""
    middle = np.full(len(matrices), size[1] / 2), np.full(len(matrices), size[0] / 2)
    return np.asarray(translations(*middle) @ matrices @ translations(-middle[0], -middle[1]))


def identities(n: int) -> Float64[Array, "n 3 3"]:
    """Return ``n`` matrices that move nothing."""
    return np.tile(np.eye(3), (n, 1, 1))


def _boxes(
    x: Float64[Array, "B"], y: Float64[Array, "B"], wide: Float64[Array, "B"], high: Float64[Array, "B"]
) -> Int64[Array, "B 4"]:
    return np.stack([x, y, x + wide, y + high], 1).astype(np.int64)


def _convex(corners: Float64[Array, "B 4 2"]) -> Array:
    """Return whether each outline turns clearly in one direction at every corner: (B,) bool."""
    here, after = np.roll(corners, -1, 1) - corners, np.roll(corners, -2, 1) - np.roll(corners, -1, 1)
    return np.asarray((here[..., 0] * after[..., 1] - here[..., 1] * after[..., 0] > 0.05).all(1))
