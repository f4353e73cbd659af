"""Carves the splits that a data set does not have from its training part: stratified, groups whole, written down.

Who goes where depends on (seed, the record's name) alone, never on the order of records: a file more or less moves at
most a few others.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.dataset import SPLITS, Dataset

TRAIN, VAL, TEST = range(3)
SPLIT_WORDS = {
    "train": TRAIN, "training": TRAIN,
    "val": VAL, "valid": VAL, "validation": VAL, "dev": VAL,
    "test": TEST, "testing": TEST,
}  # fmt: skip
_BINS = 10


def carve_missing(dataset: Dataset, *, validation: float, test: float, seed: int) -> Dataset:
    """Return the data set with a validation part, and a test part where ``test`` is above 0.

    Each class gives its share, rounded, but at least one picture, as long as one is left for training and, while the
    validation part is still to be carved, one for that.  Records of one group stay together.  Data with several labels
    is stratified by the rarest one a picture shows, numbers by tenths of the records in their order of size.

    Args:
        dataset: as a format read it.
        validation: share of the training part for validation, in (0, 1).
        test: share of the training part for the test, in [0, 1).
        seed: of the draw.

    Raises:
        DataError: DATA-180 nothing to train on, DATA-181 one class only, DATA-182 too few pictures or groups to carve.
    """
    if not len(dataset.indices("train")):
        raise DataError(
            "DATA-180", f"{dataset.name}: it has no training part", where=str(dataset.root),
            fix="name the folder of the training pictures train/",
        )  # fmt: skip
    _check_classes(dataset)
    split, notes, carved = dataset.split.copy(), [], []
    ranks = _ranks(dataset, seed)
    strata = strata_of(dataset)
    for part, share in ((TEST, test), (VAL, validation)):
        if (split == part).any():
            continue
        if not share:
            notes.append(f"there is no {SPLITS[part]} part, and none was asked for")
            continue
        pool = np.flatnonzero(split == TRAIN)
        spare = 1 if part == VAL or (split == VAL).any() else 2
        taken = _take(pool, share, ranks, strata, dataset.groups, spare)
        if not len(taken):
            raise _nothing_to_carve(dataset, part)
        split[taken] = part
        carved.append(SPLITS[part])
        notes.append(_carved_note(dataset, part, len(taken), len(pool), seed))
    whole = dataset.with_(split=split, carved=tuple(carved))
    return whole.with_(notes=(*dataset.notes, *notes, *_absent_notes(whole), *_torn_notes(whole)))


def strata_of(dataset: Dataset) -> NDArray[np.int64]:
    """Return the stratum of each record: its class, its rarest class, or the tenth in which its first number lies."""
    column = dataset.column()
    if column == "label":
        return dataset.columns["label"].astype(np.int64)
    if column == "labels" or dataset.objects is not None:
        shown = _shown(dataset)
        count = shown.sum(0)
        rarest = np.where(shown, count, len(dataset) + 1).argmin(1)
        return np.where(shown.any(1), rarest, -1).astype(np.int64)
    if column == "numbers":
        first = dataset.columns["numbers"][:, 0].astype(np.float64)
        known = ~np.isnan(first)
        edges = np.quantile(first[known], np.linspace(0, 1, _BINS + 1)[1:-1]) if known.any() else np.zeros(0)
        return np.where(known, np.searchsorted(edges, first, "right"), -1).astype(np.int64)
    return np.zeros(len(dataset), np.int64)


def torn(groups: NDArray[np.int64], split: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the groups that lie in more than one split."""
    pairs = np.unique(np.stack([groups, split.astype(np.int64)]), axis=1)
    found, splits = np.unique(pairs[0], return_counts=True)
    return found[splits > 1]


