"""Pictures that are there twice: with the same pixels, or nearly the same, with another label, or in another split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from visus.checks import Check, Consequence, Finding, Item, Level, Status, Subject
from visus.core.errors import DataError
from visus.data.dataset import SPLITS, Dataset
from visus.data.mask_door import read_map
from visus.data.near import near_pairs, twins_of
from visus.data.objects import ClassMaps, Mark
from visus.data.paths import shown

APART = "visus split DATA --out DIR keeps them together"


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what is there twice: leaks as errors, contradictions and what is nearly the same as warnings and notes."""
    dataset, seen = subject.dataset, subject.seen
    readable = np.setdiff1d(np.arange(len(dataset)), np.fromiter(seen.reasons, np.int64, len(seen.reasons)))
    order = readable[np.argsort(dataset.split[readable], kind="stable")]
    firsts, twins = twins_of(order, seen.digest)
    yield from _exact(dataset, twins)
    subject.tell(f"comparing {len(firsts):,} pictures with each other")
    near = near_pairs(seen.small[firsts])
    pairs = np.stack([firsts[near.first], firsts[near.second]], 1)
    yield from _near(dataset, pairs, near.likeness, near.symmetry)


def same_told(dataset: Dataset, pairs: NDArray[np.int64], *, placed: bool = True) -> NDArray[np.bool_]:
    """Return whether the same is known of both records of each pair: classes, numbers, objects and class maps.

    Args:
        dataset: whose records they are.
        pairs: (P, 2) records.
        placed: objects and maps are compared to the pixel; else the classes of objects alone, for pictures of which one
            is mirrored or cut, and maps not at all.
    """
    same = np.ones(len(pairs), np.bool_)
    for column in dataset.columns.values():
        a, b = (column[pairs[:, side]].reshape(len(pairs), int(np.prod(column.shape[1:]))) for side in (0, 1))
        unknown = np.isnan(a) & np.isnan(b) if column.dtype.kind == "f" else np.False_
        same &= ((a == b) | unknown).all(1)
    if dataset.objects is not None:
        marked = dataset.objects
        told = _marks if placed else _classes
        same &= np.array([told(marked[int(i)]) == told(marked[int(j)]) for i, j in pairs], np.bool_)
    if dataset.maps is not None and placed:
        same &= np.array([_same_map(dataset.maps, int(i), int(j)) for i, j in pairs], np.bool_)
    return same


def _exact(dataset: Dataset, twins: NDArray[np.int64]) -> Iterator[Finding]:
    across = dataset.split[twins[:, 0]] != dataset.split[twins[:, 1]]
    differ = ~same_told(dataset, twins)
    if across.any():
        items = _items(dataset, twins[across], "refused", "the same pixels as {} of {split}")
        yield Finding(
            "CHECK-030", "error", f"{_pictures(len(items))} also in another part",
            "a model that learned the one knows the other, so scores are too good; visus train refuses such data",
            f"{APART}; or remove one of each",
            items, consequence="leak",
        )  # fmt: skip
    if differ.any():
        items = _items(dataset, twins[differ], "warned", "the same pixels as {}, but another label")
        yield Finding(
            "CHECK-031", "warning", f"{_pictures(len(items))} there twice with different labels",
            "one of the two is wrong, or the labels leave something out; training reads both and learns from both",
            "keep the right one of each pair", items, consequence="mislead",
        )  # fmt: skip
    rest = ~across & ~differ
    if rest.any():
        items = _items(dataset, twins[rest], "warned", "the same pixels as {}")
        yield Finding(
            "CHECK-032", "note", f"{_pictures(len(items))} there more than once in one part",
            "they count as often as they are there, which makes scores look more certain than they are",
            "remove all but one of each", items, consequence="fact",
        )  # fmt: skip


def _near(
    dataset: Dataset, pairs: NDArray[np.int64], likeness: NDArray[np.float32], symmetry: NDArray[np.uint8]
) -> Iterator[Finding]:
    across = dataset.split[pairs[:, 0]] != dataset.split[pairs[:, 1]]
    same = same_told(dataset, pairs, placed=False)
    kinds: tuple[tuple[str, Level, Consequence, NDArray[np.bool_], str, str, str], ...] = (
        ("CHECK-033", "warning", "leak", across, "nearly the same as one of another part",
         "they are hardly new to a model that learned the other one, so scores are too good", APART),
        ("CHECK-034", "warning", "mislead", ~across & ~same, "nearly the same as one with another label",
         "one of the two labels may be wrong", "look at each pair, and mend the wrong label"),
        ("CHECK-035", "note", "fact", ~across & same, "nearly the same as another one of the same part",
         "they add little to learn from; visus split keeps them together", "keep them, or remove the poorer of each"),
    )  # fmt: skip
    for code, level, consequence, chosen, title, why, fix in kinds:
        if chosen.any():
            items = _items(dataset, pairs[chosen], "warned", "nearly the same as {} of {split}",
                           likeness[chosen], symmetry[chosen])  # fmt: skip
            yield Finding(code, level, f"{_pictures(len(items))} {title}", why, fix, items, consequence=consequence)


def _items(
    dataset: Dataset, pairs: NDArray[np.int64], status: Status, why: str,
    likeness: NDArray[np.float32] | None = None, symmetry: NDArray[np.uint8] | None = None,
) -> tuple[Item, ...]:  # fmt: skip
    """Return an item for the second picture of each pair, beside the one it is most like, the likest first."""
    score = np.ones(len(pairs), np.float32) if likeness is None else likeness
    found: dict[int, Item] = {}
    for at in np.argsort(-score, kind="stable").tolist():
        beside, index = pairs[at].tolist()
        if index in found:
            continue
        other = dataset.ids[beside]
        told = why.format(shown(other), split=SPLITS[dataset.split[beside]])
        told += "" if likeness is None else f", {min(100 * score[at], 99.9):.1f} % alike"
        told += ", mirrored" if symmetry is not None and symmetry[at] else ""
        found[index] = Item(dataset.ids[index], status, told, index=index, beside=beside, other=other,
                            score=float(score[at]))  # fmt: skip
    return tuple(found.values())


def _marks(marks: Sequence[Mark]) -> list[tuple[int, tuple[int, ...]]]:
    return sorted((mark.label, tuple(round(edge) for edge in mark.box)) for mark in marks)


def _classes(marks: Sequence[Mark]) -> list[int]:
    return sorted(mark.label for mark in marks)


def _same_map(maps: ClassMaps, i: int, j: int) -> bool:
    try:
        return np.array_equal(read_map(maps, i), read_map(maps, j))
    except DataError:
        return True  # a map that cannot be read is a finding of its own


def _pictures(count: int) -> str:
    return f"{count:,} picture{'s are' if count != 1 else ' is'}"


CHECK = Check("pictures that are there twice, exactly or nearly", look)
