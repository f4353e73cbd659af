"""A list of fixes: which records, or boxes, of a data set are to be otherwise; a JSON file that a person can edit.

``apply`` says which of them are meant::

    {"visus": "fixes", "version": 1,
     "data": {"name": "photos", "format": "folder", "fingerprint": "9c1f..."},
     "items": [{"file": "train/cat/7.jpg", "from": "cat", "to": "dog", "reason": "looks like dog", "apply": true},
               {"file": "train/cat/9.jpg", "from": "cat", "to": null, "reason": "shows nothing", "apply": false}]}

``from`` is empty where a record has no class; ``to`` is null where it is to be taken out.

A fix of a box also has ``box``, its number in the picture, from 1, or null for one that is to be added; and ``at``, its
corners x0, y0, x1, y1 in pixels of the upright picture where it is to be drawn there, or null where it stays::

    {"file": "7.jpg", "box": 3, "from": "cat", "to": "dog", "at": null, "reason": "", "apply": true}
    {"file": "7.jpg", "box": 4, "from": "cat", "to": "cat", "at": [20, 31, 64, 80], "reason": "", "apply": true}
    {"file": "7.jpg", "box": 5, "from": "cat", "to": null, "at": null, "reason": "", "apply": true}
    {"file": "7.jpg", "box": null, "from": "", "to": "dog", "at": [2, 3, 44, 50], "reason": "", "apply": true}
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from visus.core.errors import DataError, did_you_mean, quoted
from visus.core.files import write_json
from visus.data.dataset import SPLITS, Dataset
from visus.data.objects import Mark, Objects
from visus.data.paths import fault_of, read_regular, shown
from visus.data.splitting import TRAIN

VERSION = 1
_MOST_BYTES = 1 << 28
_KEYS = {"file": "text", "from": "text", "to": "text or null", "reason": "text", "apply": "true or false"}
_OF_BOXES = {"box": "a whole number or null", "at": "four numbers or null"}
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # halves of characters; \udc80 to \udcff are a name's broken bytes
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "missing, or null",
          int: "a number", float: "a number"}  # fmt: skip
_ABOUT = ("name", "format", "fingerprint")

NEW, WHOLE = 0, -1
"""In place of a box's number: one that is added, and a fix that is of no box."""


@dataclass(frozen=True)
class Fix:
    """What is to become of one record, or of one of its boxes.

    Attributes:
        file: its id.
        label: the class it has; empty for none.
        to: the class it shall have; None to take it out.
        reason: in a phrase.
        apply: whether it is meant.
        box: which of the picture's boxes it is of, from 1; ``NEW`` for one that is added, ``WHOLE`` for the picture.
        at: x0, y0, x1, y1 where the box shall be; None where it stays, or goes.
    """

    file: str
    label: str
    to: str | None
    reason: str = ""
    apply: bool = True
    box: int = WHOLE
    at: tuple[float, ...] | None = None

    def json(self) -> dict[str, Any]:
        """Return it as an item of the list."""
        told = {"file": self.file, "from": self.label, "to": self.to, "reason": self.reason, "apply": self.apply}
        if self.box == WHOLE:
            return told
        at = list(self.at) if self.at is not None else None
        return {"file": self.file, "box": self.box or None, "from": self.label, "to": self.to, "at": at,
                "reason": self.reason, "apply": self.apply}  # fmt: skip


@dataclass(frozen=True)
class Fixes:
    """A list of fixes and the data it is for.

    Attributes:
        data: ``name``, ``format`` and ``fingerprint`` of the data set.
        items: all of them, the meant ones and the others.
    """

    data: Mapping[str, str]
    items: tuple[Fix, ...]


def about(dataset: Dataset) -> dict[str, str]:
    """Return what a list of fixes says of its data: carved splits do not matter, since they lie in no file."""
    carved = np.isin(dataset.split, [SPLITS.index(name) for name in dataset.carved])
    as_read = dataset.with_(split=np.where(carved, TRAIN, dataset.split).astype(np.uint8), carved=())
    return {"name": dataset.name, "format": dataset.format, "fingerprint": as_read.fingerprint()}


