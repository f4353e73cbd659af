"""Finds identical pictures in different splits: what was trained on must not be tested on.

Pixels are compared, in this way, so that no start of a run waits for it:

======================================  ==================================================================
pictures                                of which the pixels are compared
======================================  ==================================================================
in one array                            all
files, at most 20,000 and 32 MB of them all of them: a second or two
more files, or fetched from elsewhere   those with the bytes of a file in another split
======================================  ==================================================================

Among more files one that was saved again without loss is not found here; ``visus check`` compares all pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.dataset import Dataset, FileImages
from visus.data.fetched import FetchedImages
from visus.data.paths import open_regular

FEW, SMALL = 20_000, 32_000_000
"""Files, and bytes of all of them, up to which the pixels of all are compared."""


def identical_across_splits(dataset: Dataset) -> list[tuple[str, str]]:
    """Return pairs of names of pictures with the same pixels that lie in different splits.

    What cannot be read is identical to nothing, and the decode door will name it.  Each picture of validation or test
    appears at most once, beside the first of its kind in an earlier split (train, val, test).
    """
    first: dict[Hashable, int] = {}
    pairs = []
    for i in _suspects(dataset):
        try:
            picture = dataset.images.read(i)
        except DataError:
            continue
        known = first.setdefault(_pixels(picture), i)
        if dataset.split[known] != dataset.split[i]:
            pairs.append((dataset.ids[known], dataset.ids[i]))
    return pairs


def _suspects(dataset: Dataset) -> list[int]:
    """Return the records that may have a twin in another split, split by split."""
    images = dataset.images
    order = np.argsort(dataset.split, kind="stable").tolist()
    if len(np.unique(dataset.split)) < 2:
        return []
    if isinstance(images, FileImages):
        lengths = {i: length for i in order if (length := _length(images.source(i))) >= 0}
        if len(lengths) <= FEW and sum(lengths.values()) <= SMALL:
            return list(lengths)
    elif isinstance(images, FetchedImages):
        lengths = {i: int(images.lengths[i]) for i in order}
    else:
        return list(order)
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


def _pixels(picture: NDArray[np.generic]) -> Hashable:
    data = np.ascontiguousarray(picture).data
    return picture.shape, str(picture.dtype), blake2b(data, digest_size=16).digest()
