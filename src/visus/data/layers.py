"""Any number of classes for each pixel, in one mask file for each class that a picture shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.dataset import Strings
from visus.data.decode import peek
from visus.data.mask_door import fitted, read_stored
from visus.data.paths import shown


@dataclass(frozen=True)
class Layers:
    """The masks of N records and K classes.

    Attributes:
        root: the folder of the data.
        paths: (N * K,) of the files below it, those of a record one after the other; empty where a class has none.
        pictures: (N,) of the pictures below it, whose size and EXIF turn the masks must fit.
        values: (K,) int64: what stands for a class in its masks: 1, or 255 where masks show 0 and 255 alone.
        max_pixels: largest mask that is decoded.
    """

    root: Path
    paths: Strings
    pictures: Strings
    values: NDArray[np.int64]
    max_pixels: int = 100_000_000
    several: bool = True

    def __len__(self) -> int:
        return len(self.pictures)

    def files(self, i: int) -> list[str]:
        """Return the (K,) masks of record ``i``."""
        k = len(self.values)
        return [self.paths[j] for j in range(i * k, (i + 1) * k)]

    def read(self, i: int, size: tuple[int, int]) -> NDArray[np.int64]:
        """Return (H, W) the classes of each pixel of record ``i``: bit k where the mask of class k says so.

        A class without a mask is nowhere.  Of a picture without any mask nothing is said: -1, as of a pixel that one of
        its masks ignores.

        Raises:
            DataError: as ``mask_door.values_of``, and DATA-273, a value that stands for nothing.
        """
        files = self.files(i)
        if not any(files):
            return np.full(size, -1, np.int64)
        bits, unsaid = np.zeros(size, np.int64), np.zeros(size, np.bool_)
        picture = peek(self.root / self.pictures[i], max_pixels=self.max_pixels)
        for k, file in enumerate(files):
            if file:
                path = self.root / file
                values = fitted(read_stored(path, max_pixels=self.max_pixels).values, picture, path)
                there = values == self.values[k]
                bits |= there.astype(np.int64) << k
                other = (values != 0) & ~there
                unsaid |= other
                if (other & (values != 255)).any():
                    raise stray(path, int(values[other & (values != 255)][0]), int(self.values[k]))
        bits[unsaid] = -1
        return bits

    def renamed(self, place: NDArray[np.int64], count: int) -> Layers:
        """Return the same with class k called ``place[k]``, of ``count`` classes; of new ones there are no masks."""
        paths = [""] * (len(self) * count)
        values = np.ones(count, np.int64)
        values[place] = self.values
        for i in range(len(self)):
            for k, file in enumerate(self.files(i)):
                paths[i * count + int(place[k])] = file
        return replace(self, paths=Strings(paths), values=values)

    def content(self) -> Iterator[bytes]:
        """Yield everything it says, for a fingerprint; of a file, its name and size."""
        yield self.values.tobytes()
        for path in self.paths:
            size = (self.root / path).stat().st_size if path and (self.root / path).exists() else -1
            yield f"{path}\0{size}\0".encode("utf-8", "surrogateescape")


def stray(path: Path, value: int, own: int) -> DataError:
    """Return the error of a mask of one class with a value that stands for nothing."""
    return DataError(
        "DATA-273", f"{shown(path)}: the value {value} stands for nothing in a mask of one class",
        where=f"0 is outside, {own} inside{'' if own == 255 else ', 255 ignored'}",
        fix="write 0 and 1, or 0 and 255; a mask of several classes is masks/NAME.png, in no folder of a class",
    )  # fmt: skip
