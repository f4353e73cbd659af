"""People, scenes, plates and videos whose pictures lie in more than one split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from visus.checks import Check, Finding, Item, Level, Status, Subject
from visus.core.seeds import derive
from visus.data.dataset import SPLITS, Dataset
from visus.data.groups import apart, guess, likeness, neighbours
from visus.data.paths import shown
from visus.data.splitting import torn

ALIKE = 0.5
"""Distance of pictures that follow each other, as a share of that of others, at which they are frames of a video."""

_WHY = "a model knows such pictures from its training, and how it does on new ones stays unknown: scores are too good"
_DRAWN = 2000


def look(subject: Subject) -> Iterator[Finding]:
    """Yield groups that lie in several splits: an error where the data states them, a warning where they are guessed.

    Where there are neither, frames of one video that follow each other are looked for.
    """
    dataset, small = subject.dataset, subject.seen.small
    if dataset.groups is not None:
        yield from _torn(
            dataset, dataset.groups, "error", "CHECK-040", "that the data states lie in more than one part",
            f"{_WHY}; visus train refuses such data", "visus split DATA --out DIR keeps each whole", "refused",
        )  # fmt: skip
        return
    label = dataset.columns["label"].astype(np.int64) if "label" in dataset.columns else None
    guessed = guess(list(dataset.ids), label, dataset.classes, small)
    if guessed is not None:
        share = likeness(guessed.groups, small, label)
        seen = f"; pictures of one are {1 / max(share, 0.01):.1f} times as alike as others" if share < 1 else ""
        yield from _torn(
            dataset, guessed.groups, "warning", "CHECK-041",
            f"guessed from names lie in more than one part ({guessed.evidence}{seen})",
            f"if the guess is right, {_WHY}",
            "visus split DATA --group auto --out DIR keeps each whole; --group none if the guess is wrong", "warned",
        )  # fmt: skip
        return
    yield from _frames(dataset, small, label)


def _torn(
    dataset: Dataset, groups: NDArray[np.int64], level: Level, code: str, title: str, why: str, fix: str, status: Status
) -> Iterator[Finding]:
    """Yield a finding with every picture of a torn group that is not in the first of its parts."""
    found = torn(groups, dataset.split)
    if not len(found):
        return
    order = np.lexsort((dataset.split, groups))
    order = order[np.isin(groups[order], found)]
    _, first, group = np.unique(groups[order], return_index=True, return_inverse=True)
    items = tuple(
        Item(dataset.ids[i], status, index=i, beside=beside, other=dataset.ids[beside],
             why=f"of one group with {shown(dataset.ids[beside])} of {SPLITS[dataset.split[beside]]}")
        for i, beside in zip(order.tolist(), order[first][group].tolist(), strict=True)
        if dataset.split[i] != dataset.split[beside]
    )  # fmt: skip
    count = f"{len(found):,} group{'s' if len(found) != 1 else ''}"
    yield Finding(code, level, f"{count} {title}", why, fix, items, consequence="leak")


def _frames(dataset: Dataset, small: NDArray[np.uint8], label: NDArray[np.int64] | None) -> Iterator[Finding]:
    """Yield pictures that follow each other in different splits, where those that do are clearly alike."""
    pairs = neighbours(list(dataset.ids))
    across = pairs[dataset.split[pairs[:, 0]] != dataset.split[pairs[:, 1]]]
    if not len(across):
        return
    numbers = np.random.Generator(np.random.PCG64(derive(0, "frames")))
    strata = np.zeros(len(pairs), np.int64) if label is None else label[pairs[:, 0]]
    one, other = (np.lexsort((numbers.random(len(pairs)), strata)) for _ in range(2))
    drawn = numbers.permutation(len(pairs))[:_DRAWN]
    near = float(np.median(apart(small, pairs[drawn, 0], pairs[drawn, 1])))
    far = float(np.median(apart(small, pairs[one[drawn], 0], pairs[other[drawn], 1])))
    if near > ALIKE * far:
        return
    items = tuple(
        Item(dataset.ids[i], "warned", f"follows on {shown(dataset.ids[beside])} of {SPLITS[dataset.split[beside]]}",
             index=i, beside=beside, other=dataset.ids[beside])
        for beside, i in across[:, np.array([0, 1])].tolist()
    )  # fmt: skip
    yield Finding(
        "CHECK-042", "warning", f"{len(across):,} pictures that follow each other by name lie in different parts",
        f"they look {far / max(near, 1e-6):.1f} times as alike as others, as frames of a video do; {_WHY}",
        "give each video a name of its own, or a group column, then visus split DATA --out DIR", items,
        consequence="leak",
    )  # fmt: skip


CHECK = Check("people, scenes and videos in more than one split", look)
