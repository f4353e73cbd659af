"""Pascal VOC: Annotations/*.xml beside JPEGImages/, split by ImageSets/Main/{train,val,test,trainval}.txt.

Read as well: XML files beside their pictures, folders named annotations and images, train/, valid/ and test/ that hold
either, and all of it one folder further down.  Without lists everything is train.

Pixels are counted from 1, and a box holds its last ones: ``xmin ymin xmax ymax`` is (xmin - 1, ymin - 1, xmax, ymax).
Only a point, with xmin = xmax and ymin = ymax, is taken for a slip of the mouse and left out; so a box of one pixel
cannot be written.  The picture's own size counts, whatever ``size`` says.  Classes stand in the order of classes.txt
or labels.txt, otherwise by name.

Source:
    Everingham et al., The PASCAL VOC challenge 2012 development kit, sections 4 and 9.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from visus.core.errors import DataError, did_you_mean
from visus.core.files import write_bytes, write_text
from visus.data.class_lists import find_list, read_list, write_list
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.edges import Box, decimal, on_picture
from visus.data.formats import Evidence, Format
from visus.data.listed import check_missing, lines_of, own_sizes, refuse_shared_stems
from visus.data.listing import files_of, folders_of, is_named_picture, list_pictures, natural
from visus.data.objects import Mark, Objects, Original, Remark
from visus.data.paths import fault_of, inside, open_regular, shown
from visus.data.splitting import SPLIT_WORDS, TRAIN
from visus.data.tables import MEASURED
from visus.data.xml_door import Element, escaped, plain_values, read_xml, write_values

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_MARKED = frozenset({"annotations", "annotation", "xml", "xmls"})
_PICTURED = ("jpegimages", "images", "pictures", "image")
_LISTS = ("classes.txt", "labels.txt")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_DEEP = 8  # folders of annotations within each other
_FEW = 16  # folders among which the one that holds the data may lie
_ANNOTATION = re.compile(rb"<annotation[\s>]")
_FLAGS = frozenset({"-1", "0", "1"})  # behind a name in the list of one class: shown, difficult, not shown


def sniff(path: Path) -> Evidence | None:
    """Recognise XML files of annotations by their first bytes."""
    if not path.is_dir():
        return None
    homes = _homes(path)
    if len(homes) > 1:
        named = ", ".join(shown(home.name) for home in homes[:4])
        return Evidence(0.0, f"{len(homes)} folders of XML annotations, {named}: name one of them")
    if not homes:
        return None
    places = _places(homes[0])
    where = ", ".join(shown(place.folder.relative_to(path)) for place in places)
    return Evidence(0.95, f"XML annotations of boxes in {where}", len(places))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the annotated pictures, in the order of their lists, or by name.

    A listed picture that is missing, or has no annotation, is in ``bad``, up to the share ``settings.max_bad``.

    Raises:
        DataError: DATA-002 no annotation, DATA-230 a bad list of classes, DATA-231 and DATA-232 XML that cannot be
            read, DATA-234 an element that is missing or cannot be what it is, DATA-235 a class that is not listed,
            DATA-110 a file name that may not be followed, DATA-111 none of the pictures is there.
        BadDataLimit: DATA-112, more pictures are missing than may be.
    """
    homes = _homes(path) if path.is_dir() else []
    if len(homes) != 1:
        found = f"found in {', '.join(shown(home) for home in homes)}" if homes else ""
        raise DataError("DATA-002", f"{shown(path)}: it is not one folder of XML annotations", looked=found,
                        fix="name the folder that holds Annotations/")  # fmt: skip
    root = homes[0]
    sheets, bad, notes, remarks = _sheets(root)
    listed = find_list([root, path], _LISTS)
    classes = list(read_list(listed)) if listed is not None else []
    index = {name: i for i, name in enumerate(classes)}
    for sheet in sheets:
        for name, where in sheet.names:
            if listed is not None and name not in index:
                raise DataError(
                    "DATA-235", f"{shown(sheet.file)}: the class {shown(name)!r} is not in {listed.name}", where=where,
                    fix=did_you_mean(name, classes),
                )  # fmt: skip
    if listed is None:
        classes = sorted({name for sheet in sheets for name, _ in sheet.names}, key=natural)
        index = {name: i for i, name in enumerate(classes)}
    check_missing(bad, len(sheets) + len(bad), root, settings, "the folder of the pictures")
    paths = Strings([sheet.picture for sheet in sheets])
    own = own_sizes(root, paths, settings.max_pixels)
    sizes = np.where(own > 0, own, np.array([sheet.size for sheet in sheets], np.int64).reshape(-1, 2))
    records = []
    for sheet, size in zip(sheets, sizes.tolist(), strict=True):
        remarks += sheet.remarks
        remarks += _size_remarks(sheet, (size[0], size[1]))
        records.append(list(_marks(sheet, (size[0], size[1]), index, remarks)))
    if zeros := sum(side == 0 for sheet in sheets for drawn in sheet.drawn for side in drawn.sides[:2]):
        notes.append(
            f"{zeros:,} sides of boxes lie at 0, where VOC begins at 1: if a tool that counts from 0 wrote them, "
            "all boxes begin one pixel too far to the left and the top"
        )
    more = [sheet.more for sheet in sheets]
    evidence = sniff(path)
    return Dataset(
        name=shown(path.resolve().name),
        root=root,
        format="voc",
        evidence=evidence.phrase if evidence else "",
        ids=Strings([sheet.id for sheet in sheets]),
        images=FileImages(root, paths, settings.max_pixels),
        columns={},
        objects=Objects.of(records),
        split=np.array([sheet.split for sheet in sheets], np.uint8),
        classes=tuple(shown(name) for name in classes),
        notes=tuple(notes),
        bad=tuple(bad),
        remarks=tuple(remarks),
        original=Original(sizes, records=Strings(more) if any(more) else None),
    )


