"""Tables of records: which files they are, their text, header and rows, and every fault with its row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from visus.core.errors import DataError, did_you_mean
from visus.core.files import write_bytes
from visus.data.dataset import Dataset, Strings
from visus.data.listing import files_of, folders_of
from visus.data.paths import missing, open_regular, read_regular, shown
from visus.data.splitting import SPLIT_WORDS, TRAIN

Rows: TypeAlias = list[tuple[int, list[str]]]
"""The fields of each row, with the line on which it begins."""

HEADERS = {
    "path": "path file filename file_name filepath file_path image image_path image_file img picture photo",
    "label": "label class category class_name label_name target",
    "labels": "labels classes categories tags",
    "split": "split set subset partition",
    "group": "group group_id person subject patient scene video sequence",
}
ROLES = {header: role for role, headers in HEADERS.items() for header in headers.split()}
"""Plain name of a column -> what it tells."""

CORNERS = ("xmin ymin xmax ymax", "x1 y1 x2 y2", "x0 y0 x1 y1", "left top right bottom")
EXTENTS = ("x y width height", "x y w h", "left top width height", "xmin ymin width height")
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}
MEASURED = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)  # nan and inf are names
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_MOST_BYTES = 1 << 30
_MARK = b"\xef\xbb\xbf"


def tables_of(path: Path) -> list[tuple[Path, int | None]]:
    """Return the tables a path stands for, each with the split its name says, if it does."""
    if path.is_file():
        return [(path, None)] if path.suffix.lower() in {".csv", ".tsv"} else []
    if not path.is_dir():
        return []
    tables = [path / name for name in files_of(path) if name.lower().endswith((".csv", ".tsv"))]
    labels = [table for table in tables if table.stem.lower() == "labels"]
    if labels:
        return [(labels[0], None)]
    parts = sorted(
        ((t, SPLIT_WORDS[t.stem.lower()]) for t in tables if t.stem.lower() in SPLIT_WORDS), key=lambda item: item[1]
    )
    if any(split == TRAIN for _, split in parts):
        return list(parts)
    return [(tables[0], None)] if len(tables) == 1 else []


def parse(table: Path) -> tuple[list[str], Rows, str]:
    """Return the header, the rows below it, and what separates their fields.

    Raises:
        DataError: DATA-140 the text cannot be read as a table.
    """
    text = _text(table)
    delimiter = _delimiter(text)
    spaced = _is_spaced(text, delimiter)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    lines: Rows = []
    begins = 1
    try:
        for line in reader:
            if any(map(str.strip, line)):
                lines.append((begins, line))
            begins = reader.line_num + 1
    except csv.Error as error:
        unclosed = "a quotation mark that is never closed reads on to the end" if "end of data" in str(error) else ""
        raise DataError(
            "DATA-140", f"{shown(table)}: row {begins}: {error}", where=unclosed,
            fix='write a quotation mark inside a field twice: ""',
        ) from error  # fmt: skip
    if not lines:
        raise DataError(
            "DATA-140", f"{shown(table)}: the table is empty", fix="its first line names the columns: path,label"
        )
    header = [unguarded(name.strip()) for name in lines[0][1]]
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise DataError(
                "DATA-140", f"{shown(table)}: row {number} has {len(line)} fields, the header has {len(header)}",
                where=shown(delimiter.join(line))[:100],
                fix=f'columns stand between {DELIMITERS[delimiter]}; a field that holds one needs quotation marks',
            )  # fmt: skip
    return header, lines[1:], delimiter


def header_of(table: Path) -> tuple[list[str], str]:
    """Return the names in a table's first line alone, and what separates them."""
    with open_regular(table) as file:
        start = file.read(1 << 16).removeprefix(_MARK).decode("utf-8", "surrogateescape")
    line = next((part for part in start.splitlines() if part.strip()), "")
    return _names(line, _delimiter(line)), _delimiter(line)


def plain_name(name: str) -> str:
    """Return a column's name as ``ROLES`` knows it: ``file_name`` for ``File Name``."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def guarded(text: str) -> str:
    """Return a text as it is written into a table: a formula, which a spreadsheet would run, gets a ' in front of it.

    Source:
        OWASP, CSV injection.
    """
    return f"'{text}" if _FORMULA.match(text) and not MEASURED.fullmatch(text) else text


def unguarded(text: str) -> str:
    """Return the text that ``guarded`` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def texts_of(text: str) -> dict[str, str]:
    """Return what a table can hold of a JSON object, or of nothing: texts that are not empty."""
    values: dict[str, object] = json.loads(text) if text else {}
    return {key: value for key, value in values.items() if isinstance(value, str) and value.strip() == value != ""}


