"""Tables: a CSV or TSV whose header names a path column and what is known of each picture.

=========  =============================================================================================================
column     headers, in any case
=========  =============================================================================================================
path       path, file, filename, file_name, filepath, file_path, image, image_path, image_file, img, picture, photo
label      label, class, category, class_name, label_name, target: one class a row; numbers with a fraction are numbers
labels     labels, classes, categories, tags: several classes a row, between ; or |, or between commas where the columns
           are not; an empty field shows none
split      split, set, subset, partition: train, val or test (and training, valid, validation, dev, testing)
group      group, group_id, person, subject, patient, scene, video, sequence: what must not be torn apart
numbers    without label or labels, every other column whose first value is a number; an empty field is unknown
=========  =============================================================================================================

Columns are separated by commas, semicolons or tabs, whichever makes sense of the header; with semicolons, as Excel
writes them in many languages, numbers may have decimal commas.  Two or more columns of nothing but 0 and 1 are several
classes a row.  Paths are relative to the table's folder.  A
folder is read by its labels.csv, by train.csv, val.csv and test.csv, or by the only table in it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import BadDataLimit, DataError, did_you_mean, nearest
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.formats import Evidence, Format
from visus.data.listing import files_of, folders_of, natural
from visus.data.paths import fault_of, inside, missing, open_regular, shown
from visus.data.splitting import SPLIT_WORDS, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

HEADERS = {
    "path": "path file filename file_name filepath file_path image image_path image_file img picture photo",
    "label": "label class category class_name label_name target",
    "labels": "labels classes categories tags",
    "split": "split set subset partition",
    "group": "group group_id person subject patient scene video sequence",
}
_ROLE = {header: role for role, headers in HEADERS.items() for header in headers.split()}
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}
_SEPARATORS = re.compile(r"[;|]")
_MEASURED = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)  # "nan" and "inf" name classes
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MOST_BYTES = 1 << 30
_LARGEST = float(np.finfo(np.float32).max)


def sniff(path: Path) -> Evidence | None:
    """Recognise a table by the names in its header."""
    try:
        tables = _tables(path)
        if not tables:
            return None
        header, delimiter = list[str](), ","
        for table, _ in tables:
            header, delimiter = _header(table)
            if "path" not in {_ROLE.get(_plain(name)) for name in header}:
                if path == table:
                    return Evidence(0.1, f"{table.name}, which names no path column", 1)
                return Evidence(0.0, f"{table.name} has no path column, only {', '.join(header[:5])}")
    except DataError as error:
        return Evidence(0.0, error.what)
    between = "" if delimiter == "," else f" between {_DELIMITERS[delimiter]}"
    named = ", ".join(table.name for table, _ in tables)
    return Evidence(0.95, f"{named} with the columns {', '.join(header[:6])}{between}", len(tables))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the rows of the table, or of the tables of a folder, in their order.

    A row that repeats another one is dropped, with a note; a row whose file is missing is listed in ``bad``, up to the
    share ``settings.max_bad``.

    Raises:
        DataError: DATA-140 the text cannot be read as a table, DATA-141 a column is missing or there twice, DATA-142 a
            field that cannot be what its column says, DATA-143 one file with two labels, DATA-110 a path that may not
            be followed, DATA-111 none of the files is there.
        BadDataLimit: DATA-112, more files are missing than may be.
    """
    tables = _tables(path)
    if not tables:
        raise DataError("DATA-140", f"{shown(path)}: there is no CSV or TSV file", fix="name it labels.csv")
    notes: list[str] = []
    kind, names, rows = _read_rows(tables, notes)
    root = tables[0][0].parent
    for row in rows:
        if fault_of(row.path):
            inside(root, row.path, where=row.place)  # raises
    rows = _without_repeats(rows, notes)
    root, gone = _find_files(root, rows, notes)
    bad = tuple((rows[i].path, f"{rows[i].place}: there is no such file") for i in gone)
    _check_missing(bad, len(rows), root, settings)
    absent = set(gone)
    rows = [row for i, row in enumerate(rows) if i not in absent]
    if kind == "numbers":
        kind, values, classes = _numbers(names, rows, notes)
    else:
        kind, values, classes = _classes(kind, rows)
    paths = Strings([row.path for row in rows])
    evidence = sniff(path)
    return Dataset(
        name=shown(path.resolve().name),
        root=root,
        format="csv",
        evidence=evidence.phrase if evidence else "",
        ids=paths,
        images=FileImages(root, paths, settings.max_pixels),
        columns={kind: values},
        split=np.array([row.split for row in rows], np.uint8),
        classes=classes,
        numbers=names if kind == "numbers" else (),
        groups=_groups(rows),
        notes=tuple(notes),
        bad=bad,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """One record as its table states it; ``known`` holds one label, any number of them, or the texts of the numbers."""

    path: str
    known: tuple[str, ...]
    split: int
    group: str
    table: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.table}, row {self.line}"


