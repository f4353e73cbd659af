"""Finds identical pictures in different splits: what was trained on must not be tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np

from visus.core.errors import DataError
from visus.data.dataset import ArrayImages, Dataset, FileImages
from visus.data.fetched import FetchedImages
from visus.data.paths import open_regular


def identical_across_splits(dataset: Dataset) -> list[tuple[str, str]]:
    """Return pairs of names of identical pictures that lie in different splits.

    Files are compared by their bytes, arrays by their pixels; what cannot be read is identical to nothing, and the
    decode door will name it.  Each picture of validation or test appears at most once, beside the first of its kind in
    an earlier split (train, val, test).
    """
    first: dict[Hashable, tuple[int, int]] = {}
    pairs = []
    for i, key in _keys(dataset):
        split = int(dataset.split[i])
        known = first.setdefault(key, (split, i))
        if known[0] != split and _is_picture(dataset, i):
            pairs.append((dataset.ids[known[1]], dataset.ids[i]))
    return pairs


def _is_picture(dataset: Dataset, i: int) -> bool:
    """Tell whether a record can be read; broken files are often alike, empty ones always."""
    try:
        dataset.images.read(i)
    except DataError:
        return False
    return True


def _keys(dataset: Dataset) -> Iterator[tuple[int, Hashable]]:
    """Yield (record, hash) of every picture that could have a twin in another split, split by split."""
    order = np.argsort(dataset.split, kind="stable").tolist()
    if isinstance(dataset.images, ArrayImages):
        array = dataset.images.array
        for i in order:
            yield i, blake2b(np.ascontiguousarray(array[i]).data, digest_size=16).digest()
    elif isinstance(dataset.images, FileImages):
        root, paths = dataset.images.root, dataset.images.paths
        sizes: dict[int, set[int]] = defaultdict(set)
        length = {}
        for i in order:
            try:
                length[i] = (root / paths[i]).stat().st_size
            except OSError:
                continue  # the decode door names it
            sizes[length[i]].add(int(dataset.split[i]))
        for i in order:
            if i in length and len(sizes[length[i]]) > 1:
                digest = _digest(root / paths[i])
                if digest:
                    yield i, (length[i], digest)
    elif isinstance(dataset.images, FetchedImages):
        held = defaultdict(set)
        for length_, split in zip(dataset.images.lengths.tolist(), dataset.split.tolist(), strict=True):
            held[length_].add(split)
        for i in order:
            if len(held[int(dataset.images.lengths[i])]) > 1:
                yield i, blake2b(dataset.images.source(i), digest_size=16).digest()
    else:
        for i in order:
            picture = np.ascontiguousarray(dataset.images.read(i))
            yield i, (picture.shape, blake2b(picture.data, digest_size=16).digest())


def _digest(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            hasher = blake2b(digest_size=16)
            while block := file.read(1 << 20):
                hasher.update(block)
    except (DataError, OSError):
        return b""
    return hasher.digest()
