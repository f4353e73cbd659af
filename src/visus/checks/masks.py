"""Class maps that cannot be right: unreadable, of another size, of unknown or no values, or with rare classes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from visus.checks import Check, Consequence, Finding, Level, Status, Subject, are, ranked
from visus.checks.broken import beyond_limit
from visus.checks.classes import balance
from visus.core.errors import DataError
from visus.data.dataset import SPLITS
from visus.data.decode import peek
from visus.data.layers import Layers
from visus.data.mask_door import values_of
from visus.data.objects import ClassMaps
from visus.data.paths import shown
from visus.data.workers import cores


@dataclass(frozen=True)
class _Looked:
    """What one map says: why it cannot be read, values in it that stand for no class, the dense classes in it.

    ``stated`` tells whether it says anything of any pixel, and be it that no class is there.
    """

    reason: str = ""
    strays: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    stated: bool = False


class _Fate(NamedTuple):
    """What becomes of masks that training cannot use."""

    level: Level
    why: str
    status: Status
    consequence: Consequence


_STOPS = _Fate("error", "more than may be left out, and training stops", "refused", "stop")
_LEAVES_OUT = _Fate("warning", "training leaves their pictures out and says so", "skipped", "loss")


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the class maps of the data set; nothing for data without them."""
    dataset = subject.dataset
    maps = dataset.of_pixels
    if not isinstance(maps, ClassMaps | Layers):
        return
    one = partial(_look, maps) if isinstance(maps, ClassMaps) else partial(_look_at_layers, maps)
    with ThreadPoolExecutor(cores()) as pool:
        looked = list(pool.map(one, range(len(maps))))
    total = len(looked)
    unread = [(i, map.reason, -i) for i, map in enumerate(looked) if map.reason]
    strays = [(i, _told(map.strays), -i) for i, map in enumerate(looked) if map.strays]
    fate = _STOPS if beyond_limit(subject, {i for i, _, _ in (*unread, *strays)}) else _LEAVES_OUT
    if unread:
        yield Finding(
            "CHECK-019", fate.level, f"{len(unread):,} of {total:,} masks cannot be read, or do not fit their pictures",
            fate.why, "draw them again at the picture's size, one number a pixel, as PNG",
            ranked(dataset, fate.status, unread), consequence=fate.consequence,
        )  # fmt: skip
    if strays:
        values = sorted({value for map in looked for value in map.strays})
        yield Finding(
            "CHECK-025", fate.level, f"{len(strays):,} of {total:,} masks hold values of no class: {_listed(values)}",
            f"nobody knows what these pixels show; {fate.why}",
            'name the values in classes.txt, or ignore them: classes.json with {"classes": {...}, "ignore": [255]}',
            ranked(dataset, fate.status, strays), consequence=fate.consequence,
        )  # fmt: skip
    empty = [(i, "no pixel of any class", -i) for i, map in enumerate(looked) if map == _Looked()]
    if empty:
        yield Finding(
            "CHECK-026", "warning", f"{len(empty):,} of {total:,} masks {are(len(empty), 'labels', 'label')} nothing",
            "nothing is learned from such pictures", "label them, or leave them out", ranked(dataset, "warned", empty),
            consequence="weak",
        )  # fmt: skip
    if dataset.classes:
        yield from balance(dataset, {
            split: np.bincount([k for i in dataset.indices(split) for k in looked[i].shown],
                               minlength=len(dataset.classes))
            for split in SPLITS
        })  # fmt: skip


def _look(maps: ClassMaps, i: int) -> _Looked:
    if not maps.paths[i]:
        return _Looked()
    try:
        values = values_of(maps, i)
    except DataError as error:
        return _Looked(error.what.removeprefix(f"{shown(maps.root / maps.paths[i])}: "))
    held = np.flatnonzero(np.bincount(values.reshape(-1)))
    strays = held[~np.isin(held, maps.values) & ~np.isin(held, maps.ignore)]
    classes = tuple(np.flatnonzero(np.isin(maps.values, held)).tolist())
    return _Looked("", tuple(strays.tolist()), classes, bool(classes))


def _look_at_layers(layers: Layers, i: int) -> _Looked:
    if not any(layers.files(i)):
        return _Looked()
    try:
        picture = peek(layers.root / layers.pictures[i], max_pixels=layers.max_pixels)
        bits = layers.read(i, (picture.height, picture.width))
    except DataError as error:
        return _Looked(error.what.removeprefix(f"{shown(layers.root)}/"))
    known = bits[bits >= 0]
    classes = tuple(k for k in range(len(layers.values)) if (known >> k & 1).any())
    return _Looked("", (), classes, bool(len(known)))


def _told(strays: tuple[int, ...]) -> str:
    return f"{are(len(strays), 'the value', 'the values')} {_listed(strays)}"


def _listed(values: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, values[:8])) + " ..." * (len(values) > 8)


CHECK = Check("masks that do not fit, hold unknown values, label nothing, or show classes unevenly", look)
