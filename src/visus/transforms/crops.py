"""Random crops and tiles of pictures with a class for every pixel: about rare classes, and not of one class alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray as Array

from visus.core.annotations import ClassMap
from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms import geometry
from visus.transforms.tiles import Tiling

TRIES = 10
"""Crops of a picture that are drawn, at most, until none of its classes takes more than its share."""


def chosen(augment: AugmentSettings) -> bool:
    """Tell whether some crops are preferred."""
    return augment.rare > 0 or augment.majority < 1


def chosen_boxes(
    maps: Sequence[ClassMap],
    augment: AugmentSettings,
    counts: Sequence[int],
    draws: Draws,
    tiling: Tiling | None = None,
) -> Int64[Array, "B 4"]:
    """Return xyxy boxes of random crops in whole pixels, as ``geometry.random_boxes`` draws them, of those preferred.

    Where pictures are read in tiles, crops are tiles, as ``Tiling.drawn`` draws them.

    With the chance ``rare`` a crop holds a pixel of a class that the picture shows, drawn by the inverse of how many
    pixels of it there are; each place that does is as likely as the others.  Where ``majority`` is below 1, crops are
    drawn until no class takes a larger share of the known pixels, or the last of ten is taken.

    Args:
        maps: the classes of each picture's pixels.
        augment: ``crop``, ``ratio``, ``rare`` and ``majority``.
        counts: pixels of each class in the training part; none for those of the picture itself.
        draws: the random numbers of each sample.
        tiling: how pictures are tiled, if they are.

    Source:
        The limit: Bao et al., BEiT, ICLR 2022, whose recipe for segmentation is that of mmsegmentation's ``RandomCrop``
        (``cat_max_ratio`` 0.75), which keeps the last of ten crops too.
    """
    sizes = np.array([one.classes.shape for one in maps], np.int64).reshape(-1, 2)
    aims = rare_places(maps, augment.rare, counts, draws)
    left = np.arange(len(maps))

    def drawn(again: str = "") -> Int64[Array, "_ 4"]:
        of, numbers = sizes[left], draws.rows(left)
        if tiling is not None:
            return tiling.drawn(of, numbers, aims[left], f"tile{again}")
        return geometry.random_boxes(of, augment.crop, augment.ratio, numbers, aims[left], f"crop{again}")

    boxes = drawn()
    for again in range(1, TRIES if augment.majority < 1 else 0):
        left = left[[_largest_share(maps[row], boxes[row]) > augment.majority for row in left.tolist()]]
        if not len(left):
            break
        boxes[left] = drawn(f"_{again}")
    return boxes


def rare_places(maps: Sequence[ClassMap], chance: float, counts: Sequence[int], draws: Draws) -> Float64[Array, "B 2"]:
    """Return x and y of the middle of a pixel of a rare class of each picture; NaN where no class is aimed at.

    Args:
        maps: the classes of each picture's pixels.
        chance: that a class is aimed at.
        counts: as of ``chosen_boxes``; ``draws``: too.
    """
    aims = np.full((len(maps), 2), np.nan)
    if not chance:
        return aims
    which, where = draws.uniform("rare_class")[:, 0], draws.uniform("rare_pixel")[:, 0]
    for row in np.flatnonzero(draws.chance("rare", chance)).tolist():
        pixels = maps[row].shown()  # of each class that the picture shows
        if not pixels:
            continue
        classes = [*pixels]
        many = np.array([counts[k] if counts else pixels[k] for k in classes], np.float64).clip(1)
        share = np.cumsum(1 / many)
        k = classes[min(int(np.searchsorted(share, which[row] * share[-1], "right")), len(classes) - 1)]
        at = np.flatnonzero(maps[row].of(k))
        y, x = divmod(int(at[int(where[row] * len(at))]), maps[row].classes.shape[1])
        aims[row] = x + 0.5, y + 0.5
    return aims


def _largest_share(classes: ClassMap, box: Int64[Array, "4"]) -> float:
    """Return the share of the known pixels in a box of what is shown most; 0 where nothing is known."""
    x0, y0, x1, y1 = box.clip(0).tolist()  # a tile may be larger than its picture
    shown = classes.classes[y0:y1, x0:x1].numpy()
    _, counts = np.unique(shown[shown != classes.ignore], return_counts=True)
    return float(counts.max() / counts.sum()) if len(counts) else 0.0
