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
others     kept as they are, so that a conversion can hand them on
=========  =============================================================================================================

Columns are separated by commas, semicolons or tabs, whichever makes sense of the header; with semicolons, as Excel
writes them in many languages, numbers may have decimal commas.  Two or more columns of nothing but 0 and 1 are several
classes a row.  Paths are relative to the table's folder.  A
folder is read by its labels.csv, by train.csv, val.csv and test.csv, or by the only table in it.  A table with the
columns of boxes is read by ``boxes_csv``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError, nearest
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.formats import Edit, Evidence, Format
from visus.data.listed import check_missing
from visus.data.listing import natural
from visus.data.objects import Original, Remark
from visus.data.paths import fault_of, inside, shown
from visus.data.splitting import TRAIN
from visus.data.tables import (
    COMMA,
    DELIMITERS,
    HEADERS,
    MEASURED,
    ROLES,
    WHOLE,
    Rows,
    box_columns,
    columns_of,
    field_fault,
    find_files,
    group_names_of,
    groups_told,
    header_of,
    is_broken,
    parse,
    plain_name,
    read_decimal_commas,
    rewritten,
    split_of,
    tables_of,
    texts_of,
    unguarded,
    write_table,
)

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_SEPARATORS = re.compile(r"[;|]")
_LARGEST = float(np.finfo(np.float32).max)


