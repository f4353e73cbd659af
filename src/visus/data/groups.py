"""Groups of pictures that must not be torn apart: what the names of files tell of them, and how groups are joined.

Pictures of one person, one plate, one scene or one video are more alike than pictures at large.  With some of them in
training and others in the test, a score tells how well they are remembered, not how well others would be known.

What names tell is a guess, made by this rule.  Folders named as splits or as the picture's class are passed over.  What
then stands first - folders, or the parts of a name between ``_ - . ( )`` and spaces, or a name without the number at
its end - is tried from the coarsest to the finest, and the first is taken that divides the data into plausible groups:

- at least four in five pictures share their group with another one, and no group has more than four in five;
- it does not merely repeat the classes: a class has two groups or more on average;
- there are ten groups or more; or, where the pictures were looked at, two or more.  Then pictures of one group must be
  more alike than pictures of different groups (of one class), and clearly so where there are fewer than ten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visus.core.errors import UsageError, did_you_mean
from visus.core.seeds import derive
from visus.data.dataset import Dataset
from visus.data.listing import is_named_picture, natural
from visus.data.paths import shown
from visus.data.splitting import SPLIT_WORDS
from visus.data.tables import columns_of, parse, plain_name, tables_of, unguarded

MANY = 10
"""Groups from which the names alone are believed."""

CLOSER, CLEARLY = 0.9, 0.8
"""Distance within groups, as a share of that between them, at which pictures are more alike, and clearly so."""

_SHARED, _LARGEST = 0.8, 0.8
_DEPTH = 3  # folders, or parts of a name, that are looked at
_DRAWN = 2000  # pairs of pictures that are compared
_PARTS = re.compile(r"[_\-. ()]+")
_NUMBER = re.compile(r"[_\-. ()]*(\d+)\)?$")


@dataclass(frozen=True)
class Guess:
    """Groups that the names of files tell of.

    Attributes:
        groups: (N,) int64, the group of each picture.
        names: of the groups.
        evidence: what was recognised, in a phrase.
    """

    groups: NDArray[np.int64]
    names: tuple[str, ...]
    evidence: str


def joined(count: int, links: NDArray[np.int64], *groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups of ``count`` records that keep together all that is linked, and every group given, whole.

    Args:
        count: of the records.
        links: (P, 2) records that belong together.
        groups: (count,) each.

    Returns:
        (count,) numbers from 0 on, in the order of the first record of each.
    """
    chains = [links.reshape(-1, 2)]
    for one in groups:
        order = np.argsort(one, kind="stable")
        same = one[order[1:]] == one[order[:-1]]
        chains.append(np.stack([order[:-1][same], order[1:][same]], 1))
    a, b = np.concatenate(chains).T
    _, found = connected_components(
        coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(count, count)), directed=False
    )
    _, first, group = np.unique(found, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    result: NDArray[np.int64] = rank[group].astype(np.int64)
    return result


def guess(
    names: Sequence[str], label: NDArray[np.int64] | None = None, classes: Sequence[str] = (),
    small: NDArray[np.uint8] | None = None,
) -> Guess | None:  # fmt: skip
    """Return the groups that names tell of by the rule at the head of this file; None where they tell of none.

    Args:
        names: paths of the pictures, with "/".
        label: (N,) class of each, where each has one; below 0 unknown.
        classes: their names.
        small: (N, S, S) grey pictures, where they were looked at.
    """
    known = ["" if label is None or label[i] < 0 else classes[label[i]] for i in range(len(names))]
    split = [_split(name, one) for name, one in zip(names, known, strict=True)]
    for what, keys in _keys(split):
        index: dict[str, int] = {}
        groups = np.array([index.setdefault(key, len(index)) for key in keys], np.int64)
        if not _plausible(groups, label):
            continue
        few = len(index) < MANY
        if few if small is None else likeness(groups, small, label) > (CLEARLY if few else CLOSER):
            continue
        found = tuple(index)
        named = ", ".join(sorted(found, key=natural)[:3]) + ", ..." * (len(found) > 3)
        about = round(float(np.median(np.bincount(groups))))
        return Guess(groups, found, f"{len(found):,} groups of about {about:,} pictures by {what}: {named}")
    return None


def stated(dataset: Dataset, source: Path, name: str) -> list[str]:
    """Return what a column of the table, or a key of the annotations, says of each picture.

    Args:
        dataset: as it was read from ``source``.
        source: the folder or table.
        name: of the column or key.

    Raises:
        UsageError: USE-045 there is none of that name, or it does not say one thing of each picture.
    """
    found: dict[str, str] = {}
    names: set[str] = set()
    if dataset.original is not None and dataset.original.records is not None:
        for id, text in zip(dataset.ids, dataset.original.records, strict=True):
            told = json.loads(text or "{}")
            names |= told.keys()
            found |= {id: str(told[name])} if name in told else {}
    for table, _ in tables_of(source) if not names or dataset.format in ("csv", "boxes_csv") else []:
        header, rows, _ = parse(table)
        names |= {*header}
        at, path = columns_of(table, header), {plain_name(column): i for i, column in enumerate(header)}
        for line, fields in rows if plain_name(name) in path and "path" in at else []:
            value = unguarded(fields[path[plain_name(name)]].strip())
            if found.setdefault(fields[at["path"]], value) != value:
                raise UsageError("USE-045", f"{shown(fields[at['path']])} is in two groups by {name!r}",
                                 where=f"{shown(table)}, row {line}")  # fmt: skip
    if left := [id for id in dataset.ids if not found.get(id)]:
        what = (
            f"{len(left):,} pictures have no {name!r}" if found else f"nothing named {name!r} is said of the pictures"
        )
        raise UsageError("USE-045", what, where=shown(left[0]) if found else "",
                         fix="fill it in, or --group auto" if found else did_you_mean(name, names))  # fmt: skip
    return [found[id] for id in dataset.ids]


def likeness(groups: NDArray[np.int64], small: NDArray[np.uint8], label: NDArray[np.int64] | None = None) -> float:
    """Return how far apart pictures of one group are, as a share of how far those of different groups are.

    Distance is one minus the correlation of the pictures at 8 x 8; the share is one of medians over some pairs drawn.
    Where each picture has a class, pairs of different groups are of one class, so that it is not classes that differ.
    """
    numbers = np.random.Generator(np.random.PCG64(derive(0, "groups")))
    strata = label if label is not None else np.zeros(len(groups), np.int64)
    order = np.lexsort((numbers.random(len(groups)), groups))
    same = np.flatnonzero(groups[order[1:]] == groups[order[:-1]])
    order_across = np.lexsort((numbers.random(len(groups)), strata))
    ahead, behind = order_across[1:], order_across[:-1]
    other = np.flatnonzero((strata[ahead] == strata[behind]) & (groups[ahead] != groups[behind]))
    if not len(same) or not len(other):
        return 1.0
    same, other = (numbers.permutation(pairs)[:_DRAWN] for pairs in (same, other))
    within = apart(small, order[same], order[same + 1])
    between = apart(small, behind[other], ahead[other])
    return float(np.median(within) / max(float(np.median(between)), 1e-6))


def neighbours(names: Sequence[str]) -> NDArray[np.int64]:
    """Return (P, 2) pictures that follow each other by the number at the end of their name, in one folder and series.

    Folders named as splits are passed over, so that frames of one video are neighbours wherever they were put.
    """
    series: dict[str, list[tuple[int, int]]] = {}
    for i, name in enumerate(names):
        folders, stem = _split(name, "")
        if number := _NUMBER.search(stem):
            series.setdefault("/".join([*folders, stem[: number.start()]]), []).append((int(number[1]), i))
    pairs = [(a, b) for one in series.values() for (_, a), (_, b) in pairwise(sorted(one))]
    return np.array(pairs, np.int64).reshape(-1, 2)


def apart(small: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return one minus the correlation at 8 x 8 of pairs of pictures: (P,), in [0, 2]."""
    a, b = (_coarse(small[at]) for at in (first, second))
    distance: NDArray[np.float32] = 1 - (a * b).mean(1)
    return distance


def _coarse(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    n, side, _ = pictures.shape
    coarse = pictures.reshape(n, 8, side // 8, 8, side // 8).mean((2, 4), dtype=np.float32).reshape(n, -1)
    coarse -= coarse.mean(1, keepdims=True)
    standard: NDArray[np.float32] = coarse / np.maximum(coarse.std(1, keepdims=True), 1e-3)
    return standard


def _split(name: str, known: str) -> tuple[tuple[str, ...], str]:
    """Return the folders of a path that are neither a split nor the class, and the name without its ending."""
    *folders, last = name.split("/")
    stem = last.rpartition(".")[0] if is_named_picture(last) else last
    return tuple(one for one in folders if one.lower() not in SPLIT_WORDS and one != known), stem


def _keys(split: Sequence[tuple[tuple[str, ...], str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield what could name a group, for every picture, from the coarsest to the finest, and what it is in words."""
    deepest = min(_DEPTH, max((len(folders) for folders, _ in split), default=0))
    for depth in range(1, deepest + 1):
        yield "their folders", ["/".join(folders[:depth]) for folders, _ in split]
    parts = [[part for part in _PARTS.split(stem) if part] for _, stem in split]
    for count in range(1, _DEPTH + 1):
        if all(len(one) > count for one in parts):
            keys = ["/".join((*folders, "_".join(one[:count]))) for (folders, _), one in zip(split, parts, strict=True)]
            yield "the beginning of their names", keys
    yield (
        "their names without the last number",
        ["/".join((*folders, _NUMBER.sub("", stem))) for folders, stem in split],
    )


def _plausible(groups: NDArray[np.int64], label: NDArray[np.int64] | None) -> bool:
    sizes = np.bincount(groups)
    if len(sizes) < 2 or sizes.max() > _LARGEST * len(groups) or sizes[sizes > 1].sum() < _SHARED * len(groups):
        return False
    if label is None or len(np.unique(label)) < 2:
        return True
    return len(np.unique(np.stack([groups, label]), axis=1).T) >= 2 * len(np.unique(label))
