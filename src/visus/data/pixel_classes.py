"""What a file beside masks says of the classes of pixels: their names, and which value of a pixel stands for which.

==================  ===================================================================================================
classes.txt         a name a line, of the values 0, 1, ...; or a value and a name a line.  labels.txt, class_names.txt,
                    names.txt and codes.txt are read alike
classes.json        a list of names; or a mapping of values to names, or of names to values; or a list of mappings with
                    ``name``, ``value`` and ``color``; each by itself, or as ``classes`` (``names``, ``labels``,
                    ``categories``) beside ``ignore``, a value or a list of values and colours.  classes.yaml and
                    info.yaml are read alike
==================  ===================================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.core.files import write_json, write_text
from visus.core.pixels import IGNORE
from visus.data.paths import read_regular, shown
from visus.data.yaml_door import read_yaml

FILES = (
    "classes.json", "classes.yaml", "classes.yml", "info.yaml", "info.yml",
    "classes.txt", "labels.txt", "class_names.txt", "names.txt", "codes.txt",
)  # fmt: skip
"""Names of such files; the first that is there and names classes is read."""

MOST = 255
"""Classes that pixels can have: 255 itself stands for none."""


@dataclass(frozen=True)
class PixelClasses:
    """The classes of pixels.

    Attributes:
        file: the name of the file that says it.
        names: (K,), each once.
        values: (K,) the value in the masks of each; None where the file states none, and they are 0, 1, ...
        ignore: values that say nothing of a pixel; None where the file does not say.
        palette: (K, 3) uint8 colours; None where it states none.
        void: colours that say nothing of a pixel.
    """

    file: str
    names: tuple[str, ...]
    values: tuple[int, ...] | None = None
    ignore: tuple[int, ...] | None = None
    palette: NDArray[np.uint8] | None = None
    void: tuple[tuple[int, ...], ...] = ()

    @property
    def code(self) -> NDArray[np.int64] | None:
        """(N, 4) red, green and blue, and the value that stands for it; None where they do not tell classes apart."""
        if self.palette is None or len(self.names) < 2:
            return None
        values = (*(self.values or range(len(self.names))), *[IGNORE] * len(self.void))
        code = np.column_stack([np.array([*self.palette.tolist(), *self.void], np.int64), values])
        return code if len(np.unique(code[:, :3], axis=0)) == len(code) else None


def read_pixel_classes(folder: Path) -> PixelClasses | None:
    """Return what the first file of a folder that names classes says; None where there is none.

    Raises:
        DataError: DATA-274 it is not what the head of this file says, with the place; DATA-233, YAML.
    """
    for name in FILES:
        path = folder / name
        if not path.is_file():
            continue
        found = _of_text(path) if path.suffix == ".txt" else _of_tree(path, _tree(path))
        if found is not None:
            return found
        if path.stem != "info":
            raise _fault(path, "it names no classes")
    return None


def write_pixel_classes(
    folder: Path, names: Sequence[str], values: Sequence[int], ignore: Sequence[int], palette: NDArray[np.uint8] | None
) -> None:
    """Write classes.txt where a list of names says it all, else classes.json, so that they are read back as they are.

    Two names alone are written with their values, because masks of 0 and 255 under two names are read as binary.
    """
    text = "".join(f"{name}\n" for name in names)
    plain = len(names) > 2 and list(values) == list(range(len(names))) and tuple(ignore) == (255,)
    if plain and not _odd(names) and (palette is None or max(values) < 256):
        write_text(folder / "classes.txt", text)
        return
    classes: list[dict[str, Any]] = [
        {"value": int(value), "name": name} for value, name in zip(values, names, strict=True)
    ]
    for entry, colour in zip(classes, palette.tolist() if palette is not None else (), strict=False):
        entry["color"] = colour
    write_json(folder / "classes.json", {"classes": classes, "ignore": [int(value) for value in ignore]})


_MOST_BYTES = 1 << 22
_LARGEST = 65535
_CLASSES, _IGNORE = ("classes", "names", "labels", "categories"), ("ignore", "ignore_index", "ignore_label", "void")
_NAME, _VALUE, _COLOUR = ("name", "label"), ("value", "id", "index"), ("color", "colour", "rgb")
_NUMBERED = re.compile(r"(\d{1,5})(?:\s*[:=,;]\s*|\s+)(\S.*)")


def _odd(names: Iterable[str]) -> bool:
    """Tell whether names would not come back from lines of text."""
    told = list(names)
    return any(name != name.strip() or len(name.splitlines()) != 1 or _broken(name) for name in told) or (
        all(map(_NUMBERED.fullmatch, told)) or told[0] in {_UNNAMED, "\ufeff"}
    )


_UNNAMED = "__ignore__"  # by which labelme begins its lists: the value before 0


def _broken(text: str) -> bool:
    return "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text)


def _of_text(path: Path) -> PixelClasses | None:
    lines = [line.strip() for line in _text(path).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if lines[:1] == [_UNNAMED]:
        lines = lines[1:]
    if not lines:
        return None
    if "" in lines:
        raise _fault(path, f"line {lines.index('') + 1} is empty, and leaves open which value the next name has")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    values = tuple(int(found[1]) for found in numbered if found)
    names = tuple(found[2].strip() for found in numbered if found)
    if len(names) == len(lines) == len(set(names)) and list(values) == sorted(set(values)):
        return _checked(path, names, values)
    return _checked(path, lines)


def _tree(path: Path) -> Any:
    """Return the plain values of a JSON or YAML file."""
    if path.suffix != ".json":
        return read_yaml(path)
    try:
        return json.loads(_text(path), object_pairs_hook=lambda pairs: _mapping(path, pairs))
    except json.JSONDecodeError as error:
        raise _fault(path, f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:  # too deep, or a number of thousands of digits
        raise _fault(path, str(error)) from error


def _mapping(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _fault(path, f"the key {shown(key)!r} is there twice")
        found[key] = value
    return found


def _of_tree(path: Path, tree: Any) -> PixelClasses | None:
    whole = tree if isinstance(tree, dict) else {}
    key, listed = _first(whole, _CLASSES)
    if not key:
        listed = tree
    ignore: tuple[int, ...] | None = None
    void: tuple[tuple[int, ...], ...] = ()
    if (said := _first(whole, _IGNORE))[0]:
        held = said[1] if isinstance(said[1], list) else [said[1]]
        void = tuple(tuple(_colour(path, said[0], colour)) for colour in held if isinstance(colour, list))
        values = [_number(path, said[0], value) for value in held if not isinstance(value, list)]
        ignore = tuple(dict.fromkeys([*values, *[IGNORE] * bool(void)]))
    if isinstance(listed, list) and listed and all(isinstance(entry, dict) for entry in listed):
        return replace(_of_entries(path, key, listed, ignore), void=void)
    if isinstance(listed, list) and listed:
        return _checked(path, listed, None, ignore)
    if isinstance(listed, dict) and listed and all(_is_number(value) for value in listed):
        pairs = sorted(((int(value), name) for value, name in listed.items()), key=itemgetter(0))
        return _checked(path, [name for _, name in pairs], [value for value, _ in pairs], ignore)
    if isinstance(listed, dict) and listed and all(_is_number(value) for value in listed.values()):
        pairs = sorted((int(value), name) for name, value in listed.items())
        return _checked(path, [name for _, name in pairs], [value for value, _ in pairs], ignore)
    return None


def _of_entries(path: Path, key: str, entries: list[dict[str, Any]], ignore: tuple[int, ...] | None) -> PixelClasses:
    names, values, colours = [], [], []
    for i, entry in enumerate(entries):
        place = f"{key}[{i}]"
        names.append(_first(entry, _NAME)[1])
        told, value = _first(entry, _VALUE)
        if told:
            values.append(_number(path, f"{place}.{told}", value))
        told, colour = _first(entry, _COLOUR)
        if told:
            colours.append(_colour(path, f"{place}.{told}", colour))
    if len(values) not in {0, len(entries)}:
        raise _fault(path, f"{len(values):,} of {len(entries):,} classes have a value: all of them must, or none")
    palette = np.array(colours, np.uint8) if len(colours) == len(entries) else None
    return _checked(path, names, values or None, ignore, palette)


def _checked(
    path: Path, names: Sequence[Any], values: Sequence[int] | None = None, ignore: tuple[int, ...] | None = None,
    palette: NDArray[np.uint8] | None = None,
) -> PixelClasses:  # fmt: skip
    if len(names) > MOST:
        raise _fault(path, f"it names {len(names):,} classes; pixels can have {MOST}")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise _fault(path, f"class {i} has no name: {shown(json.dumps(name)[:40])}")
        if name in names[:i]:
            raise _fault(path, f"the class {shown(name)!r} is there twice, as {names.index(name)} and {i}")
    if values is not None:
        twice = next((value for i, value in enumerate(values) if value in values[:i] or value in (ignore or ())), None)
        if twice is not None or max(values) > _LARGEST:
            raise _fault(path, f"the value {twice if twice is not None else max(values)} cannot stand for one class")
    return PixelClasses(path.name, tuple(names), None if values is None else tuple(values), ignore, palette)


def _first(entry: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, Any]:
    """Return the first of some keys that is there, with what it holds; an empty one where none is."""
    return next(((key, entry[key]) for key in keys if key in entry), ("", None))


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"\d{1,5}", str(value), re.ASCII) is not None


def _number(path: Path, place: str, value: Any) -> int:
    if not _is_number(value):
        raise _fault(path, f"{place}: {shown(json.dumps(value)[:40])} is no value of a pixel")
    return int(value)


def _colour(path: Path, place: str, colour: Any) -> list[int]:
    held = [_number(path, place, part) for part in colour] if isinstance(colour, list) else []
    if len(held) != 3 or max(held) > 255:
        raise _fault(path, f"{place}: a colour is three numbers from 0 to 255")
    return held


def _text(path: Path) -> str:
    data = read_regular(path, _MOST_BYTES)
    if len(data) > _MOST_BYTES:
        raise _fault(path, f"it has more than {_MOST_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(path, f"line {data.count(10, 0, error.start) + 1} is not UTF-8") from error


def _fault(path: Path, what: str) -> DataError:
    return DataError("DATA-274", f"{shown(path)}: {what}", fix="write classes.txt: a name a line, of values 0, 1, ...")
