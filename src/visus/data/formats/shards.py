"""Tar shards as WebDataset writes them: members that share a name belong together: ``0007.jpg`` and ``0007.cls``.

A shard is indexed once, by its headers; after that each picture is fetched from its place, so that nothing is unpacked
and no order is lost.  A record's class is its ``.cls`` (a number or a name), or ``label``, ``class`` or ``cls`` in its
``.json``.  Shards whose name holds train, val or test are that split: ``train-{000..099}.tar``.  A ``classes.txt``
beside them lists the classes, a name a line, and records name or number them.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from visus.core.errors import DataError, first_line
from visus.data.class_lists import read_list
from visus.data.dataset import Dataset, Strings
from visus.data.fetched import FetchedImages, opened
from visus.data.formats import Evidence, Format
from visus.data.headers import EXTENSIONS
from visus.data.json_door import without_repeats
from visus.data.listing import files_of, natural
from visus.data.paths import shown
from visus.data.splitting import SPLIT_WORDS, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_PICTURES = frozenset(suffix.removeprefix(".") for suffixes in EXTENSIONS.values() for suffix in suffixes)
_KEYS = ("label", "class", "cls")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000
_MOST_BYTES_OF_A_LABEL = 1 << 20


def sniff(path: Path) -> Evidence | None:
    """Recognise tar files by their names and the first member of the first."""
    shards = _shards(path)
    if not shards:
        return None
    try:
        first = next((member.name for member, _ in _members(shards[0], [])), "")
    except DataError as error:
        return Evidence(0.0, f"{shown(Path(shards[0]).name)}, which is no plain tar file: {error.where}")
    if not first:
        return Evidence(0.0, f"{shown(Path(shards[0]).name)}, which is empty")
    return Evidence(0.9, f"{_several(len(shards))}, first member {shown(first)}", len(shards))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the records of a tar file, or of all those in a folder; see ``read_shards``."""
    folder = path if path.is_dir() else path.parent
    listed = folder / "classes.txt"
    names = read_list(listed) if listed.is_file() else ()
    return read_shards(_shards(path), settings, name=shown(path.resolve().name), root=folder, names=names)


def read_shards(
    shards: Sequence[str], settings: DataSettings, *, name: str, root: Path, names: Sequence[str] = ()
) -> Dataset:
    """Return the records of shards, in their order.

    A record is called what its picture is called, with its shard in front where shards use a name again.

    Args:
        shards: tar files, or addresses of such.
        settings: of the data.
        name: of the data set.
        root: its folder, where it has one.
        names: of all classes, which records name or number.

    Raises:
        DataError: DATA-370 no tar file, or a damaged one; DATA-371 a record without a class, with two, or with one that
            cannot be read or is not listed; DATA-372 no record at all; DATA-374 a record with two pictures; DATA-010
            and DATA-361 what cannot be opened.
    """
    found: list[_Record] = []
    notes: list[str] = []
    for number, shard in enumerate(shards):
        records, others = _index(shard, number, notes)
        found += records
        if others:
            notes.append(f"{shown(_name(shard))}: left out {len(others):,} members, such as {shown(others[0])}")
    if not found:
        raise DataError(
            "DATA-372", f"{name}: no shard holds a picture", looked=f"{_several(len(shards))} of .jpg, .png ..."
        )
    labels = [record.label for record in found]
    numbered = all(label.isdecimal() for label in labels)
    if names:
        labels = [label.lstrip("0") or "0" for label in labels] if numbered else labels
        classes, index = tuple(names), {str(i) if numbered else name: i for i, name in enumerate(names)}
        over = next((i for i, label in enumerate(labels) if label not in index), None)
        if over is not None:
            record, last = found[over], len(names) - 1
            raise DataError(
                "DATA-371", f"{shown(_name(shards[record.shard]))}: the class of {shown(record.key)} is not listed",
                where=f"{labels[over][:40]}; classes.txt names {names[0]} (0) to {names[last]} ({last:,})",
            )  # fmt: skip
    else:
        classes = tuple(sorted(set(labels), key=natural))
        index = {label: i for i, label in enumerate(classes)}
    splits = [_split(shard) for shard in shards]
    paths = Strings(_ids(found, shards))
    return Dataset(
        name=name, root=root, format="shards", evidence=_several(len(shards)), ids=paths,
        images=FetchedImages(
            Strings(list(shards)), np.array([record.shard for record in found], np.int64),
            np.array([record.offset for record in found], np.int64),
            np.array([record.length for record in found], np.int64), paths, settings.max_pixels,
        ),
        columns={"label": np.array([index[label] for label in labels], np.int64)},
        split=np.array([splits[record.shard] for record in found], np.uint8),
        classes=classes, notes=tuple(notes),
    )  # fmt: skip


def expanded(place: str) -> list[str]:
    """Return the places that ``train-{000..012}.tar`` stands for; a place without braces stands for itself.

    Raises:
        DataError: DATA-373 they run backwards, or are too many.
    """
    found = _BRACES.search(place)
    if found is None:
        return [place]
    first, last, width = int(found[1]), int(found[2]), len(found[1])
    if last < first or last - first >= _MOST_SHARDS:
        raise DataError("DATA-373", f"{shown(place)}: {found[0]} names no sequence of at most {_MOST_SHARDS:,} shards")
    parts = (f"{place[: found.start()]}{i:0{width}}{place[found.end() :]}" for i in range(first, last + 1))
    return [whole for part in parts for whole in expanded(part)]


@dataclass(slots=True)
class _Record:
    """A record while its shard is indexed: where its picture lies, and its class; empty strings are still missing."""

    key: str
    shard: int
    offset: int = -1
    length: int = 0
    label: str = ""