def write(dataset: Dataset, folder: Path) -> None:
    """Write Annotations/, ImageSets/Main/ and classes.txt.

    Raises:
        DataError: DATA-236 two pictures would have one annotation, DATA-237 there are no boxes to write.
    """
    if dataset.objects is None:
        raise DataError("DATA-237", f"{dataset.name}: there are no boxes that VOC could hold")
    ids = list(dataset.ids)
    stems = [_stem(id) for id in ids]
    refuse_shared_stems(ids, stems, "Annotations/{}.xml")
    stated = dataset.original.sizes if dataset.original is not None else np.zeros((len(ids), 2), np.int64)
    unknown = np.flatnonzero((stated == 0).any(1))
    sizes = stated.copy()
    sizes[unknown] = own_sizes(folder, [place("", ids[i]) for i in unknown.tolist()], 1 << 40)
    records = dataset.original.records if dataset.original is not None else None
    for i, (id, stem) in enumerate(zip(ids, stems, strict=True)):
        target = folder / f"Annotations/{stem}.xml"
        target.parent.mkdir(parents=True, exist_ok=True)
        more = _object(records[i]) if records is not None else {}
        write_text(target, _sheet(id, (int(sizes[i, 0]), int(sizes[i, 1])), dataset.objects[i], dataset.classes, more))
    main = folder / "ImageSets/Main"
    main.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(SPLITS):
        held = [stem for stem, split in zip(stems, dataset.split.tolist(), strict=True) if split == number]
        if held or number == TRAIN:
            lines = "".join(f"{stem}\n" for stem in held)
            write_bytes(main / f"{name}.txt", lines.encode("utf-8", "surrogateescape"))
    write_list(folder / "classes.txt", dataset.classes)


def place(split: str, id: str) -> str:
    """Return where a picture belongs: JPEGImages, whatever its split."""
    return f"JPEGImages/{id}"


@dataclass(frozen=True)
class _Place:
    """A folder of XML files, the folder of their pictures, and the split that its name says."""

    folder: Path
    pictures: Path
    split: int | None


@dataclass(frozen=True)
class _Drawn:
    """One object: its class, and its four sides as written."""

    name: str
    sides: tuple[float, float, float, float]
    where: str
    more: str

    @property
    def box(self) -> Box:
        xmin, ymin, xmax, ymax = self.sides
        return xmin - 1, ymin - 1, xmax, ymax


@dataclass
class _Sheet:
    """One XML file: the picture it speaks of, and what it says.

    Attributes:
        file: relative to the data; ``stem``: below its folder, without the ending.
        picture: relative to the data; ``id``: below its folder.
        size: (height, width) as stated, 0 where it is not.
        names: of the classes, each with its place.
    """

    file: str
    stem: str
    split: int
    picture: str = ""
    id: str = ""
    size: tuple[int, int] = (0, 0)
    drawn: list[_Drawn] = field(default_factory=list)
    more: str = ""
    remarks: list[Remark] = field(default_factory=list)

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        return ((drawn.name, drawn.where) for drawn in self.drawn)


def _homes(path: Path) -> list[Path]:
    """Return the folders that hold VOC data: the given one, or those directly in it with a folder of annotations."""
    if _places(path):
        return [path]
    inner = folders_of(path)
    if len(inner) > _FEW:
        return []
    named = [path / name for name in inner if _MARKED & {below.lower() for below in folders_of(path / name)}]
    return [folder for folder in named if _places(folder)]


