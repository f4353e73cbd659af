"""YOLO: images/train and labels/train, a line an object in fractions of the picture, and a data.yaml with the names.

A line is ``class x y width height``, the middle of a box and its extent, or ``class x1 y1 x2 y2 x3 y3 ...``, an
outline; one file holds either.  ``kpt_shape`` in data.yaml announces key points behind each box, which are kept as they
are written.  A picture without a file of labels is background.

Read as well: train/images and train/labels, labels beside their pictures, lists of pictures (train.txt), and all of it
without data.yaml, with the names in classes.txt or obj.names, or without any.  The labels of a picture are where
Ultralytics looks for them: the last folder ``images`` of its path is replaced by ``labels``.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.core.files import write_text
from visus.data.class_lists import find_list, read_list
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.edges import Box, on_picture
from visus.data.formats import Evidence, Format
from visus.data.listed import check_missing, lines_of, own_sizes, refuse_shared_stems
from visus.data.listing import files_of, folders_of, is_named_picture, list_pictures
from visus.data.objects import Mark, Objects, Original, Polygon, Remark
from visus.data.paths import fault_of, inside, missing, open_regular, read_regular, shown
from visus.data.splitting import SPLIT_WORDS, TRAIN, VAL
from visus.data.tables import MEASURED
from visus.data.yaml_door import Tree, read_yaml

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_OURS = {*_KEYS, "path", "names", "nc", "download"}
_LISTS = ("classes.txt", "obj.names")
_TELLING = re.compile(rb"^(train|val|valid|names|nc)[ \t]*:", re.MULTILINE)
_LINE = re.compile(rb"\s*\d+(\.0*)?([ \t]+[-+]?[0-9.]+(e[-+]?[0-9]+)?){4,}\s*(\n|$)", re.IGNORECASE)
_CLASS = re.compile(r"(\d{1,9})(\.0*)?", re.ASCII)
_SPLIT = re.compile(r"([a-z]+?)[_-]?\d*")
_INTEGER = re.compile(r"-?\d{1,15}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,15}\.\d{1,15}", re.ASCII)
_UPWARD = re.compile(r"^(\.\.?[\\/])+")
_MOST_BYTES = 1 << 23
_BEYOND = 0.01  # of a picture, by which a fraction may leave it; more is no fraction
_ROUNDING = 0.5  # of a pixel, which the few digits of a fraction may be off


def sniff(path: Path) -> Evidence | None:
    """Recognise data.yaml by its keys, or files of labels by where they lie and their first line."""
    if path.is_file():
        return Evidence(0.95, f"{shown(path.name)} with the names of classes and splits", 1) if _tells(path) else None
    if not path.is_dir():
        return None
    file = _description(path)
    if file is not None:
        return Evidence(0.95, f"{shown(file.name)} with the names of classes and splits", 1)
    places = _layout(path)
    where = ", ".join(shown(_label_folder(path, folder)) or "the top folder" for _, folder in places)
    return Evidence(0.93, f"YOLO labels in {where}", len(places)) if places else None


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the pictures of each split, in the order of their names or of their list.

    Raises:
        DataError: DATA-002 no data.yaml and no labels, DATA-233 YAML that cannot be read, DATA-250 a data.yaml that
            does not say what is needed, DATA-251 a folder or list that is not there, DATA-252 a line of labels that
            cannot be one, DATA-253 a class that has no name, DATA-254 no picture has labels, DATA-230 a bad list of
            classes, DATA-110 a path that may not be followed, DATA-111 none of the listed pictures is there.
        BadDataLimit: DATA-112, more of the listed pictures are missing than may be.
    """
    plan = _plan(path)
    root, remarks = plan.root, plan.remarks
    pictures, bad = plan.pictures, plan.bad
    check_missing(bad, len(pictures) + len(bad), root, settings, "the folder of their list")
    paths = Strings([picture.path for picture in pictures])
    sizes = own_sizes(root, paths, settings.max_pixels)
    labels = _label_files(root, paths)
    absent = set(missing(root, labels))
    _check_labelled(plan, absent)
    count = len(plan.names) if plan.names is not None else None
    records = []
    for i, size in enumerate(sizes.tolist()):
        records.append([] if i in absent else _read_labels(root, labels[i], (size[0], size[1]), count, plan))
    plan.remarks += _orphans(root, labels)
    if absent:
        plan.notes.append(f"{len(absent):,} pictures have no file of labels and count as background")
    if plan.names is None:
        most = max((mark.label for marks in records for mark in marks), default=-1)
        plan.names = tuple(str(i) for i in range(most + 1))
        plan.notes.append("no file names the classes: they are called by their numbers")
    evidence = sniff(path)
    return Dataset(
        name=shown(root.resolve().name),
        root=root,
        format="yolo",
        evidence=evidence.phrase if evidence else "",
        ids=Strings([picture.id for picture in pictures]),
        images=FileImages(root, paths, settings.max_pixels),
        columns={},
        objects=Objects.of(records),
        split=np.array([picture.split for picture in pictures], np.uint8),
        classes=tuple(shown(name) for name in plan.names),
        notes=tuple(plan.notes),
        bad=tuple(bad),
        remarks=tuple(remarks),
        original=Original(sizes, whole={"train": json.dumps(plan.more)} if plan.more else {}),
    )


