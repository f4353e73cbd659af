"""A copy of a data set in which some records have another class, or are gone; the copy can be made the original again.

The copy holds a hidden folder with what was changed, the SHA-256 of every file concerned before and after, and the
bytes of those that were rewritten or taken out.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError, IntegrityError, UsageError
from visus.core.files import digest, new_folder, write_bytes, write_failed, write_json
from visus.core.recipe import DataSettings
from visus.data.dataset import Dataset, FileImages
from visus.data.formats import FORMATS, Edit
from visus.data.paths import check_free, check_outside, inside, is_below, open_regular, read_regular, shown

LEDGER = ".visus-fixes"
"""The folder in a copy that tells what was changed in it."""

VERSION = 1
_MOST_BYTES = 1 << 30


def amended(path: Path, dataset: Dataset, changes: Mapping[int, int], out: Path, about: Mapping[str, Any]) -> list[str]:
    """Write a copy of a data set in which some records change.

    The copy appears whole or not at all.  It is read back before, and holds exactly the classes that were asked for.
    Of a folder everything is copied, of a table the table and the pictures it names.

    Args:
        path: of the data: a folder or a table.  Nothing is written there.
        dataset: as its format read it from there.
        changes: record -> dense class, or -1 to take it out.
        out: a folder that does not exist yet, or is empty.
        about: what the ledger shall say of the fixes.

    Returns:
        Names of what was not copied: pipes, links to nothing or out of the data, folders that hold themselves.

    Raises:
        UsageError: USE-051 the folder is not free, RUN-010 it lies in the data.
        DataError: DATA-336 data that cannot be changed in this way, DATA-337 a format that cannot do it, DATA-340 a
            class would have no training picture left, or the copy could not be read, DATA-342 a part of the data lies
            outside its folder.
        IntegrityError: DATA-341, the copy does not say what was asked for.
        ResourceError: the disk is full; nothing is left behind.
    """
    amend = check_amendable(path, dataset)
    base = path if path.is_dir() else path.parent
    check_outside(out, base)
    check_free(out)
    changes = {i: to for i, to in changes.items() if to < 0 or to != dataset.columns["label"][i]}
    _check_classes(dataset, changes)
    with new_folder(out) as folder:
        left = _copied(base, folder) if path.is_dir() else _copied_table(path, dataset, folder)
        if left:
            _check_whole(folder, dataset, left)
        (folder / LEDGER / "before").mkdir(parents=True)
        edits = [_done(folder, number, edit) for number, edit in enumerate(amend(path, dataset, changes))]
        above = {place for edit in edits for place in PurePosixPath(edit["to"]).parents}
        made = sorted(str(place) for place in above if not (base / place).exists())
        write_json(folder / LEDGER / "ledger.json", {
            "visus": "ledger", "version": VERSION, **about, "edits": edits, "made": made,
        })  # fmt: skip
        _check_read(folder if path.is_dir() else folder / path.name, dataset, changes, edits)
    return left


def check_amendable(path: Path, dataset: Dataset) -> Callable[[Path, Dataset, Mapping[int, int]], Iterator[Edit]]:
    """Return what changes the files of a data set.

    Raises:
        DataError: DATA-336, where nothing does yet.
    """
    amend = FORMATS[dataset.format].amend
    if amend is None or dataset.column() != "label" or not path.exists():
        able = ", ".join(name for name in FORMATS if FORMATS[name].amend is not None)
        raise DataError(
            "DATA-336", f"{dataset.name}: this cannot be changed in a copy yet",
            where=f"{dataset.format} data that knows {dataset.column() or 'nothing'} of each picture",
            done="nothing was written", fix=f"files of your own with one class a picture, in one of the formats {able}",
        )  # fmt: skip
    return amend


def restored(folder: Path) -> dict[str, Any]:
    """Make a copy with fixes the original again, byte for byte, and return what its ledger said.

    Whether every file is as it was left is checked before anything is touched.  An undo that was interrupted goes on
    when it is asked for again.

    Raises:
        UsageError: USE-049, there is nothing to undo.
        IntegrityError: DATA-338 a damaged ledger, DATA-339 files that were changed since.
    """
    if not (folder / LEDGER / "ledger.json").is_file():
        raise UsageError(
            "USE-049", f"{shown(folder)}: there is nothing to undo", looked=f"{LEDGER}/ledger.json in it",
            fix="name the folder that visus fix wrote: visus fix --undo DIR",
        )  # fmt: skip
    told = _ledger(folder)
    edits = [_Edit.read(folder, number, told["edits"][number]) for number in range(len(told["edits"]))]
    made = [inside(folder, name, where=f"{LEDGER}/ledger.json, made") for name in reversed(told["made"])]
    changed = [edit.file for edit in edits if not (edit.is_undone() or edit.is_done())]
    if changed:
        raise IntegrityError(
            "DATA-339", f"{shown(folder)}: {len(changed):,} files are not as the fixes left them",
            where=", ".join(shown(name) for name in changed[:5]) + " ..." * (len(changed) > 5),
            done="nothing was undone", fix="put them back, or copy the original data again",
        )  # fmt: skip
    try:
        for edit in edits:
            if not edit.is_undone():
                edit.undo()
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        if (folder / LEDGER / "before").is_dir():
            shutil.rmtree(folder / LEDGER / "before")
        (folder / LEDGER / "ledger.json").unlink()  # last: as long as it is there, an undo goes on
        (folder / LEDGER).rmdir()
    except OSError as error:
        raise write_failed(error, folder) from error
    return told


@dataclass(frozen=True)
class _Edit:
    """What was done to one file of a copy.

    Attributes:
        folder: the copy.
        file: path in it; ``before``: SHA-256 of its bytes.
        to: where it moved; ``after``: SHA-256 of what took its place; both empty where it was taken out.
        kept: where its bytes are kept; a file that moved keeps them itself.
    """

    folder: Path
    file: str
    before: str
    to: str
    after: str
    kept: Path

    @classmethod
    def read(cls, folder: Path, number: int, told: Any) -> _Edit:
        """Return an edit of a ledger.

        Raises:
            IntegrityError: it cannot be one.
        """
        keys = ("file", "before", "to", "after")
        if not isinstance(told, dict) or not all(isinstance(told.get(key), str) for key in keys):
            raise _damaged(folder, f"edits[{number}]")
        file, before, to, after = (told[key] for key in keys)
        for name in filter(None, (file, to)):
            inside(folder, name, where=f"{LEDGER}/ledger.json, edits[{number}]")
        return cls(folder, file, before, to, after, folder / LEDGER / "before" / str(number))

    def is_undone(self) -> bool:
        """Tell whether the file is as it was before."""
        return _digest(self.folder / self.file) == self.before

    def is_done(self) -> bool:
        """Tell whether the file is as the edit left it, and what it was is there."""
        if self.to:
            return not (self.folder / self.file).exists() and _digest(self.folder / self.to) == self.before
        return _digest(self.folder / self.file) == self.after and _digest(self.kept) == self.before

    def undo(self) -> None:
        """Put back what was there, at once or not at all."""
        place = self.folder / self.file
        place.parent.mkdir(parents=True, exist_ok=True)
        (self.folder / self.to if self.to else self.kept).replace(place)


def _done(folder: Path, number: int, edit: Edit) -> dict[str, str]:
    """Do an edit in a copy, and return what the ledger says of it."""
    file = folder / edit.file
    before = digest(file)
    kept = folder / LEDGER / "before" / str(number)
    told = {"file": edit.file, "before": before, "to": "", "after": ""}
    if isinstance(edit.becomes, str):
        place = folder / edit.becomes
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
        return told | {"to": edit.becomes}
    file.rename(kept)
    if edit.becomes is None:
        return told
    write_bytes(file, edit.becomes)
    return told | {"after": sha256(edit.becomes).hexdigest()}


def _copied(source: Path, target: Path) -> list[str]:
    """Copy a folder byte for byte, links as what they lead to in it; return names of whatever else there is.

    A copy is made to be passed on: what a link leads to outside of the data, such as a key, stays out of it.  What an
    earlier copy says of its own fixes stays behind: the new one is undone to what it was made from.
    """
    left = []
    top = os.path.realpath(source)
    pending: list[tuple[str, tuple[str, ...]]] = [("", (top,))]
    while pending:
        below, ancestors = pending.pop()
        (target / below).mkdir(exist_ok=True)
        for entry in _entries(source / below):
            name = f"{below}{entry.name}"
            real = os.path.realpath(entry.path) if entry.is_symlink() or entry.is_dir() else ""
            if name == LEDGER:
                continue
            if real in ancestors or (real and not is_below(real, top)):
                left.append(name)
            elif entry.is_dir():
                pending.append((f"{name}/", (*ancestors, real)))
            elif entry.is_file():
                _copy(Path(entry.path), target / name)
            else:
                left.append(name)
    return sorted(left)


def _copied_table(table: Path, dataset: Dataset, target: Path) -> list[str]:
    """Copy a table and the pictures it names."""
    assert isinstance(dataset.images, FileImages)  # a table names files
    below = dataset.images.root.relative_to(table.parent)
    _copy(table, target / table.name)
    for name in dataset.images.paths:
        place = target / below / name
        place.parent.mkdir(parents=True, exist_ok=True)
        _copy(dataset.images.root / name, place)
    return []


def _copy(source: Path, target: Path) -> None:
    with open_regular(source) as file, target.open("xb") as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
    shutil.copystat(source, target)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            "DATA-010", f"{shown(folder)}: the folder cannot be read: {os.strerror(error.errno or 0).lower()}"
        ) from error


def _check_classes(dataset: Dataset, changes: Mapping[int, int]) -> None:
    """Refuse to take the last training picture of a class, which then nothing could be read as."""
    label = _labels(dataset, changes)
    part = dataset.indices("train")
    before, after = (set(one[part].tolist()) - {-1} for one in (dataset.columns["label"], label))
    if lost := sorted(before - after):
        raise DataError(
            "DATA-340", f"{dataset.name}: {dataset.classes[lost[0]]} would have no training picture left",
            where=f"with these fixes, {len(lost)} of {len(dataset.classes):,} classes", done="nothing was written",
            fix='write "apply": false for one that takes a picture from it',
        )  # fmt: skip


def _labels(dataset: Dataset, changes: Mapping[int, int]) -> NDArray[np.int64]:
    """Return the class of each record after changes; -1 for one that is taken out."""
    label = dataset.columns["label"].astype(np.int64)
    label[list(changes)] = list(changes.values())
    return label


def _check_whole(copy: Path, dataset: Dataset, left: Sequence[str]) -> None:
    """Refuse data that is not whole without what was left out of its copy."""
    try:
        _check_read(copy, dataset, {}, [])
    except (DataError, IntegrityError) as error:
        raise DataError(
            "DATA-342", f"{dataset.name}: a part of it lies outside of its folder, which a copy may not take along",
            where=", ".join(map(shown, left[:5])) + " ..." * (len(left) > 5), done="nothing was written",
            fix="put what these links lead to into the folder",
        ) from error  # fmt: skip


def _check_read(copy: Path, dataset: Dataset, changes: Mapping[int, int], edits: Sequence[Mapping[str, str]]) -> None:
    """Read a copy, and see that it says what was asked for, of every record, and nothing else.

    Raises:
        DataError: it cannot be read.
        IntegrityError: it says something else.
    """
    try:
        found = FORMATS[dataset.format].read(copy, DataSettings(format=dataset.format, max_bad=1.0)).sound()
    except DataError as error:
        raise DataError(
            "DATA-340", f"{dataset.name}: with these fixes it could not be read any more", where=error.what,
            done="nothing was written", fix="leave out the fix that does it",
        ) from error  # fmt: skip
    moved = {edit["file"]: edit["to"] for edit in edits if edit["to"]}
    wanted = dataset.with_(columns={"label": _labels(dataset, changes)})
    gone = {i for i, to in changes.items() if to < 0}
    if _said(wanted, moved, gone) != _said(found, {}, set()):
        raise IntegrityError(
            "DATA-341", f"{dataset.name}: the copy does not say what was asked for", done="nothing was written",
            fix="report this, with how the data lies on disk",
        )  # fmt: skip


def _said(dataset: Dataset, moved: Mapping[str, str], gone: set[int]) -> Counter[tuple[str, str]]:
    """Return how often each picture is said to be of each class.

    Pictures of an array have no name of their own: their numbers close up behind one that is gone, so there it is the
    order that counts.
    """
    named = isinstance(dataset.images, FileImages)
    kept = [i for i in range(len(dataset)) if i not in gone]
    names = (moved.get(dataset.ids[i], dataset.ids[i]) if named else str(at) for at, i in enumerate(kept))
    classes = [*(dataset.classes if named else map(str, range(len(dataset.classes)))), ""]
    return Counter((name, classes[int(dataset.columns["label"][i])]) for name, i in zip(names, kept, strict=True))


def _ledger(folder: Path) -> dict[str, Any]:
    path = folder / LEDGER / "ledger.json"
    data = read_regular(path, _MOST_BYTES)
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, str(error)) from error
    if not isinstance(told, dict) or told.get("visus") != "ledger" or told.get("version") != VERSION:
        raise _damaged(folder, f"it is no ledger of version {VERSION}")
    made = told.get("made")
    if (
        not isinstance(told.get("edits"), list)
        or not isinstance(made, list)
        or not all(isinstance(n, str) for n in made)
    ):
        raise _damaged(folder, "edits, or made")
    found: dict[str, Any] = told
    return found


def _damaged(folder: Path, where: str) -> IntegrityError:
    return IntegrityError("DATA-338", f"{shown(folder / LEDGER)}: the ledger is damaged", where=where,
                          done="nothing was undone", fix="copy the original data again")  # fmt: skip


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty where there is none."""
    return digest(path) if path.is_file() else ""