def _places(root: Path) -> list[_Place]:
    """Return where XML annotations lie: in one place, or in one for each folder named as a split."""
    whole = _place(root, None)
    if whole is not None:
        return [whole]
    parts = {name: SPLIT_WORDS[name.lower()] for name in folders_of(root) if name.lower() in SPLIT_WORDS}
    places = (_place(root / name, split) for name, split in sorted(parts.items(), key=lambda item: item[1]))
    return [found for found in places if found is not None]


def _place(folder: Path, split: int | None) -> _Place | None:
    inner = {name.lower(): folder / name for name in folders_of(folder)}
    pictures = next((inner[name] for name in _PICTURED if name in inner), folder)
    for name in sorted(_MARKED & inner.keys()):
        if _is_annotated(inner[name], _DEEP):
            return _Place(inner[name], pictures, split)
    return _Place(folder, pictures, split) if _is_annotated(folder, 0) else None


def _is_annotated(folder: Path, depth: int) -> bool:
    """Tell whether the first XML file of a folder is an annotation; in a folder of that name it may be a bad one."""
    first = next((name for name in files_of(folder) if name.lower().endswith(".xml")), "")
    if not first:
        return depth > 0 and any(_is_annotated(folder / name, depth - 1) for name in folders_of(folder))
    try:
        with open_regular(folder / first) as file:
            start = file.read(4096)
    except DataError:
        return False
    return bool(_ANNOTATION.search(start)) or (depth > 0 and b"<annotations" not in start)


def _sheets(root: Path) -> tuple[list[_Sheet], list[tuple[str, str]], list[str], list[Remark]]:
    """Return what the XML files say, in order; the (id, reason) of listed ones that cannot be used; notes; remarks."""
    sheets: list[_Sheet] = []
    bad: list[tuple[str, str]] = []
    notes: list[str] = []
    remarks: list[Remark] = []
    taken: dict[tuple[str, int], str] = {}
    for place in _places(root):
        below = list_pictures(place.folder)
        stems = {name[:-4]: name for name in below.others if name.lower().endswith(".xml")}
        pictures = _Pictures(root, place)
        lists = _lists(root) if place.split is None else []
        if lists:
            wanted = list(_listed(root, lists, stems, bad, remarks))
            left = len(stems) - len({stem for stem, _ in wanted})
            if left:
                notes.append(f"left out {left:,} annotations that are in no list of ImageSets/Main")
        else:
            part = TRAIN if place.split is None else place.split
            wanted = [(stem, part) for stem in sorted(stems, key=natural)]
        for stem, split in wanted:
            sheet = _read_sheet(root, place.folder / stems[stem], stem, split)
            _find_picture(sheet, pictures, stems)
            other = taken.setdefault((sheet.picture, split), sheet.file)
            if sheet.picture and other != sheet.file:
                why = f"{shown(other)} speaks of its picture, {shown(sheet.id)}, already"
                remarks.append(Remark(sheet.file, "skipped", "DATA-240", why))
            elif sheet.picture:
                sheets.append(sheet)
            else:
                bad.append((sheet.id, f"{sheet.file}: there is no picture of this name"))
        used = {sheet.picture for sheet in sheets}
        if unused := sum(name not in used for name in pictures.relative.values()):
            notes.append(f"left out {unused:,} pictures that no annotation speaks of")
    return sheets, bad, notes, remarks


def _lists(root: Path) -> list[tuple[Path, int]]:
    """Return the lists of splits in ImageSets/Main, trainval last: what it adds to the others is train."""
    main = root / "ImageSets/Main"
    if not main.is_dir():
        return []
    found = [(main / name, name[:-4].lower()) for name in files_of(main) if name.lower().endswith(".txt")]
    lists = sorted((SPLIT_WORDS[word], file) for file, word in found if word in SPLIT_WORDS)
    return [(file, split) for split, file in lists] + [(file, TRAIN) for file, word in found if word == "trainval"]


def _listed(
    root: Path, lists: Sequence[tuple[Path, int]], stems: Mapping[str, str], bad: list[tuple[str, str]],
    remarks: list[Remark],
) -> Iterator[tuple[str, int]]:  # fmt: skip
    """Yield each listed annotation with its split."""
    seen: set[tuple[str, int]] = set()
    anywhere: set[str] = set()
    for file, split in lists:
        name = file.relative_to(root).as_posix()
        for number, line in lines_of(file):
            stem = _listed_stem(line, stems)
            if not stem or (file.stem.lower() == "trainval" and stem in anywhere):
                continue
            if fault_of(stem):
                inside(root, stem, where=f"{name}, line {number}")  # raises
            if (stem, split) in seen:
                why = f"{shown(stem)} is listed a second time"
                remarks.append(Remark(name, "skipped", "DATA-241", why, f"line {number}"))
            elif stem in stems:
                yield stem, split
            else:
                bad.append((stem, f"{name}, line {number}: there is no annotation of this name"))
            seen.add((stem, split))
            anywhere.add(stem)


