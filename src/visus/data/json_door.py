"""The door for JSON of strangers: plain values, or a DataError that names the file and the place, and nothing else.

UTF-8 with or without a byte-order mark.  Refused are a key that is there twice, NaN and Infinity, numbers of thousands
of digits, nesting without end, and whatever is no JSON.  Long lists are given element by element, so that a file of a
million records is never held as a million dictionaries.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from visus.core.errors import DataError
from visus.data.paths import read_regular, shown

MOST_BYTES = 1 << 32


def members(path: Path, lists: Collection[str] = (), *, expected: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key of the one object a file holds, with its value, in the order of the file.

    Args:
        path: a regular file.
        lists: keys whose arrays are given as iterators over their elements; each is read to its end before the next
            key is asked for.
        expected: what the file should hold, for the message where it holds something else.

    Raises:
        DataError: DATA-010 no regular file, DATA-200 no JSON, DATA-201 a key that is there twice, DATA-202 NaN or
            Infinity, DATA-203 something else than an object.
    """
    scanner = _Scanner(path)
    if scanner.next() != "{":
        raise scanner.holds_another("an object", expected)
    scanner.at += 1
    seen: set[str] = set()
    while not (scanner.next() == "}" and not seen):
        if scanner.next() != '"':
            raise scanner.no_json("a key in quotation marks is expected", scanner.at)
        key = scanner.value("")
        if key in seen:
            raise scanner.refused("DATA-201", f"the key {shown(key)!r} is there twice")
        seen.add(key)
        if scanner.next() != ":":
            raise scanner.no_json(f"a colon is expected after {shown(key)!r}", scanner.at)
        scanner.at += 1
        if scanner.next() == "[" and key in lists:
            yield key, scanner.elements(key)
        else:
            yield key, scanner.value(key)
        if scanner.next() == "}":
            break
        scanner.comma("")
    scanner.at += 1
    if scanner.next():
        raise scanner.no_json("there is more text after the end of the object", scanner.at)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of its pairs, for ``object_pairs_hook``.

    Raises:
        ValueError: a key is there twice, of which ``json`` would believe the last.
    """
    held = dict(pairs)
    if len(held) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _RefusedError("DATA-201", f"the key {shown(repeated)!r} is there twice")
    return held


def elements(path: Path, name: str, *, expected: str = "") -> Iterator[Any]:
    """Yield each element of the one list a file holds.

    Args:
        path: a regular file.
        name: what the list is called in messages: ``NAME[3]`` is its fourth element.
        expected: what the file should hold, for the message where it holds something else.

    Raises:
        DataError: as ``members``.
    """
    scanner = _Scanner(path)
    if scanner.next() != "[":
        raise scanner.holds_another("a list", expected)
    yield from scanner.elements(name)
    if scanner.next():
        raise scanner.no_json("there is more text after the end of the list", scanner.at)


class _RefusedError(ValueError):
    """Raised inside Python's scanner, which knows no place."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code, self.what = code, what


