"""Anyone's detections: COCO's results file, one JSON list of boxes or masks with scores, as arrays."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visus.core import run_lengths
from visus.core.errors import DataError
from visus.data.coco_page import positions, told
from visus.data.dataset import Dataset
from visus.data.json_door import elements
from visus.data.paths import shown

_EXPECTED = 'a results file is a list: [{"image_id": 1, "category_id": 1, "bbox": [x, y, width, height], "score": 0.9}]'
_MOST = 1 << 53
_NUMBERS = frozenset((int, float))


@dataclass(frozen=True)
class Results:
    """D detections, in the order of their file.

    Attributes:
        path: of the file.
        images, categories: (D,) the user's own numbers.
        scores: (D,) finite, larger means surer.
        boxes: (D, 4) x0, y0, x1, y1, in pixels of the original picture.
        masks: run lengths of each detection; or None where they are not said of every one.
    """

    path: Path
    images: NDArray[np.int64]
    categories: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    masks: tuple[run_lengths.Counts, ...] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def labels(self, dataset: Dataset) -> NDArray[np.int64]:
        """Return (D,) the class of each detection.

        Raises:
            DataError: DATA-322, a category that the data set does not have, DATA-324, one whose numbers are not known.
        """
        numbers = own_numbers(dataset)[1]
        place = positions(numbers, self.categories)
        for i in np.flatnonzero(place < 0)[:1].tolist():
            known = ", ".join(f"{n} {shown(name)}" for n, name in list(zip(numbers, dataset.classes, strict=True))[:6])
            raise DataError(
                "DATA-322", f"{shown(self.path)}: detections[{i}].category_id: {self.categories[i]} is no class of "
                f"{dataset.name}", where=f"{int((place < 0).sum()):,} of {len(self):,} detections are of such classes",
                looked=known + " ..." * (len(numbers) > 6), fix="write the numbers that categories have in the data",
            )  # fmt: skip
        return place

    def records(self, numbers: NDArray[np.int64], part: str) -> NDArray[np.int64]:
        """Return (D,) the place of each detection's picture among ``numbers``.

        Args:
            numbers: (N,) the user's own numbers of the pictures of a part of the data, each once.
            part: what that part is called, for the message.

        Raises:
            DataError: DATA-321, a picture that is not there.
        """
        place = positions(numbers, self.images)
        for i in np.flatnonzero(place < 0)[:1].tolist():
            raise DataError(
                "DATA-321", f"{shown(self.path)}: detections[{i}].image_id: {self.images[i]} is no picture of {part}",
                where=f"{int((place < 0).sum()):,} of {len(self):,} detections are on such pictures",
                fix="name the data that the detector was asked, and its part with --split",
            )  # fmt: skip
        return place


def read_results(path: Path) -> Results:
    """Return the detections of a COCO results file, which may be none; whatever else it says is passed over.

    Masks are read where all entries have one, run lengths, compressed or not.  An entry without a box has the tight one
    of its mask.

    Raises:
        DataError: DATA-010 no regular file, DATA-200 to 203 no JSON list that is read, DATA-320 an entry that is no
            detection.
    """
    images, categories, scores, boxes = array("q"), array("q"), array("d"), array("d")
    masks: list[run_lengths.Counts | None] = []
    for i, entry in enumerate(elements(path, "detections", expected=_EXPECTED)):
        if type(entry) is not dict:
            raise _refused(path, i, "", f"{told(entry)} is no object")
        images.append(_number(path, i, entry, "image_id"))
        categories.append(_number(path, i, entry, "category_id"))
        scores.append(_score(path, i, entry.get("score")))
        masks.append(mask := _mask(path, i, entry.get("segmentation")))
        if mask is not None and entry.get("bbox") is None:
            x0, y0, x1, y1 = run_lengths.box(mask, entry["segmentation"]["size"][0])
            boxes.extend((x0, y0, x1 - x0, y1 - y0))
        else:
            boxes.extend(_box(path, i, entry.get("bbox")))
    box = np.frombuffer(boxes, np.float64).reshape(-1, 4).copy()
    box[:, 2:] += box[:, :2]
    known = tuple(mask for mask in masks if mask is not None)
    return Results(
        path, np.array(images, np.int64), np.array(categories, np.int64), np.array(scores), box,
        known if known and len(known) == len(masks) else None,
    )  # fmt: skip


def own_numbers(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the user's own numbers of all pictures and all classes, by which a results file names them.

    Raises:
        DataError: DATA-324, the data set does not have them.
    """
    original = dataset.original
    if original is None or original.image_ids is None or original.class_ids is None:
        raise DataError(
            "DATA-324", f"{dataset.name}: its pictures and classes have no numbers, by which results could name them",
            where=f"it was read as {dataset.format}",
            fix="visus convert DATA --to coco OUT, and make the results with the numbers of OUT",
        )  # fmt: skip
    return original.image_ids, original.class_ids


def _number(path: Path, i: int, entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST and value == int(value):
        return int(value)
    raise _refused(path, i, key, "is missing" if value is None else f"{told(value)} is no whole number")


def _score(path: Path, i: int, value: Any) -> float:
    if type(value) not in _NUMBERS or not abs(value) < math.inf:
        raise _refused(path, i, "score", "is missing" if value is None else f"{told(value)} is no number")
    return float(value)


def _box(path: Path, i: int, value: Any) -> list[float]:
    if type(value) is not list or len(value) != 4 or not _NUMBERS.issuperset(map(type, value)):
        raise _refused(path, i, "bbox", "is missing" if value is None else f"{told(value)} is not x, y, width, height")
    if not max(map(abs, value)) < _MOST:
        raise _refused(path, i, "bbox", f"{told(value)} lies beyond any picture")
    if min(value[2:]) < 0:
        raise _refused(path, i, "bbox", f"a width or height of {min(value[2:])} is below 0")
    return value


def _mask(path: Path, i: int, value: Any) -> run_lengths.Counts | None:
    """Return the run lengths of an entry; None where it has none."""
    if type(value) is not dict or value.get("counts") is None:
        return None
    size, counts = value.get("size"), value.get("counts")
    if (
        type(size) is not list
        or len(size) != 2
        or any(type(side) is not int or not 0 < side < 1 << 31 for side in size)
    ):
        raise _refused(path, i, "segmentation.size", f"{told(size)} is not height, width")
    if type(counts) is list and all(type(run) is int and abs(run) < _MOST for run in counts):
        lengths = np.array(counts, np.int64)
    elif type(counts) is str:
        try:
            lengths = run_lengths.decompress(counts)
        except DataError as error:
            raise _refused(path, i, "segmentation.counts", str(error)) from error
    else:
        raise _refused(path, i, "segmentation.counts", f"{told(counts)} is no run lengths")
    if fault := run_lengths.fault_of(lengths, size[0] * size[1]):
        raise _refused(path, i, "segmentation.counts", fault)
    return lengths


def _refused(path: Path, i: int, key: str, what: str) -> DataError:
    place = f"detections[{i}]" + f".{key}" * bool(key)
    return DataError("DATA-320", f"{shown(path)}: {place}: {what}", fix=_EXPECTED)
