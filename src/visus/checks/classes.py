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

MOST_CARVED = 0.3
"""Share of the training pictures beyond which no more is taken from them to judge by."""

_KEYS = {"val": "validation", "test": "test"}
_SPOKEN = {"train": "training", "val": "validation", "test": "test"}


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the counts of classes, and with the sizes of the parts that judge."""
    dataset = subject.dataset
    if not dataset.classes or dataset.column() not in ("label", "labels", "objects"):
        return
    yield from balance(dataset, {split: shown_in(dataset, dataset.indices(split)) for split in SPLITS})
    if dataset.objects is None:  # a share of right answers, of which the interval is reckoned, is no score of boxes
        yield from _unknown(dataset)
        yield from _few_judged(dataset)


def balance(dataset: Dataset, counts: Mapping[str, NDArray[np.int64]]) -> Iterator[Finding]:
    """Yield the classes that are missing in a part, rare or uneven.

    Args:
        dataset: of any task that has classes.
        counts: (K,) pictures of each split that show each class.
    """
    yield from _missing(dataset, counts)
    yield from _rare(dataset, counts["train"])
    yield from _lopsided(dataset, counts["train"])


def shown_in(dataset: Dataset, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of the records ``at`` show each class, (K,)."""
    if dataset.objects is not None:
        here = np.isin(dataset.objects.records, at) & (dataset.objects.labels >= 0)
        shown = np.unique(np.stack([dataset.objects.records[here], dataset.objects.labels[here]]), axis=1)[1]
        return np.bincount(shown, minlength=len(dataset.classes))
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
    """Yield the classes without a picture in a part that has others.

    In training that is an error, but of boxes and class maps a warning: their lists of classes are often longer than
    what is drawn.  Where nothing at all is drawn on a part that is to judge, it judges nothing: an error.
    """
    drawn = _drawn(dataset)
    for split, shown in counts.items():
        learned = split == "train"
        absent = [k for k in np.flatnonzero(shown == 0).tolist() if not (learned and k in _stopped_at(dataset))]
        judges_nothing = drawn and not learned and not shown.any() and len(dataset.indices(split)) > 0
        if not absent or not (shown.any() or judges_nothing):
            continue
        wrong = judges_nothing or (learned and not drawn)
        named = ", ".join(dataset.classes[k] for k in absent[:3]) + " ..." * (len(absent) > 3)
        yield Finding(
            "CHECK-016", "error" if wrong else "warning",
            f"the {_SPOKEN[split]} part has no picture of {len(absent):,} of {len(shown):,} classes: {named}",
            "what is never shown cannot be learned" if learned
            else "it measures nothing: nothing is marked there" if judges_nothing
            else "how well a model recognises them cannot be measured",
            "add pictures of them" + ", or leave the parts to visus: visus split DATA --out DIR" * (
                not learned and split not in dataset.carved
            ),
            tuple(Item(dataset.classes[k], "warned", f"no {_SPOKEN[split]} picture") for k in absent),
            consequence="mislead" if wrong else "weak",
        )  # fmt: skip


def _drawn(dataset: Dataset) -> bool:
    """Tell whether classes are drawn into pictures, as boxes or maps, so that one picture shows many."""
    return dataset.objects is not None or dataset.maps is not None


def _stopped_at(dataset: Dataset) -> set[int]:
    """Return the classes that training stops at, which is told already."""
    records = [i for fault in dataset.faults for i in fault.records]
    return set(dataset.columns["label"][records].tolist()) if "label" in dataset.columns else set()


def _rare(dataset: Dataset, shown: NDArray[np.int64]) -> Iterator[Finding]:
    rare = [int(k) for k in np.argsort(shown, kind="stable") if 0 < shown[k] < FEW]
    if rare:
        yield Finding(
            "CHECK-015", "warning",
            f"{len(rare):,} of {len(shown):,} classes {are(len(rare), 'has', 'have')} fewer than {FEW} training"
            " pictures", "too few to learn reliably what the class looks like",
            "collect more" + "; --set augment.policy=trivialaugment makes the most of what is there"
            * (not _drawn(dataset)),
            tuple(Item(dataset.classes[k], "warned", _pictures(shown[k]), score=-float(shown[k])) for k in rare),
            consequence="weak",
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
            "a model that always answers the commonest class looks good by accuracy" if not _drawn(dataset)
            else "what is rarely shown is rarely found",
            "--set loss.class_weights=balanced --set score=f1_macro, or " * (not _drawn(dataset))
            + "more pictures of the rare ones",
            tuple(Item(dataset.classes[k], "warned", _pictures(shown[k]), score=-float(shown[k])) for k in small),
            consequence="weak",
        )  # fmt: skip


def _unknown(dataset: Dataset) -> Iterator[Finding]:
    labels = dataset.columns.get("label")
    unknown = np.flatnonzero(labels.astype(np.int64) < 0) if labels is not None else np.zeros(0, np.int64)
    if len(unknown):
        yield Finding(
            "CHECK-018", "note", f"{len(unknown):,} of {len(dataset):,} pictures {are(len(unknown))} without a class",
            "they are read, but count neither in training nor in judging", "label them, or leave them out",
            tuple(Item(dataset.ids[int(i)], "ok", "its class is unknown", index=int(i)) for i in unknown),
            consequence="fact",
        )  # fmt: skip


def _few_judged(dataset: Dataset) -> Iterator[Finding]:
    """Yield the parts whose scores will have a wider interval than one wants, with what would narrow it."""
    wanted = needed(HALF_WIDTH)
    small = {split: n for split in ("val", "test") if 0 < (n := len(dataset.indices(split))) < wanted}
    if not small:
        return
    told = " and ".join(f"{_SPOKEN[split]} has {n:,} (±{_points(n)} points)" for split, n in small.items())
    pool = len(dataset.indices("train")) + sum(len(dataset.indices(split)) for split in dataset.carved)
    shares = {split: math.ceil(100 * wanted / pool) / 100 for split in small if split in dataset.carved}
    carve = " ".join(f"--set data.{_KEYS[split]}={share:g}" for split, share in shares.items())
    yield Finding(
        "CHECK-017", "warning" if min(small.values()) < needed(0.06) else "note",
        f"few pictures to judge a score of {SCORE:.0%} by: {told}",
        "two models can hardly be told apart by such a score, and the best weights are chosen partly by luck",
        f"collect more: {wanted:,} give ±{100 * HALF_WIDTH:.0f} points"
        + f"; or {carve}" * (0 < sum(shares.values()) <= MOST_CARVED),
        tuple(
            Item(_SPOKEN[split], "warned", f"{n:,} pictures: a score of {SCORE:.0%} is known to ±{_points(n)} points",
                 score=-n)
            for split, n in small.items()
        ), consequence="weak",
    )  # fmt: skip


def _points(n: int) -> str:
    """Return half the width of the 95 % interval of a share that ``n`` pictures give, in percentage points."""
    return f"{100 * 1.959964 * math.sqrt(SCORE * (1 - SCORE) / n):.1f}"


def _pictures(count: int) -> str:
    return f"{count:,} training {are(int(count), 'picture', 'pictures')}"


CHECK = Check("classes that are rare, uneven or missing, and parts too small to judge by", look)
