"""The classes of pixels, painted from the outlines and masks of objects where no file states them.

What is not sure comes first: crowds, and objects of which nothing but a box is known, are ignored.  Then come the
others, larger ones first, so that of two that overlap the smaller lies on top: a cup stays on its table, whatever the
order in which they were drawn.  What no object covers is background; where every class is said to be no thing but
what a picture consists of (COCO's ``"isthing": 0``), nothing is said of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visus.core import run_lengths
from visus.core.errors import DataError
from visus.core.pixels import IGNORE, MOST_SEVERAL
from visus.data.dataset import Dataset
from visus.data.fitting import mask_sizes, misfit
from visus.data.objects import Mark, Objects
from visus.data.pixel_classes import MOST

BACKGROUND = "background"


@dataclass(frozen=True)
class Painted:
    """The class of each pixel of N records, or its classes, by what objects cover it.

    Attributes:
        objects: of the records, their labels the dense classes of pixels.
        background: the class of what none of them covers; 255 for none.
        several: a pixel shows the classes of all objects that cover it, and no background.
        sizes: (N, 2) height and width of what run lengths were drawn on, see ``mask_sizes``; None for what they are
            read at.
    """

    objects: Objects
    background: int
    several: bool = False
    sizes: NDArray[np.int64] | None = None

    def read(self, i: int, size: tuple[int, int]) -> NDArray[np.uint8] | NDArray[np.int64]:
        """Return (H, W) the class of each pixel of record ``i``, uint8, or its classes, the bits of int64.

        Raises:
            DataError: DATA-272, its masks were drawn on a picture of another size.
        """
        if self.sizes is not None and (why := misfit(self.sizes[i], size)):
            raise DataError("DATA-272", why, fix="draw them at the picture's size, or state outlines")
        marks = self.objects[i]
        return several_of(marks, size) if self.several else paint(marks, size, self.background)

    def renamed(self, place: NDArray[np.int64], count: int) -> Painted:
        """Return the same with class k called ``place[k]``, of ``count`` classes."""
        labels = self.objects.labels
        labels = np.where(labels >= 0, place[np.maximum(labels, 0)], -1)
        named = not self.several and self.background < len(place)
        background = int(place[self.background]) if named else self.background
        return replace(self, objects=replace(self.objects, labels=labels), background=background)

    def content(self) -> Iterator[bytes]:
        """Yield everything it says, for a fingerprint."""
        yield b"%d %d" % (self.background, self.several)
        yield from self.objects.content()


def paintable(dataset: Dataset) -> tuple[str, ...]:
    """Return what can be painted of a data set, named as ``Dataset.known`` names it: nothing without outlines."""
    objects = dataset.objects
    if objects is None or dataset.of_pixels is not None or (objects.outlines is None and objects.masks is None):
        return ()
    return "class_map", "class_sets"


def painted(dataset: Dataset, reads: Collection[str]) -> Dataset:
    """Return a data set that knows what a task reads: the same, or one whose objects are painted for it.

    Raises:
        DataError: DATA-283, there are more classes than pixels can have.
    """
    wanted = [name for name in paintable(dataset) if name in reads]
    if not wanted or set(reads) & set(dataset.known()):
        return dataset
    assert dataset.objects is not None
    several = wanted[0] == "class_sets"
    names, background, first = dataset.classes, -1 if several else IGNORE, 0
    if not several and not _is_stuff(dataset):
        names, background, first = with_background(dataset.classes)
    most = MOST_SEVERAL if several else MOST
    if len(names) > most:
        raise too_many(dataset.name, len(names), most)
    labels = np.where(dataset.objects.labels >= 0, dataset.objects.labels + first, -1)
    objects = replace(dataset.objects, labels=labels, more=None)
    rest = "the rest is ignored" if background == IGNORE else "the rest background"
    how = "a pixel has the classes of all that cover it" if several else f"smaller over larger ones, {rest}"
    return dataset.with_(
        objects=None, classes=names, drawn=Painted(objects, background, several, mask_sizes(objects, dataset.original)),
        notes=(*dataset.notes, f"classes of pixels are painted from outlines: {how}; crowds are ignored"),
    )  # fmt: skip


def colours_of(dataset: Dataset) -> NDArray[np.uint8] | None:
    """Return (K, 3) the colours of the classes of pixels: those of its masks, else of COCO's categories; or None.

    A background that was painted between them is black.
    """
    if dataset.maps is not None:
        return dataset.maps.palette
    said = [json.loads(text or "{}").get("color") for text in (dataset.original.classes if dataset.original else ())]
    if not said or not all(map(_is_colour, said)):
        return None
    own = np.array(said, np.uint8)
    return own if len(own) == len(dataset.classes) else np.concatenate([np.zeros((1, 3), np.uint8), own])


def as_stuff(names: Sequence[str], palette: NDArray[np.uint8] | None) -> tuple[str, ...]:
    """Return what COCO's categories shall say of classes of which a whole picture consists, as JSON objects."""
    colours = [None] * len(names) if palette is None else palette.tolist()
    return tuple(json.dumps({"isthing": 0, **({"color": each} if each is not None else {})}) for each in colours)