def _shards(path: Path) -> list[str]:
    if path.is_file():
        return [str(path)] if path.suffix.lower() == ".tar" else []
    if not path.is_dir():
        return []
    return [str(path / name) for name in sorted(files_of(path), key=natural) if name.lower().endswith(".tar")]


def _ids(records: Sequence[_Record], shards: Sequence[str]) -> list[str]:
    """Return a name for each record: its picture's, after its shard's or that one's whole place where it must be."""
    ids = [record.key for record in records]
    for before in ([_name(shard).removesuffix(".tar") for shard in shards], shards):
        if len(set(ids)) < len(ids):
            ids = [f"{before[record.shard]}/{record.key}" for record in records]
    return ids


def _index(shard: str, number: int, notes: list[str]) -> tuple[list[_Record], list[str]]:
    """Return the records of a shard with a picture, and the members that belong to none."""
    records: dict[str, _Record] = {}
    others = []
    for member, archive in _members(shard, notes):
        folder, slash, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        kind, key = suffix.lower(), f"{folder}{slash}{stem}"
        if kind not in _PICTURES and kind not in {"cls", "json"}:
            others.append(member.name)
            continue
        record = records.setdefault(key, _Record(key, number))
        if kind not in _PICTURES:
            label = _label(shard, member, archive, kind)
            if label and record.label not in {"", label}:
                raise DataError(
                    "DATA-371", f"{shown(_name(shard))}: {shown(key)} has two classes", where=f"{record.label}, {label}"
                )
            record.label = label or record.label
        elif record.offset >= 0:
            raise DataError(
                "DATA-374", f"{shown(_name(shard))}: {shown(record.key)} and {shown(member.name)} are one record",
                fix="a record has one picture: what else belongs to it needs another ending",
            )  # fmt: skip
        else:
            record.key, record.offset, record.length = member.name, member.offset_data, member.size
    complete = [record for record in records.values() if record.offset >= 0]
    for record in complete:
        if not record.label:
            raise DataError(
                "DATA-371", f"{shown(_name(shard))}: {shown(record.key)} has no class",
                looked=f".cls, or {', '.join(_KEYS)} in .json",
                fix="write its class beside it, as NAME.cls",
            )  # fmt: skip
    return complete, others + [record.key for record in records.values() if record.offset < 0]


class _Scanned:
    """A file as it is given to ``tarfile``: a header that announces terabytes has a few of them read at most."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer where more are asked for than a header or a label has."""
        return self._file.read(min(max(count, 0), _MOST_BYTES_OF_A_LABEL))


def _members(shard: str, notes: list[str]) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yield the regular files of a tar file; links and devices are no pictures and are never followed.

    ``tarfile`` takes a damaged header for the end and goes where a negative size leads it; both are refused here.
    """
    with opened(shard) as file:
        try:
            with tarfile.open(fileobj=_Scanned(file), mode="r:") as archive:  # type: ignore[call-overload]
                reached = -1
                for member in archive:
                    if member.offset <= reached or member.size < 0:
                        raise ValueError(f"the header at byte {member.offset:,} leads back")
                    reached = member.offset
                    if member.isreg() and not member.issparse():
                        yield member, archive
                _check_end(file, archive.offset, shard, notes)
        except Exception as error:  # what tarfile raises at headers of strangers is written down nowhere
            raise DataError(
                "DATA-370", f"{shown(_name(shard))}: it cannot be read as a tar file", where=first_line(error),
                fix="a compressed one is unpacked first: gunzip keeps its order",
            ) from error  # fmt: skip


def _check_end(file: IO[bytes], at: int, shard: str, notes: list[str]) -> None:
    """Ask that nothing but zeros follows the last member, or what stands there would be left out in silence."""
    file.seek(at)
    mark = file.read(tarfile.BLOCKSIZE)
    if not mark:
        notes.append(f"{shown(_name(shard))}: it has no mark at its end, and may have been cut there")
    if mark.strip(b"\0"):
        raise ValueError(f"the header at byte {at:,} is damaged")
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            raise ValueError(f"there is more behind its end at byte {at:,}")


def _label(shard: str, member: tarfile.TarInfo, archive: tarfile.TarFile, kind: str) -> str:
    """Return the class that a ``.cls`` or ``.json`` member names, an empty string where a JSON names none.

    Raises:
        DataError: DATA-371 it cannot be read.
    """
    try:
        if member.size > _MOST_BYTES_OF_A_LABEL:
            raise ValueError(f"{member.size:,} bytes")
        held = archive.extractfile(member)
        data = held.read() if held is not None else b""
        if len(data) != member.size:
            raise ValueError("it ends early")
        text = data.decode().strip()
        if kind == "json":
            told = json.loads(text, object_pairs_hook=without_repeats)
            found = next((told[key] for key in _KEYS if key in told), "") if isinstance(told, dict) else ""
            if not isinstance(found, str | int) or isinstance(found, bool):
                raise ValueError(f"its class is {found!r:.40}")
            text = str(found).strip()
        elif not text:
            raise ValueError("it is empty")
        if text != shown(text):
            raise ValueError("its class has more than a line, or a letter that cannot be shown")
    except (tarfile.TarError, OSError, ValueError, RecursionError) as error:
        raise DataError(
            "DATA-371", f"{shown(_name(shard))}: {shown(member.name)} names no class", where=first_line(error)
        ) from error
    return text


def _split(shard: str) -> int:
    """Return the split that a shard's name says."""
    words = re.split(r"[^a-z]+", _name(shard).lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), TRAIN)


def _name(shard: str) -> str:
    return shard.rpartition("/")[2]


def _several(n: int) -> str:
    return f"{n:,} tar shard{'s' * (n != 1)}"


FORMAT = Format("tar shards", sniff, read)