def _listed_stem(line: str, stems: Mapping[str, str]) -> str:
    """Return the name a line of a list holds: before a flag of a class, and without a picture's ending."""
    if line in stems:
        return line
    line = line.strip()
    name, _, flag = line.rpartition(" ")
    line = name.strip() if flag in _FLAGS and name and line not in stems else line
    return _stem(line) if is_named_picture(line) and _stem(line) in stems else line


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


class _Pictures:
    """The pictures of one place, by their paths below its folder and by these without the ending."""

    def __init__(self, root: Path, place: _Place) -> None:
        prefix = place.pictures.relative_to(root).as_posix()
        names = list_pictures(place.pictures).pictures
        self.relative = {name: name if prefix == "." else f"{prefix}/{name}" for name in names}
        self.by_stem: dict[str, list[str]] = {}
        for name in names:
            self.by_stem.setdefault(_stem(name), []).append(name)


def _read_sheet(root: Path, path: Path, stem: str, split: int) -> _Sheet:
    """Read one XML file; its picture is still to be found, ``id`` is what it calls it."""
    file = path.relative_to(root).as_posix()
    tree = read_xml(path, shown(path))
    if tree.name != "annotation":
        raise _fault(path, tree, f"this XML is about <{shown(tree.name)}>, not <annotation>")
    sheet = _Sheet(file, stem, split)
    named = tree.first("filename")
    if named is not None and named.stripped:
        sheet.id = named.stripped
        if fault_of(sheet.id):
            inside(root, sheet.id, where=f"{shown(path)}, line {named.line}, filename")  # raises
    size = tree.first("size")
    if size is not None:
        sheet.size = (_whole(size, "height"), _whole(size, "width"))
    for number, element in enumerate(tree.all("object")):
        sheet.drawn.append(_read_object(path, sheet, element, number))
    kept = Element(tree.name, tree.line, tree.attributes)
    kept.children = [child for child in tree.children if child is not named and child.name not in {"object", "size"}]
    kept.children += _without(size, ("width", "height")) if size is not None else []
    sheet.more = _json(plain_values(kept))
    return sheet


def _read_object(path: Path, sheet: _Sheet, element: Element, number: int) -> _Drawn:
    where = f"object[{number}], line {element.line}"
    name = element.first("name")
    if name is None or not name.stripped:
        raise _fault(path, name or element, f"object[{number}] has no name")
    if name.text != name.stripped:
        why = f"blanks around the class {shown(name.stripped)!r} are taken away"
        sheet.remarks.append(Remark(sheet.file, "warned", "DATA-242", why, where))
    box = element.first("bndbox")
    if box is None:
        fix = "write the box around it" if element.first("robndbox") is not None else ""
        raise _fault(path, element, f"object[{number}] ({shown(name.stripped)}) has no bndbox", fix)
    sides = tuple(_side(path, box, side, number) for side in _SIDES)
    kept = [child for child in element.children if child is not name and child is not box] + _without(box, _SIDES)
    more = plain_values(Element(element.name, element.line, element.attributes, kept))
    return _Drawn(name.stripped, (sides[0], sides[1], sides[2], sides[3]), where, _json(more))


def _without(element: Element, names: Sequence[str]) -> list[Element]:
    """Return an element without some of its children, or nothing where it holds nothing else."""
    left = [child for child in element.children if child.name not in names]
    return [Element(element.name, element.line, element.attributes, left)] if left or element.attributes else []


def _side(path: Path, box: Element, side: str, number: int) -> float:
    found = box.first(side)
    text = found.stripped if found is not None else ""
    if not text:
        raise _fault(path, found or box, f"object[{number}].bndbox has no {side}")
    if not MEASURED.fullmatch(text) or not math.isfinite(float(text)):
        raise _fault(path, found or box, f"object[{number}].bndbox.{side}: {shown(text[:40])!r} is not a number")
    return float(text)


def _whole(size: Element, side: str) -> int:
    """Return a stated length, or 0 where it is none."""
    text = size.first(side)
    digits = text.stripped if text is not None else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0


