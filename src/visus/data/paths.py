"""The door to the user's files: only regular ones are opened, paths found in files stay below, and outputs outside."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import IO

from visus.core.errors import DataError, UsageError, quoted

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE = re.compile(r"[\\/]|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]+://")


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file; a fifo, device, socket or folder is refused without ever waiting for it.

    Raises:
        DataError: DATA-010, with the system's reason.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise DataError("DATA-010", f"{shown(path)}: the file cannot be opened: {reason.lower()}") from error
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    names = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    what = names.get(stat.S_IFMT(kind), "device")
    raise DataError(
        "DATA-010", f"{shown(path)}: this is a {what}, not a file", fix="remove it, or leave it out of the data"
    )


def read_regular(path: Path, most: int) -> bytes:
    """Return a regular file's bytes, one more than ``most`` where it is longer; whoever asks refuses that.

    No more memory is asked for than the file needs, however much might be read.

    Raises:
        DataError: DATA-010 it cannot be opened or read.
    """
    with open_regular(path) as file:
        try:
            return file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise DataError("DATA-010", f"{shown(path)}: the file cannot be read: {reason}") from error


def shown(path: Path | str) -> str:
    """Return a path as one line of text that can be printed and stored anywhere, whatever bytes its name is made of."""
    try:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, which no file system has, but a text file may
        text = os.fspath(path).encode("utf-8", "backslashreplace").decode()
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def inside(root: Path, relative: str, *, where: str = "") -> Path:
    """Return ``root / relative``, whether it exists or not.

    Args:
        root: the folder of the data set.
        relative: a path as some file states it.
        where: the place that states it, for the message: ``"labels.csv, row 3"``.

    Raises:
        DataError: DATA-110, where the path is empty, absolute, an address, holds ``..`` or NUL, or leads out of
            ``root`` by a link.
    """
    fault = fault_of(relative)
    path = root / relative if not fault else root
    if not fault and not is_below(_real(path), _real_folder(root)):
        fault = "leads out of the data's folder by a link"
    if fault:
        raise DataError(
            "DATA-110", f"{shown(relative)!r}: this path {fault}", where=where or shown(root),
            fix="write it relative to the data's folder, without '..'",
        )  # fmt: skip
    return path


def check_outside(out: Path, data: Path) -> None:
    """Refuse to write into the user's data, where it would be read as data the next time.

    Args:
        out: what is to be written.
        data: a folder, in which nothing is written; a file, beside which nothing is; or what is no path at all.

    Raises:
        UsageError: RUN-010.
    """
    if not data.exists():
        return
    base, place = data.resolve() if data.is_dir() else data.resolve().parent, out.resolve()
    if place == base or (data.is_dir() and place.is_relative_to(base)):
        name = f"{base.name}-{place.name}" if place != base else f"{base.name}-out"
        raise UsageError(
            "RUN-010", f"{shown(out)}: this folder lies in the data, which it would become a part of",
            where=f"the data is {shown(base)}", done="nothing was written", fix=f"--out {quoted(base.parent / name)}",
        )  # fmt: skip


def check_free(out: Path, option: str = "--out") -> None:
    """Refuse a place where something is; ``option`` is how the user named it.

    Raises:
        UsageError: USE-051.
    """
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("USE-051", f"{shown(out)}: is there already", done="nothing was written",
                         fix=f"{option} takes a {'folder' if option == '--out' else 'file'} that does not exist yet"
                         + ", or is empty" * (option == "--out"))  # fmt: skip


def fault_of(relative: str) -> str:
    """Return what the text of a path may not be, as a verb phrase; an empty string where nothing is wrong with it."""
    if not relative:
        return "is empty"
    if "\0" in relative:
        return "holds a NUL character"
    if _ABSOLUTE.match(relative):
        return "is not relative"
    if ".." in re.split(r"[\\/]", relative):
        return "holds '..'"
    return ""


def is_below(path: str, folder: str) -> bool:
    """Tell whether a path is a folder's own or lies in it; both are real ones, without links."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def missing(root: Path, relatives: Iterable[str]) -> list[int]:
    """Return the positions of paths that are no files below ``root``; each folder is listed once.

    The paths have passed ``fault_of``.  One that leads out by a link counts as missing.
    """
    within = _real_folder(root)
    folders: dict[str, frozenset[str]] = {}
    absent = []
    for position, relative in enumerate(relatives):
        folder, _, name = relative.rpartition("/")
        if folder not in folders:
            folders[folder] = _files(f"{root}/{folder}", within)
        if name not in folders[folder]:
            absent.append(position)
    return absent


def _files(folder: str, within: str) -> frozenset[str]:
    """Return the names of a folder's files, as long as they are really below ``within``."""
    if not is_below(_real(folder), within):
        return frozenset()
    try:
        with os.scandir(folder) as entries:
            return frozenset(
                entry.name
                for entry in entries
                if entry.is_file() and (not entry.is_symlink() or is_below(_real(entry.path), within))
            )
    except OSError:
        return frozenset()


def _real(path: str | Path) -> str:
    return os.path.realpath(path)


@lru_cache(maxsize=8)
def _real_folder(root: Path) -> str:
    return _real(root)
