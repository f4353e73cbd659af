"""Large pictures in overlapping tiles: what one covers, which are trained on, and which cover a whole picture.

A tile is a box of a fixed number of a picture's pixels that becomes the whole of what the network reads, so its scale
is the same in training, where a tile is drawn at random, and in judging, where tiles cover the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray as Array

from visus.core.seeds import Draws
from visus.transforms import geometry

SLACK = 1e-2
"""Pixels at the end of a picture that need no pixel of their own."""
MARGIN = 1 / 8
"""Share of the overlap of two tiles by which the part that each answers for reaches beyond its middle."""


@dataclass(frozen=True)
class Tiling:
    """How pictures are tiled.

    Attributes:
        size: (height, width) of what the network reads.
        across: pixels of a picture that a tile is wide; its height has the shape of ``size``.
        seam: share of a tile's sides that it has in common with its neighbour, at least.
    """

    size: tuple[int, int]
    across: int
    seam: float

    @property
    def covers(self) -> tuple[int, int]:
        """(height, width) of a tile in pixels of the picture."""
        return max(1, round(self.across * self.size[0] / self.size[1])), self.across

    def drawn(
        self, sizes: Int64[Array, "B 2"], draws: Draws, aims: Float64[Array, "B 2"], stream: str = "tile"
    ) -> Int64[Array, "B 4"]:
        """Return the xyxy box of a random tile of each picture; one larger than its picture lies about its middle.

        Args:
            sizes: (height, width) of each picture.
            draws: the random numbers of each sample.
            aims: x, y of a point that the tile shall hold; NaN for none.
            stream: name of the random numbers that are drawn.
        """
        tile, extent = np.array(self.covers[::-1]), sizes[:, ::-1]
        room = np.maximum(extent - tile, 0).astype(np.float64)
        start = geometry.starts(room, tile[None].astype(np.float64), aims, draws.uniform(stream, 2)).astype(np.int64)
        start = np.where(extent < tile, -((tile - extent) // 2), start)
        return np.concatenate([start, start + tile], 1)

    def whole(self, sizes: Int64[Array, "B 2"]) -> tuple[Float64[Array, "B 3 3"], list[tuple[int, int]]]:
        """Return the matrices that bring whole pictures to the scale of a tile, and the sizes they then have.

        A picture smaller than a tile lies in the middle of one.
        """
        tile = np.array([[0, 0, *self.covers[::-1]]])
        scale = geometry.onto(tile, self.size, keep_shape=True)[0].diagonal()[:2]
        extent = np.ceil(sizes[:, ::-1] * scale - SLACK).astype(np.int64)
        frame = np.maximum(extent, self.size[::-1])
        matrices = geometry.scalings(np.full(len(sizes), scale[0]), np.full(len(sizes), scale[1]))
        matrices[:, :2, 2] = (frame - extent) // 2
        return matrices, [(int(high), int(wide)) for wide, high in frame]

    def cover(self, frame: tuple[int, int]) -> list[Tile]:
        """Return the tiles that cover a picture of (height, width) at their scale, row by row."""
        rows, columns = (_spans(extent, side, self.seam) for extent, side in zip(frame, self.size, strict=True))
        return [Tile(x, y, (left, top, right, bottom)) for (y, top, bottom), (x, left, right) in product(rows, columns)]


@dataclass(frozen=True)
class Tile:
    """One tile of a picture.

    Attributes:
        x, y: of its corner in the picture, at the tile's scale.
        own: xyxy of the part of the picture that it answers for: objects whose middle lies there.  Parts meet in the
            middle of what two tiles have in common, and reach a little beyond; at the picture's edges they are endless.
            An object no larger than what the tiles have in common is seen whole by the one that answers for it, and
            what a seam cuts of it in another tile has its middle outside that tile's part.
    """

    x: int
    y: int
    own: tuple[float, float, float, float]


def _spans(extent: int, side: int, seam: float) -> list[tuple[int, float, float]]:
    """Return where tiles begin along one axis, evenly, and from where to where each answers."""
    step = max(1.0, side * (1 - seam))
    count = 1 + math.ceil(max(0, extent - side) / step)
    starts = [round(k * (extent - side) / (count - 1)) for k in range(count)] if count > 1 else [0]
    meets = [(after + before + side) / 2 for before, after in pairwise(starts)]
    reach = [MARGIN * (before + side - after) for before, after in pairwise(starts)]
    lows = [-math.inf, *(at - by for at, by in zip(meets, reach, strict=True))]
    highs = [*(at + by for at, by in zip(meets, reach, strict=True)), math.inf]
    return list(zip(starts, lows, highs, strict=True))