def with_background(classes: Sequence[str]) -> tuple[tuple[str, ...], int, int]:
    """Return the names of painted classes, which of them is the background, and by how much the others moved up."""
    at = next((k for k, name in enumerate(classes) if name.casefold() == BACKGROUND), -1)
    return (tuple(classes), at, 0) if at >= 0 else ((BACKGROUND, *classes), 0, 1)


def too_many(name: str, count: int, most: int) -> DataError:
    """Return the error of more classes than pixels can have."""
    return DataError("DATA-283", f"{name}: {count:,} classes with background; pixels can have {most}",
                     fix="keep the classes that matter, or join some")  # fmt: skip


def paint(marks: Sequence[Mark], size: tuple[int, int], background: int) -> NDArray[np.uint8]:
    """Return (H, W) the class of each pixel: labels where objects are, 255 where that is not sure."""
    pixels = np.full(size, background, np.uint8)
    for mark in _in_order(marks):
        pixels[_region(mark, size)] = IGNORE if _unsure(mark) else mark.label
    return pixels


def several_of(marks: Sequence[Mark], size: tuple[int, int]) -> NDArray[np.int64]:
    """Return (H, W) the classes of each pixel: bit k where an object of class k is, -1 where that is not sure."""
    bits = np.zeros(size, np.int64)
    for mark in reversed(_in_order(marks)):  # what is not sure comes last
        region = _region(mark, size)
        bits[region] = -1 if _unsure(mark) else bits[region] | 1 << mark.label
    return bits


def _is_stuff(dataset: Dataset) -> bool:
    said = dataset.original.classes if dataset.original is not None else ()
    return bool(said) and all(json.loads(text or "{}").get("isthing") == 0 for text in said)


def _is_colour(said: object) -> bool:
    return isinstance(said, list) and len(said) == 3 and all(type(level) is int and 0 <= level < 256 for level in said)


def _in_order(marks: Sequence[Mark]) -> list[Mark]:
    return sorted(marks, key=lambda mark: (not _unsure(mark), -_area(mark)))


def _unsure(mark: Mark) -> bool:
    return mark.crowd or mark.label < 0 or not (mark.mask or mark.polygons)


def _area(mark: Mark) -> float:
    """Return the area that an object covers, about: parts that overlap count twice."""
    if mark.mask:
        return float(run_lengths.area(run_lengths.decompress(mark.mask)))
    total = 0.0
    for polygon in mark.polygons:
        x, y = polygon[:, 0], polygon[:, 1]
        total += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return total


def _region(mark: Mark, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels of an object (H, W): by its mask, else its outline, else its box."""
    if mark.mask:
        return run_lengths.decode(run_lengths.decompress(mark.mask), size)
    if mark.polygons:
        return run_lengths.fill(mark.polygons, size)
    x0, y0, x1, y1 = mark.box
    region = np.zeros(size, np.bool_)
    region[max(0, math.floor(y0)) : max(0, math.ceil(y1)), max(0, math.floor(x0)) : max(0, math.ceil(x1))] = True
    return region
