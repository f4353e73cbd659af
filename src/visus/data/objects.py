"""What is marked on pictures: objects with boxes, outlines and masks in flat arrays, and class maps in files.

Records are rows of a few arrays, so that a million of them are opened in seconds, take tens of bytes each, and travel
to a worker as they are.  Coordinates are absolute pixels of the upright picture, x to the right and y down, edges of
pixels at integers: a box is half-open, [x0, x1) by [y0, y1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visus.data.dataset import Strings

Polygon: TypeAlias = NDArray[np.float64]
"""(P, 2) x, y of its corners, P >= 3."""


@dataclass(frozen=True)
class Outlines:
    """The polygons of M objects: none, one, or several parts each.

    Attributes:
        parts: (M + 1,) int64: those of object m are ``parts[m]`` to ``parts[m + 1]``.
        corners: (Q + 1,) int64: the corners of part q are ``corners[q]`` to ``corners[q + 1]``.
        xy: (R, 2) float64 of all corners.
    """

    parts: NDArray[np.int64]
    corners: NDArray[np.int64]
    xy: NDArray[np.float64]

    @staticmethod
    def of(polygons: Sequence[Sequence[Polygon]]) -> Outlines:
        """Return the outlines of objects, each a sequence of polygons."""
        flat = [part for parts in polygons for part in parts]
        return Outlines(
            _bounds(map(len, polygons)), _bounds(map(len, flat)),
            np.concatenate(flat).astype(np.float64) if flat else np.zeros((0, 2)),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.parts) - 1

    def __getitem__(self, m: int) -> list[Polygon]:
        parts = range(int(self.parts[m]), int(self.parts[m + 1]))
        return [self.xy[self.corners[q] : self.corners[q + 1]] for q in parts]

    def take(self, indices: NDArray[np.int64]) -> Outlines:
        """Return the outlines of some objects, in the given order."""
        if np.array_equal(indices, np.arange(len(self))):
            return self  # the corners of a million objects are hundreds of megabytes
        part, parts = _gather(self.parts, indices)
        corner, corners = _gather(self.corners, part)
        return Outlines(parts, corners, self.xy[corner])


@dataclass(frozen=True)
class Mark:
    """One object of a picture, on the way into or out of ``Objects``.

    Attributes:
        box: x0, y0, x1, y1.
        label: dense class index.
        id: the user's own number of it; -1 for none.
        crowd: a region of many, in which nothing is counted.
        area: in pixels, as the user's file states it; NaN where it does not.
        polygons: its outline, in parts.
        mask: its run lengths as COCO compresses them; empty where it has none.
        more: what else the file says of it, as a JSON object; empty for nothing.
    """

    box: tuple[float, float, float, float]
    label: int
    id: int = -1
    crowd: bool = False
    area: float = float("nan")
    polygons: Sequence[Polygon] = ()
    mask: str = ""
    more: str = ""


@dataclass(frozen=True)
class Objects:
    """The objects of N records, M in all: a column of a data set.

    Attributes:
        starts: (N + 1,) int64: those of record i are ``starts[i]`` to ``starts[i + 1]``.
        boxes: (M, 4) float64 x0, y0, x1, y1.
        labels: (M,) int64 dense class indices; -1 unknown.
        ids: (M,) int64, the user's own numbers; -1 for none.
        crowd: (M,) bool, regions in which nothing is counted.
        area: (M,) float64 in pixels, as stated; NaN where it is not.
        outlines: of all objects, or None where no object has one.
        masks: (M,) compressed run lengths, empty where an object has none; or None where no object has one.
        more: (M,) JSON objects of what else is said, empty for nothing; or None where nothing is said of any.
    """

    starts: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    outlines: Outlines | None = None
    masks: Strings | None = None
    more: Strings | None = None

    @staticmethod
    def of(records: Iterable[Sequence[Mark]]) -> Objects:
        """Return the objects of records, each a sequence of marks."""
        records = list(records)
        marks = [mark for record in records for mark in record]
        return Objects(
            starts=_bounds(map(len, records)),
            boxes=np.array([mark.box for mark in marks], np.float64).reshape(-1, 4),
            labels=np.array([mark.label for mark in marks], np.int64),
            ids=np.array([mark.id for mark in marks], np.int64),
            crowd=np.array([mark.crowd for mark in marks], np.bool_),
            area=np.array([mark.area for mark in marks], np.float64),
            outlines=Outlines.of([mark.polygons for mark in marks]) if any(mark.polygons for mark in marks) else None,
            masks=Strings([mark.mask for mark in marks]) if any(mark.mask for mark in marks) else None,
            more=Strings([mark.more for mark in marks]) if any(mark.more for mark in marks) else None,
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, i: int) -> list[Mark]:
        return [self.mark(m) for m in range(int(self.starts[i]), int(self.starts[i + 1]))]

    def mark(self, m: int) -> Mark:
        """Return object ``m`` of all."""
        x0, y0, x1, y1 = self.boxes[m].tolist()
        return Mark(
            (x0, y0, x1, y1), int(self.labels[m]), int(self.ids[m]), bool(self.crowd[m]), float(self.area[m]),
            self.outlines[m] if self.outlines is not None else (),
            self.masks[m] if self.masks is not None else "",
            self.more[m] if self.more is not None else "",
        )  # fmt: skip

    @property
    def records(self) -> NDArray[np.int64]:
        """(M,) the record of each object."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def of_records(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which objects are those of some records, one record after the other, and how many each has."""
        return _gather(self.starts, indices)[0], np.diff(self.starts)[indices]

    def take(self, indices: NDArray[np.int64]) -> Objects:
        """Return the objects of some records, in the given order."""
        return self.arranged(*_gather(self.starts, indices))

    def arranged(self, order: NDArray[np.int64], starts: NDArray[np.int64]) -> Objects:
        """Return some objects, in the given order, as those of the records that begin at ``starts``."""
        outlines = self.outlines.take(order) if self.outlines is not None else None
        masks = self.masks.take(order) if self.masks is not None else ()
        more = self.more.take(order) if self.more is not None else ()
        return Objects(
            starts, self.boxes[order], self.labels[order], self.ids[order], self.crowd[order], self.area[order],
            outlines if outlines is not None and len(outlines.xy) else None,
            Strings(masks) if any(masks) else None,
            Strings(more) if any(more) else None,
        )  # fmt: skip

    def content(self) -> Iterator[bytes]:
        """Yield everything it says, for a fingerprint."""
        yield from _content(self)


