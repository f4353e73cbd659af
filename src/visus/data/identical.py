"""Finds identical pictures in different splits: what was trained on must not be tested on.

Pixels are compared, in this way, so that no start of a run waits long for it - at most about 20 s on two cores:

=============================================  ===================================================================
pictures                                       of which the pixels are compared
=============================================  ===================================================================
in one array                                   all
files, at most 100,000, of which those with    all that have the size of a picture in another split
the size of one in another split are ``WORK``
more files, or fetched from elsewhere          those with the bytes of a file in another split
=============================================  ===================================================================

``WORK`` is 16,800 pictures of 500 x 375 or 78,000 of 32 x 32: numbers and sizes decide, no clock, so that the same data
always gets the same answer.  Among more files one that was saved again without loss is not found here, which is told;
``visus check`` compares all pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.dataset import Dataset, FileImages, Images
from visus.data.decode import peek
from visus.data.fetched import FetchedImages
from visus.data.paths import open_regular
from visus.data.pixels import Beat
from visus.data.workers import Numbered, in_order

FEW = 100_000
"""Files up to which headers are read: 7 s."""

WORK, EACH = 4_000_000_000, 50_000
"""Pixels up to which all that may be identical are decoded, and how many more a picture costs, whatever its size."""


def identical_across_splits(
    dataset: Dataset, *, tell: Callable[[str], None] = lambda sentence: None
) -> list[tuple[str, str]]:
    """Return pairs of names of pictures with the same pixels that lie in different splits.

    What cannot be read is identical to nothing, and the decode door will name it.  Each picture of validation or test
    appears at most once, beside the first of its kind in an earlier split (train, val, test).

    Args:
        dataset: of any kind.
        tell: told where only the bytes of files were compared.
    """
    first: dict[Hashable, int] = {}
    pairs = []
    suspects = _suspects(dataset, tell)
    hashes = in_order(_Hash(dataset.images, suspects), -(-len(suspects) // _CHUNK), 0)
    for i, pixels in zip(suspects, (one for chunk in hashes for one in chunk), strict=True):
        if pixels is None:
            continue
        known = first.setdefault(pixels, i)
        if dataset.split[known] != dataset.split[i]:
            pairs.append((dataset.ids[known], dataset.ids[i]))
    return pairs


_CHUNK = 64  # pictures that a thread takes at once


@dataclass(frozen=True)
class _Hash:
    """Hashes the pixels of one chunk of pictures; None for one that cannot be read."""

    images: Images
    records: Sequence[int]

    def __call__(self, job: Numbered, beat: Beat) -> list[Hashable | None]:
        return [self._pixels(i) for i in self.records[job[0] * _CHUNK : (job[0] + 1) * _CHUNK]]

    def _pixels(self, i: int) -> Hashable | None:
        try:
            picture = self.images.read(i)
        except DataError:
            return None
        data = np.ascontiguousarray(picture).data
        return picture.shape, str(picture.dtype), blake2b(data, digest_size=16).digest()


def _suspects(dataset: Dataset, tell: Callable[[str], None]) -> list[int]:
    """Return the records that may have a twin in another split, split by split."""
    images = dataset.images
    order = np.argsort(dataset.split, kind="stable").tolist()
    if len(np.unique(dataset.split)) < 2:
        return []
    if isinstance(images, FileImages):
        lengths = {i: length for i in order if (length := _length(images.source(i))) >= 0}
        if len(lengths) <= FEW:
            sizes = {i: size for i in lengths if (size := _size(images, i)) is not None}
            alike = _in_several_splits(sizes, dataset.split)
            if sum(EACH + sizes[i][0] * sizes[i][1] for i in alike) <= WORK:
                return alike
    elif isinstance(images, FetchedImages):
        lengths = {i: int(images.lengths[i]) for i in order}
    else:
        return list(order)
    tell("so many pictures are compared across splits by the bytes of their files; visus check compares all pixels")
    alike = _in_several_splits(lengths, dataset.split)
    contents = {i: content for i in alike if (content := _content(images, i))}
    return _in_several_splits(contents, dataset.split)


def _in_several_splits(keys: Mapping[int, Hashable], split: NDArray[np.uint8]) -> list[int]:
    """Return the records whose key some record of another split has as well."""
    splits: dict[Hashable, set[int]] = defaultdict(set)
    for i, key in keys.items():
        splits[key].add(int(split[i]))
    return [i for i, key in keys.items() if len(splits[key]) > 1]


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return -1  # the decode door names it


def _size(images: FileImages, i: int) -> tuple[int, int] | None:
    """Return the upright height and width of a picture by its header; None where it cannot be read."""
    try:
        return peek(images.source(i), max_pixels=images.max_pixels)[:2]
    except DataError:
        return None


def _content(images: FileImages | FetchedImages, i: int) -> bytes:
    """Return the hash of the bytes of a picture; nothing where they cannot be read."""
    hasher = blake2b(digest_size=16)
    try:
        if isinstance(images, FetchedImages):
            hasher.update(images.source(i))
        else:
            with open_regular(images.source(i)) as file:
                while block := file.read(1 << 20):
                    hasher.update(block)
    except (DataError, OSError):
        return b""
    return hasher.digest()