@dataclass(frozen=True)
class _Table:
    """A table as it was read: ``at`` says which column has which role, ``lines`` the line each row starts on.

    ``between`` separates the classes of one row.
    """

    path: Path
    split: int | None
    header: list[str]
    lines: list[tuple[int, list[str]]]
    at: dict[str, int]
    between: re.Pattern[str] = _SEPARATORS

    @property
    def role(self) -> str:
        """What the table knows of a picture."""
        return next((role for role in ("label", "labels") if role in self.at), "numbers")

    @property
    def numeric(self) -> list[str]:
        """Names of the columns without a role whose first value is a number."""
        others = [i for i in range(len(self.header)) if i not in self.at.values()]
        return [self.header[i] for i in others if _number(next(self.values(i), "")) is not None]

    def values(self, column: int) -> Iterator[str]:
        """Yield the fields of a column that are not empty."""
        return (line[column] for _, line in self.lines if line[column].strip())


def _tables(path: Path) -> list[tuple[Path, int | None]]:
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


def _read_rows(paths: Sequence[tuple[Path, int | None]], notes: list[str]) -> tuple[str, tuple[str, ...], list[_Row]]:
    """Return what the tables know of a picture (label, labels or numbers), the names of the numbers, and the rows."""
    tables = [_table(path, split, notes) for path, split in paths]
    kind, names = _kind(tables)
    for table in tables:
        used = {*names, *(table.header[i] for role, i in table.at.items() if role not in {"label", "labels"})}
        used |= {table.header[table.at[table.role]]} if table.role in table.at else set()
        if left := [shown(name) for name in table.header if name not in used]:
            notes.append(f"columns of {shown(table.path.name)} that are not used: {', '.join(left[:8])}")
    rows = [row for table in tables for row in _rows(table, kind, names)]
    if not rows:
        raise DataError("DATA-140", f"{shown(paths[0][0])}: there is no row below the header")
    return kind, names, rows


def _table(path: Path, split: int | None, notes: list[str]) -> _Table:
    header, lines, delimiter = _parse(path)
    at: dict[str, int] = {}
    for i, name in enumerate(header):
        if _is_broken(name):
            raise DataError(
                "DATA-141", f"{shown(path)}: the name of column {i + 1} is not UTF-8", where=shown(name),
                fix="save the table as UTF-8",
            )  # fmt: skip
        if name in header[:i]:
            raise DataError("DATA-141", f"{shown(path)}: the column {shown(name)!r} is there twice", fix="rename one")
        role = _ROLE.get(_plain(name))
        if role and role in at:
            raise DataError(
                "DATA-141", f"{shown(path)}: the columns {header[at[role]]!r} and {name!r} both name a {role}",
                fix="rename one",
            )  # fmt: skip
        if role:
            at[role] = i
    table = _Table(path, split, header, lines, at)
    if "path" not in at:
        raise _no_column(table, "path")
    if "label" in at and "labels" in at:
        raise DataError("DATA-141", f"{shown(path)}: it has a label column and a labels column", fix="rename one")
    if delimiter == ";":
        _read_decimal_commas(table, notes)
    if delimiter != "," and "labels" in at and not any(map(_SEPARATORS.search, table.values(at["labels"]))):
        return replace(table, between=re.compile(","))
    return table