def sniff(path: Path) -> Evidence | None:
    """Recognise a table by the names in its header."""
    try:
        tables = tables_of(path)
        if not tables:
            return None
        header, delimiter = list[str](), ","
        for table, _ in tables:
            header, delimiter = header_of(table)
            if box_columns(header):
                return Evidence(0.0, f"{table.name} has the columns of boxes")
            if "path" not in {ROLES.get(plain_name(name)) for name in header}:
                if path == table:
                    return Evidence(0.1, f"{table.name}, which names no path column", 1)
                return Evidence(0.0, f"{table.name} has no path column, only {', '.join(header[:5])}")
    except DataError as error:
        return Evidence(0.0, error.what)
    between = "" if delimiter == "," else f" between {DELIMITERS[delimiter]}"
    named = ", ".join(table.name for table, _ in tables)
    return Evidence(0.95, f"{named} with the columns {', '.join(header[:6])}{between}", len(tables))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the rows of the table, or of the tables of a folder, in their order.

    A row that repeats another one is dropped, with a note, and with a remark where columns that are not used differ; a
    row whose file is missing is listed in ``bad``, up to the share ``settings.max_bad``.

    Raises:
        DataError: DATA-140 the text cannot be read as a table, DATA-141 a column is missing or there twice, DATA-142 a
            field that cannot be what its column says, DATA-143 one file with two labels, DATA-110 a path that may not
            be followed, DATA-111 none of the files is there.
        BadDataLimit: DATA-112, more files are missing than may be.
    """
    tables = tables_of(path)
    if not tables:
        raise DataError("DATA-140", f"{shown(path)}: there is no CSV or TSV file", fix="name it labels.csv")
    notes: list[str] = []
    kind, names, group, rows = _read_rows(tables, notes)
    root = tables[0][0].parent
    for row in rows:
        if fault_of(row.path):
            inside(root, row.path, where=row.place)  # raises
    remarks: list[Remark] = []
    rows = _without_repeats(rows, notes, remarks)
    root, gone = find_files(root, [row.path for row in rows], notes)
    bad = tuple((rows[i].path, f"{rows[i].place}: there is no such file") for i in gone)
    check_missing(bad, len(rows), root, settings, "the table's folder")
    absent = set(gone)
    rows = [row for i, row in enumerate(rows) if i not in absent]
    if kind == "numbers":
        if box_columns(["path", "label", *names]):
            sides = ", ".join(map(shown, names[:8]))
            notes.append(f"{sides}: read as numbers to predict; boxes need a label column beside them")
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
        remarks=tuple(remarks),
        original=_original(rows, group),
    )


def write(dataset: Dataset, folder: Path) -> None:
    """Write labels.csv.

    Several classes a picture stand in one column, or, where that could be read as another thing, in a column each.

    Raises:
        DataError: DATA-144 nothing is known of a whole picture.
    """
    kind = dataset.column()
    if kind not in dataset.columns:
        raise DataError("DATA-144", f"{dataset.name}: it has no labels or numbers of whole pictures to write")
    known, fields = _fields(dataset, kind)
    column, groups = groups_told(dataset)
    header = ["path", *known, "split", *column]
    kept = dataset.original.records if dataset.original is not None else None
    said = [texts_of(text) for text in kept] if kept is not None else [{}] * len(dataset)
    named = dict.fromkeys(name for texts in said for name in texts)
    others = [name for name in named if name == name.strip() and plain_name(name) not in ROLES and name not in header]
    if not {"label", "labels"} & {ROLES.get(plain_name(name)) for name in known}:  # others would be numbers to learn
        first = {name: next(texts[name] for texts in said if name in texts) for name in others}
        others = [name for name in others if _number(first[name]) is None]
    records = zip(dataset.ids, fields, dataset.split.tolist(), groups, said, strict=True)
    rows = (
        [id, *held, SPLITS[part], *own, *(texts.get(name, "") for name in others)]
        for id, held, part, own, texts in records
    )
    write_table(folder / "labels.csv", [[*header, *others], *rows])


def place(split: str, id: str) -> str:
    """Return where a picture belongs: the table names it by its id."""
    return id


def amend(path: Path, dataset: Dataset, changes: Mapping[int, int]) -> Iterator[Edit]:
    """Yield the tables in which a record changes: one cell says another class, or its row is gone; pictures stay."""
    words = {dataset.ids[i]: dataset.classes[to] if to >= 0 else None for i, to in changes.items()}
    for table, split in tables_of(path):
        at = _table(table, split, []).at
        data = rewritten(table, words, at["path"], at.get("label", at.get("labels", -1)))
        if data is not None:
            yield Edit(table.name, data)


@dataclass(frozen=True, slots=True)
class _Row:
    """One record as its table states it; ``known`` holds one label, any number of them, or the texts of the numbers.

    ``more`` is a JSON object of what its other columns say, or empty.
    """

    path: str
    known: tuple[str, ...]
    split: int
    group: str
    table: str
    line: int
    more: str

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
    lines: Rows
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

    @property
    def measured(self) -> list[int]:
        """Positions of the columns that may hold numbers: those without a role, and a label of nothing else."""
        label = self.at.get("label", -1)
        numbers = all(COMMA.fullmatch(text.strip()) or MEASURED.fullmatch(text.strip()) for text in self.values(label))
        others = {i for role, i in self.at.items() if role != "label" or not numbers}
        return [i for i in range(len(self.header)) if i not in others]

    def values(self, column: int) -> Iterator[str]:
        """Yield the fields of a column that are not empty."""
        return (line[column] for _, line in self.lines if line[column].strip())


def _read_rows(
    paths: Sequence[tuple[Path, int | None]], notes: list[str]
) -> tuple[str, tuple[str, ...], str, list[_Row]]:
    """Return what the tables know of a picture (label, labels or numbers), names of numbers and of groups, and rows."""
    tables = [_table(path, split, notes) for path, split in paths]
    kind, names = _kind(tables)
    rows = list[_Row]()
    for table in tables:
        used = {*names, *(table.header[i] for role, i in table.at.items() if role not in {"label", "labels"})}
        used |= {table.header[table.at[table.role]]} if table.role in table.at else set()
        if left := [name for name in table.header if name not in used]:
            notes.append(f"columns of {shown(table.path.name)} that are not used: {', '.join(map(shown, left[:8]))}")
        rows += _rows(table, kind, names, left)
    if not rows:
        raise DataError("DATA-140", f"{shown(paths[0][0])}: there is no row below the header")
    group = next((table.header[table.at["group"]] for table in tables if "group" in table.at), "group")
    return kind, names, group, rows


def _table(path: Path, split: int | None, notes: list[str]) -> _Table:
    header, lines, delimiter = parse(path)
    at = columns_of(path, header)
    table = _Table(path, split, header, lines, at)
    if "path" not in at:
        raise _no_column(table, "path")
    if "label" in at and "labels" in at:
        raise DataError("DATA-141", f"{shown(path)}: it has a label column and a labels column", fix="rename one")
    if delimiter == ";":
        read_decimal_commas(path, header, lines, table.measured, notes)
    if delimiter != "," and "labels" in at and not any(map(_SEPARATORS.search, table.values(at["labels"]))):
        return replace(table, between=re.compile(","))
    return table


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
    if role == "label" and all(map(MEASURED.fullmatch, fields)) and not all(map(WHOLE.fullmatch, fields)):
        name = first.header[first.at[role]]
        if all(name in table.header for table in tables):
            return "numbers", (name,)
    several = any(table.between.search(field) for table in tables for field in table.values(table.at.get(role, 0)))
    if role == "labels" and all(fields) and not several:
        return "label", ()  # a column named labels that never holds several is a column of classes
    return role, ()


def _no_column(table: _Table, role: str) -> DataError:
    header = table.header
    wanted = HEADERS[role].split()
    close = next(
        (f"rename {name!r} to {guess!r}" for name in header if (guess := nearest(plain_name(name), wanted))), ""
    )
    what = f"{shown(table.path)}: no column names a {role}" + (", and none holds numbers" if role == "label" else "")
    return DataError(
        "DATA-141", what, looked=f"{', '.join(wanted[:6])} ...; found {', '.join(shown(name) for name in header[:8])}",
        fix=close or "begin the table with a line that names its columns: path,label",
    )  # fmt: skip


def _rows(table: _Table, kind: str, names: Sequence[str], left: Sequence[str]) -> Iterator[_Row]:
    """Yield each line as a record, with what the columns that are ``left`` say, or raise with its row and column."""
    name, at = shown(table.path.name), table.at
    label = at.get("label", at.get("labels", -1))
    columns = [table.header.index(column) for column in names]
    others = [(column, table.header.index(column)) for column in left]
    number = 0

    def fault(column: int, what: str, fix: str = "") -> DataError:
        return field_fault(table.path, number, table.header[column], what, fix)

    def text(column: int) -> str:
        value = unguarded(line[column].strip())
        if is_broken(value):
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
            part = split_of(table.path, number, table.header[at["split"]], text(at["split"]))
        group = text(at["group"]) if "group" in at else ""
        if "group" in at and not group:
            raise fault(at["group"], "the group is empty", "name the group, or remove the column")
        said = {column: unguarded(line[i].strip()) for column, i in others if line[i].strip()}
        more = json.dumps(said) if said else ""
        yield _Row(unguarded(line[at["path"]]), known, part, group, name, number, more)


def _without_repeats(rows: Sequence[_Row], notes: list[str], remarks: list[Remark]) -> list[_Row]:
    first: dict[str, _Row] = {}
    for row in rows:
        other = first.setdefault(row.path, row)
        if (other.known, other.split, other.group) != (row.known, row.split, row.group):
            raise DataError(
                "DATA-143", f"{row.place}: {shown(row.path)!r} is there already, with other values",
                where=f"{other.place}: {_told(other)}; here: {_told(row)}", fix="keep one of the two rows",
            )  # fmt: skip
        if other.more != row.more:
            why = f"the row repeats row {other.line}, and says other things in columns that are not used"
            remarks.append(Remark(row.table, "skipped", "DATA-145", why, f"row {row.line}", row.path))
    if len(first) < len(rows):
        notes.append(f"{len(rows) - len(first):,} rows repeat another one and were dropped")
    return list(first.values())


def _told(row: _Row) -> str:
    return f"{', '.join(row.known) or 'no label'} ({SPLITS[row.split]})"


def _number(text: str) -> float | None:
    """Return the number a field holds: NaN where it says nan, None where it holds none."""
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


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


def _original(rows: Sequence[_Row], group: str) -> Original | None:
    """Return what the rows say beyond what training needs: names of groups, and columns that are not used."""
    names = group_names_of([row.group for row in rows])
    records = Strings([row.more for row in rows]) if any(row.more for row in rows) else None
    if names is None and records is None:
        return None
    return Original(np.zeros((len(rows), 2), np.int64), records=records, group_names=names, group_column=group)


def _fields(dataset: Dataset, kind: str) -> tuple[list[str], list[list[str]]]:
    """Return the columns of what is known of each picture, and their fields."""
    values = dataset.columns[kind]
    if kind == "label":
        names = (*dataset.classes, "")
        return ["label"], [[names[label]] for label in values.tolist()]
    if kind == "numbers":
        return list(dataset.numbers), [
            ["" if np.isnan(v) else str(v) for v in row] for row in values.astype(np.float32)
        ]
    shows = [[name for name, held in zip(dataset.classes, row, strict=True) if held] for row in values.tolist()]
    clear = any(len(names) != 1 for names in shows) and not any(map(_SEPARATORS.search, dataset.classes))
    clear = clear and bool(values.any(0).all())  # a class that no picture shows would be lost
    if clear or len(dataset.classes) < 2 or any(plain_name(name) in ROLES for name in dataset.classes):
        return ["labels"], [[";".join(names)] for names in shows]
    return list(dataset.classes), [list(map(str, row)) for row in values.tolist()]


FORMAT = Format("CSV or TSV with a path column", sniff, read, write=write, place=place, amend=amend)
