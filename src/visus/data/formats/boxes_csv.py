"""Tables of boxes: a CSV or TSV with a row a box.

=========  =============================================================================================================
column     headers, in any case, with or without _
=========  =============================================================================================================
path       as in ``csv``: path, file, filename, image, ...
label      label, class, category, ...
corners    xmin ymin xmax ymax, x1 y1 x2 y2, x0 y0 x1 y1, or left top right bottom
or extent  x y width height, x y w h, left top width height, or xmin ymin width height; bbox_ may stand before each
split      as in ``csv``; group likewise
size       width and height beside corners, or image_width and image_height: of the picture
=========  =============================================================================================================

Coordinates are pixels, edges at integers, the last one beyond the box.  A row without box and label is a picture
without objects.  Every other column is kept with its box.  A table without a header is read as keras-retinanet writes
it: path, x1, y1, x2, y2, class.  Classes stand in the order of a classes.txt beside the table, otherwise by name.  Read
are labels.csv, train.csv, val.csv and test.csv, train_labels.csv and its like, one table in each of train/, valid/ and
test/, or the only table of a folder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError, did_you_mean
from visus.data.class_lists import find_list, read_list, write_list
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.edges import Box, decimal, on_picture
from visus.data.formats import Evidence, Format
from visus.data.listed import check_missing, own_sizes
from visus.data.listing import files_of, folders_of, is_named_picture, natural
from visus.data.objects import Mark, Objects, Original, Remark
from visus.data.paths import fault_of, inside, shown
from visus.data.splitting import SPLIT_WORDS, TRAIN
from visus.data.tables import (
    MEASURED,
    ROLES,
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
    split_of,
    tables_of,
    texts_of,
    unguarded,
    write_table,
)

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_LISTS = ("classes.txt",)
_HEADERLESS = ["path", "x1", "y1", "x2", "y2", "class"]
_PART = re.compile(r"^(.*?)[_-]?(labels|annotations|boxes)$")
_SIZE = ("width", "height")
_PICTURE_SIZE = (("imagewidth", "imageheight"), ("imgwidth", "imgheight"), ("imgw", "imgh"))


def sniff(path: Path) -> Evidence | None:
    """Recognise a table of boxes by the names in its header, or by a first row that is one of keras-retinanet."""
    try:
        tables = _tables(path)
        told = [_told(table) for table, _ in tables]
    except DataError:
        return None  # told by ``csv``, which looks at the same tables
    if not tables or not all(told):
        return None
    named = ", ".join(shown(table.relative_to(path).as_posix() if path.is_dir() else table.name) for table, _ in tables)
    return Evidence(0.96, f"{named} with the columns {told[0]}", len(tables))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the pictures of the tables in the order in which they first appear, each with its boxes.

    A picture whose file is missing is listed in ``bad``, up to the share ``settings.max_bad``.

    Raises:
        DataError: DATA-140 the text cannot be read as a table, DATA-141 a column is missing or there twice, DATA-142 a
            field that cannot be what its column says, DATA-264 a picture in two splits or groups, DATA-265 boxes that
            are no pixels, DATA-266 a class that is not listed, DATA-110 a path that may not be followed, DATA-111 none
            of the files is there.
        BadDataLimit: DATA-112, more files are missing than may be.
    """
    tables = _tables(path)
    if not tables:
        raise DataError("DATA-140", f"{shown(path)}: there is no CSV or TSV file", fix="name it labels.csv")
    notes: list[str] = []
    remarks: list[Remark] = []
    root = path if path.is_dir() else path.parent
    entries: dict[tuple[str, str], _Entry] = {}
    column = "group"
    for table, split in tables:
        found_table = _table(table, split, root, notes)
        if "group" in found_table.at:
            column = found_table.header[found_table.at["group"]]
        _collect(found_table, entries, remarks)
    if not entries:
        raise DataError("DATA-140", f"{shown(tables[0][0])}: there is no row below the header")
    found = list(entries.values())
    _check_pixels(found, tables[0][0])
    root, gone = find_files(root, [entry.path for entry in found], notes)
    bad = [(found[i].id, f"{found[i].place}: there is no such file") for i in gone]
    check_missing(bad, len(found), root, settings, "the table's folder")
    absent = set(gone)
    found = [entry for i, entry in enumerate(found) if i not in absent]
    listed = find_list([tables[0][0].parent, root], _LISTS)
    classes = read_list(listed) if listed is not None else _classes(found)
    index = {name: i for i, name in enumerate(classes)}
    paths = Strings([entry.path for entry in found])
    own = own_sizes(root, paths, settings.max_pixels)
    sizes = np.where(own > 0, own, np.array([entry.size for entry in found], np.int64).reshape(-1, 2))
    records = []
    for entry, size in zip(found, sizes.tolist(), strict=True):
        remarks += _size_remarks(entry, (size[0], size[1]))
        records.append(list(_marks(entry, (size[0], size[1]), index, remarks)))
    more = [entry.more for entry in found]
    evidence = sniff(path)
    return Dataset(
        name=shown(path.resolve().name),
        root=root,
        format="boxes_csv",
        evidence=evidence.phrase if evidence else "",
        ids=Strings([entry.id for entry in found]),
        images=FileImages(root, paths, settings.max_pixels),
        columns={},
        objects=Objects.of(records),
        split=np.array([entry.split for entry in found], np.uint8),
        classes=tuple(shown(name) for name in classes),
        groups=_groups(found),
        notes=tuple(notes),
        bad=tuple(bad),
        remarks=tuple(remarks),
        original=Original(
            sizes,
            records=Strings(more) if any(more) else None,
            group_names=group_names_of([entry.group for entry in found]),
            group_column=column,
        ),
    )