def _read_decimal_commas(table: _Table, notes: list[str]) -> None:
    """Write numbers with decimal commas as those with points; both in one column may be thousands, and are refused."""
    written = []
    for column, name in enumerate(table.header):
        fields = [field.strip() for field in table.values(column)]
        commas, points = ([f for f in fields if kind.fullmatch(f)] for kind in (_COMMA, _MEASURED))
        role = next((role for role, at in table.at.items() if at == column), "")
        texts = len(commas) + len(points) < len(fields)
        if not commas or role not in {"", "label"} or (role and texts):
            continue
        if fractions := [f for f in points if not _WHOLE.fullmatch(f)]:
            raise DataError(
                "DATA-142", f"{shown(table.path)}: column {shown(name)!r} has decimal commas and decimal points",
                where=f"{commas[0]} and {fractions[0]}", fix="write all of its numbers in one way",
            )  # fmt: skip
        for _, line in table.lines:
            if _COMMA.fullmatch(line[column].strip()):
                line[column] = line[column].replace(",", ".")
        written.append(name)
    if written:
        notes.append(f"decimal commas are read in {', '.join(map(shown, written))} of {shown(table.path.name)}")


def _kind(tables: Sequence[_Table]) -> tuple[str, tuple[str, ...]]:
    """Return what all tables together know of a picture, and the names of the columns of numbers."""
    first = tables[0]
    role, numeric = first.role, tuple(first.numeric)
    for table in tables:
        if table.role == "numbers" and not table.numeric and table.lines:
            raise _no_column(table, "label")
        if table.role != role or (role == "numbers" and not set(numeric) <= set(table.header)):
            told = [", ".join(t.numeric) if t.role == "numbers" else f"a {t.role}" for t in (table, first)]
            raise DataError("DATA-141", f"{shown(table.path)}: it tells {told[0]}, {first.path.name} tells {told[1]}",
                            fix="give the tables the same columns")  # fmt: skip
    if role == "numbers":
        return role, numeric
    fields = [line[table.at[role]].strip() for table in tables for _, line in table.lines]
    if role == "label" and all(map(_MEASURED.fullmatch, fields)) and not all(map(_WHOLE.fullmatch, fields)):
        name = first.header[first.at[role]]
        if all(name in table.header for table in tables):
            return "numbers", (name,)
    several = any(table.between.search(field) for table in tables for field in table.values(table.at.get(role, 0)))
    if role == "labels" and all(fields) and not several:
        return "label", ()  # a column named labels that never holds several is a column of classes
    return role, ()


def _parse(table: Path) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """Return the header, the other rows, each with the line it starts on, and what separates their fields."""
    text = _text(table)
    delimiter = _delimiter(text)
    spaced = f"{delimiter} " in text.lstrip().partition("\n")[0]  # path, label
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    lines: list[tuple[int, list[str]]] = []
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
    header = [name.strip() for name in lines[0][1]]
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise DataError(
                "DATA-140", f"{shown(table)}: row {number} has {len(line)} fields, the header has {len(header)}",
                where=shown(delimiter.join(line))[:100],
                fix=f'columns stand between {_DELIMITERS[delimiter]}; a field that holds one needs quotation marks',
            )  # fmt: skip
    return header, lines[1:], delimiter


