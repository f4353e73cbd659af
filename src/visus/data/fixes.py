"""A list of fixes: which records of a data set are to bear another class, or none; a JSON file that a person can edit.

``apply`` says which of them are meant::

    {"visus": "fixes", "version": 1,
     "data": {"name": "photos", "format": "folder", "fingerprint": "9c1f..."},
     "items": [{"file": "train/cat/7.jpg", "from": "cat", "to": "dog", "reason": "looks like dog", "apply": true},
               {"file": "train/cat/9.jpg", "from": "cat", "to": null, "reason": "shows nothing", "apply": false}]}

``from`` is empty where a record has no class; ``to`` is null where it is to be taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visus.core.errors import DataError, did_you_mean, quoted
from visus.core.files import write_json
from visus.data.dataset import SPLITS, Dataset
from visus.data.paths import fault_of, read_regular, shown
from visus.data.splitting import TRAIN

VERSION = 1
_MOST_BYTES = 1 << 28
_KEYS = {"file": "text", "from": "text", "to": "text or null", "reason": "text", "apply": "true or false"}
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # halves of characters; \udc80 to \udcff are a name's broken bytes
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "missing, or null"}
_ABOUT = ("name", "format", "fingerprint")


@dataclass(frozen=True)
class Fix:
    """What is to become of one record.

    Attributes:
        file: its id.
        label: the class it has; empty for none.
        to: the class it shall have; None to take it out.
        reason: in a phrase.
        apply: whether it is meant.
    """

    file: str
    label: str
    to: str | None
    reason: str = ""
    apply: bool = True

    def json(self) -> dict[str, Any]:
        """Return it as an item of the list."""
        return {"file": self.file, "from": self.label, "to": self.to, "reason": self.reason, "apply": self.apply}


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
    if fixes.data["fingerprint"] != about(dataset)["fingerprint"]:
        raise DataError(
            "DATA-332", f"{shown(path)}: these fixes are for other data than {dataset.name}",
            where=f"they were written for {shown(fixes.data['name'])}, whose names, labels or pictures are not these",
            done="nothing was written", fix=f"visus check {quoted(dataset.root)} --labels writes new ones",
        )  # fmt: skip
    record = {id: i for i, id in enumerate(dataset.ids)}
    index = {name: k for k, name in enumerate(dataset.classes)}
    found: dict[int, int] = {}
    for at, fix in enumerate(fixes.items):
        if not fix.apply:
            continue
        i = record.get(fix.file, -1)
        if i < 0 or i in found:
            told = "is not in the data" if i < 0 else "has another fix already"
            guess = did_you_mean(fix.file, record) if i < 0 and len(record) <= _GUESSED else ""
            raise DataError(
                "DATA-333", f"{_place(path, at, 'file')}: {_brief(fix.file)} {told}", done="nothing was written",
                fix=guess or "leave the item out",
            )  # fmt: skip
        label = int(dataset.columns["label"][i])
        has = dataset.classes[label] if label >= 0 else ""
        if fix.label != has:
            raise DataError(
                "DATA-334", f"{_place(path, at, 'from')}: {_brief(fix.label)}, but the picture is {_brief(has)}",
                where=shown(fix.file), done="nothing was written", fix="name the class it has, if the fix is meant",
            )  # fmt: skip
        if fix.to is not None and fix.to not in index:
            raise DataError(
                "DATA-334", f"{_place(path, at, 'to')}: there is no class {_brief(fix.to)}", where=shown(fix.file),
                done="nothing was written", fix=did_you_mean(fix.to, dataset.classes),
            )  # fmt: skip
        to = -1 if fix.to is None else index[fix.to]
        if to != label or fix.to is None:
            found[i] = to
    if not found:
        raise DataError(
            "DATA-335", f"{shown(path)}: no fix is to be applied", where=f"of {len(fixes.items):,} listed",
            done="nothing was written", fix='write "apply": true for those that you mean',
        )  # fmt: skip
    return found


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
    if missing := [key for key in _KEYS if key not in item]:
        raise DataError("DATA-331", f"{_place(path, at, missing[0])}: the key is missing", done="nothing was written",
                        fix=f"it is {_KEYS[missing[0]]}")  # fmt: skip
    if unknown := [str(key) for key in item if key not in _KEYS]:
        raise DataError("DATA-331", f"{_place(path, at, _brief(unknown[0]))}: there is no such key",
                        done="nothing was written", fix=did_you_mean(unknown[0], _KEYS))  # fmt: skip
    for key, kinds in (("file", str), ("from", str), ("to", (str, type(None))), ("reason", str), ("apply", bool)):
        _part(path, f"items[{at}].{key}", item[key], kinds)
    if fault := fault_of(item["file"]):
        raise DataError(
            "DATA-333", f"{_place(path, at, 'file')}: {_brief(item['file'])}: this path {fault}",
            done="nothing was written", fix="name the file of a record, as the data has it",
        )  # fmt: skip
    return Fix(item["file"], item["from"], item["to"], item["reason"], item["apply"])


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
