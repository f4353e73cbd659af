"""``visus split``: a clean, stratified, grouped split in a folder of its own; the original is left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from visus.core.errors import UsageError, quoted
from visus.core.recipe import DataSettings
from visus.data.dataset import SPLITS, Dataset, FileImages, Strings
from visus.data.formats import FORMATS
from visus.data.paths import shown
from visus.data.splitting import SPLIT_WORDS, carve_missing, torn
from visus.verbs.runs import silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from visus.verbs.assembly import Tell


OF_OLD_PARTS = ("DATA-130", "DATA-131")
"""Faults that new parts do not have: a class folder without pictures, and a class that train lacks."""


@dataclass(frozen=True)
class Split:
    """What a new split came to.

    Attributes:
        out: its folder, which ``visus train`` reads.
        format: in which it was written.
        pictures: how many are in each part.
        classes: name -> how many pictures of it are in train, val and test; empty without classes.
        seed: of the draw.
        groups: how many were kept whole; ``by``: where they come from, in a phrase.
        twins: pictures with the pixels of another one; ``near``: pairs that are nearly the same.
        linked: whether its pictures are hard links to the originals.
        notes: what else is to be known, a sentence each.
    """

    out: Path
    format: str
    pictures: Mapping[str, int]
    classes: Mapping[str, tuple[int, ...]]
    seed: int
    groups: int
    by: str
    twins: int
    near: int
    linked: bool
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The lines that matter, for a terminal."""
        total = sum(self.pictures.values())
        parts = ", ".join(f"{n:,} {name} ({n / total:.1%})" for name, n in self.pictures.items())
        lines = [f"split     {parts}; seed {self.seed}", f"groups    {self.by}"]
        if self.twins or self.near:
            twins = f"{self.twins:,} {'picture is' if self.twins == 1 else 'pictures are'} there more than once"
            near = f"{self.near:,} {'pair is' if self.near == 1 else 'pairs are'} nearly the same"
            lines.append(f"twice     {twins}, {near}: each is in one part with its like")
        made = "hard links to yours: they take no room, but an edit of one is an edit of both; --copy makes copies"
        lines.append(f"pictures  {made if self.linked else 'copies'}")
        return "\n".join([*lines, f"next      visus train {quoted(self.out)}"])

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "out": str(self.out), "format": self.format, "pictures": dict(self.pictures), "seed": self.seed,
            "classes": {name: dict(zip(SPLITS, counts, strict=True)) for name, counts in self.classes.items()},
            "groups": self.groups, "by": self.by, "twins": self.twins, "near": self.near, "linked": self.linked,
            "notes": list(self.notes),
        }  # fmt: skip