def write(dataset: Dataset, folder: Path) -> None:
    """Write labels/ and data.yaml.

    A file holds outlines where an object of its picture has one.  Of an outline in several parts the largest is
    written, of an object without one, among others that have one, the four corners of its box.

    Raises:
        DataError: DATA-236 two pictures would have one file of labels, DATA-237 there are no boxes to write.
    """
    if dataset.objects is None:
        raise DataError("DATA-237", f"{dataset.name}: there are no boxes or outlines that YOLO could hold")
    ids, splits = list(dataset.ids), [SPLITS[split] for split in dataset.split.tolist()]
    pictures = [place(split, id) for split, id in zip(splits, ids, strict=True)]
    labels = [_mirrored(picture) for picture in pictures]
    refuse_shared_stems(ids, labels, "{}")
    stated = dataset.original.sizes if dataset.original is not None else np.zeros((len(ids), 2), np.int64)
    own = own_sizes(folder, pictures, 1 << 40)
    sizes = np.where(own > 0, own, stated)
    more = _object(dataset.original.whole.get("train", "")) if dataset.original is not None else {}
    for i, file in enumerate(labels):
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        height, width = sizes[i].tolist()
        known = height and width
        lines = _lines(dataset.objects[i], (height, width), "kpt_shape" in more) if known else []
        write_text(target, "".join(f"{line}\n" for line in lines))
    description: dict[str, Any] = {name: f"images/{name}" for name in SPLITS if name in splits or name == "train"}
    (folder / "images/train").mkdir(parents=True, exist_ok=True)
    description["names"] = dict(enumerate(dataset.classes))
    description |= {key: _typed(value) for key, value in more.items() if key not in _OURS and _is_text(value)}
    write_text(folder / "data.yaml", yaml.safe_dump(description, sort_keys=False, allow_unicode=True, width=10_000))


def place(split: str, id: str) -> str:
    """Return where a picture belongs."""
    return f"images/{split}/{id}"


@dataclass(frozen=True)
class _Picture:
    """One picture: its path below the root, its id, and its split."""

    path: str
    id: str
    split: int


@dataclass
class _Plan:
    """What is to be read.

    Attributes:
        root: of all paths.
        names: of the classes; None where nothing names them.
        more: what else data.yaml says.
        keypoints: numbers behind each box.
    """

    root: Path
    names: tuple[str, ...] | None = None
    pictures: list[_Picture] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    more: dict[str, Tree] = field(default_factory=dict)
    keypoints: int = 0
    notes: list[str] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


def _plan(path: Path) -> _Plan:
    """Return what data.yaml asks for, or what the names of folders tell."""
    file = path if path.is_file() else _description(path) if path.is_dir() else None
    if file is not None:
        return _described(file)
    places = _layout(path) if path.is_dir() else []
    if not places:
        raise DataError("DATA-002", f"{shown(path)}: there is no data.yaml, and no folder of labels beside pictures",
                        fix="name the folder that holds images/ and labels/")  # fmt: skip
    plan = _Plan(path)
    named = find_list([path, path / "labels", *(path / _label_folder(path, folder) for _, folder in places)], _LISTS)
    plan.names = read_list(named) if named is not None else None
    for split, folder in places:
        _add(plan, split, _below(path, folder), shown(folder) or "the top folder")
    return plan