def write(path: Path, dataset: Dataset, items: Iterable[Fix]) -> None:
    """Write a list of fixes for a data set."""
    listed = [item.json() for item in items]
    write_json(path, {"visus": "fixes", "version": VERSION, "data": about(dataset), "items": listed})


def read(path: Path) -> Fixes:
    """Return a list of fixes.

    Raises:
        DataError: DATA-330 the file cannot be read as one, DATA-331 a key is missing, unknown, or not what it should
            be, DATA-333 a path that no record can have.
    """
    document = _document(path)
    data = _part(path, "data", document.get("data"), dict)
    for key in _ABOUT:
        _part(path, f"data.{key}", data.get(key), str)
    items = _part(path, "items", document.get("items"), list)
    return Fixes({key: data[key] for key in _ABOUT}, tuple(_fix(path, at, item) for at, item in enumerate(items)))


def changes(path: Path, fixes: Fixes, dataset: Dataset) -> dict[int, int]:
    """Return record -> dense class, -1 to take it out, for the fixes that are meant.

    Args:
        path: of the list, for messages.
        fixes: as it was read.
        dataset: as its format read it.

    Raises:
        DataError: DATA-332 the list is of other data, DATA-333 a file that is not there or comes twice, DATA-334 a
            class that is not there, or not the record's, DATA-335 no fix is meant.
    """
    _check_data(path, fixes, dataset)
    found: dict[int, int] = {}
    for at, fix, i in _meant(path, fixes, dataset):
        if i in found:
            raise _refused(path, at, "file", f"{_brief(fix.file)} has another fix already", "", "DATA-333")
        if fix.box != WHOLE:
            raise _refused(path, at, "box", "this data has no boxes", fix.file, "DATA-333")
        label = int(dataset.columns["label"][i])
        to = _checked(path, at, fix, dataset, label, "the picture")
        if to != label or fix.to is None:
            found[i] = to
    _check_any(path, fixes, bool(found))
    return found


def changed_objects(path: Path, fixes: Fixes, dataset: Dataset) -> Objects:
    """Return the objects of a data set after the fixes that are meant; those that are added stand last.

    Args:
        path: of the list, for messages.
        fixes: as it was read.
        dataset: with objects, as its format read it.

    Raises:
        DataError: as ``changes``; DATA-343 a box that cannot be drawn there, or whose outline would not follow.
    """
    assert dataset.objects is not None
    _check_data(path, fixes, dataset)
    sizes = dataset.original.sizes if dataset.original is not None else np.zeros((len(dataset), 2), np.int64)
    objects = [dataset.objects[i] for i in range(len(dataset))]
    done: set[tuple[int, int]] = set()
    gone: set[tuple[int, int]] = set()
    for at, fix, i in _meant(path, fixes, dataset):
        if fix.at is not None:
            _check_corners(path, at, fix, (int(sizes[i, 0]), int(sizes[i, 1])))
        if fix.box == NEW:
            to = _checked(path, at, fix, dataset, -1, "a box that is added")
            if to < 0 or fix.at is None:
                key, wanted = ("to", "the class") if to < 0 else ("at", "the corners")
                raise _refused(path, at, key, f"a box that is added needs {wanted}", fix.file, "DATA-343")
            objects[i].append(Mark(_corners(fix.at), to))
            done.add((i, -at - 1))
            continue
        place = fix.box - 1
        if not 0 <= place < int(dataset.objects.starts[i + 1] - dataset.objects.starts[i]) or (i, place) in done:
            told = "has another fix already" if (i, place) in done else "is not on this picture"
            raise _refused(path, at, "box", f"box {fix.box if fix.box > 0 else 'of no number'} {told}", fix.file,
                           "DATA-333")  # fmt: skip
        mark = objects[i][place]
        to = _checked(path, at, fix, dataset, mark.label, "the box")
        done.add((i, place))
        if to < 0:
            gone.add((i, place))
            continue
        objects[i][place] = replace(mark, label=to)
        if fix.at is not None:
            if mark.polygons or mark.mask:
                raise _refused(path, at, "at", "the object has an outline, which would not follow its box", fix.file,
                               "DATA-343")  # fmt: skip
            objects[i][place] = replace(mark, label=to, box=_corners(fix.at), area=math.nan)
    _check_any(path, fixes, bool(done))
    return Objects.of([[mark for j, mark in enumerate(marks) if (i, j) not in gone] for i, marks in enumerate(objects)])


