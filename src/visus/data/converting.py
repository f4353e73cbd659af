"""From one format to another: pictures and all that is known of them, read back and compared with what was there."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visus.core.errors import DataError, UsageError, did_you_mean
from visus.core.files import new_folder
from visus.core.pixels import IGNORE
from visus.core.recipe import DataSettings
from visus.core.run_lengths import area, box, compress, decode, decompress, encode
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.decode import peek
from visus.data.fetched import FetchedImages
from visus.data.formats import FORMATS
from visus.data.layers import Layers
from visus.data.mask_door import read_map
from visus.data.objects import Mark, Objects, Original
from visus.data.painting import as_stuff, colours_of
from visus.data.paths import check_free, inside, open_regular, shown

NEAR = 1e-6
"""Pixels within which coordinates are the same."""

FIRST_CLASS = {"yolo": 0, "masks": 0}
"""The number of the first class where a format numbers them in their order; in others it is 1."""

HOLD_MAPS = ("masks",)
"""Formats that hold class maps; others are given the regions of each class as objects."""

_SHOWN = 8


def convert(
    dataset: Dataset, to: str, out: Path, *, lossy: bool = False, link: bool = False, names: Strings | None = None
) -> list[str]:
    """Write a data set in another format, and return what that format could not hold: a phrase each.

    The new folder appears whole or not at all.  It is read back before, and compared with the data set.

    Args:
        dataset: as its format read it, without carved splits.
        to: name of a format that writes.
        out: a folder that does not exist yet, or is empty.
        lossy: write even what does not hold everything.
        link: let picture files be hard links to the user's, which take no room, where the disk allows that.
        names: of the pictures as files, where they shall have other ones than their ids.

    Raises:
        UsageError: USE-050 no format of that name writes, USE-051 the folder is not free.
        DataError: DATA-350 something would be lost, DATA-351 two pictures would lie at one place, DATA-352 a picture
            cannot be copied.
        ResourceError: the disk is full; nothing is left behind.
    """
    name = _target(dataset, to)
    check_free(out)
    names = _names(dataset) if names is None else names
    with new_folder(out) as building:
        _copy_pictures(dataset, names, name, building, link)
        named = dataset.with_(ids=names) if names is not dataset.ids else dataset
        write = FORMATS[name].write
        assert write is not None  # ``_target`` saw to it
        unsaid: list[str] = []
        if isinstance(named.drawn, Layers):
            named, unsaid = sets_as_objects(named)
        write(as_objects(named) if named.maps is not None and name not in HOLD_MAPS else named, building)
        lost = differences(named, FORMATS[name].read(building, DataSettings(max_bad=1.0)).sound()) + unsaid
        if lost and not lossy:
            raise DataError(
                "DATA-350", f"{dataset.name}: {name} cannot hold all of it", where=_listed(lost),
                done="nothing was written", fix="--lossy writes what it can hold",
            )  # fmt: skip
    return lost


def differences(a: Dataset, b: Dataset) -> list[str]:
    """Return what ``a`` says and ``b`` does not, or says otherwise: a phrase each, none where nothing is lost.

    Pictures are the same where split and id are.  What ``a`` leaves open - areas, numbers, outlines - is no loss,
    whatever ``b`` says; nor is a number that follows from the order in which things stand.
    """
    place = {key: j for j, key in enumerate(_keys(b))}
    at = np.array([place.get(key, -1) for key in _keys(a)], np.int64)
    gone = np.flatnonzero(at < 0)
    lost = [f"{_pictures(len(gone))} ({_some([a.ids[int(i)] for i in gone])})"] if len(gone) else []
    here = np.flatnonzero(at >= 0)
    at = at[here]
    lost += _classes_lost(a, b)
    lost += _columns_lost(a, b, here, at)
    if a.objects is not None:
        lost += _objects_lost(a, b, here, at)
    if a.maps is not None:
        lost += _maps_lost(a, b, here, at)
    if a.original is not None:
        lost += _original_lost(a, b, here, at)
    if a.bad:
        lost.append(f"{_pictures(len(a.bad))} listed that cannot be read ({_some([name for name, _ in a.bad])})")
    if mended := [remark for remark in a.remarks if remark.status in ("clipped", "skipped")]:
        lost.append(f"what reading clipped or left out, in {len(mended):,} places ({mended[0].file}: {mended[0].why})")
    if a.groups is not None and not _same_parts(a.groups[here], None if b.groups is None else b.groups[at]):
        lost.append("which pictures belong together (groups)")
    return lost


def as_objects(dataset: Dataset) -> Dataset:
    """Return a data set's class maps as objects: the whole region of each class, one a picture and class, as a mask.

    Classes are said to be what a picture consists of, with their colours; so what no object covers stays ignored.
    """
    assert dataset.maps is not None
    records = []
    for i in range(len(dataset)):
        classes = read_map(dataset.maps, i)
        runs = {int(k): encode(classes == k) for k in np.unique(classes) if k != IGNORE}
        records.append([
            Mark(box(lengths, len(classes)), k, area=float(area(lengths)), mask=compress(lengths))
            for k, lengths in runs.items()
        ])  # fmt: skip
    original = dataset.original or Original(np.zeros((len(dataset), 2), np.int64))
    original = replace(original, classes=as_stuff(dataset.classes, dataset.maps.palette))
    return dataset.with_(objects=Objects.of(records), maps=None, original=original)


def sets_as_objects(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """Return any number of classes a pixel as objects, one a picture and class, and what of them that leaves unsaid."""
    assert isinstance(dataset.drawn, Layers)
    assert isinstance(dataset.images, FileImages)
    records, unsaid = [], []
    for i in range(len(dataset)):
        bits = dataset.drawn.read(i, peek(dataset.images.source(i), max_pixels=dataset.images.max_pixels)[:2])
        known = bits >= 0
        if not known.all():
            unsaid.append(dataset.ids[i])
        runs = {k: encode((bits >> k & 1 == 1) & known) for k in range(len(dataset.classes))}
        records.append([
            Mark(box(lengths, len(bits)), k, area=float(area(lengths)), mask=compress(lengths))
            for k, lengths in runs.items() if area(lengths)
        ])  # fmt: skip
    lost = [f"that nothing is said of some pixels of {_pictures(len(unsaid))} ({_some(unsaid)})"] if unsaid else []
    return dataset.with_(objects=Objects.of(records), drawn=None), lost


def _target(dataset: Dataset, to: str) -> str:
    """Return the format that writes what this data set knows under the name the user gave."""
    writers = [name for name in FORMATS if FORMATS[name].write is not None]
    name = "boxes_csv" if to == "csv" and dataset.objects is not None else to
    if name not in writers:
        raise UsageError("USE-050", f"there is no format named {to!r} to convert to", fix=did_you_mean(to, writers))
    return name


def _names(dataset: Dataset) -> Strings:
    """Return the pictures' names as files: their ids, or numbers for pictures that lie in no file of their own."""
    if isinstance(dataset.images, FileImages | FetchedImages):
        return dataset.ids
    width = len(str(len(dataset)))
    return Strings([f"{i:0{width}}.png" for i in range(len(dataset))])