def _description(path: Path) -> Path | None:
    """Return the file that describes the data in a folder: data.yaml before others."""
    files = [name for name in files_of(path) if name.lower().endswith((".yaml", ".yml"))]
    files.sort(key=lambda name: (not _is_usual(name), name))
    told = next((path / name for name in files[:20] if _tells(path / name)), None)
    if told is None and files and _is_usual(files[0]) and _layout(path):
        return path / files[0]  # its fault is told, rather than the data read without it
    return told


def _is_usual(name: str) -> bool:
    return name.lower() in {"data.yaml", "data.yml", "dataset.yaml"}


def _tells(file: Path) -> bool:
    """Tell whether a YAML file has two of the keys that describe YOLO data, without parsing it."""
    if file.suffix.lower() not in {".yaml", ".yml"}:
        return False
    try:
        with open_regular(file) as opened:
            start = opened.read(1 << 16)
    except DataError:
        return False
    keys = set(_TELLING.findall(start))
    return len(keys) > 1 and bool(keys & {b"names", b"nc"})


def _described(file: Path) -> _Plan:
    """Return what a data.yaml asks for."""
    root, subject = file.parent, shown(file)
    tree = read_yaml(file, subject)
    if not isinstance(tree, dict):
        raise _undescribed(subject, "it is no mapping of train, val and names")
    plan = _Plan(root, _names(tree, subject), more={key: value for key, value in tree.items() if key not in _OURS})
    plan.keypoints = _keypoints(tree.get("kpt_shape"), subject)
    if "download" in tree:
        why = "download: is not followed; nothing that a file says is fetched or executed"
        plan.remarks.append(Remark(file.name, "warned", "DATA-255", why, "download"))
    base = _base(plan, file, tree.get("path", ""))
    places: dict[str, list[str]] = {}
    for key, name in _KEYS.items():
        if key not in tree:
            continue
        if name in places:
            raise _undescribed(subject, f"{key}: names a split that is there already", key)
        places[name] = [text for text in _texts(tree[key], key, subject) if text]
    if not places.get("train"):
        raise _undescribed(subject, "it names no train", fix="add a line: train: images/train")
    same = [name for name in places if name != "train" and places[name] == places["train"]]
    for name in same:
        why = f"{name} is the same as train: a score on it flatters"
        plan.remarks.append(Remark(file.name, "warned", "DATA-256", why, name))
    for name, texts in places.items():
        for text in texts:
            found = _place(plan, file, base, name, text)
            if found is not None:
                _add(plan, SPLITS.index(name), found, f"{name}: {shown(text)}")
    return plan


def _names(tree: Mapping[str, Tree], subject: str) -> tuple[str, ...]:
    """Return the names of the classes, from a list or a mapping of numbers."""
    held = tree.get("names", "")
    nc = tree.get("nc")
    if nc is not None and not (isinstance(nc, str) and _CLASS.fullmatch(nc)):
        raise _undescribed(subject, "nc is not a number", "nc")
    if isinstance(held, dict):
        numbers = [int(key) if _CLASS.fullmatch(key) and key.isdigit() else -1 for key in held]
        if sorted(numbers) != list(range(len(numbers))):
            gap = min(set(range(len(numbers))) - set(numbers), default=0)
            raise _undescribed(subject, f"names has no class {gap}; its keys must be 0, 1, 2, ...", "names")
        held = [value for _, value in sorted(zip(numbers, held.values(), strict=True), key=lambda item: item[0])]
    if not held or isinstance(held, str):
        raise _undescribed(subject, "it names no classes", "names", fix="add a line: names: {0: cat, 1: dog}")
    names = _texts(held, "names", subject)
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if not name or first.setdefault(name, i) != i:
            what = f"the class {shown(name)!r} is there twice" if name else f"class {i} has no name"
            raise _undescribed(subject, what, "names")
    if nc is not None and int(float(str(nc))) != len(names):
        raise _undescribed(subject, f"nc is {nc}, but names has {len(names):,} classes", "nc")
    return tuple(names)


def _keypoints(shape: Tree | None, subject: str) -> int:
    """Return how many numbers stand behind each box."""
    if shape is None:
        return 0
    sides = shape if isinstance(shape, list) else []
    numbers = [int(side) for side in sides if isinstance(side, str) and side.isascii() and side.isdigit()]
    if len(numbers) != 2 or len(sides) != 2 or not 0 < math.prod(numbers) < 10_000:
        raise _undescribed(subject, "kpt_shape is not two numbers, as in [17, 3]", "kpt_shape")
    return math.prod(numbers)


