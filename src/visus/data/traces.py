"""What a model file remembers of the pictures it was trained on: enough to recognise some, too little to show any.

So an evaluation can tell the data a model was trained on from data that is new to it, however either is called and
wherever it lies, and says so when it judges what was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.dataset import ArrayImages, Dataset, FileImages
from visus.data.fetched import FetchedImages
from visus.data.paths import open_regular

KEPT = 64
"""Pictures that are remembered of a training part."""


def trace(dataset: Dataset) -> tuple[str, ...]:
    """Return hashes of some training pictures: evenly drawn, the same for the same pictures.

    A file is known by its name, with the folder it is in, and its bytes; of all files only those remembered are read.
    A picture of an array is known by its pixels.
    """
    first: dict[str, int] = {}
    for i, key in _keys(dataset, dataset.indices("train")):
        first.setdefault(key, i)
    marks = ((key, _content(dataset, first[key])) for key in sorted(first)[:KEPT])
    return tuple(key + held for key, held in marks if held is not None)


def recognised(dataset: Dataset, indices: NDArray[np.int64], traced: Sequence[str]) -> int:
    """Return how many pictures of a trace are among some records of a data set."""
    wanted = {mark[:_LETTERS] for mark in traced}
    alike = [(key, _content(dataset, i)) for i, key in _keys(dataset, indices) if key in wanted] if wanted else []
    return len({key + held for key, held in alike if held is not None} & set(traced))


_LETTERS = 16  # hexadecimal ones, of each of the two hashes of a file


def _keys(dataset: Dataset, indices: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    """Yield (record, hash by which it is looked up); none where pictures are neither files nor an array."""
    for i in indices.tolist():
        if isinstance(dataset.images, FileImages | FetchedImages):
            name = "/".join(dataset.images.paths[i].split("/")[-2:])
            yield i, _hash(name.encode("utf-8", "surrogateescape"))
        elif isinstance(dataset.images, ArrayImages):
            yield i, _hash(np.ascontiguousarray(dataset.images.array[i]).tobytes())


def _content(dataset: Dataset, i: int) -> str | None:
    """Return the hash of a file's bytes, None where it cannot be read; an array's key is its pixels: nothing more."""
    if isinstance(dataset.images, ArrayImages):
        return ""
    try:
        if isinstance(dataset.images, FetchedImages):
            return _hash(dataset.images.source(i))
        assert isinstance(dataset.images, FileImages)  # ``_keys`` yields no others
        with open_regular(dataset.images.root / dataset.images.paths[i]) as file:
            return _hash(file.read())
    except (DataError, OSError):
        return None


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=_LETTERS // 2).hexdigest()
