"""Asking about a picture tile by tile: what the tiles say becomes what is said of the picture, before suppression.

B pictures, T candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visus.core.suppression import top
from visus.core.task import Raw
from visus.tasks._tiling import extents_of
from visus.tasks.detect.decoding import joined
from visus.transforms.tiles import Tile, Tiling

TOGETHER = 100
"""Tiles for whose candidates there is room in a picture, at most: suppression's cost grows with their square."""


def tiled(
    images: Float[Tensor, "B C H W"],
    limits: Float[Tensor, "B 4"],
    tiling: Tiling,
    at_once: int,
    most: int,
    look: Callable[[Tensor, Tensor], Raw],
) -> Raw:
    """Return the candidates of whole pictures, which are looked at in tiles.

    A candidate stays where its middle lies in the part that its tile answers for (see ``Tile``), so an object on a seam
    is found by one tile, and what another sees of it is dropped; the few that two of them see are left to suppression.

    A picture keeps as many candidates as its tiles have room for, those of the highest scores, so a large one is not
    asked for fewer objects on the same ground than a small one.

    Args:
        images: whole, at the tiles' scale.
        limits: xyxy of what of each frame is picture.
        tiling: how they are tiled.
        at_once: tiles, which bounds the memory.
        most: candidates for which there is room in a tile.
        look: candidates of tiles (N, C, height, width) and their limits (N, 4), in pixels of the tiles.
    """
    height, width = tiling.size
    extents = extents_of(limits, images, tiling)
    tiles = [(row, tile) for row, extent in enumerate(extents) for tile in tiling.cover(extent)]
    said: list[list[Raw]] = [[] for _ in images]
    for start in range(0, len(tiles), at_once):
        part = tiles[start : start + at_once]
        cut = torch.stack([images[row, :, tile.y : tile.y + height, tile.x : tile.x + width] for row, tile in part])
        corners = limits.new_tensor([[tile.x, tile.y] * 2 for _, tile in part])
        bounds = (limits[[row for row, _ in part]] - corners).clamp(
            limits.new_zeros(4), limits.new_tensor([width, height] * 2)
        )
        raw = look(cut, bounds)
        for i, (row, tile) in enumerate(part):
            said[row].append(_own({name: values[i : i + 1] for name, values in raw.items()}, tile))
    return _stacked([_best(joined(raws), most * min(len(raws), TOGETHER)) for raws in said])


def _own(raw: Raw, tile: Tile) -> Raw:
    """Return the candidates of one tile where they lie in the picture, without those of another tile's part."""
    boxes = raw["boxes"] + raw["boxes"].new_tensor([tile.x, tile.y] * 2)
    x, y = ((boxes[..., i] + boxes[..., i + 2]) / 2 for i in (0, 1))
    left, top, right, bottom = tile.own
    mine = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    return {**raw, "boxes": boxes, "scores": raw["scores"].where(mine, -1.0)}


def _best(raw: Raw, most: int) -> Raw:
    """Return the candidates of the highest scores of one picture."""
    at = top(raw["scores"].detach(), min(most, raw["scores"].shape[1]))
    return {name: values[:, at[0]] for name, values in raw.items()}


def _stacked(raws: Sequence[Raw]) -> Raw:
    """Return the candidates of single pictures as those of a batch; a score of -1 where one has no further ones."""
    most = max(raw["scores"].shape[1] for raw in raws)

    def padded(name: str, values: Tensor) -> Tensor:
        fill = -1.0 if name == "scores" else 0.0
        return F.pad(values, (0, 0) * (values.dim() - 2) + (0, most - values.shape[1]), value=fill)

    return {name: torch.cat([padded(name, raw[name]) for raw in raws]) for name in raws[0]}
