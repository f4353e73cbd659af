"""What was found on pictures, as a data set of a known format, and as COCO's list of results."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError, UsageError, did_you_mean
from visus.core.files import replacing
from visus.core.pixels import IGNORE
from visus.core.recipe import DataSettings
from visus.core.task import Layered, Located, Mapped
from visus.data.dataset import Dataset, FileImages, Strings
from visus.data.objects import Mark, Objects, Original
from visus.data.paths import fault_of, shown
from visus.data.regions import regions_of

if TYPE_CHECKING:
    from visus.core.task import Prediction

FORMATS = {"objects": ("coco", "yolo", "voc", "csv"), "class_map": ("coco",), "class_sets": ("coco",)}
"""What is written of predictions, by what a task reads; COCO alone has outlines, and numbers as scores, not texts."""


@dataclass(frozen=True)
class Numbers:
    """The user's own numbers of pictures and classes, by which a list of results is judged.

    Attributes:
        data: what they are of, for messages.
        images: number by name of a picture.
        classes: number by name of a class.
    """

    data: str
    images: dict[str, int]
    classes: dict[str, int]

    def of_picture(self, file: str) -> int:
        """Return the number of the picture whose name is the longest end of a path.

        Raises:
            DataError: DATA-380, the data has no such picture.
        """
        steps = Path(file).absolute().as_posix().split("/")
        for start in range(len(steps)):
            if (number := self.images.get("/".join(steps[start:]))) is not None:
                return number
        raise DataError("DATA-380", f"{shown(file)}: {self.data} has no picture of this name",
                        done="nothing was predicted", fix="--numbers takes the data of these files")  # fmt: skip

    def of_class(self, name: str) -> int:
        """Return the number of a class.

        Raises:
            DataError: DATA-381, the data has no such class.
        """
        if name not in self.classes:
            raise DataError("DATA-381", f"{self.data} has no class {shown(name)!r}, which the model finds",
                            done="nothing was predicted", fix=did_you_mean(name, self.classes))  # fmt: skip
        return self.classes[name]


def check_format(to: str, formats: Sequence[str]) -> None:
    """Refuse a format that does not hold what is found.

    Raises:
        UsageError: USE-060.
    """
    if to not in formats:
        raise UsageError("USE-060", f"--to {to}: these predictions are written as {', '.join(formats)}",
                         fix=did_you_mean(to, formats))  # fmt: skip


def numbers_of(data: str | Path) -> Numbers:
    """Return the numbers that pictures and classes have in a data set.

    Raises:
        DataError: the data cannot be read; DATA-324, it has no numbers, DATA-382, or two pictures of one name.
    """
    from visus.data.reading import open_data
    from visus.data.results import own_numbers

    dataset = open_data(data, DataSettings(), carve=False)
    pictures, classes = own_numbers(dataset)
    images = dict(zip(dataset.ids, pictures.tolist(), strict=True))
    if len(images) < len(dataset):
        raise DataError("DATA-382", f"{dataset.name}: two of its pictures have one name",
                        fix="--numbers takes one COCO file rather than a folder of them")  # fmt: skip
    return Numbers(dataset.name, images, dict(zip(dataset.classes, classes.tolist(), strict=True)))


def marks_of(said: Prediction, classes: Sequence[str], to: str) -> list[Mark]:
    """Return objects that were found, with their scores in what else is said; of pixels, regions of each class.

    Args:
        said: of one picture.
        classes: of the model, in the order of its outputs.
        to: the format they are meant for.
    """
    if isinstance(said, Mapped):
        return regions_of(said.class_map.numpy(), len(classes))
    if isinstance(said, Layered):
        layers = ((classes.index(name), layer.numpy()) for name, layer in said.layers.items())
        alone = (np.where(layer, np.uint8(k), np.uint8(IGNORE)) for k, layer in layers)
        return [mark for class_map in alone for mark in regions_of(class_map, len(classes))]
    assert isinstance(said, Located)
    return [
        Mark((box[0], box[1], box[2], box[3]), classes.index(label), mask=mask, more=_said(score, to))
        for box, label, score, mask in zip(_cents(said), said.labels, said.scores.tolist(), _runs(said), strict=True)
    ]


def as_data(
    name: str,
    files: Sequence[str],
    records: Sequence[Sequence[Mark]],
    classes: Sequence[str],
    numbers: Numbers | None,
    said: tuple[str, ...] = (),
) -> Dataset:
    """Return what was found as a data set, one part and all of it for training.

    Args:
        name: of the data set.
        files: of the pictures.
        records: what was found on each of them.
        classes: of the model, in the order of its outputs.
        numbers: of the user's own data, which this one then bears too.
        said: what else there is to say of each class, as JSON objects.
    """
    original = Original(np.zeros((len(files), 2), np.int64), classes=said)
    if numbers is not None:
        original = replace(
            original,
            image_ids=np.array([numbers.of_picture(file) for file in files], np.int64),
            class_ids=np.array([numbers.of_class(label) for label in classes], np.int64),
        )
    return Dataset(
        name=name, root=Path(), format="predictions", evidence="", ids=Strings(names_of(files)),
        images=FileImages(Path(), Strings(files)), columns={}, split=np.zeros(len(files), np.uint8),
        classes=tuple(classes), objects=Objects.of(records), original=original,
    )  # fmt: skip


def write_results(file: Path, dataset: Dataset, found: Sequence[Located]) -> None:
    """Write COCO's list of results, one detection a line, with the boxes as they were found to the last digit.

    Numbers of pictures and classes are those of the data set, or count from 1 as they do where it is written.
    """
    kept = dataset.original
    images: NDArray[np.int64] = np.arange(1, len(dataset) + 1)
    categories: NDArray[np.int64] = np.arange(1, len(dataset.classes) + 1)
    if kept is not None and kept.image_ids is not None and kept.class_ids is not None:
        images, categories = kept.image_ids, kept.class_ids
    number = dict(zip(dataset.classes, categories.tolist(), strict=True))
    between = "[\n"
    with replacing(file) as opened:
        for image, one in zip(images.tolist(), found, strict=True):
            lines = zip(one.boxes.tolist(), one.labels, one.scores.tolist(), _masks(one), strict=True)
            for (x0, y0, x1, y1), label, score, mask in lines:
                told = {"image_id": image, "category_id": number[label], "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "score": score, **mask}  # fmt: skip
                opened.write((between + json.dumps(told)).encode("ascii"))
                between = ",\n"
        opened.write(b"[]\n" if between == "[\n" else b"\n]\n")


def names_of(files: Sequence[str]) -> list[str]:
    """Return a name for each file: its path below the folder common to all.

    A name that no data set may hold, or that but for its ending is another's too, becomes a number.
    """
    whole = [Path(file).absolute() for file in files]
    common = Path(os.path.commonpath([path.parent for path in whole])) if whole else Path()
    names, taken = list[str](), set[str]()
    for i, path in enumerate(whole):
        name = path.relative_to(common).as_posix()
        if fault_of(name) or _stem(name) in taken or not name.isprintable():
            suffix = path.suffix if path.suffix[1:].isalnum() else ""
            name = next(n for k in range(i, i + len(whole) + 1) if _stem(n := f"{k:05d}{suffix}") not in taken)
        taken.add(_stem(name))
        names.append(name)
    return names


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()


def _cents(found: Located) -> list[list[float]]:
    """Return boxes in hundredths of a pixel, which people read, and in which they stand in predictions.json."""
    boxes: list[list[float]] = found.json()["boxes"]
    return boxes


def _masks(found: Located) -> list[dict[str, Any]]:
    """Return what COCO's list of results says of the pixels of each object: nothing where the network says none."""
    masks = found.json().get("masks")
    return [{"segmentation": mask} for mask in masks] if masks is not None else [{} for _ in found.labels]


def _runs(found: Located) -> list[str]:
    """Return the compressed run lengths of each object; empty where the network says none."""
    return [mask.get("segmentation", {}).get("counts", "") for mask in _masks(found)]


def _said(score: float, to: str) -> str:
    """Return a score as the format holds it: COCO as a number, XML and tables as a text, YOLO not at all."""
    return json.dumps({"score": score if to == "coco" else f"{score:.6f}"})