def write(dataset: Dataset, folder: Path) -> None:
    """Write labels.csv and classes.txt.

    Raises:
        DataError: DATA-237 there are no boxes to write.
    """
    if dataset.objects is None:
        raise DataError("DATA-237", f"{dataset.name}: there are no boxes that a table could hold")
    records = dataset.original.records if dataset.original is not None else None
    rows: list[tuple[int, list[str], dict[str, str]]] = []
    for i in range(len(dataset)):
        drawn = [mark for mark in dataset.objects[i] if mark.label >= 0]  # a table has no box without a label
        rows += [(i, [dataset.classes[m.label], *map(decimal, m.box)], texts_of(m.more)) for m in drawn]
        if not drawn:
            rows.append((i, [""] * 5, texts_of(records[i]) if records is not None else {}))
    others = list(dict.fromkeys(name for *_, said in rows for name in said if _is_other(name)))
    usual = ["path", "label", "xmin", "ymin", "xmax", "ymax", "split"]
    column, groups = groups_told(dataset)
    lines = [[*usual, *column, *others]]
    for i, fields, said in rows:
        ends = [SPLITS[int(dataset.split[i])], *groups[i]]
        lines.append([dataset.ids[i], *fields, *ends, *(said.get(name, "") for name in others)])
    write_table(folder / "labels.csv", lines)
    write_list(folder / "classes.txt", dataset.classes)


def place(split: str, id: str) -> str:
    """Return where a picture belongs: the table names it by its id."""
    return id


@dataclass(frozen=True)
class _Table:
    """A table as it was read: ``at`` says which column has which role, ``sides`` which four hold the box.

    Attributes:
        below: the folder of the table below the root, which its paths begin with; or empty.
        size: columns of the picture's width and height, or None.
    """

    path: Path
    below: str
    split: int | None
    header: list[str]
    rows: Rows
    at: dict[str, int]
    sides: tuple[int, ...]
    corners: bool
    size: tuple[int, int] | None

    @property
    def others(self) -> list[int]:
        """Columns that are kept with each box."""
        used = {*self.at.values(), *self.sides, *(self.size or ())}
        return [i for i in range(len(self.header)) if i not in used]


@dataclass(frozen=True)
class _Drawn:
    """One row with a box."""

    name: str
    box: Box
    row: int
    more: str


@dataclass
class _Entry:
    """One picture: what its rows say."""

    id: str
    path: str
    table: str
    row: int
    split: int
    group: str
    size: tuple[int, int]
    drawn: list[_Drawn] = field(default_factory=list)
    more: str = ""

    @property
    def place(self) -> str:
        return f"{self.table}, row {self.row}"


def _tables(path: Path) -> list[tuple[Path, int | None]]:
    """Return the tables a path stands for: those of ``csv``, train_labels.csv and its like, or one in each split."""
    tables = tables_of(path)
    if tables or not path.is_dir():
        return tables
    named = [(path / name, _PART.match(Path(name).stem.lower())) for name in files_of(path) if _is_table(name)]
    parts = [(table, SPLIT_WORDS[word[1]]) for table, word in named if word and word[1] in SPLIT_WORDS]
    if not parts:
        for name in folders_of(path):
            inner = [below for below in files_of(path / name) if _is_table(below)]
            if name.lower() in SPLIT_WORDS and len(inner) == 1:
                parts.append((path / name / inner[0], SPLIT_WORDS[name.lower()]))
    return [*sorted(parts, key=lambda item: item[1])]


