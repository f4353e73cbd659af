"""The class of each pixel of some pictures, as values that a transform moves and a metric judges against."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.annotations import Annotation, ClassMap, StatedMap
from visus.core.errors import DataError
from visus.core.pixels import IGNORE
from visus.data.dataset import Dataset
from visus.data.layers import Layers
from visus.data.mask_door import read_map
from visus.data.objects import ClassMaps
from visus.data.painting import Painted
from visus.data.paths import shown
from visus.data.pixels import Beat, Pictures, Taken, size_of


def with_maps(pictures: Pictures, maps: ClassMaps | Painted | Layers | None) -> Pictures:
    """Return pictures that come with their maps; where there are none, the same pictures."""
    return pictures if maps is None else MappedPictures(pictures, maps)


@dataclass(frozen=True)
class MappedPictures:
    """Pictures, each with the class of its every pixel; one whose map cannot be read is as bad as a broken picture.

    A picture without a map is there, and nothing is said of its pixels.
    """

    pictures: Pictures
    maps: ClassMaps | Painted | Layers

    def take(self, indices: NDArray[np.int64], beat: Beat) -> Taken:
        """Return pictures and maps by their index in the data set; each map is read once."""
        taken = self.pictures.take(indices, beat)
        rows = [i for i in indices.tolist() if i not in taken.bad]
        read: dict[int, Tensor] = {}
        lost: dict[int, str] = {}
        for i, (height, width) in zip(rows, taken.originals.tolist(), strict=True):
            if i in read or i in lost:
                continue
            beat(i)
            try:
                read[i] = self._read(i, (height, width))
            except DataError as error:
                lost[i] = self._named(i, error.what)
        return replace(taken.without(rows, lost), maps=[read[i] for i in rows if i in read])

    def _read(self, i: int, size: tuple[int, int]) -> Tensor:
        """Return map ``i`` of a picture of a size.

        Raises:
            DataError: it cannot be read, or does not fit.
        """
        if not isinstance(self.maps, ClassMaps):
            return torch.from_numpy(self.maps.read(i, size))
        if not self.maps.paths[i]:
            return torch.full(size, IGNORE, dtype=torch.uint8)
        classes = torch.from_numpy(read_map(self.maps, i))
        if classes.shape != size:
            height, width = classes.shape
            raise DataError(
                "DATA-272", f"the mask has {width:,} x {height:,} pixels, its picture {size[1]:,} x {size[0]:,}",
                fix="draw it at the picture's size, or resize it without smoothing",
            )  # fmt: skip
        return classes

    def _named(self, i: int, why: str) -> str:
        """Return why a map cannot be read, with the name of its file."""
        if isinstance(self.maps, Painted):
            return why
        if isinstance(self.maps, Layers):
            return f"its mask {why.removeprefix(f'{shown(self.maps.root)}/')}"
        path = self.maps.paths[i]
        return f"its mask {shown(path)}: {why.removeprefix(f'{shown(self.maps.root / path)}: ')}"


def columns(taken: Taken, sizes: Sequence[tuple[int, int]], *, judged: bool) -> dict[str, Sequence[Annotation]]:
    """Return the columns ``class_map`` and ``stated_map`` of some pictures; none where the data states no classes.

    Args:
        taken: pictures with their maps.
        sizes: (height, width) of the present pictures, in whose pixels ``class_map`` is given; one where all agree.
        judged: with ``stated_map``, the same in original pixels, which training does not read.
    """
    if taken.maps is None:
        return {}
    present = []
    everyones = sizes if len(sizes) == len(taken.maps) else [*sizes] * len(taken.maps)
    for classes, (height, width) in zip(taken.maps, everyones, strict=True):
        scale = torch.tensor([width / classes.shape[1], height / classes.shape[0], 1], dtype=torch.float64)
        whole = ClassMap(classes, -1 if classes.dtype == torch.int64 else IGNORE)
        present.append(whole if classes.shape == (height, width) else whole.warp(torch.diag(scale), (height, width)))
    return {"class_map": present, **({"stated_map": list(map(StatedMap, taken.maps))} if judged else {})}


def pixels(dataset: Dataset, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (K,) how many pixels of some records show each class; a map that cannot be read shows none."""
    counts = np.zeros(max(256, len(dataset.classes)), np.int64)
    maps = dataset.of_pixels
    for i in indices.tolist():
        with suppress(DataError):  # whoever reads it to learn from it says so
            if isinstance(maps, Painted | Layers):
                shown = ClassMap(
                    torch.from_numpy(maps.read(i, size_of(dataset.images, i))), -1 if maps.several else IGNORE
                )
                for k, many in shown.shown().items():
                    counts[k] += many
            elif maps is not None and maps.paths[i]:
                counts += np.bincount(read_map(maps, i).reshape(-1), minlength=256)
    return counts[: len(dataset.classes)]