class _Scanner:
    """The text of a file, and how far it has been read."""

    def __init__(self, path: Path) -> None:
        self.path, self.text, self.at = path, _text(path), 0
        self._decode = json.JSONDecoder(object_pairs_hook=without_repeats, parse_constant=_no_number).raw_decode

    def next(self) -> str:
        """Return the next letter that is not blank; nothing at the end."""
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at
        return self.text[self.at : self.at + 1]

    def value(self, key: str, i: int | None = None) -> Any:
        """Return the value that begins here, which is that of a key, or an element of it."""
        try:
            value, self.at = self._decode(self.text, self.at)
        except json.JSONDecodeError as error:
            raise self.no_json(error.msg[:1].lower() + error.msg[1:], error.pos, _place(key, i)) from None
        except _RefusedError as error:
            endless = _endless_key(self.text, self.at) if error.code == "DATA-202" else ""
            raise self.refused(error.code, error.what, _place(key, i) + endless) from None
        except RecursionError:
            raise self.refused("DATA-200", "its brackets are nested without end", _place(key, i)) from None
        except ValueError as error:  # an integer of thousands of digits
            raise self.refused("DATA-200", str(error).partition(";")[0], _place(key, i)) from None
        return value

    def elements(self, key: str) -> Iterator[Any]:
        """Yield each element of the array that begins here."""
        self.at += 1
        if self.next() == "]":
            self.at += 1
            return
        for i in count():
            yield self.value(key, i)
            if found := _COMMA.match(self.text, self.at):  # one step instead of four, for there may be a million
                self.at = found.end()
            elif self.next() == "]":
                self.at += 1
                return
            else:
                self.comma(_place(key, i))

    def comma(self, place: str) -> None:
        """Step over the comma between two elements."""
        if self.next() != ",":
            raise self.no_json("a comma is expected", self.at, place)
        self.at += 1
        if self.next() in {"]", "}"}:
            raise self.no_json("a comma with nothing after it", self.at, place)

    def no_json(self, what: str, at: int, place: str = "") -> DataError:
        """Return the error of text that is no JSON."""
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        if not self.text[at:].strip():
            what = "the file ends early" if self.text.strip() else "the file is empty"
        where = f"line {line:,}, column {column:,}" + (f", in {place}" if place else "")
        return DataError("DATA-200", f"{shown(self.path)}: {what}", where=where, fix="write the file again as JSON")

    def refused(self, code: str, what: str, place: str = "") -> DataError:
        """Return the error of JSON that is not read."""
        line = self.text.count("\n", 0, self.at) + 1
        fix = "write a finite number, or remove what holds it" * (code == "DATA-202")
        told = f"{shown(self.path)}: {f'{place}: ' if place else ''}{what}"
        return DataError(code, told, where=f"line {line:,}", fix=fix)

    def holds_another(self, wanted: str, expected: str) -> DataError:
        """Return the error of a file that holds something else."""
        letter = self.next()
        kind = {"[": "a list", "{": "an object", '"': "a text", "n": "null"}.get(letter, "a number or word")
        if not letter:
            return self.no_json("", self.at)
        if letter not in '[{"-0123456789tfn':
            return self.no_json("it begins as no JSON does", self.at)
        return DataError("DATA-203", f"{shown(self.path)}: it holds {kind}, not {wanted}", fix=expected)


_BLANK = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*(?![ \t\n\r\]}])")


def _place(key: str, i: int | None) -> str:
    return shown(key) if i is None else f"{shown(key)}[{i}]"


def _endless_key(text: str, at: int) -> str:
    """Return the key of an object, with a dot before it, that holds NaN or Infinity; nothing where none can be told."""
    try:
        held, _ = json.JSONDecoder().raw_decode(text, at)
        inner = held.items() if isinstance(held, dict) else ()
        return next((f".{shown(key)}" for key, part in inner if _is_endless(part)), "")
    except (ValueError, RecursionError):
        return ""


def _is_endless(part: Any) -> bool:
    """Tell whether NaN or Infinity is among the numbers of a value."""
    try:
        json.dumps(part, allow_nan=False)
    except ValueError:
        return True
    return False


def _text(path: Path) -> str:
    data = read_regular(path, MOST_BYTES)
    if len(data) > MOST_BYTES:
        raise DataError("DATA-200", f"{shown(path)}: it has more than the {MOST_BYTES:,} bytes that are read")
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in data[:4]:
        raise DataError("DATA-200", f"{shown(path)}: the text is UTF-16 or UTF-32", fix="save it as UTF-8")
    try:
        return str(data, "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            "DATA-200", f"{shown(path)}: the text is not UTF-8", where=f"line {line:,}, byte {error.start:,}",
            fix="save it as UTF-8",
        ) from None  # fmt: skip


def _no_number(word: str) -> float:
    raise _RefusedError("DATA-202", f"{word} is no number that JSON has")