def _is_table(name: str) -> bool:
    return name.lower().endswith((".csv", ".tsv"))


def _told(table: Path) -> str:
    """Return what tells that a table holds boxes, or nothing."""
    header, delimiter = header_of(table)
    if box_columns(header):
        return ", ".join(map(shown, header[:8]))
    if _is_headerless(header) and delimiter == ",":
        return "path, x1, y1, x2, y2, class, which it does not name"
    return ""


def _is_headerless(fields: Sequence[str]) -> bool:
    """Tell whether a first row is a record of keras-retinanet: a picture, four numbers and a class, or nothing."""
    if len(fields) != len(_HEADERLESS) or not is_named_picture(fields[0]):
        return False
    return not any(fields[1:]) or bool(fields[5] and all(map(MEASURED.fullmatch, fields[1:5])))


def _table(path: Path, split: int | None, root: Path, notes: list[str]) -> _Table:
    header, rows, delimiter = parse(path)
    if _is_headerless(header):
        rows = [(1, header), *rows]
        header = list(_HEADERLESS)
    at = columns_of(path, header)
    found = box_columns(header)
    if found is None:
        looked = "path, label, and xmin, ymin, xmax, ymax or x, y, width, height"
        raise DataError(
            "DATA-141", f"{shown(path)}: the columns of boxes are not there",
            looked=f"{looked}; found {', '.join(shown(name) for name in header[:8])}",
            fix="begin the table with a line that names its columns: path,label,xmin,ymin,xmax,ymax",
        )  # fmt: skip
    sides, corners = found
    at = {role: i for role, i in at.items() if i not in sides}
    names = {plain_name(name).replace("_", ""): i for i, name in enumerate(header) if i not in sides}
    ways = (*_PICTURE_SIZE, _SIZE) if corners else _PICTURE_SIZE
    size = next(((names[way[0]], names[way[1]]) for way in ways if set(way) <= names.keys()), None)
    if delimiter == ";":
        read_decimal_commas(path, header, rows, sides, notes)
    below = path.parent.relative_to(root).as_posix()
    return _Table(path, "" if below == "." else below, split, header, rows, at, sides, corners, size)


def _collect(table: _Table, entries: dict[tuple[str, str], _Entry], remarks: list[Remark]) -> None:
    """Add the rows of a table to the pictures they speak of."""
    name = f"{table.below}/{table.path.name}" if table.below else table.path.name
    label = table.at.get("label", table.at.get("labels", -1))
    seen: dict[tuple[str, ...], int] = {}
    for number, line in table.rows:
        stated = unguarded(line[table.at["path"]].strip())
        if fault_of(stated):
            inside(table.path.parent, stated, where=f"{name}, row {number}")  # raises
        entry = _entry(table, line, number, stated, name)
        known = entries.setdefault((table.below, stated), entry)
        if (known.split, known.group) != (entry.split, entry.group):
            raise DataError(
                "DATA-264", f"{name}, row {number}: {shown(stated)!r} is there already, in another split or group",
                where=f"{known.place}: {SPLITS[known.split]} {shown(known.group)}", fix="keep one of the two",
            )  # fmt: skip
        others = {table.header[i]: _text(table, number, line, i) for i in table.others}
        more = json.dumps({key: text for key, text in others.items() if text}) if any(others.values()) else ""
        box = _box(table, number, line)
        text = _text(table, number, line, label)
        if box is None:
            if text:
                raise field_fault(table.path, number, table.header[label], "a label without a box",
                                  "leave both empty for a picture without objects")  # fmt: skip
            known.more = known.more or more
            continue
        if not text:
            raise field_fault(table.path, number, table.header[label], "the label is empty",
                              "name a class, or remove the row")  # fmt: skip
        first = seen.setdefault(tuple(line), number)
        if first != number:
            remarks.append(Remark(name, "warned", "DATA-267", f"the row repeats row {first}", f"row {number}"))
        known.drawn.append(_Drawn(text, box, number, more))