def _meant(path: Path, fixes: Fixes, dataset: Dataset) -> Iterator[tuple[int, Fix, int]]:
    """Yield the fixes that are meant: number in the list, fix, record."""
    record = {id: i for i, id in enumerate(dataset.ids)}
    for at, fix in enumerate(fixes.items):
        if not fix.apply:
            continue
        if fix.file not in record:
            guess = did_you_mean(fix.file, record) if len(record) <= _GUESSED else ""
            raise _refused(path, at, "file", f"{_brief(fix.file)} is not in the data", "", "DATA-333", guess)
        yield at, fix, record[fix.file]


def _checked(path: Path, at: int, fix: Fix, dataset: Dataset, label: int, what: str) -> int:
    """Return the class that a fix asks for, -1 for none.

    Raises:
        DataError: DATA-334 it is no class of the data, or what is to be fixed has another one than the list says.
    """
    has = dataset.classes[label] if label >= 0 else ""
    if fix.label != has:
        raise _refused(path, at, "from", f"{_brief(fix.label)}, but {what} is {_brief(has)}", fix.file, "DATA-334",
                       "name the class it has, if the fix is meant")  # fmt: skip
    if fix.to is not None and fix.to not in dataset.classes:
        raise _refused(path, at, "to", f"there is no class {_brief(fix.to)}", fix.file, "DATA-334",
                       did_you_mean(fix.to, dataset.classes))  # fmt: skip
    return -1 if fix.to is None else dataset.classes.index(fix.to)


def _check_corners(path: Path, at: int, fix: Fix, size: tuple[int, int]) -> None:
    """Refuse corners that hold nothing, or lie outside a picture of (height, width), where that is known."""
    assert fix.at is not None
    x0, y0, x1, y1 = fix.at
    height, width = size if all(size) else (math.inf, math.inf)
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        where = f"a picture of {width} x {height} pixels" if all(size) else "a picture"
        raise _refused(path, at, "at", f"x0, y0, x1, y1 are no corners of a box in {where}", fix.file, "DATA-343",
                       "0 <= x0 < x1 <= width, and 0 <= y0 < y1 <= height")  # fmt: skip


def _corners(at: tuple[float, ...]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = at
    return x0, y0, x1, y1


def _check_data(path: Path, fixes: Fixes, dataset: Dataset) -> None:
    """Refuse a list that is of other data."""
    if fixes.data["fingerprint"] != about(dataset)["fingerprint"]:
        raise DataError(
            "DATA-332", f"{shown(path)}: these fixes are for other data than {dataset.name}",
            where=f"they were written for {shown(fixes.data['name'])}, whose names, labels or pictures are not these",
            done="nothing was written", fix=f"visus check {quoted(dataset.root)} --labels writes new ones",
        )  # fmt: skip


def _check_any(path: Path, fixes: Fixes, found: bool) -> None:
    """Refuse a list of which nothing is meant."""
    if not found:
        raise DataError(
            "DATA-335", f"{shown(path)}: no fix is to be applied", where=f"of {len(fixes.items):,} listed",
            done="nothing was written", fix='write "apply": true for those that you mean',
        )  # fmt: skip


def _refused(path: Path, at: int, key: str, what: str, file: str, code: str, fix: str = "") -> DataError:
    return DataError(code, f"{_place(path, at, key)}: {what}", where=shown(file) if file else "",
                     done="nothing was written", fix=fix or "leave the item out")  # fmt: skip


_GUESSED = 20_000
"""Records up to which the nearest name is looked for; among more it would take long."""


def _document(path: Path) -> dict[str, Any]:
    data = read_regular(path, _MOST_BYTES)
    document: Any = None
    try:
        document, told = json.loads(data[:_MOST_BYTES], object_pairs_hook=_once), ""
    except (ValueError, RecursionError) as error:
        told = f"more than {_MOST_BYTES:,} bytes" if len(data) > _MOST_BYTES else str(error)
    if not told and (not isinstance(document, dict) or document.get("visus") != "fixes"):
        told = 'it does not say "visus": "fixes"'
    if not told and (type(document.get("version")) is not int or document["version"] != VERSION):
        told = f"its version is not {VERSION}, which this visus reads"
    if told:
        raise DataError("DATA-330", f"{shown(path)}: this is no list of fixes", where=told, done="nothing was written",
                        fix="visus check DATA --labels writes one")  # fmt: skip
    found: dict[str, Any] = document
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys come once each: of two, nobody could say which was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} comes twice in one object")
    return found


