"""A mask file for each class that a picture shows, in a folder of the class's name: pixels may be of several classes.

images/NAME.jpg with masks/CLASS/NAME.png; with splits below both, images/train/NAME.jpg and masks/train/CLASS/NAME.png,
or outside, train/images/NAME.jpg and train/masks/CLASS/NAME.png.  The folders have the names that ``mask_pairs`` knows.

A mask has 0 outside its class and 1 inside, with 255 where nothing is said; or, where the masks that are looked at show
no 1, 0 and 255.  A class without a mask is not in the picture; a picture without any mask says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import DataError
from visus.core.pixels import MOST_SEVERAL
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.formats import Evidence, Format
from visus.data.formats.masks import check_bad
from visus.data.layers import Layers, stray
from visus.data.listing import list_pictures
from visus.data.mask_door import read_stored
from visus.data.mask_pairs import Place, find_places, stem_of
from visus.data.objects import Remark
from visus.data.paths import shown
from visus.data.splitting import SPLIT_WORDS, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

LOOKED = 16
"""Masks of each class that are looked at when a data set is opened."""


def sniff(path: Path) -> Evidence | None:
    """Recognise class folders below a folder of masks, whose files have the names of pictures."""
    places = find_places(path) if path.is_dir() else []
    found = _found(path, places)
    count = sum(len(record.masks) for record in found.records)
    if not count or count < len(found.alone):
        return None
    classes = len(found.classes())
    named = ", ".join(f"{shown(place.pictures)} + {shown(place.masks)}" for place in places)
    return Evidence(0.98, f"{count:,} masks in the folders of {classes} class{'es' * (classes != 1)} ({named})", count)


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return pictures with the places of their masks; up to 16 masks of each class are looked at.

    Raises:
        DataError: DATA-270 to 273 by ``mask_door``, for the masks looked at; DATA-275 no pictures with masks; DATA-277
            more classes than there can be.
        BadDataLimit: DATA-278, more masks than may be have no picture.
    """
    found = _found(path, find_places(path) if path.is_dir() else [])
    classes = found.classes()
    if not classes:
        raise DataError(
            "DATA-275", f"{shown(path)}: there are no pictures with masks in folders of classes",
            looked="images/NAME.jpg + masks/CLASS/NAME.png, with splits below or above both",
            fix="give a mask the name of its picture, in a folder of its class",
        )  # fmt: skip
    if len(classes) > MOST_SEVERAL:
        raise DataError(
            "DATA-277", f"{shown(path)}: {len(classes):,} folders of classes; pixels can be of {MOST_SEVERAL}",
            fix="keep the classes that matter, or join some",
        )  # fmt: skip
    check_bad(path, found.alone, len(found.alone) + sum(len(record.masks) for record in found.records), settings)
    records = sorted(found.records, key=lambda record: (record.split, record.id))
    pictures = Strings([record.picture for record in records])
    values = [_inside(path, [r.masks[name] for r in records if name in r.masks], settings) for name in classes]
    return Dataset(
        name=shown(path.resolve().name),
        root=path,
        format="class_masks",
        evidence=f"{sum(bool(r.masks) for r in records):,} pictures with a mask for each of {len(classes)} classes",
        ids=Strings([record.id for record in records]),
        images=FileImages(path, pictures, settings.max_pixels),
        columns={},
        split=np.array([record.split for record in records], np.uint8),
        classes=classes,
        drawn=Layers(
            path, Strings([record.masks.get(name, "") for record in records for name in classes]), pictures,
            np.array(values, np.int64), settings.max_pixels,
        ),
        bad=tuple(found.alone),
        remarks=tuple(_without_mask(records)),
    )  # fmt: skip


@dataclass
class _Record:
    """A picture, and the mask of each class that has one, by name; paths are below the data's root."""

    split: int
    id: str
    picture: str
    masks: dict[str, str] = field(default_factory=dict)


@dataclass
class _Found:
    """What was found: pictures, and (path, why) of masks without one."""

    records: list[_Record] = field(default_factory=list)
    alone: list[tuple[str, str]] = field(default_factory=list)

    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({name for record in self.records for name in record.masks}))


def _found(path: Path, places: Sequence[Place]) -> _Found:
    """Return the pictures of all places with their masks."""
    found = _Found()
    for place in places:
        if not place.pictures or place.pictures == place.masks:
            continue  # one folder for both has no folders of classes
        names = list_pictures(path / place.pictures).pictures
        split = _by_folder(names) if place.split is None else False
        here: dict[tuple[int, str], _Record] = {}
        for name in names:
            part, own = _split_of(name, place.split, split)
            record = _Record(part, own, f"{place.pictures}/{name}")
            found.records.append(record)
            here[part, stem_of(own)] = record
            here[part, own] = record
        for name in list_pictures(path / place.masks).pictures:
            part, own = _split_of(name, place.split, split)
            file = f"{place.masks}/{name}"
            label, _, rest = own.partition("/")
            record_of = here.get((part, stem_of(rest))) if rest else None
            if record_of is None:
                found.alone.append((file, "there is no picture of this name, or it is in no folder of a class"))
            elif label in record_of.masks:
                found.alone.append((file, f"the picture has another mask of {shown(label)}: {record_of.masks[label]}"))
            else:
                record_of.masks[label] = file
    return found


def _by_folder(names: Sequence[str]) -> bool:
    """Tell whether files lie in folders of splits, and nowhere else."""
    return {name.partition("/")[0].lower() if "/" in name else "" for name in names} <= set(SPLIT_WORDS)


def _split_of(name: str, split: int | None, by_folder: bool) -> tuple[int, str]:
    """Return the split of a file, and its name below that."""
    first, _, rest = name.partition("/")
    if by_folder and first.lower() in SPLIT_WORDS:
        return SPLIT_WORDS[first.lower()], rest
    return (TRAIN if split is None else split), name


def _inside(path: Path, files: Sequence[str], settings: DataSettings) -> int:
    """Return what stands for the class in its masks: 1, or 255 where those looked at show nothing else but 0."""
    seen: set[int] = set()
    for at in np.unique(np.linspace(0, len(files) - 1, min(LOOKED, len(files))).round().astype(int)).tolist():
        try:
            values = np.unique(read_stored(path / files[at], max_pixels=settings.max_pixels).values).tolist()
        except DataError as error:
            if error.code in {"DATA-270", "DATA-271"}:
                raise
            continue  # a damaged file is a bad sample of its own
        if strays := set(values) - {0, 1, 255}:
            raise stray(path / files[at], min(strays), 1)
        seen.update(values)
    return 255 if 1 not in seen and 255 in seen else 1


def _without_mask(records: Sequence[_Record]) -> Iterator[Remark]:
    for record in records:
        if not record.masks:
            yield Remark(record.picture, "warned", "DATA-279", "this picture has no mask; nothing is learned from it")


FORMAT = Format("pictures with a mask for each class", sniff, read)
