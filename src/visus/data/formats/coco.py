"""COCO: one JSON file a split, with lists of images, annotations and categories.

=====================  ==============================================================================================
in the file            here
=====================  ==============================================================================================
file_name              the id; a path below the folder of pictures, which is looked for around the JSON file
bbox                   x, y, width, height, as x0, y0, x1, y1; cut at the picture's edge, left out where nothing remains
segmentation           polygons; compressed and plain run lengths, both kept compressed
categories             classes in their order; numbers may begin anywhere and have gaps, and are written as they were
area, iscrowd, id      kept; an area that is not stated is computed only where it is written
everything else        kept as JSON: keypoints, attributes, supercategory, licences, info
=====================  ==============================================================================================

A folder is read by ``annotations/instances_{train,val,test}*.json``, by ``_annotations.coco.json`` in its folders of
splits, as Roboflow exports it, or by the only COCO file in it, such as ``result.json`` of Label Studio.  A file named
itself is read even where its pictures are nowhere, which is enough to convert it or to judge predictions by it.

Source:
    Lin et al., Microsoft COCO, ECCV 2014; https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visus.core import run_lengths
from visus.core.errors import DataError
from visus.core.files import replacing
from visus.data import polygons
from visus.data.coco_page import LISTS, Page, encode
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.fitting import FAR, Remarks, fit_boxes, fit_outlines
from visus.data.formats import Evidence, Format
from visus.data.listed import check_missing, own_sizes
from visus.data.listing import files_of, folders_of
from visus.data.objects import Objects, Original, Outlines
from visus.data.paths import fault_of, missing, open_regular, shown
from visus.data.splitting import SPLIT_WORDS, TRAIN

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings

PEEKED = 2000
"""Pictures whose stated size is compared with the real one; of more, so many evenly among them."""


def sniff(path: Path) -> Evidence | None:
    """Recognise COCO files by their names and their first and last bytes."""
    if path.is_file():
        if path.suffix.lower() != ".json":
            return None
        if _is_coco(path):
            return Evidence(0.97, f"{shown(path.name)} with images, annotations and categories", 1)
        return Evidence(0.1, f"{shown(path.name)}, which does not look like COCO", 1)
    try:
        files, _ = _files(path)
    except DataError as error:
        return Evidence(0.0, error.what)
    if not files:
        return None
    usual = all(file.name.startswith(("instances", "_annotations.coco")) for file, _ in files)
    return Evidence(0.97 if usual else 0.93, ", ".join(_below(path, file) for file, _ in files), len(files))


def read(path: Path, settings: DataSettings) -> Dataset:
    """Return the images of one COCO file, or of those of a folder, in their order, with their annotations.

    A picture that is missing is listed in ``bad``, up to the share ``settings.max_bad``.

    Raises:
        DataError: DATA-200 to 203 no JSON that is read, DATA-204 a list of COCO's is missing, DATA-205 no image is
            listed, DATA-206 a value that is not what its key says, DATA-207 a number that is there twice, DATA-208 an
            image or category that is not listed, DATA-209 a name that no file has, DATA-210 run lengths that are no
            mask, DATA-211 none of a file's pictures is there, DATA-213 categories that contradict each other, DATA-214
            no file, or two for one split, DATA-110 a path that may not be followed.
        BadDataLimit: DATA-112, more pictures are missing than may be.
    """
    alone = path.is_file()
    files, notes = ([(path, _split_of(path) or TRAIN)], list[str]()) if alone else _files(path)
    if not files:
        raise DataError("DATA-214", f"{shown(path)}: it holds no COCO file",
                        fix="name the JSON file itself, or call it annotations/instances_train.json")  # fmt: skip
    root = path if not alone else path.parent.parent if path.parent.name.lower() == _HOLDER else path.parent
    remarks = Remarks()
    pages = [Page(file, _below(root, file), split, settings.max_pixels, remarks) for file, split in files]
    if not any(page.names for page in pages):
        raise DataError("DATA-205", f"{shown(path)}: it lists no image", looked=", ".join(page.name for page in pages))
    numbers, called, told = _classes(pages)
    records = [page.records() for page in pages]
    base, paths, bad = _find_pictures(root, pages, settings, notes, alone)
    sizes = _sizes(pages, records)
    edges = _edges(base, paths, sizes, pages, settings, remarks) if base is not None else sizes
    objects = _objects(pages, records, numbers, edges, remarks)
    classes, said = _distinct(called, told, objects, numbers, pages[0].name, remarks)
    ids = [name for page in pages for name in page.names]
    kept = np.array([i for i, place in enumerate(paths) if place], np.int64)
    more = [text for page in pages for text in page.image_more]
    evidence = sniff(path)
    return Dataset(
        name=shown(path.resolve().name),
        root=root,
        format="coco",
        evidence=evidence.phrase if evidence else "",
        ids=Strings([ids[i] for i in kept]),
        images=FileImages(base or root, Strings([paths[i] for i in kept]), settings.max_pixels),
        columns={},
        split=np.repeat(np.array([page.split for page in pages], np.uint8), [len(page.names) for page in pages])[kept],
        classes=classes,
        objects=objects.take(kept) if len(kept) < len(ids) else objects,
        notes=tuple(notes),
        bad=bad,
        remarks=remarks.all(),
        original=Original(
            sizes=sizes[kept],
            image_ids=np.concatenate([np.array(page.image_ids, np.int64) for page in pages])[kept],
            class_ids=np.array(numbers, np.int64),
            records=Strings([more[i] for i in kept]) if any(more) else None,
            classes=said if any(said) else (),
            whole={SPLITS[page.split]: page.more for page in pages if page.more},
        ),
    )


def write(dataset: Dataset, folder: Path) -> None:
    """Write ``annotations/instances_SPLIT.json`` for each split; the pictures are in ``images/SPLIT`` already.

    Numbers of images, annotations and categories are those they had, or count from 1 where they had none, or where two
    are alike.  An area that is not stated is that of the mask, the polygons or the box.

    Raises:
        DataError: DATA-229, a mask on a picture whose size is neither stated nor to be seen.
    """
    (folder / _HOLDER).mkdir(parents=True, exist_ok=True)
    writer = _Writer(dataset, folder)
    for split in SPLITS:
        if len(dataset.indices(split)):
            with replacing(folder / _HOLDER / f"instances_{split}.json") as file:
                for line in writer.lines(split):
                    file.write(line.encode("ascii"))


_HOLDER = "annotations"
_OTHER_KINDS = ("captions", "stuff", "panoptic", "image_info")
_SPLIT_NAME = re.compile(rf"(?:.*[_-])?({'|'.join(SPLIT_WORDS)})(?![a-z])", re.IGNORECASE)
_COCO_KEY = re.compile(rb'"(images|annotations|categories|file_name|bbox|image_id|category_id|supercategory)"\s*:')
_WINDOW = 1 << 16
_MOST_FOLDERS = 500
_ONE_LIST = "give all files of a data set the same categories"


# Which files there are, and which split each is of.


def _files(path: Path) -> tuple[list[tuple[Path, int]], list[str]]:
    """Return the COCO files of a folder, each with its split, and what is said of those left out."""
    if not path.is_dir():
        return [], []
    for folder in (path / _HOLDER, path):
        names = [name for name in files_of(folder) if name.lower().endswith(".json")] if folder.is_dir() else []
        named = [folder / name for name in names if name.lower().startswith("instances")]
        others = [folder / name for name in names if not name.lower().startswith(_OTHER_KINDS)]
        if found := named or [file for file in others[:50] if _is_coco(file)]:
            left = [name for name in names if folder / name not in found]
            return _by_split(path, found, left)
    found = []
    for name in folders_of(path):
        if name.lower() in SPLIT_WORDS:
            inner = [path / name / file for file in files_of(path / name) if file.lower().endswith(".json")]
            exported = [file for file in inner if file.name.lower() == "_annotations.coco.json"]
            found += exported or [file for file in inner[:50] if _is_coco(file)]
    return _by_split(path, found, [])


def _by_split(path: Path, found: list[Path], left: list[str]) -> tuple[list[tuple[Path, int]], list[str]]:
    split = {file: _split_of(file) for file in found}
    if len(found) == 1:
        split = {found[0]: split[found[0]] or TRAIN}
    files = sorted(((file, part) for file, part in split.items() if part is not None), key=lambda item: item[1])
    for (one, part), (other, again) in pairwise(files):
        if part == again:
            raise DataError(
                "DATA-214", f"{shown(path)}: {shown(one.name)} and {shown(other.name)} are both of {SPLITS[part]}",
                fix=f"name one of them: {shown(one)}",
            )  # fmt: skip
    left = left + [file.name for file, part in split.items() if part is None]
    listed = ", ".join(shown(name) for name in left[:5]) + " ..." * (len(left) > 5)
    return files, [f"left out the files {listed}"] if left and files else []


def _split_of(file: Path) -> int | None:
    """Return the split that a file's name says, or else that of its folder; None where neither does."""
    word = _SPLIT_NAME.match(file.stem)
    return SPLIT_WORDS.get(word[1].lower() if word else file.parent.name.lower())