def _copy_pictures(dataset: Dataset, names: Strings, to: str, folder: Path, link: bool) -> None:
    """Put every picture where the format has it, byte for byte; pictures of an array become PNG files."""
    place, taken = FORMATS[to].place, dict[str, str]()
    for i, name in enumerate(names):
        where = place(SPLITS[int(dataset.split[i])], name)
        if other := taken.get(where.casefold()):
            raise DataError(
                "DATA-351", f"{dataset.name}: two pictures would lie at {shown(where)}", where=f"{name} and {other}",
                done="nothing was written", fix="rename one of them",
            )  # fmt: skip
        taken[where.casefold()] = name
        path = inside(folder, where, where=f"{dataset.name}, picture {shown(name)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(dataset.images, FileImages):
            if not (link and _linked(dataset.images.source(i), path)):
                with open_regular(dataset.images.source(i)) as source, path.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
        elif isinstance(dataset.images, FetchedImages):
            path.write_bytes(dataset.images.source(i))
        else:
            with path.open("xb") as file:
                Image.fromarray(_for_png(dataset.images.read(i), name)).save(file, "PNG")


def _linked(source: Path, path: Path) -> bool:
    """Make a hard link to a regular file; tell whether that was possible: another disk or owner forbids it."""
    if not source.is_file():
        return False
    try:
        os.link(os.path.realpath(source), path)
    except OSError:
        return False
    return True


def _for_png(picture: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    picture = picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    if picture.dtype == np.uint8 or (picture.dtype == np.uint16 and picture.ndim == 2):
        return picture
    raise DataError("DATA-352", f"{name}: {picture.dtype} pixels have no place in a PNG file",
                    fix="convert data whose pictures are files")  # fmt: skip


def _keys(dataset: Dataset) -> Iterator[tuple[int, str]]:
    yield from zip(dataset.split.tolist(), dataset.ids, strict=True)


def _classes_lost(a: Dataset, b: Dataset) -> list[str]:
    missing = [name for name in a.classes if name not in b.classes]
    lost = [f"classes: {_some(missing)}"] if missing else []
    if (a.objects is not None or a.maps is not None) and not missing and a.classes != b.classes:
        lost.append("the order of the classes")
    return lost


def _columns_lost(a: Dataset, b: Dataset, here: NDArray[np.int64], at: NDArray[np.int64]) -> list[str]:
    """Return what is said of whole pictures and lost: classes by name, numbers by value."""
    lost = []
    for kind, column in a.columns.items():
        if kind not in b.columns:
            lost.append({"label": "the class of each picture", "labels": "the classes of each picture"}.get(kind, kind))
            continue
        mine, theirs = column[here], b.columns[kind][at]
        if kind == "label":
            same = _named(a.classes, mine.astype(np.int64)) == _named(b.classes, theirs.astype(np.int64))
        elif kind == "labels":
            there = [b.classes.index(name) if name in b.classes else -1 for name in a.classes]
            wanted = np.concatenate([theirs, np.zeros((len(theirs), 1), theirs.dtype)], 1)[:, there]
            same = (mine == wanted).all(1)
        else:
            same = np.array_equal(a.numbers, b.numbers) and ((mine == theirs) | (_nan(mine) & _nan(theirs))).all(1)
        changed = int(np.size(same) - np.count_nonzero(same))
        if changed:
            lost.append(f"{kind} of {_pictures(changed)}")
    return lost


def _differ(a: NDArray[np.object_], b: NDArray[np.object_]) -> NDArray[np.bool_]:
    return np.array(a != b, np.bool_)


def _named(classes: Sequence[str], label: NDArray[np.int64]) -> NDArray[np.object_]:
    return np.array([*classes, ""], object)[np.where(label < 0, len(classes), label)]


def _nan(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.isnan(values.astype(np.float64))


def _objects_lost(a: Dataset, b: Dataset, here: NDArray[np.int64], at: NDArray[np.int64]) -> list[str]:
    """Return what is said of objects and lost; they are compared in their order within a picture."""
    ours, theirs = a.objects, b.objects
    assert ours is not None
    if theirs is None:
        return ["every object: boxes, outlines and all that is said of them"]
    counts, found = np.diff(ours.starts), np.diff(theirs.starts)
    alike = counts[here] == found[at]
    lost = []
    if not alike.all():
        i = int(here[np.flatnonzero(~alike)[0]])
        j = int(at[np.flatnonzero(~alike)[0]])
        lost.append(f"objects of {_pictures(int((~alike).sum()))} ({a.ids[i]}: {counts[i]} become {found[j]})")
    m, n = _members(ours.starts, here[alike]), _members(theirs.starts, at[alike])
    lost += _count("boxes", np.asarray((np.abs(ours.boxes[m] - theirs.boxes[n]) > NEAR).any(1)))
    lost += _count("classes", _differ(_named(a.classes, ours.labels[m]), _named(b.classes, theirs.labels[n])))
    lost += _count("crowd marks", np.asarray(ours.crowd[m] != theirs.crowd[n]))
    stated, known = ours.ids[m], theirs.ids[n]
    usual = _ranks(b, theirs)[n]
    lost += _count("numbers", (stated >= 0) & (stated != np.where(known >= 0, known, usual)))
    area, other = ours.area[m], theirs.area[n]
    width, height = (ours.boxes[m, 2:] - ours.boxes[m, :2]).T
    other = np.where(np.isnan(other), width * height, other)
    lost += _count("stated areas", ~np.isnan(area) & (np.abs(area - other) > NEAR * np.maximum(1, np.abs(area))))
    lost += _count("outlines", _outlines_differ(ours, theirs, m, n))
    lost += _count("masks", _differ(_texts(ours.masks, m), _texts(theirs.masks, n)))
    keys = _keys_lost(_texts(ours.more, m), _texts(theirs.more, n))
    return [*lost, *([f"what is said of objects: {_some(keys)}"] if keys else [])]


def _members(starts: NDArray[np.int64], records: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the objects of some records, in order."""
    counts = starts[records + 1] - starts[records]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    found: NDArray[np.int64] = np.repeat(starts[records], counts) + within
    return found


def _ranks(dataset: Dataset, objects: Objects) -> NDArray[np.int64]:
    """Return the number each object has by its order within its split, from 1."""
    split = dataset.split[objects.records]
    ranks = np.zeros(len(split), np.int64)
    for part in np.unique(split):
        ranks[split == part] = np.arange(1, int((split == part).sum()) + 1)
    return ranks


def _outlines_differ(a: Objects, b: Objects, m: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.bool_]:
    if a.outlines is None:
        return np.zeros(len(m), np.bool_)
    if b.outlines is None:
        return np.diff(a.outlines.parts)[m] > 0
    differ = [_outline_differs(a.outlines[int(i)], b.outlines[int(j)]) for i, j in zip(m, n, strict=True)]
    return np.array(differ, np.bool_)


def _outline_differs(a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]]) -> bool:
    return len(a) != len(b) or any(
        p.shape != q.shape or bool((np.abs(p - q) > NEAR).any()) for p, q in zip(a, b, strict=True)
    )


def _texts(texts: Strings | None, at: NDArray[np.int64]) -> NDArray[np.object_]:
    return np.array(texts.take(at) if texts is not None else [""] * len(at), object)


def _keys_lost(ours: NDArray[np.object_], theirs: NDArray[np.object_]) -> list[str]:
    """Return the keys of JSON objects whose values are gone or changed, the commonest first."""
    lost: Counter[str] = Counter()
    for i in np.flatnonzero(ours != theirs).tolist():
        kept = json.loads(theirs[i] or "{}")
        lost.update(key for key, value in json.loads(ours[i] or "{}").items() if key not in kept or kept[key] != value)
    return [key for key, _ in lost.most_common()]


def _maps_lost(a: Dataset, b: Dataset, here: NDArray[np.int64], at: NDArray[np.int64]) -> list[str]:
    """Return how many class maps are lost or changed, pixel by pixel, and whether their values and colours are."""
    ours, theirs = a.maps, b.maps
    assert ours is not None
    if theirs is None and b.objects is None:
        return ["the class of each pixel"]
    there = np.array([b.classes.index(name) if name in b.classes else 255 for name in a.classes] + [255], np.int64)
    changed = 0
    for i, j in zip(here.tolist(), at.tolist(), strict=True):
        if not ours.paths[i]:
            continue
        mine = read_map(ours, i)
        wanted = there[np.where(mine < len(a.classes), mine, len(a.classes))]
        if theirs is not None:
            changed += not theirs.paths[j] or not np.array_equal(wanted, read_map(theirs, j))
        else:
            assert b.objects is not None
            changed += not np.array_equal(wanted, _painted(b.objects[j], wanted.shape))
    lost = [f"class maps of {_pictures(changed)}"] if changed else []
    if theirs is not None and not np.array_equal(ours.values, theirs.values):  # without, they are named
        lost.append("the values that stand for the classes")
    found = colours_of(b)
    if ours.palette is not None and (found is None or not np.array_equal(ours.palette, found)):
        lost.append("the colours of the classes")
    return lost


def _painted(marks: Sequence[Mark], size: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the class map of objects that have masks; what has none is left blank, which shows."""
    classes = np.full(size, IGNORE, np.int64)
    for mark in marks:
        if mark.mask:
            classes[decode(decompress(mark.mask), (size[0], size[1]))] = mark.label
    return classes


def _original_lost(a: Dataset, b: Dataset, here: NDArray[np.int64], at: NDArray[np.int64]) -> list[str]:
    """Return what is lost of numbers of pictures and classes, and of what else is said of them."""
    ours = a.original
    assert ours is not None
    theirs = b.original or Original(np.zeros((len(b), 2), np.int64))
    lost = []
    if ours.image_ids is not None:
        usual = np.zeros(len(b), np.int64)
        for part in np.unique(b.split):
            usual[b.split == part] = np.arange(1, int((b.split == part).sum()) + 1)
        known = theirs.image_ids if theirs.image_ids is not None else usual
        lost += _count("numbers", ours.image_ids[here] != known[at], "picture")
    if ours.class_ids is not None and a.classes == b.classes:
        first = FIRST_CLASS.get(a.format, 1)
        known = theirs.class_ids if theirs.class_ids is not None else np.arange(first, first + len(b.classes))
        if not np.array_equal(ours.class_ids, known):
            lost.append(f"the numbers of the classes ({_some(list(map(str, ours.class_ids)))})")
    if ours.group_names is not None:
        named = _texts(ours.group_names, here), _texts(theirs.group_names, at)
        if ours.group_column != theirs.group_column or _differ(*named).any():
            lost.append(f"the names of the groups ({shown(ours.group_column)})")
    parts = (
        ("pictures", _texts(ours.records, here), _texts(theirs.records, at)),
        ("classes", *_padded(ours.classes, theirs.classes)),
        ("the data", *_padded(*_whole(ours.whole, theirs.whole))),
    )
    for what, mine, yours in parts:
        if keys := _keys_lost(mine, yours):
            lost.append(f"what is said of {what}: {_some(keys)}")
    return lost


def _whole(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[list[str], list[str]]:
    return list(a.values()), [b.get(split, "") for split in a]


def _padded(a: Sequence[str], b: Sequence[str]) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    kept = [*b, *[""] * len(a)][: len(a)]
    return np.array([*a], object), np.array(kept, object)


def _same_parts(a: NDArray[np.int64], b: NDArray[np.int64] | None) -> bool:
    """Tell whether two numberings put the same things together."""
    if b is None:
        return len(np.unique(a)) == len(a)  # each on its own says nothing
    pairs = np.unique(np.stack([a, b]), axis=1)
    return bool(len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1])


def _count(what: str, changed: NDArray[np.bool_], of: str = "object") -> list[str]:
    n = int(np.count_nonzero(changed))
    return [f"{what} of {n:,} {of}{'s' * (n != 1)}"] if n else []


def _pictures(n: int) -> str:
    return f"{n:,} picture{'s' * (n != 1)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names[:_SHOWN]) + " ..." * (len(names) > _SHOWN)


def _listed(lost: Sequence[str]) -> str:
    return f"lost would be: {'; '.join(lost)}"