def split(
    data: str | Path,
    *,
    out: str | Path,
    group: str = "auto",
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    copy: bool = False,
    format: str = "auto",
    download: bool = False,
    watch: Tell | None = None,
) -> Split:
    """Divide a data set anew into train, val and test, and write that into a folder of its own.

    Pictures with the same pixels, and pictures that are nearly the same, are one group; groups stay whole.  Each class
    comes as near to its shares as whole groups allow.  The parts that the data has are not looked
    at, so a class that one of them lacks is no fault here.  Who goes where
    depends on the seed and the names alone: one picture more moves few others.

    Args:
        data: as for ``train``.
        out: a folder that does not exist yet, or is empty, outside the data.
        group: ``auto``: the groups that the data states, or else those that names tell of (``data/groups.py`` has the
            rule); ``none``: neither; or a column of the table, or a key that the annotations give for each picture.
        validation, test: shares of all pictures, below 1 together.
        seed: of the draw.
        copy: copy the pictures.  Without it they are hard links to the user's files where the disk allows that.
        format: of ``data``; recognised by default.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.
        watch: told what is done.

    Raises:
        UsageError: USE-045 no such column, USE-046 a format that cannot be written, USE-047 shares that leave nothing
            to train on, USE-051 the folder is not free, RUN-010 it lies in the data.
        DataError: data that cannot be read, or DATA-182: it cannot be divided so.
        ResourceError: the disk is full; nothing is left behind.
    """
    from visus.data.converting import convert
    from visus.data.looking import look
    from visus.data.near import near_pairs, twins_of
    from visus.data.paths import check_outside
    from visus.data.reading import open_data

    tell, out = watch or silent, Path(out)
    if not (0 <= validation < 1 and 0 <= test < 1 and 0 < validation + test < 1):
        raise UsageError("USE-047", f"shares of {validation:g} and {test:g} cannot be taken",
                         fix="--validation 0.1 --test 0.2: each from 0 to 1, less than 1 together")  # fmt: skip
    check_outside(out, Path(data))
    settings = DataSettings(format=format, max_bad=1.0)
    dataset = open_data(data, settings, seed=seed, download=download, carve=False, faulty=True)
    to = "csv" if dataset.columns else dataset.format
    if FORMATS[to].write is None:
        raise UsageError("USE-046", f"{dataset.name}: {to} data is only read, so no split of it can be written",
                         fix="visus convert DATA --to coco OUT, then visus split OUT")  # fmt: skip
    for fault in dataset.faults:
        if fault.error.code not in OF_OLD_PARTS:
            raise fault.error
    passed = [f"passed over: {fault.error.what}" for fault in dataset.faults if not fault.records]
    for note in (f"{dataset.name}: {dataset.format}, {dataset.evidence}", *dataset.notes, *passed):
        tell({"note": note})
    seen = look(dataset, tell=lambda sentence: tell({"note": sentence}))
    readable = np.setdiff1d(np.arange(len(dataset)), np.fromiter(seen.reasons, np.int64, len(seen.reasons)))
    firsts, twins = twins_of(readable, seen.digest)
    near = near_pairs(seen.small[firsts])
    links = np.concatenate([twins, np.stack([firsts[near.first], firsts[near.second]], 1)])
    groups, by = _groups(dataset, Path(data), group, seen.small)
    divided = divide(dataset, links, groups, validation=validation, test=test, seed=seed)
    divided = _of_new_parts(divided).with_(faults=())
    if _names_groups(divided):  # by the user's own names, beside which a table has no place for others
        divided = divided.with_(groups=dataset.groups)
    elif to != "csv":
        divided = divided.with_(groups=None)
    names = _names(divided, to)
    lost = convert(divided, to, out, lossy=True, link=not copy, names=names)
    notes = [note for note in divided.notes if not note.startswith("carved")]
    if seen.reasons:
        notes.append(f"{len(seen.reasons):,} pictures cannot be read; they were divided like any other")
    if dataset.original is not None and _names_groups(dataset) and not _names_groups(divided):
        lost.append(f"the column {shown(dataset.original.group_column)}, whose groups the new parts tear apart")
    notes += [f"the new folder does not hold {phrase}" for phrase in lost]
    first = out / FORMATS[to].place(SPLITS[int(divided.split[0])], names[0])
    return Split(
        out, to, {name: len(divided.indices(name)) for name in SPLITS}, _classes(divided), seed,
        len(np.unique(groups)) if groups is not None else 0, by, len(twins), len(near),
        isinstance(dataset.images, FileImages) and dataset.images.source(0).samefile(first), tuple(notes),
    )  # fmt: skip


def divide(
    dataset: Dataset, links: NDArray[np.int64], groups: NDArray[np.int64] | None, *, validation: float, test: float,
    seed: int,
) -> Dataset:  # fmt: skip
    """Return the data set with new parts, in which neither links nor groups are torn.

    Args:
        dataset: whose own parts are not looked at.
        links: (P, 2) records that stay together.
        groups: (N,) that stay whole, or None.
        validation, test: shares of all records.
        seed: of the draw.

    Raises:
        DataError: DATA-181 one class only, DATA-182 a part that cannot be had from whole groups.
    """
    from visus.data.groups import joined

    whole = joined(len(dataset), links, *([groups] if groups is not None else []))
    together = whole if whole.max(initial=-1) + 1 < len(dataset) else None
    fresh = dataset.with_(split=np.zeros(len(dataset), np.uint8), groups=together, notes=())
    return carve_missing(fresh, validation=validation / (1 - test), test=test, seed=seed)