@dataclass(frozen=True)
class ClassMaps:
    """A class for each pixel of N records, in files of single-channel pixels: a column of a data set.

    Attributes:
        root: the folder of the data.
        paths: (N,) of the files below it; empty where a record has none.
        values: (K,) int64: the value in the files of each dense class; -1 of one that no file shows.
        ignore: values that say nothing of a pixel.  A value that neither list holds is refused when a map is read.
        palette: (K, 3) uint8 colours of the classes, where the data states them.
        pictures: (N,) of the pictures below it, whose size and EXIF turn the maps must fit; None where they are taken
            as they are.
        max_pixels: largest map that is decoded.
        code: (N, 4) int64 red, green and blue, and the value that stands for it, by which files of colours are read.
    """

    root: Path
    paths: Strings
    values: NDArray[np.int64]
    ignore: tuple[int, ...] = (255,)
    palette: NDArray[np.uint8] | None = None
    pictures: Strings | None = None
    max_pixels: int = 100_000_000
    code: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def content(self) -> Iterator[bytes]:
        """Yield everything it says, for a fingerprint; of a file, its name and size."""
        yield self.values.tobytes() + str(self.ignore).encode() + (b"" if self.code is None else self.code.tobytes())
        for path in self.paths:
            size = (self.root / path).stat().st_size if path and (self.root / path).exists() else -1
            yield f"{path}\0{size}\0".encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Original:
    """What the user's files say beyond what training needs: kept, so that it survives a conversion.

    Attributes:
        sizes: (N, 2) int64 height and width, as stated or as the picture has them; 0 where neither is known.
        image_ids: (N,) int64, the user's own numbers of the pictures; or None.
        class_ids: (K,) int64, the user's own numbers of the classes; or None.
        records: (N,) JSON objects of what else is said of a picture, empty for nothing; or None.
        classes: (K,) JSON objects of what else is said of a class, empty for nothing; or empty.
        whole: split -> JSON object of what else is said of the data.
        group_names: (N,) the user's own name of the group of each picture; or None.
        group_column: the user's own name of what they are: patient, scene.
    """

    sizes: NDArray[np.int64]
    image_ids: NDArray[np.int64] | None = None
    class_ids: NDArray[np.int64] | None = None
    records: Strings | None = None
    classes: tuple[str, ...] = ()
    whole: Mapping[str, str] = field(default_factory=dict)
    group_names: Strings | None = None
    group_column: str = "group"


@dataclass(frozen=True)
class Remark:
    """Something about a file of the user's, or a place in one, that was mended, left out, or only noticed.

    Attributes:
        file: relative to the data.
        status: ``warned`` (read as it is), ``clipped`` (cut at the picture's edge), ``skipped`` (left out).
        code: of the message, such as ``DATA-213``.
        why: in a phrase.
        where: the place in the file: ``annotations[17].bbox``, ``line 4``; empty for all of it.
        picture: id of the picture it is about, where the file is another.
        fix: what to do about it, where that is not simply to mend the file.
    """

    file: str
    status: str
    code: str
    why: str
    where: str = ""
    picture: str = ""
    fix: str = ""


def _bounds(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _gather(bounds: NDArray[np.int64], indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the items of some ranges lie, one range after the other, and where each range begins among them."""
    lengths = np.diff(bounds)[indices]
    begins = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(begins[-1]) + np.repeat(bounds[:-1][indices] - begins[:-1], lengths), begins


def _content(value: Any) -> Iterator[bytes]:
    """Yield the bytes of every array and text of a dataclass, in the order of its fields."""
    for part in fields(value):
        held = getattr(value, part.name)
        if isinstance(held, np.ndarray):
            yield np.ascontiguousarray(held).tobytes()
        elif isinstance(held, Strings):
            yield "\0".join(held).encode("utf-8", "surrogateescape")
        elif held is not None:
            yield from _content(held)
