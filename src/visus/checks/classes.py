"""How many pictures show each class: rare, uneven and missing ones, and parts too small to judge by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from visus.checks import Check, Finding, Item, Subject, are
from visus.data.dataset import SPLITS, Dataset

FEW = 10
"""Training pictures of a class below which what is learned of it is luck."""

LOPSIDED = 10.0
"""Times that the commonest class is as frequent as another, from which on the other is easily ignored."""

HALF_WIDTH, SCORE = 0.02, 0.9
"""The interval one wants of a share of right answers, to either side, and the share for which it is reckoned."""

_SPOKEN = {"train": "training", "val": "validation", "test": "test"}


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the counts of classes, and with the sizes of the parts that judge."""
    dataset = subject.dataset
    if dataset.classes and dataset.column() in ("label", "labels"):
        counts = {split: shown_in(dataset, split) for split in SPLITS}
        yield from _missing(dataset, counts)
        yield from _rare(dataset, counts["train"])
        yield from _lopsided(dataset, counts["train"])
        yield from _unknown(dataset)
        yield from _few_judged(dataset)


def shown_in(dataset: Dataset, split: str) -> NDArray[np.int64]:
    """Return how many pictures of a split show each class, (K,)."""
    at = dataset.indices(split)
    if dataset.column() == "labels":
        return np.asarray((dataset.columns["labels"][at] == 1).sum(0), np.int64)
    labels = dataset.columns["label"][at].astype(np.int64)
    return np.bincount(labels[labels >= 0], minlength=len(dataset.classes))


def needed(half_width: float, score: float = SCORE) -> int:
    """Return how many pictures give a score a 95 % interval of ``half_width`` to either side.

    Source:
        The normal approximation of the binomial: n = z^2 p (1 - p) / h^2.
    """
    return math.ceil(1.959964**2 * score * (1 - score) / half_width**2)


def _missing(dataset: Dataset, counts: Mapping[str, NDArray[np.int64]]) -> Iterator[Finding]:
    """Yield the classes without a picture in a part that has others."""
    for split, shown in counts.items():
        absent = np.flatnonzero(shown == 0).tolist()
        if not absent or not shown.any():
            continue
        learned = split == "train"
        yield Finding(
            "CHECK-016", "error" if learned else "warning",
            f"the {_SPOKEN[split]} part shows {len(absent):,} of {len(shown):,} classes not at all",
            "what is never shown cannot be learned" if learned else "how well it is told nobody knows",
            "add pictures of them" + ("" if learned else ", or leave the parts to visus, which carves them evenly"),
            tuple(Item(dataset.classes[k], "warned", f"no {_SPOKEN[split]} picture") for k in absent),
        )  # fmt: skip


def _rare(dataset: Dataset, shown: NDArray[np.int64]) -> Iterator[Finding]:
    rare = [int(k) for k in np.argsort(shown, kind="stable") if 0 < shown[k] < FEW]
    if rare:
        yield Finding(
            "CHECK-015", "warning",
            f"{len(rare):,} of {len(shown):,} classes {are(len(rare), 'has', 'have')} fewer than {FEW} training"
            " pictures", "what is learned of them is luck",
            "collect more; --set augment.policy=trivialaugment makes the most of what is there",
            tuple(Item(dataset.classes[k], "warned", _pictures(shown[k]), score=-float(shown[k])) for k in rare),
        )  # fmt: skip


def _lopsided(dataset: Dataset, shown: NDArray[np.int64]) -> Iterator[Finding]:
    most = int(shown.max(initial=0))
    small = [int(k) for k in np.argsort(shown, kind="stable") if 0 < shown[k] * LOPSIDED <= most]
    if small:
        times = most / int(shown[small[0]])
        common = dataset.classes[int(shown.argmax())]
        yield Finding(
            "CHECK-014", "warning",
            f"the classes are uneven: {common!r} has {times:,.0f} times as many training pictures as"
            f" {dataset.classes[small[0]]!r}",
            "a model that always answers the commonest class looks good by accuracy",
            "--set loss.class_weights=balanced --set score=f1_macro, or more pictures of the rare ones",
            tuple(Item(dataset.classes[k], "warned", _pictures(shown[k]), score=-float(shown[k])) for k in small),
        )  # fmt: skip


def _unknown(dataset: Dataset) -> Iterator[Finding]:
    labels = dataset.columns.get("label")
    unknown = np.flatnonzero(labels.astype(np.int64) < 0) if labels is not None else np.zeros(0, np.int64)
    if len(unknown):
        yield Finding(
            "CHECK-018", "note", f"{len(unknown):,} of {len(dataset):,} pictures {are(len(unknown))} without a class",
            "they are read, but count neither in training nor in judging", "label them, or leave them out",
            tuple(Item(dataset.ids[int(i)], "ok", "its class is unknown", index=int(i)) for i in unknown),
        )  # fmt: skip


def _few_judged(dataset: Dataset) -> Iterator[Finding]:
    """Yield the parts whose scores will have a wider interval than one wants, with what would narrow it."""
    wanted = needed(HALF_WIDTH)
    small = {split: n for split in ("val", "test") if 0 < (n := len(dataset.indices(split))) < wanted}
    if not small:
        return
    told = " and ".join(f"the {_SPOKEN[split]} part has {n:,}" for split, n in small.items())
    yield Finding(
        "CHECK-017", "warning" if min(small.values()) < needed(0.06) else "note",
        f"few pictures to judge by: {told}; {wanted:,} give a score of {SCORE:.0%} to {100 * HALF_WIDTH:.0f} points",
        "two models can hardly be told apart by such a score, and the best weights are chosen partly by luck",
        "collect more, or --set data.validation=0.2 --set data.test=0.3 where visus carves the parts",
        tuple(
            Item(_SPOKEN[split], "warned", f"{n:,} pictures: a score of {SCORE:.0%} is known to "
                 f"{100 * 1.959964 * math.sqrt(SCORE * (1 - SCORE) / n):.1f} points to either side", score=-n)
            for split, n in small.items()
        ),
    )  # fmt: skip


def _pictures(count: int) -> str:
    return f"{count:,} training {are(int(count), 'picture', 'pictures')}"


CHECK = Check("classes that are rare, uneven or missing, and parts too small to judge by", look)