def groups_told(dataset: Dataset) -> tuple[list[str], list[list[str]]]:
    """Return the column of groups, where there is one, and its field for each picture: under the user's own names."""
    kept = dataset.original
    if kept is not None and kept.group_names is not None:
        return [kept.group_column], [[name] for name in kept.group_names]
    if dataset.groups is not None:
        return ["group"], [[str(group)] for group in dataset.groups.tolist()]
    return [], [[]] * len(dataset)


def group_names_of(groups: Sequence[str]) -> Strings | None:
    """Return the group of each picture by name, or None where one has none."""
    return Strings(groups) if groups and all(groups) else None


def write_table(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a table between commas, its header first, that ``parse`` gives back; formulas are guarded."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([guarded(field) for field in row] for row in rows)
    write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))


def rewritten(table: Path, changes: Mapping[str, str | None], path: int, column: int) -> bytes | None:
    """Return the bytes of a table in which some cells say another thing, and every other byte stays.

    Line ends, quotation marks, spaces and the mark of UTF-8 are those that were there.

    Args:
        table: that has been read.
        changes: path of a row -> what its cell shall say, or None to leave the row out.
        path: the column of paths.
        column: the column of the cells.

    Returns:
        None where no row is concerned.
    """
    text = _text(table)
    delimiter = _delimiter(text)
    kept, done, columns = list[str](), 0, 0
    for start, end, fields in _places(text, delimiter):
        values = [_unquoted(text[begin:stop]) for begin, stop in fields]
        if not columns:  # the header is the first line that says anything
            columns = len(values) if any(map(str.strip, values)) else 0
        elif len(values) == columns and (key := unguarded(values[path])) in changes:
            word = changes[key]
            begin, stop = (start, end) if word is None else fields[column]
            kept += [text[done:begin], "" if word is None else _cell(guarded(word), text[begin:stop], delimiter)]
            done = stop
    if not kept:
        return None
    with open_regular(table) as file:
        mark = _MARK if file.read(len(_MARK)) == _MARK else b""
    return mark + ("".join(kept) + text[done:]).encode("utf-8", "surrogateescape")


def box_columns(header: Sequence[str]) -> tuple[tuple[int, ...], bool] | None:
    """Return the positions of the four columns of boxes, and whether they are two corners.

    None where a table does not name them, a path and a label: without labels, four numbers are only numbers.  Corners
    come first: beside them, width and height are those of the picture.
    """
    roles = {ROLES.get(plain_name(name)) for name in header}
    if "path" not in roles or not roles & {"label", "labels"}:
        return None
    places = {plain_name(name).removeprefix("bbox_").replace("_", ""): i for i, name in reversed([*enumerate(header)])}
    for corners, ways in ((True, CORNERS), (False, EXTENTS)):
        for way in ways:
            if all(name in places for name in way.split()):
                return tuple(places[name] for name in way.split()), corners
    return None