def _fix(path: Path, at: int, value: object) -> Fix:
    item = _part(path, f"items[{at}]", value, dict)
    keys = _KEYS | (_OF_BOXES if _OF_BOXES.keys() & item.keys() else {})
    if missing := [key for key in keys if key not in item]:
        raise DataError("DATA-331", f"{_place(path, at, missing[0])}: the key is missing", done="nothing was written",
                        fix=f"it is {keys[missing[0]]}")  # fmt: skip
    if unknown := [str(key) for key in item if key not in keys]:
        raise DataError("DATA-331", f"{_place(path, at, _brief(unknown[0]))}: there is no such key",
                        done="nothing was written", fix=did_you_mean(unknown[0], keys))  # fmt: skip
    for key, kinds in (("file", str), ("from", str), ("to", (str, type(None))), ("reason", str), ("apply", bool)):
        _part(path, f"items[{at}].{key}", item[key], kinds)
    if fault := fault_of(item["file"]):
        raise DataError(
            "DATA-333", f"{_place(path, at, 'file')}: {_brief(item['file'])}: this path {fault}",
            done="nothing was written", fix="name the file of a record, as the data has it",
        )  # fmt: skip
    return Fix(item["file"], item["from"], item["to"], item["reason"], item["apply"], *_box(path, at, item))


def _box(path: Path, at: int, item: Mapping[str, Any]) -> tuple[int, tuple[float, ...] | None]:
    """Return which box an item is of, and where it shall be."""
    if "box" not in item:
        return WHOLE, None
    number, corners = item["box"], item["at"]
    fine = corners is None or (
        isinstance(corners, list) and len(corners) == 4
        and all(type(side) in (int, float) and math.isfinite(side) for side in corners)
    )  # fmt: skip
    if (number is None or (type(number) is int and number > 0)) and fine:
        return (NEW if number is None else number), tuple(map(float, corners)) if corners is not None else None
    key = "box" if fine else "at"
    raise DataError("DATA-331", f"{_place(path, at, key)}: it is {_brief(json.dumps(item[key]))}",
                    done="nothing was written", fix=f"it should be {_OF_BOXES[key]}")  # fmt: skip


def _part(path: Path, place: str, value: Any, kinds: Any) -> Any:
    """Return a value of the document.

    Raises:
        DataError: it is of another kind.
    """
    if isinstance(value, kinds) and not (isinstance(value, str) and _HALF.search(value)):
        return value
    wanted = _KINDS.get(kinds) or _KEYS[place.rpartition(".")[2]]
    told = _brief(str(value)) if isinstance(value, str | int | float) else _KINDS[type(value)]
    raise DataError("DATA-331", f"{shown(path)}: {place}: it is {told}", done="nothing was written",
                    fix=f"it should be {wanted}")  # fmt: skip


def _place(path: Path, at: int, key: str) -> str:
    return f"{shown(path)}: items[{at}].{key}"


def _brief(text: str) -> str:
    """Return the beginning of a text that may be of any length."""
    return repr(text[:60]) + " ..." * (len(text) > 60)
