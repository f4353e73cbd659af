"""Pictures that are runs of bytes elsewhere: inside tar shards, or behind an address that fsspec reads.

Each is fetched by its place, never by its turn, so a data set on the other side of a network trains with the bits of
the same data set on this disk, resumes exactly, and is cached like any other.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError, UsageError
from visus.data.dataset import Strings
from visus.data.paths import open_regular, shown

TRIES = (0.0, 0.2, 1.0, 4.0)
"""Seconds waited before each attempt to fetch something from an address."""

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp", "az": "adlfs",
            "abfs": "adlfs", "sftp": "paramiko", "ssh": "paramiko"}  # fmt: skip
"""What fsspec needs beside itself, by the beginning of an address."""


@dataclass(frozen=True)
class FetchedImages:
    """N encoded pictures, each a run of bytes of a file or an address.

    Attributes:
        places: (S,) files and addresses; ``place``: (N,) int64, in which of them each picture lies.
        offsets, lengths: (N,) int64 bytes.
        paths: (N,) names of the pictures.
        max_pixels: largest picture that is decoded.
    """

    places: Strings
    place: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    paths: Strings
    max_pixels: int = 100_000_000

    def source(self, i: int) -> bytes:
        """Return the bytes of picture ``i``.

        Raises:
            DataError: DATA-361 they cannot be fetched.
        """
        return fetch(self.places[int(self.place[i])], int(self.offsets[i]), int(self.lengths[i]))

    def read(self, i: int) -> NDArray[np.generic]:
        """Return picture ``i``, decoded."""
        from visus.data.decode import decode

        return decode(self.source(i), max_pixels=self.max_pixels, name=shown(self.paths[i])).pixels


def is_address(place: str) -> bool:
    """Tell whether a place is an address, ``s3://bucket/photos``, and no path; one letter would be a drive."""
    scheme, mark, _ = place.partition("://")
    return bool(mark) and len(scheme) > 1 and scheme.replace("+", "").isalnum()


def fetch(place: str, offset: int, length: int) -> bytes:
    """Return some bytes of a file or of what lies behind an address; what fails for a moment is tried again.

    Raises:
        DataError: DATA-361 they cannot be fetched, or there are fewer.
        UsageError: as ``system``.
    """
    data = _fetch(place, offset, length) if is_address(place) else _read(place, offset, length)
    if len(data) != length:
        raise DataError("DATA-361", f"{shown(place)}: it ends before byte {offset + length:,}",
                        where=f"{len(data):,} of {length:,} bytes are there")  # fmt: skip
    return data


def opened(place: str) -> IO[bytes]:
    """Open a file, or what lies behind an address, for reading and seeking.

    Raises:
        DataError: DATA-010 or DATA-361 it cannot be opened.
        UsageError: as ``system``.
    """
    if not is_address(place):
        from pathlib import Path

        return open_regular(Path(place))
    files, path = system(place)
    try:
        found: IO[bytes] = files.open(path, "rb")
    except Exception as error:  # every file system has errors of its own
        raise _unfetched(place, error) from error
    return found


def system(place: str) -> tuple[Any, str]:
    """Return fsspec's file system behind an address, and the path in it.

    Raises:
        UsageError: DATA-360 nothing here reads such addresses; the message has the line that installs it.
    """
    scheme, _, rest = place.partition("://")
    return _system(scheme, rest.partition("/")[0], os.getpid()), _path(place)


@lru_cache(maxsize=16)
def _system(scheme: str, host: str, process: int) -> Any:
    """Return a file system of this process alone: what one holds open does not survive a fork."""
    import fsspec

    try:
        files, _ = fsspec.core.url_to_fs(f"{scheme}://{host}")
    except (ImportError, ValueError) as error:
        package = PACKAGES.get(scheme)
        raise UsageError(
            "DATA-360", f"{scheme}://: nothing here reads such addresses", where=str(error),
            fix=f"pip install {package}" if package else "copy the data to this machine",
        ) from error  # fmt: skip
    return files


def _path(place: str) -> str:
    import fsspec

    return str(fsspec.core.strip_protocol(place))


def _fetch(place: str, offset: int, length: int) -> bytes:
    files, path = system(place)
    failed: Exception | None = None
    for wait in TRIES:
        time.sleep(wait)
        try:
            return bytes(files.cat_file(path, start=offset, end=offset + length))
        except FileNotFoundError as error:
            raise _unfetched(place, error) from error
        except Exception as error:  # every file system has errors of its own; what lasts is told
            failed = error
    raise _unfetched(place, failed) from failed


def _read(place: str, offset: int, length: int) -> bytes:
    from pathlib import Path

    with open_regular(Path(place)) as file:
        try:
            file.seek(offset)
            return file.read(length)
        except OSError as error:
            raise _unfetched(place, error) from error


def _unfetched(place: str, error: Exception | None) -> DataError:
    why = str(error) or type(error).__name__
    return DataError("DATA-361", f"{shown(place)}: it cannot be fetched", where=why.splitlines()[0])
