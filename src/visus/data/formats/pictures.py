"""Pictures of which nothing is said: DATA/1.jpg, however deep, or DATA/train/1.jpg beside val/ and test/.

A task that learns from pictures alone reads them so where nothing else is recognised.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import DataError
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.formats import Evidence, Format
from visus.data.listing import files_of, folders_of, has_picture, is_named_picture, list_pictures, notes_of, remarks_of
from visus.data.paths import shown
from visus.data.splitting import SPLIT_WORDS, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings


def sniff(path: Path) -> Evidence | None:
    """Tell of pictures that lie in no folder; never sure, for they are as well the pictures of another format."""
    if not path.is_dir() or not has_picture(path):
        return None
    loose = sum(is_named_picture(name) for name in files_of(path))
    return Evidence(0.0, f"{loose:,} of which nothing is said", loose) if loose else Evidence(0.0, "in folders")


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return every picture below a folder, however deep, sorted by split and name; nothing is known of any.

    Folders named train, val or test are splits where one of the training part is among them and holds pictures.

    Raises:
        DataError: DATA-007 there is no picture, or DATA-010 a folder may not be read.
    """
    named = {name: SPLIT_WORDS[name.lower()] for name in folders_of(path) if name.lower() in SPLIT_WORDS}
    parts = {name: split for name, split in named.items() if has_picture(path / name)}
    parts = dict(sorted(parts.items(), key=lambda part: part[1])) if TRAIN in parts.values() else {"": TRAIN}
    listings = [(name, list_pictures(path / name)) for name in parts]
    paths = [f"{name}/{picture}" if name else picture for name, listing in listings for picture in listing.pictures]
    if not paths:
        raise DataError("DATA-007", f"{shown(path)}: there is no picture in it", where=shown(path.resolve()))
    counts = [len(listing.pictures) for _, listing in listings]
    ids = Strings(paths)
    where = f" in {', '.join(parts)}" if "" not in parts else ""
    return Dataset(
        name=shown(path.resolve().name),
        root=path,
        format="pictures",
        evidence=f"{len(paths):,} pictures{where}, of which nothing is said",
        ids=ids,
        images=FileImages(path, ids, settings.max_pixels),
        columns={},
        split=np.repeat(np.array(list(parts.values()), np.uint8), counts),
        notes=tuple(notes_of(listings)),
        remarks=tuple(remarks_of(listings)),
    )


FORMAT = Format("pictures", sniff, read)