def _fault(path: Path, element: Element, what: str, fix: str = "") -> DataError:
    return DataError("DATA-234", f"{shown(path)}: {what}", where=f"line {element.line}",
                     fix=fix or "mend the file, or remove it")  # fmt: skip


def _find_picture(sheet: _Sheet, pictures: _Pictures, stems: Mapping[str, str]) -> None:
    """Find the picture of an XML file.

    One of the file's own name goes first, as in the development kit; where there is none, the one it states counts, as
    long as no other file is named after that.
    """
    stated = sheet.id
    same = pictures.by_stem.get(sheet.stem, [])
    folder = sheet.stem.rpartition("/")[0]
    told = next((name for name in (f"{folder}/{stated}", stated) if stated and name in pictures.relative), "")
    if told in same or (told and not same and _stem(told) not in stems):
        chosen = told
    elif same:
        chosen = same[0]
    else:
        sheet.id = stated or sheet.stem
        return
    if stated and PurePosixPath(chosen).name != PurePosixPath(stated).name and stated != PurePosixPath(sheet.stem).name:
        why = f"filename says {shown(stated)!r}, the picture {shown(chosen)!r} is there"
        sheet.remarks.append(Remark(sheet.file, "warned", "DATA-243", why, "filename"))
    elif _stem(chosen) != sheet.stem:
        why = f"the picture is {shown(chosen)!r}, not one of the annotation's own name"
        sheet.remarks.append(Remark(sheet.file, "warned", "DATA-243", why, "filename"))
    sheet.id, sheet.picture = chosen, pictures.relative[chosen]


def _size_remarks(sheet: _Sheet, size: tuple[int, int]) -> Iterator[Remark]:
    if sheet.size == size:
        return
    (height, width), (real_height, real_width) = sheet.size, size
    why = f"size says {width} x {height}, the picture has {real_width} x {real_height}"
    if sheet.size == (0, 0):
        why = f"size says nothing, or 0; the picture has {real_width} x {real_height}"
    elif sheet.size == size[::-1]:
        why += ": the boxes may have been drawn before it was turned upright"
    yield Remark(sheet.file, "warned", "DATA-244", why, "size")


def _marks(sheet: _Sheet, size: tuple[int, int], index: Mapping[str, int], remarks: list[Remark]) -> Iterator[Mark]:
    """Yield the objects that lie on the picture."""
    for drawn in sheet.drawn:
        xmin, ymin, xmax, ymax = drawn.sides
        if (xmin, ymin) == (xmax, ymax):
            why = f"the box is a single point, ({xmin:.10g}, {ymin:.10g})"
            remarks.append(Remark(sheet.file, "skipped", "DATA-245", why, drawn.where))
            continue
        box, status, why = on_picture(drawn.box, size)
        if status:
            remarks.append(Remark(sheet.file, status, "DATA-245" if box is None else "DATA-246", why, drawn.where))
        if box is not None:
            yield Mark(box, index[drawn.name], more=drawn.more)


def _json(values: object) -> str:
    """Return what else was said as a JSON object, empty for nothing."""
    return json.dumps(values) if values and isinstance(values, dict) else ""


def _object(text: str) -> dict[str, Any]:
    values = json.loads(text) if text else {}
    return values if isinstance(values, dict) else {}


def _sheet(
    id: str, size: tuple[int, int], marks: Iterable[Mark], classes: Sequence[str], more: Mapping[str, Any]
) -> str:
    """Return one XML file."""
    name = PurePosixPath(id).name
    tree: dict[str, Any] = {"filename": name} if "\ufffd" not in escaped(name) else {}
    tree["size"] = {"width": str(size[1]), "height": str(size[0]), **_inner(more, "size")}
    tree |= {key: value for key, value in more.items() if key not in {"filename", "size", "object"}}
    tree["object"] = [_written(mark, classes) for mark in marks if mark.label >= 0]  # VOC has none without a class
    return write_values("annotation", tree)


def _written(mark: Mark, classes: Sequence[str]) -> dict[str, Any]:
    """Return an object as its element holds it."""
    x0, y0, x1, y1 = mark.box
    sides = dict(zip(_SIDES, map(decimal, (x0 + 1, y0 + 1, x1, y1)), strict=True))
    more = _object(mark.more)
    said = {key: value for key, value in more.items() if key not in {"name", "bndbox"}}
    return {"name": classes[mark.label], **said, "bndbox": {**sides, **_inner(more, "bndbox")}}


def _inner(more: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return what else is said within an element."""
    held = more.get(name)
    return held if isinstance(held, dict) else {}


FORMAT = Format("XML annotations of Pascal VOC", sniff, read, write=write, place=place)