def _texts(value: Tree, key: str, subject: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _undescribed(subject, f"{key} is not a text, or a list of texts", key)
    return [text for text in texts if isinstance(text, str)]


def _undescribed(subject: str, what: str, where: str = "", fix: str = "") -> DataError:
    return DataError("DATA-250", f"{subject}: {what}", where=where, fix=fix)


def _base(plan: _Plan, file: Path, text: Tree) -> Path:
    """Return the folder that ``path:`` names, or that of data.yaml where it leads out or is not there."""
    if not isinstance(text, str) or "\0" in text:
        raise _undescribed(shown(file), "path is not a path", "path")
    home = Path(os.path.realpath(plan.root))
    target = Path(os.path.realpath(plan.root / text))
    if target.is_relative_to(home) and _exists(target) and target.is_dir():
        return plan.root / target.relative_to(home)
    what = "is not there" if target.is_relative_to(home) else "leads out of the data's folder"
    why = f"path: {shown(text)} {what}; the folder of {shown(file.name)} is used"
    plan.remarks.append(Remark(file.name, "warned", "DATA-257", why, "path"))
    return plan.root


def _place(plan: _Plan, file: Path, base: Path, key: str, text: str) -> list[tuple[str, str]] | None:
    """Return (path, id) of the pictures of a folder or a list that data.yaml names; None for a test part not there."""
    where = f"{shown(file)}, {key}"
    inner, outward = _UPWARD.sub("", text), bool(fault_of(text))
    if fault_of(inner):
        inside(plan.root, text, where=where)  # raises
    found = next((folder / inner for folder in (base, plan.root) if _exists(folder / inner)), None)
    if found is None:
        if key == "test":
            why = f"test: {shown(text)} is not there"
            plan.remarks.append(Remark(file.name, "warned", "DATA-258", why, "test"))
            return None
        if outward:
            inside(plan.root, text, where=where)  # raises
        raise DataError("DATA-251", f"{shown(file)}: {key}: {shown(text)} is not there", looked=shown(base / inner),
                        fix="write it relative to data.yaml")  # fmt: skip
    relative = found.relative_to(plan.root).as_posix()
    if relative != ".":
        inside(plan.root, relative, where=where)
    if outward:
        why = f"{key}: {shown(text)} leads out of the data's folder; read as {shown(relative)}"
        plan.remarks.append(Remark(file.name, "warned", "DATA-257", why, key))
    if found.is_dir():
        return _below(plan.root, "" if relative == "." else relative)
    if found.suffix.lower() == ".txt":
        return _from_list(plan, found, base)
    raise DataError("DATA-251", f"{shown(file)}: {key}: {shown(text)} is neither a folder nor a .txt list")


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError:  # also where a name is too long for any file
        return False
    return True


def _below(root: Path, folder: str) -> list[tuple[str, str]]:
    """Return (path, id) of the pictures below a folder; an id does not tell the folder ``images`` of a split."""
    names = list_pictures(root / folder).pictures
    bare = "images" not in folder.split("/") and all(name.startswith("images/") for name in names)
    return [(f"{folder}/{name}" if folder else name, name.removeprefix("images/") if bare else name) for name in names]


def _from_list(plan: _Plan, file: Path, base: Path) -> list[tuple[str, str]]:
    """Return (path, id) of the pictures of a list; what is missing goes to ``bad``.

    Lists are relative to their own folder, to that of the data, or, as Darknet writes them, to the one above.
    """
    name = file.relative_to(plan.root).as_posix()
    lines = [(number, re.sub(r"^(\./)+", "", line.strip())) for number, line in lines_of(file)]
    for number, line in lines:
        if fault_of(line):
            inside(plan.root, line, where=f"{shown(plan.root / name)}, line {number}")  # raises
    homes = [folder.relative_to(plan.root).as_posix() for folder in (file.parent, base, plan.root)]
    ways = [(home, cut) for cut in (0, 1) for home in dict.fromkeys(homes)]

    def path_of(line: str, way: tuple[str, int]) -> str:
        parts = line.split("/")[way[1] :]
        return "/".join(parts if way[0] == "." else [way[0], *parts])

    def is_there(way: tuple[str, int]) -> bool:
        path = path_of(lines[0][1], way)
        return bool(path) and not missing(plan.root, [path])

    way = next(filter(is_there, ways), ways[0]) if lines else ways[0]
    paths = [path_of(line, way) for _, line in lines]
    gone = set(missing(plan.root, paths))
    plan.bad += [(paths[i], f"{name}, line {lines[i][0]}: there is no such file") for i in sorted(gone)]
    return [(path, _listed_id(path)) for i, path in enumerate(paths) if i not in gone]


def _listed_id(path: str) -> str:
    """Return what follows ``images/`` and a split in a path."""
    parts = path.split("/")
    folders = parts[:-1]
    if "images" in folders:
        parts = parts[len(folders) - folders[::-1].index("images") :]
    return "/".join(parts[1:] if len(parts) > 1 and _split_of(parts[0]) is not None else parts)


def _add(plan: _Plan, split: int, found: Sequence[tuple[str, str]], where: str) -> None:
    """Add pictures to a split, each once, under ids that are unique in it."""
    known = {picture.path for picture in plan.pictures if picture.split == split}
    taken = {picture.id for picture in plan.pictures if picture.split == split}
    again = [path for path, _ in found if path in known]
    if again or len({path for path, _ in found}) < len(found):
        plan.notes.append(f"{where} names pictures a second time; each is read once")
    fresh = {path: id for path, id in found if path not in known}
    whole = len(taken | set(fresh.values())) < len(taken) + len(fresh)
    plan.pictures += [_Picture(path, path if whole else id, split) for path, id in fresh.items()]


def _layout(root: Path) -> list[tuple[int, str]]:
    """Return split and folder of the pictures, where files of labels lie as YOLO wants them."""
    inner = {name.lower(): name for name in folders_of(root)}
    parts = {name: split for name in inner.values() if (split := _split_of(name)) is not None}
    if {"images", "labels"} <= set(inner.values()):
        below = {name: split for name in folders_of(root / "images") if (split := _split_of(name)) is not None}
        places = [(split, f"images/{name}") for name, split in below.items()] or [(TRAIN, "images")]
    elif any({"images", "labels"} <= set(folders_of(root / name)) for name in parts):
        places = [(split, f"{name}/images") for name, split in parts.items()]
    else:
        places = [(split, name) for name, split in parts.items()]
        places = places if any(_has_labels(root, folder) for _, folder in places) else [(TRAIN, "")]
    places = sorted(place for place in places if (root / place[1]).is_dir())
    return places if any(_has_labels(root, folder) for _, folder in places) else []


def _has_labels(root: Path, folder: str) -> bool:
    """Tell whether a folder of pictures has labels: any text in its ``labels``, or one beside them that looks so."""
    mirrored = _label_folder(root, folder)
    if mirrored != folder:
        inner = [root / mirrored, *(root / mirrored / name for name in folders_of(root / mirrored))]
        return any(name.lower().endswith(".txt") for below in inner for name in files_of(below))
    names = files_of(root / folder)
    pictured = {_stem(name) for name in names if is_named_picture(name)}
    first = next((name for name in names if name.lower().endswith(".txt") and name[:-4] in pictured), "")
    try:
        with open_regular(root / folder / first) as file:
            return bool(_LINE.match(file.read(4096)))
    except DataError:
        return False  # none, or one that cannot be opened


def _split_of(name: str) -> int | None:
    """Return the split that a folder's name says: ``train``, ``val2017``."""
    word = _SPLIT.fullmatch(name.lower())
    return SPLIT_WORDS.get(word[1]) if word else None


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _mirrored(picture: str) -> str:
    """Return where the labels of a picture are looked for: the last folder ``images`` becomes ``labels``."""
    parts = f"{_stem(picture)}.txt".split("/")
    at = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=-1)
    if at >= 0:
        parts[at] = "labels"
    return "/".join(parts)


