"""Mosaic: four pictures meet at a point, each in a quarter of its own, and are moved on together.

Each pixel is read once: the place of a picture on the canvas and what moves the whole canvas are one matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray as Array
from torch import Tensor

from visus.core.annotations import warp_polygon
from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.seeds import Draws
from visus.transforms import geometry
from visus.transforms.resample import warp

TILES = 4

_FAR = 1e5  # pixels: a canvas goes on for so long to each side


def chosen(augment: AugmentSettings, draws: Draws) -> Bool[Array, "B"]:
    """Return which samples are shown in a mosaic: each with the chance ``mosaic``, in the first ``mosaic_epochs``."""
    early = draws.epochs < augment.mosaic_epochs if augment.mosaic_epochs else np.ones(len(draws), np.bool_)
    return np.asarray(early & draws.chance("mosaic", augment.mosaic))


@dataclass(frozen=True)
class Layout:
    """Where the pictures of B mosaics go.

    Attributes:
        size: (height, width) of the new pictures.
        matrices: from present pixels of each of the four pictures to those of the new one.
        canvas: from the canvas to the new picture.
        meeting: x, y on the canvas of the point where the four meet.
        quarters: in which quarter each lies: 0 left top, 1 right top, 2 left bottom, 3 right bottom.
    """

    size: tuple[int, int]
    matrices: Float64[Array, "4 B 3 3"]
    canvas: Float64[Array, "B 3 3"]
    meeting: Float64[Array, "B 2"]
    quarters: Int64[Array, "4 B"]

    def region(self, tile: int, row: int) -> Float64[Tensor, "K 2"]:
        """Return the corners of the convex part of the new picture that shows one of the four; none for no part."""
        x, y = self.meeting[row].tolist()
        left, top = self.quarters[tile, row] % 2 == 0, self.quarters[tile, row] < 2
        x0, x1, y0, y1 = x - _FAR * left, x + _FAR * (not left), y - _FAR * top, y + _FAR * (not top)
        quarter = torch.tensor([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=torch.float64)
        return warp_polygon(quarter, torch.from_numpy(self.canvas[row]), self.size)

    def quarter_of(self, row: int) -> Int64[Array, "height width"]:
        """Return the quarter in which each pixel's centre lies."""
        inverse = np.linalg.inv(self.canvas[row])
        across = inverse[:, :1] * (np.arange(self.size[1]) + 0.5) + inverse[:, 2:]  # (3, width)
        down = inverse[:, 1:2] * (np.arange(self.size[0]) + 0.5)  # (3, height)
        x, y = self.meeting[row]
        depth = down[2, :, None] + across[2]
        right = down[0, :, None] + across[0] >= x * depth
        below = down[1, :, None] + across[1] >= y * depth
        return np.asarray(right + 2 * below, np.int64)


def layout(
    sizes: Sequence[Int64[Array, "B 2"]],
    input: InputSettings,
    augment: AugmentSettings,
    draws: Sequence[Draws],
    before: Sequence[Float64[Array, "B 3 3"] | None],
    kept: Sequence[Int64[Array, "B 4"] | None] = (None,) * TILES,
) -> Layout:
    """Return where four pictures go, each brought to the network's size as it would be alone, and moved as one.

    They meet anywhere in the new picture; a zoom of one half, for which ``augment.scale`` stands, shows most of each.

    Args:
        sizes: (height, width) of the pictures, four times.
        input: the network's size and fit.
        augment: the ranges to draw from.
        draws: the random numbers of the pictures; the first ones say where they meet and how the whole is moved.
        before: what a policy did to each in its own pixels.
        kept: what is kept of each, where that is settled already.

    Source:
        Bochkovskiy et al., YOLOv4, 2020, section 3.3; the meeting point is drawn as in Ultralytics' YOLOv5.
    """
    own = draws[0]
    meeting = np.floor(own.uniform("mosaic_meeting", 2) * (input.size[1] + 1, input.size[0] + 1))
    first = np.floor(own.uniform("mosaic_quarter")[:, 0] * TILES).astype(np.int64)
    canvas = geometry.moved(geometry.identities(len(own)), input.size, augment, own)
    quarters = (first + np.arange(TILES)[:, None]) % TILES  # (4, B)
    matrices = []
    for tile in range(TILES):
        settled = kept[tile]
        boxes = geometry.kept_boxes(sizes[tile], input, augment, draws[tile]) if settled is None else settled
        placed = geometry.onto(boxes, input.size, keep_shape=input.fit == "pad")
        low, high = (placed[:, [0, 1], [0, 1]] * boxes[:, i : i + 2] + placed[:, :2, 2] for i in (0, 2))
        is_low = np.stack([quarters[tile] % 2 == 0, quarters[tile] < 2], 1)
        by = meeting - np.where(is_low, high, low)  # the corner towards the middle goes there
        placed = geometry.translations(by[:, 0], by[:, 1]) @ placed
        earlier = before[tile]
        matrices.append(canvas @ (placed if earlier is None else placed @ earlier))
    return Layout(input.size, np.stack(matrices), canvas, meeting, quarters)


def compose(
    tiles: Sequence[Tensor], layout: Layout, row: int, input: InputSettings, fill: Sequence[float], reflect: int
) -> Tensor:
    """Return one mosaic, (C, height, width), of four pictures (C, H, W) of one depth; see ``resample.warp``."""
    quarter_of = layout.quarter_of(row)
    whole = tiles[0].new_empty(tiles[0].shape[0], *layout.size)
    for tile, image in enumerate(tiles):
        mine = quarter_of == layout.quarters[tile, row]
        down, across = mine.any(1).nonzero()[0], mine.any(0).nonzero()[0]
        if not len(down):
            continue
        y0, y1, x0, x1 = int(down[0]), int(down[-1]) + 1, int(across[0]), int(across[-1]) + 1
        to_part = geometry.translations(np.array([-x0], np.float64), np.array([-y0], np.float64))
        part = warp(
            image[None], to_part @ layout.matrices[tile, row], (y1 - y0, x1 - x0),
            interpolation=input.interpolation, fill=fill, reflect=reflect,
        )[0]  # fmt: skip
        at = (slice(None), slice(y0, y1), slice(x0, x1))
        whole[at] = torch.where(torch.from_numpy(mine[y0:y1, x0:x1]), part, whole[at])
    return whole
