"""Class folders: DATA/cat/1.jpg, or DATA/train/cat/1.jpg beside val/ and test/."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import DataError, nearest
from visus.data.dataset import SPLITS, Dataset, Fault, FileImages, Strings
from visus.data.formats import Edit, Evidence, Format
from visus.data.listing import (
    Listing,
    files_of,
    folders_of,
    has_picture,
    is_named_picture,
    list_pictures,
    natural,
    notes_of,
    remarks_of,
)
from visus.data.mask_pairs import ROLES
from visus.data.paths import shown
from visus.data.splitting import SPLIT_WORDS, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_LIKELY = 0.9
_ALONE = 0.3  # one folder of pictures, or images/ beside masks/, is as well of another format


def sniff(path: Path) -> Evidence | None:
    """Recognise folders that hold pictures, by names alone."""
    if not path.is_dir():
        return None
    parts = _parts(path)
    classes = {name for part in parts for name in folders_of(path / part) if has_picture(path / part / name)}
    if not classes:
        return None
    if "" in parts and (bare := _bare_splits(classes)):
        return Evidence(0.0, f"{', '.join(bare)} hold pictures but no class folders")
    likely = _LIKELY if len({name.lower() for name in classes} - ROLES) > 1 else _ALONE
    return Evidence(likely, _phrase(sorted(classes, key=natural), parts), len(classes))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the pictures below each class folder, however deep, sorted by split, class and name.

    Classes stand in natural order (s2 before s10).  Its faults are DATA-010, a folder that may not be read,
    DATA-130, a class folder of the training part without a picture, and DATA-131, a class that is in validation or test
    but not in training.

    Raises:
        DataError: DATA-002 no class folder with a picture, DATA-006 parts without class folders.
    """
    parts = _parts(path)
    if "" in parts and (bare := _bare_splits(folders_of(path))):
        raise DataError(
            "DATA-006", f"{shown(path)}: {', '.join(bare)} hold no class folders",
            fix="make a folder for each class: train/cat/, train/dog/, test/cat/, test/dog/",
        )  # fmt: skip
    listings: list[tuple[str, Listing]] = []
    found: list[tuple[int, str, str, Listing]] = []
    notes, faults = list[str](), list[Fault]()
    for part, split in parts.items():
        names = folders_of(path / part)
        loose = sum(is_named_picture(name) for name in files_of(path / part))
        if loose:
            notes.append(f"left out {loose:,} pictures that lie in no class folder ({part or 'the top folder'})")
        for name in names:
            below = f"{part}/{name}" if part else name
            try:
                listing = list_pictures(path / below)
            except DataError as error:
                faults.append(Fault(error, below))
                continue
            listings.append((below, listing))
            if listing.pictures:
                found.append((split, name, below, listing))
            elif split == TRAIN:
                faults.append(Fault(_empty_class(path, below, listing, names), below))
            else:
                notes.append(f"{below} holds no picture")
    trained = {name for split, name, _, _ in found if split == TRAIN}
    classes = tuple(sorted({name for _, name, _, _ in found}, key=natural))
    if not classes:
        for fault in faults:
            raise fault.error
        raise DataError("DATA-002", f"{shown(path)}: there is no class folder with a picture in it", where=shown(path))
    index = {name: i for i, name in enumerate(classes)}
    found.sort(key=lambda item: (item[0], natural(item[1]), item[2]))
    counts = [len(listing.pictures) for *_, listing in found]
    ends = np.cumsum(counts).tolist()
    for (split, name, below, _), count, end in zip(found, counts, ends, strict=True):
        if trained and name not in trained:
            faults.append(Fault(_untrained(path / below, name, split, trained), below, range(end - count, end)))
    paths = Strings([f"{below}/{name}" for _, _, below, listing in found for name in listing.pictures])
    deep = next((f"{below}/{listing.deep}" for *_, below, listing in found if listing.deep), "")
    if deep:
        notes.append(f"some pictures lie deeper than their class folder ({shown(deep)}); its name is their class")
    if "" not in parts and (others := [name for name in folders_of(path) if name not in parts]):
        notes.append(f"left out the folders beside {', '.join(parts)}: {', '.join(shown(name) for name in others[:5])}")
    return Dataset(
        name=shown(path.resolve().name),
        root=path,
        format="folder",
        evidence=_phrase(classes, parts),
        ids=paths,
        images=FileImages(path, paths, settings.max_pixels),
        columns={"label": np.repeat(np.array([index[name] for _, name, _, _ in found], np.int64), counts)},
        split=np.repeat(np.array([split for split, *_ in found], np.uint8), counts),
        classes=tuple(shown(name) for name in classes),
        notes=(*notes, *notes_of(listings)),
        remarks=tuple(remarks_of(listings)),
        faults=tuple(faults),
    )