def _is_coco(file: Path) -> bool:
    """Tell whether the first and last bytes of a file hold COCO's keys."""
    try:
        with open_regular(file) as opened:
            start = opened.read(_WINDOW)
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - _WINDOW))
            end = opened.read(_WINDOW)
    except (DataError, OSError):
        return False  # it is not recognised; where it is named, ``read`` refuses it with the reason
    keys = {match[1] for match in _COCO_KEY.finditer(start)} | {match[1] for match in _COCO_KEY.finditer(end)}
    begins = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"
    return begins and bool(keys & {b"images", b"annotations"}) and len(keys) > 2


def _below(root: Path, file: Path) -> str:
    return shown(file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name)


# Which class each annotation shows, and which picture it is of.


def _classes(pages: Sequence[Page]) -> tuple[list[int], list[str], list[str]]:
    """Return number, name and what else is said of every category of all files, in their order."""
    found: dict[int, tuple[str, str]] = {}
    for page in pages:
        others = {name for name, _ in found.values()}
        for number, (name, more) in page.categories.items():
            if number in found and found[number][0] != name:
                what = f"category {number} is {shown(name)!r}, in another file it is {shown(found[number][0])!r}"
                raise DataError("DATA-213", f"{page.file}: {what}", fix=_ONE_LIST)
            if number not in found and name in others:
                what = f"{shown(name)!r} has the number {number}, in another file it has another one"
                raise DataError("DATA-213", f"{page.file}: {what}", fix=_ONE_LIST)
            found.setdefault(number, (name, more))
    return list(found), [name for name, _ in found.values()], [more for _, more in found.values()]