def _groups(dataset: Dataset, data: Path, group: str, small: NDArray[np.uint8]) -> tuple[NDArray[np.int64] | None, str]:
    """Return the groups that stay whole, and where they come from in words."""
    from visus.data.groups import guess, stated

    if group == "none":
        return None, "none, as asked for"
    if group != "auto":
        values = stated(dataset, data, group)
        _, groups = np.unique(np.array(values, object), return_inverse=True)
        return groups.astype(np.int64), f"{groups.max() + 1:,} by {group}, each whole"
    if dataset.groups is not None:
        return dataset.groups, f"{len(np.unique(dataset.groups)):,} that the data states, each whole"
    label = dataset.columns.get("label")
    known = None if label is None else label.astype(np.int64)
    guessed = guess(list(dataset.ids), known, dataset.classes, small)
    if guessed is None:
        return None, "none: the data states none, and names tell of none"
    return guessed.groups, f"{guessed.evidence}, each whole; guessed: --group none if that is wrong"


def _of_new_parts(dataset: Dataset) -> Dataset:
    """Return the data set with what its files say of one part said of all, and without numbers that two would share.

    Each part numbers its pictures and objects by itself, so those of two parts may collide where these are mixed.
    Groups that the new parts tear apart are not named: the new data would be refused for them.
    """
    original, objects = dataset.original, dataset.objects
    if original is not None:
        whole = next(iter(original.whole.values()), "")
        shared = original.image_ids is not None and _collide(original.image_ids, dataset.split)
        original = replace(
            original, whole=dict.fromkeys(SPLITS, whole) if whole else {},
            image_ids=None if shared else original.image_ids,
            group_names=None if _tears(original.group_names, dataset.split) else original.group_names,
        )  # fmt: skip
    if objects is not None and _collide(objects.ids, dataset.split[objects.records]):
        objects = replace(objects, ids=np.full(len(objects.ids), -1, np.int64))
    return dataset.with_(original=original, objects=objects)


def _names_groups(dataset: Dataset) -> bool:
    return dataset.original is not None and dataset.original.group_names is not None


def _tears(names: Strings | None, split: NDArray[np.uint8]) -> bool:
    """Tell whether pictures of one group lie in two parts."""
    if names is None:
        return False
    _, groups = np.unique(np.array(list(names), object), return_inverse=True)
    return len(torn(groups.astype(np.int64), split)) > 0


def _collide(numbers: NDArray[np.int64], split: NDArray[np.uint8]) -> bool:
    """Tell whether two of one part have the same number."""
    known = numbers >= 0
    pairs = np.stack([numbers[known], split[known].astype(np.int64)])
    return bool(np.unique(pairs, axis=1).shape[1] < pairs.shape[1])


def _names(dataset: Dataset, to: str) -> Strings:
    """Return the names of the pictures in the new folder: of a table below their new part, never below an old one.

    Where two would lie at one place, or beside each other with different endings where annotations are named for them,
    the later one bears the part it was in, or a number, before its name.
    """
    taken, names = set[str](), list[str]()

    def key(part: str, name: str) -> str:
        where = FORMATS[to].place(part, name).casefold()
        return where if to == "csv" else str(PurePosixPath(where).with_suffix(""))

    for i, id in enumerate(dataset.ids):
        part = SPLITS[int(dataset.split[i])]
        *folders, last = id.split("/") if hasattr(dataset.images, "paths") else _unnamed(dataset, i)
        old = folders.pop(0) if folders and folders[0].lower() in SPLIT_WORDS else ""
        folders = [part, *folders] if to == "csv" else folders
        marks = chain(["", *([f"{old}-"] if old else [])], (f"{number}-" for number in count(2)))
        tries = ("/".join([*folders, mark + last]) for mark in marks)
        name = next(name for name in tries if key(part, name) not in taken)
        taken.add(key(part, name))
        names.append(name)
    return Strings(names)


def _unnamed(dataset: Dataset, i: int) -> list[str]:
    """Return the name of a picture of an array as a file: its number, below its class where it has one."""
    label = dataset.columns.get("label")
    known = [dataset.classes[int(label[i])].replace("/", "-")] if label is not None and label[i] >= 0 else []
    return [*known, f"{i:0{len(str(len(dataset)))}}.png"]


def _classes(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """Return how many pictures of each class are in each part."""
    kind = dataset.column()
    if kind not in ("label", "labels"):
        return {}
    shown = dataset.columns[kind].astype(np.int64)
    if kind == "label":
        shown = (shown[:, None] == np.arange(len(dataset.classes))).astype(np.int64)
    counts = [shown[dataset.indices(name)].sum(0).tolist() for name in SPLITS]
    return dict(zip(dataset.classes, zip(*counts, strict=True), strict=True))