def amend(path: Path, dataset: Dataset, changes: Mapping[int, int]) -> Iterator[Edit]:
    """Yield a move into another class folder for each record that changes its class; its split and its name stay.

    Where a file of that name is there already, the moved one gets a number: 7.jpg becomes 7-1.jpg.
    """
    at = 0 if "" in _parts(path) else 1  # which part of a path is the class folder
    folders = {int(label): id.split("/")[at] for label, id in zip(dataset.columns["label"], dataset.ids, strict=True)}
    taken: set[str] = set()
    for i, to in sorted(changes.items()):
        id = dataset.ids[i]
        if to < 0:
            yield Edit(id, None)
            continue
        parts = id.split("/")
        parts[at] = folders[to]
        moved = _free(path, "/".join(parts), taken)
        taken.add(moved.casefold())
        yield Edit(id, moved)


def _free(path: Path, wanted: str, taken: Set[str]) -> str:
    """Return a path at which there is nothing, whether or not the file system tells capitals apart."""
    place = free = PurePosixPath(wanted)
    number = 0
    while str(free).casefold() in taken or os.path.lexists(path / free):
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    return str(free)


def _phrase(classes: Sequence[str], parts: Mapping[str, int]) -> str:
    where = " in " + ", ".join(parts) if "" not in parts else ""
    named = ", ".join(shown(name) for name in classes[:3]) + ", ..." * (len(classes) > 3)
    return f"{len(classes):,} class folder{'s' * (len(classes) != 1)}{where} ({named})"


def _bare_splits(names: Iterable[str]) -> list[str]:
    """Return the folders named as splits, where they are no classes: train is one alone, but not beside val or test."""
    named = sorted(name for name in names if name.lower() in SPLIT_WORDS)
    return named if len({SPLIT_WORDS[name.lower()] for name in named}) > 1 else []


def _parts(path: Path) -> dict[str, int]:
    """Return the folders that hold class folders, each with its split; ``""`` alone where the data has no splits.

    A folder named train is a split where it holds folders of pictures; where it holds pictures itself it is a class, as
    among car, bus and train.
    """
    named = {name: SPLIT_WORDS[name.lower()] for name in folders_of(path) if name.lower() in SPLIT_WORDS}
    named = dict(sorted(named.items(), key=lambda item: item[1]))
    split = {
        name: part
        for name, part in named.items()
        if any(has_picture(path / name / sub) for sub in folders_of(path / name))
    }
    if TRAIN in split.values() or (split and len(split) == len(folders_of(path))):
        return split
    return {"": TRAIN}


def _empty_class(path: Path, below: str, listing: Listing, names: list[str]) -> DataError:
    others = [*listing.others, *listing.odd]
    held = f"it holds other files ({len(others):,}), such as {others[0]}" if others else "it is empty"
    return DataError(
        "DATA-130", f"{shown(path / below)}: this class folder holds no picture",
        where=f"one of {len(names):,} class folders; {shown(held)}", fix="put pictures into it, or remove it",
    )  # fmt: skip


def _untrained(folder: Path, name: str, split: int, trained: Set[str]) -> DataError:
    meant, part = nearest(name, trained), SPLITS[split]
    return DataError(
        "DATA-131", f"{shown(folder)}: the class {shown(name)!r} is in {part} but not in train",
        where=f"train has {len(trained):,} classes, and what it does not show cannot be learned",
        fix=f"did you mean {shown(meant)!r}? Then rename the folder" if meant
        else "move some of its pictures into a folder of that name in train, or remove this folder",
    )  # fmt: skip


FORMAT = Format("class folders", sniff, read, amend=amend)
