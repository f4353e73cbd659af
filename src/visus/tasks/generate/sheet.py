"""Generated pictures as pixels, and many of them on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

GAP = 2
"""White pixels between two pictures of a sheet."""


def pixels_of(images: Float[Tensor, "B C H W"]) -> list[NDArray[np.uint8]]:
    """Return pictures in [-1, 1] as (H, W, C) uint8; what lies outside is cut off, and what is no number is black."""
    levels = ((images.float().nan_to_num(-1) + 1) * 127.5).round().clamp(0, 255).byte()
    return list(levels.permute(0, 2, 3, 1).cpu().numpy())


def sheet(pictures: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Return one (H, W, 3) picture of many of one size, row by row."""
    coloured = [in_colour(picture) for picture in pictures]
    height, width, _ = coloured[0].shape
    rows = -(-len(coloured) // columns)
    columns = min(columns, len(coloured))
    paper = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, picture in enumerate(coloured):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        paper[top : top + height, left : left + width] = picture
    return paper


def in_colour(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) of a picture of any channels: grey from one, and from others than three their first."""
    if picture.shape[2] == 2:
        picture = picture[..., :1]
    return np.ascontiguousarray(np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3)))
