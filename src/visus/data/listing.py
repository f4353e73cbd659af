"""Finds the pictures below a folder: by name where the name is clear, by the first bytes where it is not."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

from visus.core.errors import DataError
from visus.data.headers import EXTENSIONS, sniff_format
from visus.data.objects import Remark
from visus.data.paths import open_regular, shown

_PICTURES = frozenset(suffix for suffixes in EXTENSIONS.values() for suffix in suffixes)
_NO_PICTURES = frozenset(
    {
        ".txt", ".md", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".py", ".ipynb", ".html", ".log",
        ".npy", ".npz", ".mat", ".pt", ".pth", ".pkl", ".safetensors", ".h5", ".db", ".bin", ".ini", ".zip", ".tar",
        ".gz", ".mp4", ".avi", ".mov", ".mp3", ".wav", ".pdf", ".doc", ".docx", ".xls", ".xlsx",
    }
)  # fmt: skip
_LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "icon\r", "__macosx"})
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Oddity:
    """Why something in a folder is no file.

    Attributes:
        code: of the remark on it.
        why: what it is, in a phrase.
        fix: what to do about it.
    """

    code: str
    why: str
    fix: str


NOWHERE = Oddity(
    "DATA-132", "a link that leads nowhere", "put back the file or folder that it should lead to, or remove the link"
)
CIRCLE = Oddity(
    "DATA-133", "a link that leads back to itself, or to a folder it lies in", "remove the link: nothing is missed"
)
AGAIN = Oddity(
    "DATA-136", "a folder that is listed already by another name", "remove the link to it: nothing is missed"
)
NO_FILE = Oddity("DATA-134", "a pipe, socket or device, not a file", "remove it, or move it out of the data")
CLOSED = Oddity(
    "DATA-135", "a link to a place that may not be looked into", "get the right to read it, or remove the link"
)


@dataclass
class Listing:
    """What lies below a folder.

    Attributes:
        pictures: paths below it, with "/", sorted.
        others: paths of files that are no pictures.
        odd: paths of what is neither a file nor a folder to look into, and why.
        ignored: how many files of the system or hidden ones were passed over (.DS_Store, Thumbs.db, ._x).
        deep: a folder that holds pictures below the first level, or an empty string.
    """

    pictures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    odd: dict[str, Oddity] = field(default_factory=dict)
    ignored: int = 0
    deep: str = ""


def list_pictures(folder: Path) -> Listing:
    """List every picture below a folder, however deep; links are followed, but no folder is listed twice.

    Where several names lead to a folder it is listed by its own, or else by the first of its links.
    """
    listing = Listing()
    visited: set[str] = set()
    pending: list[tuple[str, str, tuple[str, ...]]] = [("", os.fspath(folder), (os.path.realpath(folder),))]
    linked: list[tuple[str, str, tuple[str, ...]]] = []  # looked into when no folder is left that lies here itself
    while pending or linked:
        below, path, ancestors = pending.pop() if pending else heappop(linked)
        if ancestors[-1] in visited:
            listing.odd[below.removesuffix("/")] = AGAIN
            continue
        visited.add(ancestors[-1])
        for entry in _entries(path):
            name = entry.name
            if _is_left_behind(name):
                listing.ignored += 1
            elif _is_dir(entry):
                is_link = entry.is_symlink()
                real = os.path.realpath(entry.path) if is_link else f"{ancestors[-1]}/{name}"
                if real not in ancestors:
                    found = f"{below}{name}/", entry.path, (*ancestors, real)
                    heappush(linked, found) if is_link else pending.append(found)
                else:
                    listing.odd[below + name] = CIRCLE
            elif not _is_file(entry):
                listing.odd[below + name] = _oddity(entry)
            elif _is_picture(entry):
                listing.pictures.append(below + name)
                listing.deep = listing.deep or below
            else:
                listing.others.append(below + name)
    listing.pictures.sort()
    listing.others.sort()
    listing.odd = dict(sorted(listing.odd.items()))
    return listing


def has_picture(folder: Path, depth: int = 2) -> bool:
    """Tell whether there is a picture in a folder, or up to ``depth`` below it; none is in one that is closed."""
    folders = []
    try:
        entries = _entries(os.fspath(folder))
    except DataError:  # whoever lists it is told
        return False
    for entry in entries:
        if _is_left_behind(entry.name):
            continue
        if _is_dir(entry):
            folders.append(entry.path)
        elif _is_picture(entry):
            return True
    return depth > 0 and any(has_picture(Path(below), depth - 1) for below in folders)


def folders_of(path: Path) -> list[str]:
    """Return the names of a folder's folders in natural order, without hidden ones and those of the system."""
    names = [entry.name for entry in _entries(os.fspath(path)) if not _is_left_behind(entry.name) and _is_dir(entry)]
    return sorted(names, key=natural)