def _distinct(
    classes: Sequence[str], said: Sequence[str], objects: Objects, numbers: Sequence[int], file: str, remarks: Remarks
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names of classes without repeats, and what else is said of each.

    Of classes of one name the most frequent keeps it, as where an exporter adds an empty class named after the project;
    the others bear their number, and what they were called is kept.
    """
    names, more, taken = list(classes), list(said), set(classes)
    shows = np.bincount(objects.labels, minlength=len(names))
    alike = defaultdict(list)
    for k, name in enumerate(classes):
        alike[name].append(k)
    for name, places in alike.items():
        for k in sorted(places, key=lambda k: (-shows[k], k))[1:]:
            names[k] = f"{name} ({numbers[k]})"
            while names[k] in taken:
                names[k] += "'"
            taken.add(names[k])
            more[k] = encode({**json.loads(more[k] or "{}"), "name": name})
            why = (
                f"{shown(name)} is the name of {len(places)} categories; number {numbers[k]} is {shown(names[k])} here"
            )
            remarks.add(file, "warned", "DATA-219", why, f"categories[{k}].name")
    return tuple(names), tuple(more)


# Where the pictures are, and how large.


def _find_pictures(
    root: Path, pages: Sequence[Page], settings: DataSettings, notes: list[str], alone: bool
) -> tuple[Path | None, list[str], tuple[tuple[str, str], ...]]:
    """Return a folder, the path of every picture below it (empty for a missing one), and those that are missing.

    Where a file was named itself and none of its pictures is anywhere, there is no folder, and paths are names.
    """
    pages = [page for page in pages if page.names]
    above = root.resolve().parent
    base, folders = root, [_folder(root, page) for page in pages]
    if all(folder is None for folder in folders):
        base, folders = above, [_folder(above, page) for page in pages]
    if all(folder is None for folder in folders) and alone:
        notes.append(f"none of the {len(pages[0].names):,} pictures is there: they cannot be looked at")
        return None, list(pages[0].names), ()
    paths, bad = list[str](), list[tuple[str, str]]()
    for page, folder in zip(pages, folders, strict=True):
        if folder is None:
            named = ", ".join(shown(name) for name in page.names[:3]) + " ..." * (len(page.names) > 3)
            raise DataError(
                "DATA-211", f"{shown(page.path)}: none of its {len(page.names):,} pictures is there", where=named,
                looked=f"images/{SPLITS[page.split]}, {SPLITS[page.split]}, images and other folders of {shown(root)}",
                fix=f"put the pictures there; without them only the file itself can be read: {shown(page.path)}",
            )  # fmt: skip
        found, absent = _below_folder(base / folder, page.names)
        bad += [(page.names[i], f"{page.name}, images[{page.entries[i]}]: there is no such file") for i in absent]
        paths += [f"{folder}/{name}" if folder and name else name for name in found]
    check_missing(bad, len(paths), root, settings, "the folder of pictures")
    if base != root:
        notes.append(f"the pictures lie beside the data, in {shown(base / (folders[0] or ''))}")
    return base, paths, tuple(bad)


def _folder(base: Path, page: Page) -> str | None:
    """Return the folder below ``base`` that holds most of a file's pictures, asking for twenty; None for none."""
    probes = [page.names[i] for i in np.linspace(0, len(page.names) - 1, 20).astype(int)]
    best, most = None, 0
    for folder in dict.fromkeys(_candidates(base, page)):
        count = sum(any((base / folder / spelt).is_file() for spelt in _spellings(name)) for name in probes)
        if count > most:
            best, most = folder, count
        if count == len(probes):
            break
    return best


def _candidates(base: Path, page: Page) -> Iterator[str]:
    """Yield folders below ``base`` in which the pictures of a file may be, the likeliest first."""
    if page.path.parent.is_relative_to(base):
        yield "" if page.path.parent == base else page.path.parent.relative_to(base).as_posix()
    named = page.path.stem.partition("_")[2]  # train2017 of instances_train2017
    for word in (named, *(word for word, split in SPLIT_WORDS.items() if split == page.split)):
        if word and not fault_of(word):
            yield from (f"images/{word}", word, f"{word}/images")
    yield from ("images", "")
    count = 0
    for outer in _inner(base):
        for folder in (outer, *(f"{outer}/{inner}" for inner in _inner(base / outer))):
            words = [_SPLIT_NAME.match(step) for step in folder.split("/")]
            if all(word is None or SPLIT_WORDS[word[1].lower()] == page.split for word in words):
                yield folder
            count += 1
            if count > _MOST_FOLDERS:
                return


def _inner(folder: Path) -> list[str]:
    try:
        return folders_of(folder)
    except DataError:
        return []  # nothing can be looked for in a folder that may not be listed


def _below_folder(folder: Path, names: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the names as the files bear them, empty where there is no such file, and the positions of these."""
    found, absent = list(names), missing(folder, names)
    others = [(i, spelt) for i in absent for spelt in _spellings(names[i])[1:]]
    gone = set(missing(folder, [spelt for _, spelt in others]))
    there = {i: spelt for k, (i, spelt) in enumerate(others) if k not in gone}
    for i in absent:
        found[i] = there.get(i, "")
    return found, [i for i in absent if i not in there]


def _spellings(name: str) -> list[str]:
    """Return a name as it is and with its accents joined to their letters, or apart, as file systems may have them."""
    return list(dict.fromkeys([name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]))


def _sizes(pages: Sequence[Page], records: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return (N, 2) heights and widths as stated, by an image or by a mask on it; 0 where they are not."""
    sizes = [page.sizes() for page in pages]
    for size, page, of in zip(sizes, pages, records, strict=True):
        masks = np.array(page.mask_sizes, np.int64).reshape(-1, 2)
        masked = np.flatnonzero(masks.any(1))
        stated = masks[masked]
        open_ = ~size[of[masked]].any(1)
        size[of[masked][open_]] = stated[open_]
        for k in np.flatnonzero((size[of[masked]] != stated).any(1))[:1].tolist():
            (height, width), (rows, columns) = stated[k], size[of[masked[k]]]
            what = f"the mask is {width} x {height}, its picture {columns} x {rows}"
            raise DataError("DATA-210", f"{page.file}: annotations[{masked[k]}].segmentation.size: {what}")
    return np.concatenate(sizes)


def _edges(
    base: Path, paths: Sequence[str], sizes: NDArray[np.int64], pages: Sequence[Page], settings: DataSettings,
    remarks: Remarks,
) -> NDArray[np.int64]:  # fmt: skip
    """Return (N, 2) heights and widths of what labels were drawn on: as stated, or else that of the pictures.

    Looked at are pictures whose size is not stated, and so many others that wrong sizes are found out: there the real
    one is believed, but not where the stated one is that of the picture as it lies, before EXIF turns it.
    """
    edges = sizes.copy()
    begins = [0, *accumulate(len(page.names) for page in pages)]
    some = np.linspace(0, len(paths) - 1, min(len(paths), PEEKED)).astype(int)
    looked = [i for i in np.union1d(np.flatnonzero(~sizes.any(1)), some).tolist() if paths[i]]
    for i, real in zip(looked, own_sizes(base, [paths[i] for i in looked], settings.max_pixels), strict=True):
        if not real.any() or (real == sizes[i]).all():
            continue
        lying = bool((real[::-1] == sizes[i]).all())
        edges[i] = sizes[i] if lying else real
        if sizes[i].any():
            page = pages[bisect_right(begins, i) - 1]
            n = i - begins[pages.index(page)]
            why = f"{shown(page.names[n])} is {real[1]} x {real[0]}, not {sizes[i, 1]} x {sizes[i, 0]}"
            why += ", as if it were not turned upright" * lying
            remarks.add(page.name, "warned", "DATA-218", why, f"images[{page.entries[n]}].width", page.names[n])
    return edges


# All annotations together.


def _objects(
    pages: Sequence[Page], records: Sequence[NDArray[np.int64]], numbers: Sequence[int], edges: NDArray[np.int64],
    remarks: Remarks,
) -> Objects:  # fmt: skip
    """Return the objects of all pictures, cut at their edges; those that cannot be used are left out."""
    firsts = [0, *accumulate(len(page.names) for page in pages)]
    begins = [0, *accumulate(len(page.ids) for page in pages)]
    record = np.concatenate([of + first for of, first in zip(records, firsts, strict=False)])
    boxes = _joined(page.boxes for page in pages).reshape(-1, 4)
    area = _joined(page.area for page in pages)
    outlines = Outlines(
        _bounds([page.parts for page in pages]), _bounds([page.corners for page in pages]),
        _joined(page.xy for page in pages).reshape(-1, 2),
    )  # fmt: skip
    masks = [text for page in pages for text in page.masks]

    def place(m: int) -> tuple[Page, int]:
        at = bisect_right(begins, m) - 1
        return pages[at], m - begins[at]

    def tell(m: int, status: str, code: str, key: str, why: str) -> None:
        page, i = place(m)
        picture = page.names[int(record[m]) - firsts[pages.index(page)]]
        remarks.add(page.name, status, code, f"{shown(picture)}: {why}", f"annotations[{i}].{key}", picture)

    infinite = np.searchsorted(outlines.corners, np.flatnonzero(~np.isfinite(outlines.xy).all(1)), "right") - 1
    for key, wrong in (
        ("bbox", np.flatnonzero(~np.isfinite(boxes).all(1))),
        ("area", np.flatnonzero(np.isinf(area))),
        ("segmentation", np.searchsorted(outlines.parts, infinite, "right") - 1),
    ):
        if len(wrong):
            page, i = place(int(wrong[0]))
            raise DataError("DATA-202", f"{page.file}: annotations[{i}].{key}: a number is not finite")
    masked = np.flatnonzero([bool(text) for text in masks])
    sizes = np.concatenate([np.array(page.mask_sizes, np.int64) for page in pages]).reshape(-1, 2)
    if fault := run_lengths.first_fault([masks[m] for m in masked.tolist()], sizes[masked].prod(1)):
        page, i = place(int(masked[fault[0]]))
        raise DataError("DATA-210", f"{page.file}: annotations[{i}].segmentation.counts: {fault[1]}")
    boxes = np.clip(boxes, -FAR, FAR)
    boxes[:, 2:] = np.round(boxes[:, :2] + boxes[:, 2:], 6)
    boxless = np.array([begin + i for page, begin in zip(pages, begins, strict=False) for i in page.boxless], np.int64)
    outlined = boxless[np.diff(outlines.parts)[boxless] > 0]
    boxes[outlined] = np.clip(polygons.boxes(outlines.take(outlined)), -FAR, FAR)
    for m in np.setdiff1d(boxless, outlined).tolist():
        if not masks[m]:
            page, i = place(m)
            raise DataError("DATA-206", f"{page.file}: annotations[{i}].bbox: is missing, and so is an outline")
        boxes[m] = run_lengths.box(run_lengths.decompress(masks[m]), int(sizes[m, 0]))
    boxes, fits = fit_boxes(boxes, edges[record], tell)
    outlines, lies = fit_outlines(outlines, edges[record], tell)
    keep = fits & lies
    keep[[begin + i for page, begin in zip(pages, begins, strict=False) for i in page.left_out]] = False
    more = [text for page in pages for text in page.annotation_more]
    every = Objects(
        starts=np.array([0, len(record)]),
        boxes=boxes,
        labels=np.concatenate([page.labels(numbers) for page in pages]),
        ids=np.concatenate([np.array(page.ids, np.int64) for page in pages]),
        crowd=np.concatenate([np.array(page.crowd, np.bool_) for page in pages]),
        area=area,
        outlines=outlines if len(outlines.xy) else None,
        masks=Strings(masks) if len(masked) else None,
        more=Strings(more) if any(more) else None,
    )
    order = np.argsort(record, kind="stable")
    counts = np.bincount(record[keep], minlength=firsts[-1])
    return every.arranged(order[keep[order]], np.concatenate([[0], np.cumsum(counts)]))


def _joined(columns: Iterable[array[float]]) -> NDArray[np.float64]:
    """Return the numbers of all files one after the other; those of one file as they lie, without a copy."""
    held = [np.frombuffer(column, np.float64) for column in columns if column]
    return held[0] if len(held) == 1 else np.concatenate([np.zeros(0), *held])


def _bounds(lengths: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), *(np.array(part, np.int64) for part in lengths)]))