def _text(table: Path) -> str:
    """Return a table's text; bytes that are no UTF-8 are kept as they are, since a path may be made of them."""
    with open_regular(table) as file:
        data = file.read(_MOST_BYTES + 1)
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
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _header(table: Path) -> tuple[list[str], str]:
    """Return the names in a table's first line alone, and what separates them."""
    with open_regular(table) as file:
        start = file.read(1 << 16).removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    line = next((part for part in start.splitlines() if part.strip()), "")
    return _names(line, _delimiter(line)), _delimiter(line)


def _is_broken(text: str) -> bool:
    """Tell whether text was made of bytes that are no UTF-8."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _names(line: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"') for name in line.split(delimiter)]


def _delimiter(text: str) -> str:
    """Return what separates the columns: what makes a path column stand in the header, or else the most columns."""
    first = next((part for part in text[: 1 << 16].splitlines() if part.strip()), "")
    split = {delimiter: _names(first, delimiter) for delimiter in _DELIMITERS}
    return max(split, key=lambda d: ("path" in {_ROLE.get(_plain(name)) for name in split[d]}, len(split[d])))


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _no_column(table: _Table, role: str) -> DataError:
    header = table.header
    wanted = HEADERS[role].split()
    close = next((f"rename {name!r} to {guess!r}" for name in header if (guess := nearest(_plain(name), wanted))), "")
    what = f"{shown(table.path)}: no column names a {role}" + (", and none holds numbers" if role == "label" else "")
    return DataError(
        "DATA-141", what, looked=f"{', '.join(wanted[:6])} ...; found {', '.join(shown(name) for name in header[:8])}",
        fix=close or "begin the table with a line that names its columns: path,label",
    )  # fmt: skip


def _rows(table: _Table, kind: str, names: Sequence[str]) -> Iterator[_Row]:
    """Yield each line as a record, or raise with its row and column."""
    name, at = shown(table.path.name), table.at
    label = at.get("label", at.get("labels", -1))
    columns = [table.header.index(column) for column in names]
    number = 0

    def fault(column: int, what: str, fix: str = "") -> DataError:
        place = f"{shown(table.path)}: row {number}, column {shown(table.header[column])!r}"
        return DataError("DATA-142", f"{place}: {what}", fix=fix)

    def text(column: int) -> str:
        value = line[column].strip()
        if _is_broken(value):
            raise fault(column, "the text is not UTF-8", "save the table as UTF-8")
        return value

    for number, line in table.lines:
        known: tuple[str, ...]
        if kind == "label":
            known = (text(label),)
            if not known[0]:
                raise fault(label, "the label is empty", "name a class, or remove the row")
        elif kind == "labels":
            known = tuple(sorted({part.strip() for part in table.between.split(text(label)) if part.strip()}))
        else:
            known = tuple(line[column].strip() for column in columns)
            for column, value in zip(columns, known, strict=True):
                held = _number(value)
                if held is None and value:
                    raise fault(
                        column, f"{shown(value)!r} is not a number", "leave the field empty where it is unknown"
                    )
                if held is not None and abs(held) > _LARGEST:
                    raise fault(column, f"{shown(value)} is too large a number to learn")
        part = TRAIN if table.split is None else table.split
        if "split" in at:
            word = text(at["split"]).lower()
            if word not in SPLIT_WORDS:
                raise fault(at["split"], f"{word!r} is not a split", did_you_mean(word, SPLIT_WORDS))
            part = SPLIT_WORDS[word]
        group = text(at["group"]) if "group" in at else ""
        if "group" in at and not group:
            raise fault(at["group"], "the group is empty", "name the group, or remove the column")
        yield _Row(line[at["path"]], known, part, group, name, number)


def _number(text: str) -> float | None:
    """Return the number a field holds: NaN where it says nan, None where it holds none."""
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def _without_repeats(rows: Sequence[_Row], notes: list[str]) -> list[_Row]:
    first: dict[str, _Row] = {}
    for row in rows:
        other = first.setdefault(row.path, row)
        if (other.known, other.split, other.group) != (row.known, row.split, row.group):
            raise DataError(
                "DATA-143", f"{row.place}: {shown(row.path)!r} is there already, with other values",
                where=f"{other.place}: {_told(other)}; here: {_told(row)}", fix="keep one of the two rows",
            )  # fmt: skip
    if len(first) < len(rows):
        notes.append(f"{len(rows) - len(first):,} rows repeat another one and were dropped")
    return list(first.values())


def _told(row: _Row) -> str:
    return f"{', '.join(row.known) or 'no label'} ({SPLITS[row.split]})"


def _find_files(root: Path, rows: Sequence[_Row], notes: list[str]) -> tuple[Path, list[int]]:
    """Return the folder the paths are relative to, and the rows whose file is missing.

    That is the table's own folder; where nothing is found there, the folder below it in which the first row's file is.
    """
    gone = missing(root, [row.path for row in rows])
    if len(gone) == len(rows):
        for name in folders_of(root):
            if not missing(root / name, [rows[0].path]):
                notes.append(f"the paths are relative to {shown(name)}/, not to the table")
                return root / name, missing(root / name, [row.path for row in rows])
    return root, gone


def _check_missing(bad: Sequence[tuple[str, str]], rows: int, root: Path, settings: DataSettings) -> None:
    if len(bad) < rows and len(bad) <= settings.most_bad(rows):
        return
    named = "; ".join(f"{reason.partition(':')[0]} {shown(path)}" for path, reason in bad[:3]) + " ..." * (len(bad) > 3)
    if len(bad) == rows:
        fix = "write / between folders, not \\" if "\\" in bad[0][0] else "mind capitals and extensions"
        raise DataError("DATA-111", f"{shown(root)}: none of the {rows:,} listed files is there", where=named,
                        fix=f"paths are relative to the table's folder; {fix}")  # fmt: skip
    raise BadDataLimit(
        "DATA-112", f"{shown(root)}: {len(bad):,} of {rows:,} listed files are missing", where=named,
        done=f"stopped: at most {settings.most_bad(rows):,} may be bad ({settings.max_bad:.1%})",
        fix=f"add them, remove their rows, or --set data.max_bad={math.ceil(100 * len(bad) / rows) / 100}",
    )  # fmt: skip


def _classes(kind: str, rows: Sequence[_Row]) -> tuple[str, NDArray[np.generic], tuple[str, ...]]:
    """Return kind, column and classes of rows with one label or several."""
    classes = tuple(sorted({name for row in rows for name in row.known}, key=natural))
    index = {name: i for i, name in enumerate(classes)}
    if kind == "label":
        return kind, np.array([index[row.known[0]] for row in rows], np.int64), classes
    if not classes:
        raise DataError("DATA-142", f"{rows[0].table}: no row names a class", fix="write classes between ; or |")
    labels = np.zeros((len(rows), len(classes)), np.uint8)
    for i, row in enumerate(rows):
        labels[i, [index[name] for name in row.known]] = 1
    return kind, labels, classes


def _numbers(
    names: tuple[str, ...], rows: Sequence[_Row], notes: list[str]
) -> tuple[str, NDArray[np.generic], tuple[str, ...]]:
    """Return kind, column and classes of rows with numbers: several columns of 0 and 1 alone are classes."""
    values = np.array([[float(text) if text else math.nan for text in row.known] for row in rows], np.float32)
    if len(names) > 1 and np.isin(values, (0, 1)).all():
        notes.append(f"the columns {', '.join(names[:6])} hold only 0 and 1: read as classes, several a picture")
        return "labels", values.astype(np.uint8), names
    return "numbers", values, ()


def _groups(rows: Sequence[_Row]) -> NDArray[np.int64] | None:
    if not rows[0].group:
        return None
    index: dict[str, int] = {}
    return np.array([index.setdefault(row.group, len(index)) for row in rows], np.int64)


FORMAT = Format("CSV or TSV with a path column", sniff, read)