def _ranks(dataset: Dataset, seed: int) -> NDArray[np.uint64]:
    """Return a number for each record, or for each one's group, by a hash of the seed and the name."""
    if dataset.groups is None:
        key = f"{seed}\x1fsplit\x1f".encode()
        names = (name.encode("utf-8", "surrogateescape") for name in dataset.ids)
        hashes = b"".join(blake2b(key + name, digest_size=8).digest() for name in names)
        return np.frombuffer(hashes, "<u8").astype(np.uint64)
    # a group bears the name of its first record in the order of names, because its number depends on the reader
    first: dict[int, str] = {}
    for group, name in zip(dataset.groups.tolist(), dataset.ids, strict=True):
        if group not in first or name < first[group]:
            first[group] = name
    ranks = {
        group: int.from_bytes(
            blake2b(f"{seed}\x1fsplit\x1f{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little"
        )
        for group, name in first.items()
    }
    return np.array([ranks[group] for group in dataset.groups.tolist()], np.uint64)


def _shown(dataset: Dataset) -> NDArray[np.bool_]:
    """Return which classes each record shows, (N, K), of several labels or of objects."""
    if dataset.objects is None:
        return dataset.columns["labels"].astype(bool)
    shown = np.zeros((len(dataset), max(1, len(dataset.classes))), np.bool_)
    known = dataset.objects.labels >= 0
    shown[dataset.objects.records[known], dataset.objects.labels[known]] = True
    return shown


def _take(
    pool: NDArray[np.int64], share: float, ranks: NDArray[np.uint64], strata: NDArray[np.int64],
    groups: NDArray[np.int64] | None, spare: int,
) -> NDArray[np.int64]:  # fmt: skip
    """Return the records of ``pool`` that a part of this share takes; each stratum keeps at least ``spare``."""
    if groups is not None:
        return _take_groups(pool, share, ranks, strata, groups)
    order = pool[np.lexsort((ranks[pool], strata[pool]))]
    _, starts, counts = np.unique(strata[order], return_index=True, return_counts=True)
    wanted = np.floor(share * counts + 0.5).astype(np.int64)
    wanted = np.clip(np.maximum(wanted, 1), 0, np.maximum(counts - spare, 0))
    place = np.arange(len(order)) - np.repeat(starts, counts)
    return np.sort(order[place < np.repeat(wanted, counts)])


def _take_groups(
    pool: NDArray[np.int64], share: float, ranks: NDArray[np.uint64], strata: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> NDArray[np.int64]:  # fmt: skip
    """Return the records of whole groups: each, in the order of the hash, is taken if it brings the strata nearer.

    A group without which a stratum could not be trained on stays.
    """
    _, stratum = np.unique(strata[pool], return_inverse=True)
    total = np.bincount(stratum)
    wanted, taken = share * total, np.zeros(len(total))
    order = np.lexsort((groups[pool], ranks[pool]))
    bounds = [*np.flatnonzero(np.diff(groups[pool][order], prepend=-1)).tolist(), len(order)]
    chosen: list[NDArray[np.int64]] = []
    best: tuple[float, NDArray[np.int64]] | None = None
    for start, stop in pairwise(bounds):
        members = order[start:stop]
        shown, counts = np.unique(stratum[members], return_counts=True)
        if (taken[shown] + counts >= total[shown]).any():
            continue
        gap = np.abs(taken[shown] - wanted[shown]) - np.abs(taken[shown] + counts - wanted[shown])
        gain = float(gap.sum())
        if gain > 0:
            taken[shown] += counts
            chosen.append(members)
        elif best is None or gain > best[0]:
            best = gain, members
    if not chosen and best is not None:
        chosen.append(best[1])
    return np.sort(pool[np.concatenate(chosen)]) if chosen else pool[:0]


def _check_classes(dataset: Dataset) -> None:
    if dataset.column() == "label" and len(dataset.classes) < 2:
        only = f"one class ({dataset.classes[0]})" if dataset.classes else "no class"
        raise DataError(
            "DATA-181", f"{dataset.name}: it shows {only}; telling apart needs two", where=str(dataset.root),
            looked=dataset.evidence, fix="one folder for each class: DATA/cat/, DATA/dog/",
        )  # fmt: skip


def _nothing_to_carve(dataset: Dataset, part: int) -> DataError:
    name = {VAL: "validation", TEST: "test"}[part]
    train = len(dataset.indices("train"))
    what = f"{dataset.name}: no {name} part can be carved from {train:,} training picture{'s' * (train != 1)}"
    by_class = dataset.column() in ("label", "labels", "objects")
    masks = " with their masks" * (dataset.of_pixels is not None)
    each = {"label": "in each class", "labels": "that show each class", "objects": "that show each class"}
    if dataset.groups is not None:
        groups = len(np.unique(dataset.groups[dataset.indices("train")]))
        told = "and without any one of them a class could not be trained on" if by_class else "and training keeps one"
        why = f"{groups:,} group{'s stay' if groups != 1 else ' stays'} whole, {told}"
    elif by_class:
        why = f"a class keeps one picture for training, and each of the {len(dataset.classes):,} has too few beyond it"
    else:
        why = "training keeps one" + " and validation another" * (part == TEST)
    pictures = f"{3 if part == TEST else 2} pictures{masks} {each.get(dataset.column(), 'there')}"
    fix = f"put at least {pictures}, or give a {name} part"
    return DataError("DATA-182", what, where=why, fix=fix)


def _carved_note(dataset: Dataset, part: int, taken: int, pool: int, seed: int) -> str:
    by = {
        "label": ", stratified by class",
        "labels": ", stratified by the rarest label",
        "numbers": ", stratified by value",
        "objects": ", stratified by the rarest class of a picture",
    }
    how = by.get(dataset.column(), "") + (", groups kept together" if dataset.groups is not None else "")
    name = {VAL: "validation", TEST: "the test"}[part]
    return f"carved {taken:,} of {pool:,} training pictures for {name} ({taken / pool:.1%}{how}, seed {seed})"


def _absent_notes(dataset: Dataset) -> list[str]:
    """Return a sentence for each split that lacks a class."""
    notes = []
    for name in SPLITS:
        at = dataset.indices(name)
        if not len(at) or not dataset.classes or dataset.column() not in {"label", "labels", "objects"}:
            continue
        if dataset.column() == "label":
            labels = dataset.columns["label"][at].astype(np.int64)
            counts = np.bincount(labels[labels >= 0], minlength=len(dataset.classes))
        else:
            counts = _shown(dataset)[at].sum(0, dtype=np.int64)
        absent = [c for c, n in zip(dataset.classes, counts.tolist(), strict=True) if not n]
        if absent:
            named = ", ".join(absent[:5]) + " ..." * (len(absent) > 5)
            notes.append(f"{name} has no picture of {len(absent):,} of {len(counts):,} classes: {named}")
    return notes


def _torn_notes(dataset: Dataset) -> list[str]:
    """Return a sentence where the data's own splits tear groups apart."""
    count = len(torn(dataset.groups, dataset.split)) if dataset.groups is not None else 0
    return [f"{count:,} groups lie in more than one split, so scores may flatter"] if count else []