def is_broken(text: str) -> bool:
    """Tell whether text was made of bytes that are no UTF-8."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def columns_of(table: Path, header: Sequence[str]) -> dict[str, int]:
    """Return the position of each role that a header names.

    Raises:
        DataError: DATA-141 a name is no UTF-8, or there twice, or two name one role.
    """
    at: dict[str, int] = {}
    for i, name in enumerate(header):
        if is_broken(name):
            raise DataError(
                "DATA-141", f"{shown(table)}: the name of column {i + 1} is not UTF-8", where=shown(name),
                fix="save the table as UTF-8",
            )  # fmt: skip
        if name in header[:i]:
            raise DataError("DATA-141", f"{shown(table)}: the column {shown(name)!r} is there twice", fix="rename one")
        role = ROLES.get(plain_name(name))
        if role and role in at:
            raise DataError(
                "DATA-141", f"{shown(table)}: the columns {header[at[role]]!r} and {name!r} both name a {role}",
                fix="rename one",
            )  # fmt: skip
        if role:
            at[role] = i
    return at


def field_fault(table: Path, row: int, column: str, what: str, fix: str = "") -> DataError:
    """Return the error for a field that cannot be what its column says."""
    return DataError("DATA-142", f"{shown(table)}: row {row}, column {shown(column)!r}: {what}", fix=fix)


def read_decimal_commas(
    table: Path, header: Sequence[str], rows: Rows, columns: Iterable[int], notes: list[str]
) -> None:
    """Write numbers with decimal commas as those with points; both in one column may be thousands, and are refused."""
    written = []
    for column in columns:
        fields = [text for _, line in rows if (text := line[column].strip())]
        commas, points = ([f for f in fields if kind.fullmatch(f)] for kind in (COMMA, MEASURED))
        if not commas:
            continue
        if fractions := [f for f in points if not WHOLE.fullmatch(f)]:
            raise DataError(
                "DATA-142", f"{shown(table)}: column {shown(header[column])!r} has decimal commas and decimal points",
                where=f"{commas[0]} and {fractions[0]}", fix="write all of its numbers in one way",
            )  # fmt: skip
        for _, line in rows:
            if COMMA.fullmatch(line[column].strip()):
                line[column] = line[column].replace(",", ".")
        written.append(header[column])
    if written:
        notes.append(f"decimal commas are read in {', '.join(map(shown, written))} of {shown(table.name)}")


def split_of(table: Path, row: int, column: str, text: str) -> int:
    """Return the split that a field names.

    Raises:
        DataError: DATA-142 it names none.
    """
    word = text.strip().lower()
    if word not in SPLIT_WORDS:
        raise field_fault(table, row, column, f"{shown(word)!r} is not a split", did_you_mean(word, SPLIT_WORDS))
    return SPLIT_WORDS[word]


def find_files(root: Path, paths: Sequence[str], notes: list[str]) -> tuple[Path, list[int]]:
    """Return the folder the paths of a table are relative to, and the positions of those that are missing.

    That is the table's own folder; where nothing is found there, the folder below it in which the first file is.
    """
    gone = missing(root, paths)
    if len(gone) == len(paths):
        for name in folders_of(root):
            if not missing(root / name, paths[:1]):
                notes.append(f"the paths are relative to {shown(name)}/, not to the table")
                return root / name, missing(root / name, paths)
    return root, gone


def _places(text: str, delimiter: str) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield where each line of a table begins and ends, and each of its fields, quotation marks included.

    The text has been read by the csv module, whose fields these are.
    """
    spaces = " *" if _is_spaced(text, delimiter) else ""
    field = re.compile(rf'{spaces}("[^"]*(?:""[^"]*)*"|[^{delimiter}\r\n]*)')
    at = 0
    while at < len(text):
        start, fields = at, list[tuple[int, int]]()
        while not fields or text.startswith(delimiter, at):
            found = field.match(text, at + bool(fields))
            assert found is not None  # an empty field matches
            fields.append(found.span(1))
            at = found.end()
        at = min(at + 1 + text.startswith("\r\n", at), len(text))
        yield start, at, fields


def _is_spaced(text: str, delimiter: str) -> bool:
    """Tell whether a space follows what separates columns: path, label."""
    return f"{delimiter} " in next(iter(text.lstrip()[: 1 << 16].splitlines()), "")


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if field.startswith('"') else field


def _cell(word: str, field: str, delimiter: str) -> str:
    """Return a field that says another word, with the spaces and quotation marks of the one that was there."""
    value = _unquoted(field)
    bare = value.strip()
    text = value.replace(bare, word, 1) if bare else word
    if field.startswith('"') or any(letter in text for letter in f'"\r\n{delimiter}'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _text(table: Path) -> str:
    """Return a table's text; bytes that are no UTF-8 are kept as they are, since a path may be made of them."""
    data = read_regular(table, _MOST_BYTES)
    if len(data) > _MOST_BYTES:
        raise DataError("DATA-140", f"{shown(table)}: the table has more than {_MOST_BYTES:,} bytes")
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise DataError("DATA-140", f"{shown(table)}: the table is UTF-16", fix="save it as UTF-8")
    at = data.find(b"\0")
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise DataError(
            "DATA-140",
            f"{shown(table)}: row {line} holds a NUL byte",
            where=f"byte {at:,}",
            fix="write the table again",
        )
    return data.removeprefix(_MARK).decode("utf-8", "surrogateescape")


def _names(line: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"') for name in line.split(delimiter)]


def _delimiter(text: str) -> str:
    """Return what separates the columns: what makes a path column stand in the header, or else the most columns."""
    first = next((part for part in text[: 1 << 16].splitlines() if part.strip()), "")
    split = {delimiter: _names(first, delimiter) for delimiter in DELIMITERS}
    return max(split, key=lambda d: ("path" in {ROLES.get(plain_name(name)) for name in split[d]}, len(split[d])))