# Writing.


class _Writer:
    """Makes COCO's records of a data set whose pictures lie in ``folder`` already."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.original = dataset.original or Original(np.zeros((len(dataset), 2), np.int64))
        numbers = self.original.class_ids
        self.classes = list(range(1, len(dataset.classes) + 1)) if numbers is None else numbers.tolist()
        self.areas = _areas(dataset.objects) if dataset.objects is not None else np.zeros(0)

    def lines(self, split: str) -> Iterator[str]:
        """Yield the JSON of a split, a record a line."""
        records = self.dataset.indices(split)
        stated = self.original.image_ids
        images = _numbered(stated[records] if stated is not None else None, len(records))
        whole = {"info": {}, "licenses": []} | json.loads(self.original.whole.get(split, "") or "{}")
        lists = {"categories": self._categories(), "images": self._images(split, records, images),
                 "annotations": self._annotations(split, records, images)}  # fmt: skip
        between = "{\n"
        for key, value in whole.items():
            if key not in LISTS:
                yield f"{between}{encode(key)}: {encode(value)}"
                between = ",\n"
        for key, entries in lists.items():
            yield f'{between}"{key}": ['
            between = "\n"
            for entry in entries:
                yield between + encode(entry)
                between = ",\n"
            yield "\n]"
            between = ",\n"
        yield "\n}\n"

    def _categories(self) -> Iterator[dict[str, Any]]:
        said = self.original.classes or [""] * len(self.classes)
        for number, name, more in zip(self.classes, self.dataset.classes, said, strict=True):
            yield {"id": number, "name": name, **json.loads(more or "{}")}

    def _images(self, split: str, records: NDArray[np.int64], numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
        said = self.original.records
        for i, number in zip(records.tolist(), numbers, strict=True):
            size = self._size(split, i)
            sides = {"height": size[0], "width": size[1]} if size is not None else {}
            more = json.loads(said[i] or "{}") if said is not None else {}
            yield {**more, "id": number, "file_name": self.dataset.ids[i], **sides}

    def _annotations(self, split: str, records: NDArray[np.int64], images: Sequence[int]) -> Iterator[dict[str, Any]]:
        objects = self.dataset.objects
        if objects is None:
            return
        of = [(i, image, m) for i, image in zip(records.tolist(), images, strict=True)
              for m in range(int(objects.starts[i]), int(objects.starts[i + 1])) if objects.labels[m] >= 0]  # fmt: skip
        stated = objects.ids[[m for _, _, m in of]]
        open_ = stated < 0
        stated[open_] = np.arange(1, open_.sum() + 1) + stated.max(initial=0)
        numbers = _numbered(stated, len(of))
        for (i, image, m), number in zip(of, numbers, strict=True):
            mark = objects.mark(m)
            x0, y0, x1, y1 = mark.box
            outline: Any = [np.ravel(polygon).tolist() for polygon in mark.polygons]
            if mark.mask and not outline:
                outline = {"size": self._size(split, i), "counts": mark.mask}
                if outline["size"] is None:
                    name = shown(self.dataset.ids[i])
                    raise DataError("DATA-229", f"{name}: it has a mask, but its size is neither stated nor to be seen")
            yield {
                **json.loads(mark.more or "{}"),
                "id": number, "image_id": image, "category_id": self.classes[mark.label],
                "bbox": [x0, y0, _side(x0, x1), _side(y0, y1)], "area": float(self.areas[m]),
                "iscrowd": int(mark.crowd), "segmentation": outline,
            }  # fmt: skip

    def _size(self, split: str, i: int) -> tuple[int, int] | None:
        """Return height and width of a picture, as stated or else as its header says; None where there is neither."""
        from visus.data.decode import peek

        height, width = self.original.sizes[i].tolist()
        if height and width:
            return height, width
        try:
            return peek(self.folder / FORMAT.place(split, self.dataset.ids[i]))[:2]
        except DataError:
            return None  # it is not written; a mask, which cannot be without it, is refused


def _side(start: float, end: float) -> float:
    """Return the side of a box, in six decimals where reading them gives the same end."""
    side = round(end - start, 6)
    return side if round(start + side, 6) == end else end - start


def _numbered(stated: NDArray[np.int64] | None, count: int) -> list[int]:
    """Return numbers as stated, or counted from 1 where they are not, or where two are alike."""
    if stated is None or len(np.unique(stated)) < count:
        return list(range(1, count + 1))
    return list(stated.tolist())


def _areas(objects: Objects) -> NDArray[np.float64]:
    """Return (M,) areas as stated; those that are not, of the polygons, the mask, or the box."""
    areas = objects.area.copy()
    open_ = np.flatnonzero(np.isnan(areas))
    if not len(open_):
        return areas
    areas[open_] = (objects.boxes[open_, 2:] - objects.boxes[open_, :2]).prod(1)
    if objects.masks is not None:
        for m in open_.tolist():
            if text := objects.masks[m]:
                areas[m] = run_lengths.area(run_lengths.decompress(text))
    if objects.outlines is not None:
        outlined = open_[np.diff(objects.outlines.parts)[open_] > 0]
        areas[outlined] = polygons.areas(objects.outlines.take(outlined))
    return areas


FORMAT = Format("COCO json", sniff, read, write=write)
