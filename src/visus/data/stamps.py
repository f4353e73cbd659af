"""Finds files that changed while their names and sizes did not, so that no run goes on with other pictures unnoticed.

What is already one array needs none of this: its pixels are part of the data set's fingerprint.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from visus.core.errors import DataError
from visus.data.dataset import Dataset, FileImages
from visus.data.paths import read_regular

CHEAP = 500_000_000
"""Bytes of a data set up to which all of them are hashed: about a second."""


def stamp(path: Path) -> bytes:
    """Return size and time of change of a file, which a repaired or replaced one does not share."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return b"\0gone"
    return b"\0%d %d\0" % (found.st_size, found.st_mtime_ns)


def stamps(dataset: Dataset) -> str:
    """Return a hash of sizes and times of change of all files."""
    hasher = blake2b(digest_size=16)
    for path in _files(dataset):
        hasher.update(stamp(path))
    return hasher.hexdigest()


def contents(dataset: Dataset) -> str:
    """Return a hash of the bytes of all files, those that cannot be read included; nothing where that takes long."""
    hasher = blake2b(digest_size=16)
    left = CHEAP
    for path in _files(dataset):
        try:
            data = read_regular(path, left)
        except DataError:
            data = b"\0unreadable"
        left -= len(data)
        if left < 0:
            return ""
        hasher.update(b"%d\0" % len(data) + data)
    return hasher.hexdigest()


def _files(dataset: Dataset) -> list[Path]:
    images = dataset.images
    return [images.root / path for path in images.paths] if isinstance(images, FileImages) else []
