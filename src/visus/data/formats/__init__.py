"""Readers of data sets: one file a format, each offering ``FORMAT``.  Importing this package imports none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from visus.core.catalog import Catalog

if TYPE_CHECKING:
    from visus.core.recipe import DataSettings
    from visus.data.dataset import Dataset


@dataclass(frozen=True)
class Evidence:
    """How sure a format is that a folder is its own.

    Attributes:
        score: 0 not at all (the phrase tells what was missing) to 1.
        phrase: what was recognised, for people: ``"10 class folders in train and test"``.
        count: how many of these things there are.
    """

    score: float
    phrase: str
    count: int = 0


@dataclass(frozen=True)
class Edit:
    """What becomes of one file when labels change.

    Attributes:
        file: relative to the data's folder, with "/".
        becomes: another path (it moves there), other bytes, or None (it is taken out).
    """

    file: str
    becomes: str | bytes | None


def below_its_split(split: str, id: str) -> str:
    """Return the usual place of a picture: ``images/SPLIT/ID``."""
    return f"images/{split}/{id}"


@dataclass(frozen=True)
class Format:
    """A way in which data sets lie on disk.

    Attributes:
        looks_for: what it recognises, in two or three words.
        sniff: tells from names and headers alone whether a path is in this format; None where nothing speaks for it.
        read: returns the data set with the splits it has on disk; what is in no split is train.
        named: for sets that are asked for by name, ``FORMAT`` or ``FORMAT:NAME``: returns the set of that name, looking
            for its files below the given folder, and downloading them only if told to.
        write: writes all but the pictures of a data set into a new folder, so that ``read`` gives it back; None for a
            format that is only read.
        place: returns where below that folder a picture belongs, by its split and its id.
        amend: for data with one class a record, yields what becomes of its files when some records change: each to a
            dense class index, or to -1 for none, which takes it out; all else stays byte for byte.  It writes nothing.
    """

    looks_for: str
    sniff: Callable[[Path], Evidence | None]
    read: Callable[[Path, DataSettings], Dataset]
    named: Callable[[str, DataSettings, Path | None, bool], Dataset] | None = None
    write: Callable[[Dataset, Path], None] | None = None
    place: Callable[[str, str], str] = below_its_split
    amend: Callable[[Path, Dataset, Mapping[int, int]], Iterator[Edit]] | None = None


FORMATS: Catalog[Format] = Catalog("visus.data.formats", "FORMAT")
