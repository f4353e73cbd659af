"""Lists of class names beside annotations, a name a line: classes.txt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from visus.core.errors import DataError
from visus.core.files import write_bytes
from visus.data.paths import read_regular, shown

_MOST_BYTES = 1 << 22


def find_list(folders: Iterable[Path], names: Sequence[str]) -> Path | None:
    """Return the first file of one of these names in one of these folders."""
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def read_list(path: Path) -> tuple[str, ...]:
    """Return the names of a list in their order; blanks around them and empty lines count for nothing.

    Raises:
        DataError: DATA-230 it is no UTF-8 text, holds no name, or a name twice.
    """
    data = read_regular(path, _MOST_BYTES)
    if len(data) > _MOST_BYTES:
        raise DataError("DATA-230", f"{shown(path)}: this list of classes has more than {_MOST_BYTES:,} bytes")
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            "DATA-230", f"{shown(path)}: line {at} of this list of classes is not UTF-8", fix="save it as UTF-8"
        ) from error
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if "\0" in name:
            raise DataError("DATA-230", f"{shown(path)}: line {number} of this list of classes holds a NUL character")
        if name and first.setdefault(name, number) != number:
            raise DataError(
                "DATA-230", f"{shown(path)}: the class {shown(name)!r} is there twice",
                where=f"lines {first[name]} and {number}", fix="remove one; a class is known by its name",
            )  # fmt: skip
    if not first:
        raise DataError("DATA-230", f"{shown(path)}: this list of classes is empty", fix="write a class name a line")
    return tuple(first)


def write_list(path: Path, names: Sequence[str]) -> None:
    """Write a list that ``read_list`` gives back."""
    write_bytes(path, "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