def files_of(path: Path) -> list[str]:
    """Return the names of the files directly in a folder, sorted, without hidden ones and those of the system."""
    return sorted(e.name for e in _entries(os.fspath(path)) if not _is_left_behind(e.name) and not _is_dir(e))


def is_named_picture(name: str) -> bool:
    """Tell whether a file is named as a picture."""
    return _suffix(name) in _PICTURES


def natural(name: str) -> tuple[tuple[int, int, str, str], ...]:
    """Return a sort key that puts s2 before s10, and numbers before letters."""
    parts = (part for part in _DIGITS.split(name) if part)
    return tuple(_by_value(part.lstrip("0"), part) if part[0].isdecimal() else (1, 0, part, "") for part in parts)


def _by_value(digits: str, written: str) -> tuple[int, int, str, str]:
    """Return a key by the size of a number of any length: how many digits, then which."""
    return 0, len(digits), digits, written


def notes_of(listings: list[tuple[str, Listing]]) -> list[str]:
    """Return a sentence for each thing that was passed over; nothing is left out silently.

    Args:
        listings: each with the path of its folder below the data's root.
    """
    notes = []
    others = [f"{below}/{name}" for below, listing in listings for name in listing.others]
    if others:
        kinds = Counter(_suffix(name) or "no extension" for name in others)
        counts = ", ".join(f"{kind} {n:,}" for kind, n in kinds.most_common(4))
        some = ", ".join(shown(name) for name in others[:3])
        what = "files that are no pictures" if len(others) > 1 else "file that is no picture"
        notes.append(f"left out {len(others):,} {what} ({counts}): {some}{' ...' * (len(others) > 3)}")
    odd = [(f"{below}/{name}", oddity) for below, listing in listings for name, oddity in listing.odd.items()]
    for one in dict.fromkeys(oddity for _, oddity in odd):
        named = [shown(name) for name, oddity in odd if oddity == one]
        times = f" ({len(named):,} times)" * (len(named) > 1)
        notes.append(f"left out {one.why}{times}: {', '.join(named[:3])}{' ...' * (len(named) > 3)}")
    ignored = sum(listing.ignored for _, listing in listings)
    if ignored:
        notes.append(f"passed over {ignored:,} hidden or system files (.DS_Store, Thumbs.db and the like)")
    return notes


def remarks_of(listings: list[tuple[str, Listing]]) -> list[Remark]:
    """Return a remark on each thing that is no file; ``listings`` as for ``notes_of``."""
    return [
        Remark(f"{below}/{name}", "skipped", oddity.code, oddity.why, fix=oddity.fix)
        for below, listing in listings
        for name, oddity in listing.odd.items()
    ]


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            "DATA-010",
            f"{shown(path)}: the folder cannot be read: {os.strerror(error.errno or 0).lower()}",
            fix="get the right to read it, or move it out of the data",
        ) from error


def _suffix(name: str) -> str:
    """Return ``.jpg`` of ``a/b.JPG``; plain text work, because it is done for every file of a large folder."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def _is_left_behind(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where nobody may look
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _oddity(entry: os.DirEntry[str]) -> Oddity:
    """Return why an entry is neither a file nor a folder."""
    try:
        entry.stat()
    except FileNotFoundError:
        return NOWHERE
    except OSError as error:
        return CIRCLE if error.errno == errno.ELOOP else CLOSED
    return NO_FILE


def _is_picture(entry: os.DirEntry[str]) -> bool:
    suffix = _suffix(entry.name)
    if suffix in _PICTURES:
        return _is_file(entry)
    if suffix in _NO_PICTURES or not _is_file(entry):
        return False
    try:
        with open_regular(Path(entry.path)) as file:
            return bool(sniff_format(file.read(32)))
    except (DataError, OSError):
        return False  # it is named among the files that are no pictures
