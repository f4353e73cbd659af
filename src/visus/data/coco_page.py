"""One COCO file as columns: every record is looked at once and kept in flat arrays, or refused with its place."""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visus.core import run_lengths
from visus.core.errors import DataError
from visus.data.fitting import Remarks
from visus.data.json_door import members
from visus.data.paths import fault_of, inside, shown

LISTS = ("images", "annotations", "categories")
"""What a COCO file holds, beside what it says of all of it."""

_EXPECTED = "COCO's is an object with the lists images, annotations and categories"
_EMPTY = {"info", "licenses"}  # many programs write these without a content
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_MOST = (1 << 63) - 1
_LARGEST_SIDE = (1 << 31) - 1
_LONGEST_NAME = 255  # bytes of one step of a path, on every usual file system
_NUMBERS = frozenset((int, float))
_ABSENT = object()

encode = json.JSONEncoder(allow_nan=False).encode


class Page:
    """One COCO file: its images, its annotations in flat arrays, its categories.

    Attributes:
        names, image_ids, heights, widths, image_more: of its N pictures; ``entries``: where each is listed.
        listed, record_of: the number of every entry of its list of images, and which of the N pictures it is: one
            that is listed twice is one picture.
        ids, image_of, category_of, area, crowd, masks, annotation_more: of its M annotations.
        boxes: 4 M numbers x, y, width, height; zeros for those in ``boxless``.
        parts: of each annotation, how many polygons; ``corners``: of each polygon, how many; ``xy``: all of these.
        mask_sizes: height and width of the mask of each annotation; zeros where it has none.
        left_out: annotations that cannot be used.
        categories: number -> name and what else is said of it.
        more: what else the file says.
    """

    def __init__(self, path: Path, name: str, split: int, max_pixels: int, remarks: Remarks) -> None:
        self.path, self.name, self.split, self.remarks = path, name, split, remarks
        self.file, self.max_pixels = shown(path), max_pixels
        self.names: list[str] = []
        self.image_more: list[str] = []
        self.image_ids, self.heights, self.widths, self.entries = array("q"), array("q"), array("q"), array("q")
        self.listed, self.record_of = array("q"), array("q")
        self.ids, self.image_of, self.category_of = array("q"), array("q"), array("q")
        self.boxes, self.area, self.crowd = array("d"), array("d"), array("b")
        self.parts, self.corners, self.xy = array("q"), array("q"), array("d")
        self.masks: list[str] = []
        self.mask_sizes = array("q")
        self.annotation_more: list[str] = []
        self.boxless: list[int] = []
        self.left_out: list[int] = []
        self.categories: dict[int, tuple[str, str]] = {}
        self.more = ""
        self._first: dict[str, int] = {}
        self._read()

    def sizes(self) -> NDArray[np.int64]:
        """Return (N, 2) heights and widths as stated; zeros where either is not."""
        sizes = np.stack([np.array(self.heights, np.int64), np.array(self.widths, np.int64)], 1)
        sizes[(sizes == 0).any(1)] = 0
        return sizes

    def records(self) -> NDArray[np.int64]:
        """Return (M,) which of the file's pictures each annotation is of.

        Raises:
            DataError: DATA-207 two images or two annotations of one number, DATA-208 an image that is not listed.
        """
        listed, ids = np.array(self.listed, np.int64), np.array(self.ids, np.int64)
        self._check_once(listed, "images")
        self._check_once(ids, "annotations", allowed=-1)
        at = positions(listed, np.array(self.image_of, np.int64))
        if len(lost := np.flatnonzero(at < 0)):
            what = f"annotations[{lost[0]}].image_id: {self.image_of[lost[0]]} is no image of this file"
            raise self._unlisted(what, len(lost), "images")
        return np.array(self.record_of, np.int64)[at]

    def labels(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Return (M,) the place of each annotation's category among all ``numbers``.

        Raises:
            DataError: DATA-208, a category that is not listed.
        """
        wanted = np.array(self.category_of, np.int64)
        own = positions(np.array(list(self.categories), np.int64), wanted)
        if len(lost := np.flatnonzero(own < 0)):
            what = f"annotations[{lost[0]}].category_id: {wanted[lost[0]]} is no category of this file"
            raise self._unlisted(what, len(lost), "categories")
        return positions(np.array(numbers, np.int64), wanted)

    def _unlisted(self, what: str, count: int, where: str) -> DataError:
        more = f"and {count - 1:,} more of its {len(self.ids):,} annotations" * (count > 1)
        return DataError("DATA-208", f"{self.file}: {what}", where=more,
                         fix=f"list it under {where}, or remove its annotations")  # fmt: skip

    def _read(self) -> None:
        rest: dict[str, Any] = {}
        take = {"images": self._image, "annotations": self._annotation, "categories": self._category}
        seen = set()
        for key, value in members(self.path, LISTS, expected=_EXPECTED):
            if key not in take:
                rest[key] = value
                continue
            seen.add(key)
            if not isinstance(value, Iterator):
                raise DataError("DATA-204", f"{self.file}: {key}: {told(value)} is no list", fix=_EXPECTED)
            record = take[key]
            for i, one in enumerate(value):
                if type(one) is not dict:
                    raise DataError("DATA-206", f"{self.file}: {key}[{i}]: {told(one)} is no object")
                try:
                    record(i, one)
                except OverflowError:
                    what = f"{key}[{i}]: a number is larger than any picture"
                    raise DataError("DATA-206", f"{self.file}: {what}") from None
        if absent := [key for key in LISTS if key not in seen]:
            raise DataError("DATA-204", f"{self.file}: there is no list {absent[0]}", fix=_EXPECTED)
        self.more = self._kept({key: value for key, value in rest.items() if value or key not in _EMPTY}, "the file")

    def _image(self, i: int, record: dict[str, Any]) -> None:
        take = record.pop
        number = self._whole(take("id", None), "images", i, "id")
        name = self._file_name(take("file_name", None), i)
        height, width = (self._side(take(side, None), i, side) for side in ("height", "width"))
        first = self._first.setdefault(name, len(self.names))
        self.listed.append(number)
        self.record_of.append(first)
        if first < len(self.names):
            why = f"{shown(name)} is listed twice; all its annotations are read as those of one picture"
            self.remarks.add(self.name, "warned", "DATA-216", why, f"images[{i}].file_name", name)
            return
        self.names.append(name)
        self.entries.append(i)
        self.image_ids.append(number)
        self.heights.append(height)
        self.widths.append(width)
        self.image_more.append(self._kept(record, f"images[{i}]"))

    def _file_name(self, name: Any, i: int) -> str:
        place = f"images[{i}].file_name"
        if type(name) is not str:
            raise DataError("DATA-209", f"{self.file}: {place}: {told(name)} is no text")
        if "\\" in name and not fault_of(name):
            self.remarks.add(self.name, "warned", "DATA-217", f"{shown(name)}: \\ is read as /", place)
            name = name.replace("\\", "/")
        if fault_of(name):
            inside(self.path.parent, name, where=f"{self.file}: {place}")  # raises
        try:
            longest = max(len(step) for step in name.encode("utf-8", "surrogateescape").split(b"/"))
        except UnicodeEncodeError:
            raise DataError("DATA-209", f"{self.file}: {place}: it holds half a character") from None
        if longest > _LONGEST_NAME:
            raise DataError("DATA-209", f"{self.file}: {place}: {longest:,} bytes are longer than any file's name")
        return str(name)

    def _side(self, value: Any, i: int, key: str) -> int:
        if value is None:
            return 0
        side = self._whole(value, "images", i, key)
        if side > _LARGEST_SIDE:
            raise DataError("DATA-206", f"{self.file}: images[{i}].{key}: {side:,} is more than any picture has")
        if side < 1:
            self.remarks.add(
                self.name, "warned", "DATA-218", f"a {key} of {side} is not believed", f"images[{i}].{key}"
            )
        return max(side, 0)

    def _category(self, i: int, record: dict[str, Any]) -> None:
        number = self._whole(record.pop("id", None), "categories", i, "id")
        name = record.pop("name", None)
        if type(name) is not str or not name or _NO_TEXT.search(name):
            raise DataError("DATA-206", f"{self.file}: categories[{i}].name: {told(name)} names no class")
        if number in self.categories:
            what = f"{self.file}: categories[{i}].id: {number} is there twice"
            raise DataError("DATA-207", what, fix="number them apart")
        self.categories[number] = name, self._kept(record, f"categories[{i}]")

    def _annotation(self, i: int, record: dict[str, Any]) -> None:
        take = record.pop
        number = take("id", None)
        self.ids.append(-1 if number is None else self._whole(number, "annotations", i, "id"))
        self.image_of.append(self._whole(take("image_id", None), "annotations", i, "image_id"))
        self.category_of.append(self._whole(take("category_id", None), "annotations", i, "category_id"))
        box = take("bbox", _ABSENT)
        if box is _ABSENT:
            self.boxless.append(i)
            box = (0, 0, 0, 0)
        elif type(box) is not list or len(box) != 4 or not _NUMBERS.issuperset(map(type, box)):
            raise DataError("DATA-206", f"{self.file}: annotations[{i}].bbox: {told(box)} is not x, y, width, height")
        self.boxes.extend(box)
        area = take("area", None)
        if area is not None and type(area) not in _NUMBERS:
            raise DataError("DATA-206", f"{self.file}: annotations[{i}].area: {told(area)} is no number")
        self.area.append(math.nan if area is None else area)
        crowd = take("iscrowd", 0)
        if type(crowd) not in {int, bool, float} or crowd not in {0, 1}:
            raise DataError("DATA-206", f"{self.file}: annotations[{i}].iscrowd: {told(crowd)} is neither 0 nor 1")
        self.crowd.append(crowd == 1)
        outline = take("segmentation", None)
        self.parts.append(self._polygons(i, outline) if type(outline) is list else 0)
        if type(outline) is dict:
            self._mask(i, outline)
        elif outline is None or type(outline) is list:
            self.masks.append("")
            self.mask_sizes.extend((0, 0))
        else:
            what = f"{told(outline)} is neither polygons nor run lengths"
            raise DataError("DATA-206", f"{self.file}: annotations[{i}].segmentation: {what}")
        if not record:
            self.annotation_more.append("")
            return
        points = record.get("keypoints", [])
        if type(points) is not list or len(points) % 3 or not _NUMBERS.issuperset(map(type, points)):
            what = f"{told(points)} is not x, y, visible for each point"
            raise DataError("DATA-206", f"{self.file}: annotations[{i}].keypoints: {what}")
        self.annotation_more.append(self._kept(record, f"annotations[{i}]"))

    def _polygons(self, i: int, outline: list[Any]) -> int:
        """Add the polygons of an annotation; return how many they are."""
        count = short = 0
        for j, polygon in enumerate(outline):
            if type(polygon) is not list or not _NUMBERS.issuperset(map(type, polygon)):
                raise DataError(
                    "DATA-206", f"{self.file}: annotations[{i}].segmentation[{j}]: {told(polygon)} is not x, y, x, y",
                    fix="write each polygon as a list of its own: [[x, y, x, y, x, y]]",
                )  # fmt: skip
            if len(polygon) % 2:
                self._leave_out(i, j, f"a polygon of {len(polygon)} numbers: the last x has no y")
                return count
            if len(polygon) < 6:
                short += 1
                continue
            self.xy.extend(polygon)
            self.corners.append(len(polygon) // 2)
            count += 1
        if short and not count:
            self._leave_out(i, 0, "the outline has fewer than three corners")
        elif short:
            self.remarks.add(self.name, "warned", "DATA-227", f"{short} of its polygons have fewer than three corners",
                             f"annotations[{i}].segmentation")  # fmt: skip
        return count

    def _leave_out(self, i: int, j: int, why: str) -> None:
        self.left_out.append(i)
        self.remarks.add(self.name, "skipped", "DATA-227", why, f"annotations[{i}].segmentation[{j}]")

    def _mask(self, i: int, held: dict[str, Any]) -> None:
        """Add the mask of an annotation; plain run lengths are checked here, compressed ones all together later."""
        place = f"{self.file}: annotations[{i}].segmentation"
        size, counts = held.get("size"), held.get("counts")
        if type(size) is not list or len(size) != 2 or {*map(type, size)} != {int}:
            raise DataError("DATA-210", f"{place}.size: {told(size)} is not height, width")
        pixels = size[0] * size[1] if min(size) > 0 else 0
        if not 0 < pixels <= self.max_pixels:
            what = f"{told(size)} is not the size of a picture of up to {self.max_pixels:,} pixels"
            raise DataError("DATA-210", f"{place}.size: {what}", fix="--set data.max_pixels=NUMBER")
        self.mask_sizes.extend(size)
        if type(counts) is list and {*map(type, counts)} == {int}:
            if min(counts) < 0:
                raise DataError("DATA-210", f"{place}.counts: a run has a negative length")
            if sum(counts) != pixels:
                what = f"the runs add up to {told(sum(counts))} pixels, the picture has {pixels:,}"
                raise DataError("DATA-210", f"{place}.counts: {what}")
            counts = run_lengths.compress(np.array(counts, np.int64))
        if type(counts) is not str or not counts:
            raise DataError("DATA-210", f"{place}.counts: {told(counts)} is no run lengths")
        self.masks.append(counts)

    def _check_once(self, numbers: NDArray[np.int64], kind: str, allowed: int | None = None) -> None:
        order = np.argsort(numbers, kind="stable")
        same = np.flatnonzero(numbers[order[1:]] == numbers[order[:-1]])
        for k in same[numbers[order[same]] != allowed][:1].tolist() if allowed is not None else same[:1].tolist():
            first, second = int(order[k]), int(order[k + 1])
            raise DataError(
                "DATA-207", f"{self.file}: {kind}[{second}].id: {numbers[first]} is the number of {kind}[{first}] too",
                fix="number them apart: evaluation takes those of one number for one",
            )  # fmt: skip

    def _whole(self, value: Any, kind: str, i: int, key: str) -> int:
        if type(value) is int and -_MOST <= value <= _MOST:
            return value
        place = f"{kind}[{i}].{key}"
        if type(value) is float and value.is_integer() and abs(value) < 1 << 53:
            self.remarks.add(self.name, "warned", "DATA-215", f"{value} is read as {int(value)}", place)
            return int(value)
        what = "is missing" if value is None else f"{told(value)} is no whole number of 64 bits"
        raise DataError("DATA-206", f"{self.file}: {place}: {what}")

    def _kept(self, record: dict[str, Any], place: str) -> str:
        """Return what else is said, as JSON; nothing for nothing."""
        try:
            return encode(record) if record else ""
        except ValueError:
            raise DataError("DATA-202", f"{self.file}: {place}: it holds a number that is not finite") from None
        except RecursionError:
            raise DataError("DATA-200", f"{self.file}: {place}: its brackets are nested without end") from None


def told(value: Any) -> str:
    """Return a value of a stranger's in a few words."""
    if isinstance(value, list):
        inner = ", ".join("[...]" if isinstance(part, list) else told(part) for part in value[:6])
        return f"[{inner}{', ...' * (len(value) > 6)}]"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return repr(shown(value[:40]) + "..." * (len(value) > 40))
    if isinstance(value, int) and abs(value) > _MOST:
        return "a number of more than 64 bits"
    return encode(value) if math.isfinite(value or 0) else "an infinite number"


def positions(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each wanted key stands; -1 where it does not."""
    if not len(keys):
        return np.full(len(wanted), -1)
    order = np.argsort(keys, kind="stable")
    at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    return np.where(keys[at] == wanted, at, -1)