def _label_folder(root: Path, folder: str) -> str:
    """Return where the labels of a folder of pictures are: the mirrored folder, or itself where there is none."""
    mirrored = _mirrored(f"{folder}/x").rpartition("/")[0] if folder else ""
    return mirrored if (root / mirrored).is_dir() else folder


def _label_files(root: Path, pictures: Iterable[str]) -> list[str]:
    """Return the file of each picture's labels, whether it is there or not."""
    folders: dict[str, str] = {}
    files = []
    for picture in pictures:
        folder, _, name = picture.rpartition("/")
        if folder not in folders:
            folders[folder] = _label_folder(root, folder)
        files.append(f"{folders[folder]}/{_stem(name)}.txt" if folders[folder] else f"{_stem(name)}.txt")
    return files


def _check_labelled(plan: _Plan, absent: set[int]) -> None:
    """Refuse training pictures that are all without labels: the labels are somewhere else."""
    trained = [i for i, picture in enumerate(plan.pictures) if picture.split == TRAIN]
    if trained and all(i in absent for i in trained):
        first = plan.pictures[trained[0]].path
        raise DataError(
            "DATA-254", f"{shown(plan.root)}: none of the {len(trained):,} training pictures has labels",
            looked=f"{shown(_mirrored(first))} for {shown(first)}", fix="put the labels there",
        )  # fmt: skip
    for split in range(VAL, len(SPLITS)):
        held = [i for i, picture in enumerate(plan.pictures) if picture.split == split]
        if held and all(i in absent for i in held):
            plan.notes.append(f"none of the {len(held):,} pictures of {SPLITS[split]} has labels")


