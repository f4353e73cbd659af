"""Labels that the pictures contradict: out-of-fold probabilities of small models point at wrong classes.

Source:
    Northcutt, Jiang and Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 2021.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visus.checks import Check, Finding, Item, Subject, are

Probabilities: TypeAlias = NDArray[np.floating[Any]]

SUREST = 0.05
"""Share of the pictures taken for a class by which the share of wrong labels is estimated."""

ENOUGH = 100
"""Of these surest pictures there must be so many, or nothing is estimated: of few, a hard picture changes it all."""

_NEAR = 1e-6
"""By how much a probability may miss a threshold that its own class has set: rounding, where all are alike."""


def look(subject: Subject) -> Iterator[Finding]:
    """Yield one finding: the labels that are contradicted, the worst first, and how many are wrong by estimate."""
    if subject.out_of_fold is None:
        return
    dataset = subject.dataset
    if dataset.column() in ("objects", "class_map"):
        return  # asked about by ``box_labels`` and ``mask_labels``
    if dataset.column() != "label":
        yield Finding(
            "CHECK-051", "note", "labels were not examined: this data does not give each picture one class",
            why=f"it knows {dataset.column() or 'nothing'} of each picture; so far wrong labels are looked for where "
            "each picture has one class, and among boxes, not yet among several classes a picture, nor masks",
            fix="nothing to do", consequence="fact",
        )  # fmt: skip
        return
    probabilities = subject.out_of_fold()
    labels = dataset.columns["label"].astype(np.int64)
    at = np.flatnonzero((labels >= 0) & np.isfinite(probabilities).all(1))
    left = int((labels >= 0).sum()) - len(at)
    if left:
        yield Finding(
            "CHECK-052", "note", f"{left:,} {are(left, 'label', 'labels')} could not be examined",
            why="a class needs pictures in two folds at least, and groups stay whole; pictures must be readable",
            fix="more pictures of the small classes", consequence="fact",
        )  # fmt: skip
    if not len(at):
        return
    given, said = labels[at], probabilities[at]
    scores = contradictions(given, said)
    issues = np.flatnonzero(are_issues(given, said))
    if not len(issues):
        return
    order = issues[np.lexsort((issues, -scores[issues]))]
    told = f"small models disagree with {len(order):,} of {len(given):,} labels"
    if SUREST * len(given) >= ENOUGH:
        rate, low, high = noise_rate(given, said)
        told += f"; by estimate {rate:.1%} of all labels are wrong ({low:.1%} to {high:.1%})"
    else:
        told += ": too few pictures to estimate how many are wrong"
    yield Finding(
        "CHECK-050", "warning", told,
        why="some of these labels are wrong, others right but hard to see; a model learns wrong labels as if they were"
        " right, and is judged by them",
        fix="look at them, the worst first; --out DIR writes fixes.json: edit it, then visus fix DATA DIR/fixes.json",
        items=tuple(
            _item(dataset.ids[int(at[i])], int(at[i]), dataset.classes, int(given[i]), said[i], float(scores[i]))
            for i in order
        ), consequence="mislead",
    )  # fmt: skip


def thresholds(labels: NDArray[np.int64], probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (K,) how sure of a class the models are, on average, where it is the label; infinity for no label.

    Args:
        labels: (N,) classes as they are given.
        probabilities: (N, K) by models that did not learn from the record.

    Source:
        Northcutt et al., eq. 2.
    """
    count = np.bincount(labels, minlength=probabilities.shape[1])
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    total = np.bincount(labels, own, minlength=probabilities.shape[1])
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def confident(labels: NDArray[np.int64], probabilities: Probabilities) -> NDArray[np.int64]:
    """Return (N,) the likeliest class of each record among those that reach their threshold; -1 where none does.

    Source:
        Northcutt et al., eq. 1.
    """
    reached = probabilities >= thresholds(labels, probabilities) - _NEAR
    likeliest = np.where(reached, probabilities, -1.0).argmax(1)
    return np.where(reached.any(1), likeliest, -1)


def are_issues(labels: NDArray[np.int64], probabilities: Probabilities) -> NDArray[np.bool_]:
    """Return (N,) whether a record is confidently of another class than its label, and that is not the likeliest.

    Source:
        Northcutt et al., section 3.2, the off-diagonal records of the confident joint.
    """
    found, likeliest = confident(labels, probabilities), probabilities.argmax(1)
    issues: NDArray[np.bool_] = (found >= 0) & (found != labels) & (likeliest != labels)
    return issues


def contradictions(labels: NDArray[np.int64], probabilities: Probabilities) -> NDArray[np.float64]:
    """Return (N,) how improbable each label is, by which records are ranked: from 0 to 1.

    Source:
        Northcutt et al., section 3.2, one minus the self-confidence.
    """
    return 1 - probabilities[np.arange(len(labels)), labels].astype(np.float64)


def noise_rate(labels: NDArray[np.int64], probabilities: Probabilities) -> tuple[float, float, float]:
    """Return an estimate of the share of labels that are wrong, and the ends of a 95 % interval.

    It is the share of contradicted labels among the pictures of which the models are surest, a twentieth of those that
    they take for each class: there the models themselves are hardly ever wrong.  So it is that of all labels as far as
    plain pictures are mislabelled as often as hard ones.  Counting over all pictures, as the confident joint does,
    takes what is hard for wrong: it came to 19 % where 5 % were.

    Source:
        Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927, for the interval.
    """
    from scipy.stats import binomtest

    likeliest = probabilities.argmax(1)
    order = np.lexsort((-probabilities.max(1), likeliest))
    _, starts, counts = np.unique(likeliest[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    surest = order[place < np.repeat(np.ceil(SUREST * counts), counts)]
    found = binomtest(int((labels != likeliest)[surest].sum()), len(surest))
    ends = found.proportion_ci(method="wilson")
    return float(found.statistic), float(ends.low), float(ends.high)


def _item(file: str, index: int, classes: tuple[str, ...], label: int, said: Probabilities, score: float) -> Item:
    likely = int(np.where(np.arange(len(said)) == label, -1.0, said).argmax())
    shown = dict.fromkeys((likely, label))
    return Item(
        file, "warned", f"labelled {classes[label]}, looks like {classes[likely]} "
        f"({said[likely]:.0%} against {said[label]:.0%})",
        index=index, score=score,
        more={
            "label": classes[label], "suggested": classes[likely],
            "probabilities": {classes[k]: round(float(said[k]), 4) for k in shown},
        },
    )  # fmt: skip


CHECK = Check("labels that the pictures contradict", look)
