"""Opens a data set behind an address: its tables are copied for a moment and read as ever, its pictures stay there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import DataError
from visus.core.files import write_failed
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.fetched import FetchedImages, fetch, system
from visus.data.formats import shards
from visus.data.listing import is_named_picture
from visus.data.paths import fault_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from visus.core.recipe import DataSettings

LARGEST_TABLE = 1 << 30
"""Bytes of a file that is no picture beyond which it is not copied."""

MOST_TABLES = 4 << 30
"""Bytes of all files that are copied, beyond which none is."""


def open_address(address: str, settings: DataSettings, read: Callable[[Path, DataSettings], Dataset]) -> Dataset:
    """Return the data set behind an address: a folder in any format of class labels or boxes, or tar shards.

    Args:
        address: ``s3://bucket/photos``, ``https://host/train-{000..009}.tar``: whatever fsspec reads.
        settings: of the data.
        read: reads a local folder by the format it is in.

    Raises:
        DataError: DATA-361 it cannot be listed or fetched, DATA-362 nothing lies there, DATA-363 its pictures must be
            looked into while it is opened, DATA-364 there is too much besides, DATA-110 a name that leads out; the
            formats' own.
        UsageError: DATA-360 nothing here reads such addresses.
    """
    name = shown(address.rstrip("/").rpartition("/")[2])
    if address.endswith(".tar"):
        return shards.read_shards(shards.expanded(address), settings, name=name, root=Path())
    there = _listed(address)
    tars = sorted(path for path in there if path.lower().endswith(".tar"))
    if tars and not any(map(is_named_picture, there)):
        places = [f"{address.rstrip('/')}/{path}" for path in tars]
        return shards.read_shards(places, settings, name=name, root=Path())
    with TemporaryDirectory(prefix="visus-") as base:
        shadow = Path(base) / (name or "data")
        _copy_tables(address, there, shadow)
        dataset = read(shadow, settings)
        if dataset.of_pixels is not None or (isinstance(dataset.images, FileImages) and dataset.format == "yolo"):
            raise DataError(
                "DATA-363", f"{shown(address)}: {dataset.format} cannot be read from an address",
                where="its pictures or masks must be looked into while it is opened", fix="copy it to this machine",
            )  # fmt: skip
        return dataset.with_(root=Path(), images=_images(dataset, address, there, shadow))


def _listed(address: str) -> Mapping[str, int]:
    """Return the size of every file behind an address, by its path below it.

    Raises:
        DataError: DATA-361 it cannot be listed, DATA-362 there is nothing, DATA-110 a name that leads out.
    """
    files, top = system(address)
    try:
        found = files.find(top, detail=True)
    except Exception as error:  # every file system has errors of its own
        raise DataError(
            "DATA-361",
            f"{shown(address)}: it cannot be listed",
            where=(str(error) or type(error).__name__).splitlines()[0],
        ) from error
    sizes = {}
    for path, known in found.items():
        relative = path[len(top) :].lstrip("/")
        if known.get("type") != "file" or not relative:
            continue
        if fault := fault_of(relative):
            raise DataError("DATA-110", f"{shown(relative)!r}: this path {fault}", where=shown(address))
        sizes[relative] = int(known.get("size") or 0)
    if not sizes:
        raise DataError(
            "DATA-362", f"{shown(address)}: nothing lies there", fix="check the address, and who may list it"
        )
    return sizes


def _copy_tables(address: str, there: Mapping[str, int], shadow: Path) -> None:
    """Make a folder with every name that is there: pictures are empty, whatever else there is has its content.

    Raises:
        DataError: DATA-361 a file cannot be fetched, DATA-364 together they are too large.
        ResourceError: the disk is full.
    """
    tables = {name: size for name, size in there.items() if size <= LARGEST_TABLE and not is_named_picture(name)}
    if (total := sum(tables.values())) > MOST_TABLES:
        raise DataError(
            "DATA-364", f"{shown(address)}: its {len(tables):,} files that are no pictures are too large to be copied",
            where=f"{total:,} bytes, of at most {MOST_TABLES:,}", done="nothing was copied",
            fix="name the folder of the data alone, or copy it to this machine",
        )  # fmt: skip
    for relative in there:
        path = shadow / relative
        data = fetch(f"{address.rstrip('/')}/{relative}", 0, tables[relative]) if relative in tables else b""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise write_failed(error, path, len(data)) from error


def _images(dataset: Dataset, address: str, there: Mapping[str, int], shadow: Path) -> FetchedImages:
    """Return the pictures of a data set that was read from the shadow of an address, where they really are."""
    images = dataset.images
    if not isinstance(images, FileImages):
        raise DataError("DATA-363", f"{shown(address)}: {dataset.format} cannot be read from an address",
                        fix="copy it to this machine")  # fmt: skip
    below = images.root.relative_to(shadow)
    names = [(below / path).as_posix() for path in images.paths]
    return FetchedImages(
        Strings([f"{address.rstrip('/')}/{name}" for name in names]), np.arange(len(names)),
        np.zeros(len(names), np.int64), np.array([there[name] for name in names], np.int64), images.paths,
        images.max_pixels,
    )  # fmt: skip