def _orphans(root: Path, labels: Sequence[str]) -> Iterator[Remark]:
    """Yield a remark for each file of labels, in the folders where they are, whose picture is not there."""
    expected = set(labels)
    for folder in sorted({label.rpartition("/")[0] for label in labels}):
        for name in files_of(root / folder) if (root / folder).is_dir() else []:
            label = f"{folder}/{name}" if folder else name
            if label in expected or not name.lower().endswith(".txt") or not _is_labels(root, label):
                continue
            yield Remark(label, "skipped", "DATA-259", "there is no picture for these labels")


def _is_labels(root: Path, label: str) -> bool:
    """Tell whether a text file is one of labels by its first line; in a folder ``labels`` every one but a list is."""
    if label.rpartition("/")[2].lower() in _LISTS:
        return False
    if "labels" in label.split("/")[:-1]:
        return True
    with open_regular(root / label) as file:
        return bool(_LINE.match(file.read(4096)))


def _read_labels(root: Path, file: str, size: tuple[int, int], classes: int | None, plan: _Plan) -> list[Mark]:
    """Return the objects of one picture."""
    height, width = size
    marks: list[Mark] = []
    seen: set[tuple[str, ...]] = set()
    outlined: bool | None = None

    def remark(status: str, code: str, why: str, number: int) -> None:
        plan.remarks.append(Remark(file, status, code, why, f"line {number}"))

    for number, line in enumerate(_text(root / file).split("\n"), 1):
        words = tuple(line.split())
        if not words:
            continue
        label, values = _numbers(root / file, number, line, words, plan.keypoints)
        if classes is not None and label >= classes:
            raise DataError(
                "DATA-253", f"{shown(root / file)}: line {number}: class {label} has no name", where=shown(line[:80]),
                looked=f"{classes:,} names, 0 to {classes - 1}", fix="name it, or remove the line",
            )  # fmt: skip
        if outlined is not None and outlined != (len(values) > 4):
            raise _fault(root / file, number, line, "boxes and outlines stand in one file", "write all of them alike")
        outlined = len(values) > 4
        if words in seen:
            remark("warned", "DATA-260", "the line is there twice", number)
        seen.add(words)
        if not height or not width:
            remark("skipped", "DATA-261", "the picture cannot be read, so the labels have no size", number)
            continue
        polygons: list[Polygon] = []
        if outlined:
            xy = np.array(values).reshape(-1, 2) * (width, height)
            low, high = xy.min(0).tolist(), xy.max(0).tolist()
            stated = (low[0], low[1], high[0], high[1])
            polygons = [np.round(xy.clip(0, (width, height)), 6)]
        else:
            x, y, w, h = values
            stated = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        box, status, why = on_picture(stated, size, _ROUNDING)
        if status:
            remark(status, "DATA-262" if box is None else "DATA-263", why, number)
        if box is not None:
            more = json.dumps({"keypoints": " ".join(words[5:])}) if not outlined and words[5:] else ""
            marks.append(Mark(box, label, polygons=polygons, more=more))
    return marks


def _text(path: Path) -> str:
    data = read_regular(path, _MOST_BYTES)
    what = f"has more than {_MOST_BYTES:,} bytes" if len(data) > _MOST_BYTES else "holds bytes that are no text"
    if len(data) <= _MOST_BYTES and b"\0" not in data:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            pass
    raise DataError("DATA-252", f"{shown(path)}: this file of labels {what}", fix="write it again, or remove it")


