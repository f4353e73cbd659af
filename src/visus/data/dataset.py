"""A data set: indexed, immutable records in flat arrays, the user's own names, and a fingerprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from visus.core.errors import DataError
    from visus.data.layers import Layers
    from visus.data.objects import ClassMaps, Objects, Original, Remark
    from visus.data.painting import Painted

SPLITS = ("train", "val", "test")


class Strings(Sequence[str]):
    """Many strings in two flat arrays: small to pickle, a few bytes a string beyond its letters."""

    def __init__(self, strings: Sequence[str]) -> None:
        parts = [s.encode("utf-8", "surrogateescape") for s in strings]
        self._bytes = b"".join(parts)
        self._ends = np.cumsum([len(p) for p in parts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]  # a Sequence's two shapes of index
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        start = int(self._ends[i - 1]) if i else 0
        return self._bytes[start : int(self._ends[i])].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends.tolist():
            yield self._bytes[start:end].decode("utf-8", "surrogateescape")
            start = end

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each."""
        return np.diff(self._ends, prepend=0)

    def take(self, indices: NDArray[np.int64]) -> tuple[str, ...]:
        """Return many at once: a tenth of the time of one by one."""
        ends = self._ends[indices]
        starts = np.where(indices > 0, self._ends[indices - 1], 0)
        return tuple(
            self._bytes[start:end].decode("utf-8", "surrogateescape")
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        )


class Images(Protocol):
    """Where pixels come from: a folder of files or one big array."""

    def read(self, i: int) -> NDArray[np.generic]:
        """Return picture ``i``: (H, W) or (H, W, C), upright, in its own channels and depth.

        Raises:
            DataError: with the file and the reason.
        """
        ...


@dataclass(frozen=True)
class ArrayImages:
    """Pictures that are already one array in memory: (N, H, W) or (N, H, W, C)."""

    array: NDArray[np.generic]

    def read(self, i: int) -> NDArray[np.generic]:
        """Return picture ``i``."""
        picture: NDArray[np.generic] = self.array[i]
        return picture


@dataclass(frozen=True)
class FileImages:
    """Pictures in files below ``root``, read through the decode door."""

    root: Path
    paths: Strings
    max_pixels: int = 100_000_000

    def source(self, i: int) -> Path:
        """Return the file of picture ``i``."""
        path: Path = self.root / self.paths[i]
        return path

    def read(self, i: int) -> NDArray[np.generic]:
        """Return picture ``i``."""
        from visus.data.decode import decode

        return decode(self.source(i), max_pixels=self.max_pixels).pixels


@dataclass(frozen=True)
class Fault:
    """What training stops at, though the rest of the data can be read and looked at.

    Attributes:
        error: with which it stops.
        file: the folder or file that is at fault, relative to the data.
        records: of the data set that it concerns; none where nothing of it could be read.
    """

    error: DataError
    file: str
    records: range = range(0)


@dataclass(frozen=True)
class Dataset:
    """Records of pictures with what is known about them.

    Attributes:
        name: of the folder or set, for people.
        format: name of the reader; ``evidence``: what it recognised, in one phrase.
        ids: the user's name of each record.
        images: where the pixels come from.
        classes: names, in the dense order used inside; empty where there are none.
        columns: what is known, by name, N rows each: ``label`` (N,) int64 (-1: unknown), ``labels`` (N, K) uint8,
            ``numbers`` (N, M) float32.
        objects: what is marked on each picture, or None; ``maps``: a class for each pixel, or None.
        drawn: a class for each pixel, or several, that are put together of something else than such maps; or None.
        numbers: names of the columns of ``numbers``.
        split: (N,) uint8 index into SPLITS.
        groups: (N,) int64 of what must not be torn apart (person, scene, video), or None.
        notes: what was carved, guessed or left out while reading, a sentence each.
        bad: (id, reason) of records that were listed but cannot be used.
        remarks: on places in the user's files that were mended, left out, or only noticed.
        faults: what training stops at, while the rest could be read; see ``sound``.
        original: what those files say beyond what training needs, so that it survives a conversion.
        licence: of the data, where it is known.
        carved: splits the data did not have itself, which were carved from its training part.
    """

    name: str
    root: Path
    format: str
    evidence: str
    ids: Strings
    images: Images
    columns: Mapping[str, NDArray[np.generic]]
    split: NDArray[np.uint8]
    classes: tuple[str, ...] = ()
    objects: Objects | None = None
    maps: ClassMaps | None = None
    drawn: Painted | Layers | None = None
    numbers: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    remarks: tuple[Remark, ...] = ()
    faults: tuple[Fault, ...] = ()
    original: Original | None = None
    licence: str = ""
    carved: tuple[str, ...] = ()
    _fingerprint: list[str] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def sound(self) -> Dataset:
        """Return itself.

        Raises:
            DataError: the first of its faults.
        """
        for fault in self.faults:
            raise fault.error
        return self

    def indices(self, split: str) -> NDArray[np.int64]:
        """Return the records of ``train``, ``val``, ``test``, or ``all``."""
        if split == "all":
            return np.arange(len(self))
        return np.flatnonzero(self.split == SPLITS.index(split))

    @property
    def of_pixels(self) -> ClassMaps | Painted | Layers | None:
        """What says of which class each pixel is, or of which classes."""
        return self.maps if self.maps is not None else self.drawn

    def known(self) -> tuple[str, ...]:
        """Return the names of all that is known of each picture: columns, ``objects``, ``class_map``, ``class_sets``.

        ``class_map`` is one class for each pixel, ``class_sets`` any number of them.
        """
        several = self.drawn is not None and self.drawn.several
        marked = {"objects": self.objects, "class_sets" if several else "class_map": self.of_pixels}
        return (*self.columns, *(name for name, held in marked.items() if held is not None))

    def column(self) -> str:
        """Return the name of what is known of each picture, from which the task follows."""
        return next(iter(self.known()), "")

    def fingerprint(self) -> str:
        """Return a hash of names, labels, splits, and each picture's pixels, or its file's size; see ``stamps``."""
        if not self._fingerprint:
            hasher = sha256()
            for name in sorted(self.columns):
                hasher.update(name.encode() + np.ascontiguousarray(self.columns[name]).tobytes())
            for marked in (self.objects, self.of_pixels):
                for part in marked.content() if marked is not None else ():
                    hasher.update(part)
            hasher.update("\x1f".join(self.classes).encode() + self.split.tobytes())
            if isinstance(self.images, ArrayImages):
                hasher.update(np.ascontiguousarray(self.images.array).tobytes())
            for name in self.ids:
                hasher.update(name.encode("utf-8", "surrogateescape") + b"\0")
            if (lengths := getattr(self.images, "lengths", None)) is not None:  # of pictures that are fetched
                hasher.update(lengths.tobytes())
            if isinstance(self.images, FileImages):
                for path in self.images.paths:
                    hasher.update(str(_size(self.images.root / path)).encode())
            self._fingerprint.append(hasher.hexdigest())
        return self._fingerprint[0]

    def with_(self, **changes: object) -> Dataset:
        """Return a copy with other values."""
        return replace(self, _fingerprint=[], **changes)  # type: ignore[arg-type]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