def _entry(table: _Table, line: Sequence[str], number: int, stated: str, name: str) -> _Entry:
    """Return the picture that a row speaks of."""
    split = TRAIN if table.split is None else table.split
    if "split" in table.at:
        at = table.at["split"]
        split = split_of(table.path, number, table.header[at], _text(table, number, line, at))
    group = _text(table, number, line, table.at["group"]) if "group" in table.at else ""
    if "group" in table.at and not group:
        raise field_fault(table.path, number, table.header[table.at["group"]], "the group is empty",
                          "name the group, or remove the column")  # fmt: skip
    size = (0, 0)
    if table.size is not None:
        width, height = (line[i].strip() for i in table.size)
        size = (_whole(height), _whole(width))
    path = f"{table.below}/{stated}" if table.below else stated
    return _Entry(stated, path, name, number, split, group, size)


def _text(table: _Table, number: int, line: Sequence[str], column: int) -> str:
    value = unguarded(line[column].strip())
    if is_broken(value):
        raise field_fault(table.path, number, table.header[column], "the text is not UTF-8", "save the table as UTF-8")
    return value


def _whole(text: str) -> int:
    """Return a stated length, or 0 where it is none."""
    number = float(text) if MEASURED.fullmatch(text) else 0.0
    return int(number) if 0 < number < 1e9 else 0


def _box(table: _Table, number: int, line: Sequence[str]) -> Box | None:
    """Return the box of a row as two corners, or None where the row has none."""
    texts = [line[i].strip() for i in table.sides]
    if not any(texts):
        return None
    values = []
    for i, text in zip(table.sides, texts, strict=True):
        if not MEASURED.fullmatch(text) or not math.isfinite(float(text)):
            what = f"{shown(text[:40])!r} is not a number" if text else "it is empty, but the box has other sides"
            raise field_fault(table.path, number, table.header[i], what, "leave all four empty where there is no box")
        values.append(float(text))
    a, b, c, d = values
    return (a, b, c, d) if table.corners else (a, b, a + c, b + d)


def _check_pixels(entries: Sequence[_Entry], table: Path) -> None:
    """Refuse boxes that all lie within one pixel: they are fractions of the picture."""
    boxes = np.array([drawn.box for entry in entries for drawn in entry.drawn]).reshape(-1, 4)
    if len(boxes) and (np.abs(boxes) <= 1).all() and (boxes % 1 != 0).any():
        raise DataError(
            "DATA-265", f"{shown(table)}: every box lies within one pixel: the columns hold fractions, not pixels",
            fix="multiply x by the width of the picture, and y by its height",
        )  # fmt: skip


def _classes(entries: Sequence[_Entry]) -> tuple[str, ...]:
    return tuple(sorted({drawn.name for entry in entries for drawn in entry.drawn}, key=natural))


def _size_remarks(entry: _Entry, size: tuple[int, int]) -> Iterator[Remark]:
    if entry.size not in {(0, 0), size}:
        why = f"the row says {entry.size[1]} x {entry.size[0]}, the picture has {size[1]} x {size[0]}"
        yield Remark(entry.table, "warned", "DATA-268", why, f"row {entry.row}")


def _marks(
    entry: _Entry, size: tuple[int, int], index: dict[str, int], remarks: list[Remark]
) -> Iterator[Mark]:  # fmt: skip
    """Yield the boxes that lie on the picture."""
    for drawn in entry.drawn:
        where = f"row {drawn.row}"
        if drawn.name not in index:
            raise DataError(
                "DATA-266", f"{entry.table}, {where}: the class {shown(drawn.name)!r} is not in classes.txt",
                fix=did_you_mean(drawn.name, index),
            )  # fmt: skip
        box, status, why = on_picture(drawn.box, size)
        if status:
            remarks.append(Remark(entry.table, status, "DATA-269", why, where))
        if box is not None:
            yield Mark(box, index[drawn.name], more=drawn.more)


def _groups(entries: Sequence[_Entry]) -> NDArray[np.int64] | None:
    if not entries or not entries[0].group:
        return None
    index: dict[str, int] = {}
    return np.array([index.setdefault(entry.group, len(index)) for entry in entries], np.int64)


def _is_other(name: str) -> bool:
    """Tell whether a column of this name is kept as it is, and taken for nothing else."""
    used = ["path", "label", "xmin", "ymin", "xmax", "ymax", "split", "group", "width", "height"]
    plain = plain_name(name)
    pictured = {word for way in _PICTURE_SIZE for word in way}
    return plain not in used and plain not in ROLES and plain.replace("_", "") not in pictured and name.strip() == name


FORMAT = Format("CSV or TSV of boxes", sniff, read, write=write, place=place)