def _numbers(path: Path, number: int, line: str, words: Sequence[str], keypoints: int) -> tuple[int, list[float]]:
    """Return the class and the numbers of a line: four of a box, or more of an outline."""
    if "," in line:
        raise _fault(path, number, line, "numbers stand between commas", "write blanks between them")
    label = _CLASS.fullmatch(words[0])
    if label is None:
        raise _fault(path, number, line, f"the class {shown(words[0][:40])!r} is not a number 0, 1, 2, ...")
    values = []
    for word in words[1:]:
        if not MEASURED.fullmatch(word) or not math.isfinite(float(word)):
            raise _fault(path, number, line, f"{shown(word[:40])!r} is not a number")
        values.append(float(word))
    count = len(values)
    if keypoints:
        if count != 4 + keypoints:
            raise _fault(path, number, line, f"it has {count} numbers; a box and its key points have {4 + keypoints}")
        values = values[:4]
    elif count < 4:
        raise _fault(path, number, line, f"it has {count} numbers behind the class; a box has 4")
    elif count == 5:
        raise _fault(path, number, line, "it has 5 numbers behind the class: a score of predictions is no label",
                     "remove the last column")  # fmt: skip
    elif count % 2:
        raise _fault(path, number, line, f"an outline has pairs of numbers; here are {count}")
    beyond = next((value for value in values if not -_BEYOND <= value <= 1 + _BEYOND), None)
    if beyond is not None:
        raise _fault(path, number, line, f"{beyond:g} is no fraction of the picture",
                     "divide x by its width and y by its height")  # fmt: skip
    return int(label[1]), values


def _fault(path: Path, number: int, line: str, what: str, fix: str = "") -> DataError:
    fix = fix or "a line of a box is CLASS X Y WIDTH HEIGHT, fractions of the picture: mend it, or remove it"
    return DataError("DATA-252", f"{shown(path)}: line {number}: {what}", where=shown(line.strip()[:80]), fix=fix)


def _lines(marks: Sequence[Mark], size: tuple[int, int], keypoints: bool) -> Iterator[str]:
    """Yield a line for each object that has a class."""
    outlined = any(mark.polygons for mark in marks)
    for mark in marks:
        if mark.label < 0:
            continue  # YOLO has no object without a class
        values = _fractions(_outline(mark) if outlined else _middle(mark.box), size)
        said = _object(mark.more).get("keypoints", "") if keypoints and not outlined else ""
        yield " ".join([str(mark.label), *map(repr, values), *([said] if said and isinstance(said, str) else [])])


def _outline(mark: Mark) -> NDArray[np.float64]:
    """Return (P, 2) corners of an object: of its largest part, or of its box."""
    if mark.polygons:
        return max(mark.polygons, key=_area)
    x0, y0, x1, y1 = mark.box
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _area(polygon: Polygon) -> float:
    """Return the area within a polygon, by the shoelace formula."""
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _middle(box: Box) -> NDArray[np.float64]:
    """Return (2, 2): the middle of a box, and its extent."""
    x0, y0, x1, y1 = box
    return np.array([((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0, y1 - y0)])


def _fractions(xy: NDArray[np.float64], size: tuple[int, int]) -> list[float]:
    """Return pixels as fractions of a picture; what lies beyond its edge is moved to it."""
    values: list[float] = (xy / (size[1], size[0])).clip(0, 1).ravel().tolist()
    return values


def _is_text(value: object) -> bool:
    """Tell whether a value holds nothing but texts, which alone come back from YAML as they were."""
    if isinstance(value, dict):
        return all(map(_is_text, value.values()))
    return all(map(_is_text, value)) if isinstance(value, list) else isinstance(value, str)


def _typed(value: Any) -> Any:
    """Return texts as the numbers and truths that they are written like, so that others read them as such."""
    if isinstance(value, dict):
        return {key: _typed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_typed(part) for part in value]
    if value in {"true", "false"}:
        return value == "true"
    for pattern, kind in ((_INTEGER, int), (_DECIMAL, float)):
        if pattern.fullmatch(value) and str(kind(value)) == value:
            return kind(value)
    return value


def _object(text: str) -> dict[str, Any]:
    values = json.loads(text) if text else {}
    return values if isinstance(values, dict) else {}


FORMAT = Format("YOLO labels", sniff, read, write=write, place=place)
