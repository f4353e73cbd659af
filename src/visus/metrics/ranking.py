"""One class against the rest, by the order of its scores: ROC-AUC, average precision and their curves.

Items are sorted once; under any weights, both areas are then sums over the distinct scores that some positive has.

Source:
    AUC with ties counted half: Hanley and McNeil, Radiology 1982.  Average precision without interpolation, as in
    scikit-learn: Manning, Raghavan and Schuetze, Introduction to information retrieval, 2008, chapter 8.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from visus.metrics.bootstrap import Numbers, Sums, Weights, mean_of_defined, ratio, summing_runs

EXACT = 2_000_000_000
"""Items x classes x resamples up to which several classes are resampled exactly: some seconds of one core."""


class Ranking:
    """Scores of one class, sorted.

    Args:
        scores: (m,) larger means more likely; equal ones are ties.
        positive: (m,) bool, the class is shown.
        items: (m,) which of the ``n`` items these are; all of them by default.
        n: items there are, so that weights are (n, r).
    """

    def __init__(
        self,
        scores: Numbers,
        positive: NDArray[np.bool_],
        items: NDArray[np.int64] | None = None,
        n: int | None = None,
    ) -> None:
        order = np.argsort(-scores)  # the order among ties does not matter: they are counted together
        fallen, self._positive = scores[order], positive[order]
        self._items = order if items is None else items[order]
        self._n = len(scores) if n is None else n
        new = np.ones(len(scores), dtype=bool)
        new[1:] = fallen[1:] != fallen[:-1]
        self._tie = np.cumsum(new) - 1  # (m,) rank of each item's score among the distinct ones
        begins = np.append(np.flatnonzero(new), len(scores))
        positives = np.bincount(self._tie[self._positive], minlength=len(begins) - 1)
        held = np.flatnonzero(positives)  # distinct scores that some positive has, G of them
        # Items fall into 2 G + 1 segments: what lies above, between and below the held scores, and the ties of each.
        self._bounds = np.zeros(2 * len(held) + 2, dtype=np.int64)
        self._bounds[1:-1:2], self._bounds[2:-1:2] = begins[held], begins[held + 1]
        self._bounds[-1] = len(scores)
        self._gains = np.append(0, np.cumsum(positives[held]))

    @property
    def value(self) -> Numbers:
        """(2,) ROC-AUC and average precision of the items as they are; NaN where one is undefined."""
        reached, gained = self._bounds[1:, None].astype(np.float64), np.diff(self._gains)[:, None].astype(np.float64)
        return np.concatenate(_areas(reached, gained))

    def areas(self, weights: Weights) -> tuple[Numbers, Numbers]:
        """Return (r,) ROC-AUC and average precision; NaN where one kind, or every positive, is missing."""
        every, shown = self._sums
        return _areas(np.cumsum(every @ weights, axis=0), shown @ weights)

    @cached_property
    def _sums(self) -> tuple[Sums, Sums]:
        """Sums over the items of each segment, and over the positives of each held score."""
        return summing_runs(self._items, self._bounds, self._n), summing_runs(
            self._items[self._positive], self._gains, self._n
        )

    def influences(self) -> tuple[Numbers, Numbers]:
        """Return (n,) slopes of both areas in each item's weight, at weights of one; NaN where an area is undefined.

        An area under weights w is about its value plus ``(w - 1) @ influence``: the infinitesimal jackknife, which
        costs one pass where exact resampling costs one for each resample.

        Source:
            Efron, The jackknife, the bootstrap and other resampling plans, 1982, chapter 6.
        """
        auc, precision_mean = self.value
        gained = np.diff(self._gains).astype(np.float64)
        hits, positives = np.cumsum(gained), gained.sum()
        negatives = len(self._items) - positives
        at = self._bounds[2::2].astype(np.float64)[: len(hits)]
        precision = ratio(hits, at, 0.0)
        # Average precision: a positive adds its own precision, and every item moves the precision of those below it.
        segments = np.repeat(np.arange(len(self._bounds) - 1), np.diff(self._bounds))
        lower = segments // 2  # the first held score at or below each item
        raised = _below(ratio(gained, at, 0.0))[lower]
        diluted = _below(ratio(gained * hits, at * at, 0.0))[lower]
        own = np.append(precision, 0.0)[lower]
        on_precision = np.where(self._positive, own - precision_mean + raised, 0.0) - diluted
        # AUC: a positive by the negatives it beats, a negative by the positives that beat it.
        ties = np.bincount(self._tie, ~self._positive), np.bincount(self._tie, self._positive)
        beaten = (negatives - np.cumsum(ties[0]) + ties[0] / 2)[self._tie]
        beaten_by = (np.cumsum(ties[1]) - ties[1] / 2)[self._tie]
        with np.errstate(invalid="ignore", divide="ignore"):
            for_positive = (beaten / negatives - auc) / positives
            for_negative = (beaten_by / positives - auc) / negatives
            on_auc = np.where(self._positive, for_positive, for_negative)
            found = np.zeros((2, self._n))
            found[0, self._items], found[1, self._items] = on_auc, on_precision / positives
        return found[0], found[1]

    def roc(self) -> tuple[Numbers, Numbers]:
        """Return false and true positive rate after each distinct score, from (0, 0) to (1, 1)."""
        wrong, right = self._counts()
        return np.append(0.0, wrong / wrong[-1]), np.append(0.0, right / right[-1])

    def precision_recall(self) -> tuple[Numbers, Numbers]:
        """Return recall and precision after each distinct score."""
        wrong, right = self._counts()
        return right / right[-1], right / (right + wrong)

    def _counts(self) -> tuple[Numbers, Numbers]:
        """Return how many negatives and positives score at least each distinct score."""
        wrong = np.cumsum(np.bincount(self._tie, ~self._positive), dtype=np.float64)
        return wrong, np.cumsum(np.bincount(self._tie, self._positive), dtype=np.float64)


class Rankings:
    """Several classes: both areas averaged over those that define them.

    Args:
        classes: an iterable that makes each class's Ranking, anew at every call.
        exact: keep them and resample exactly; else keep only values and influences, (n,) each.
    """

    def __init__(self, classes: Iterable[Ranking], n: int, exact: bool) -> None:
        self._kept: list[Ranking] = []
        self._slope = np.zeros((2, n))
        values = []
        for ranking in classes:
            found = ranking.value
            values.append(found)
            if exact:
                self._kept.append(ranking)
            else:
                self._slope += np.where(np.isnan(found)[:, None], 0, ranking.influences())
        self.by_class = np.asarray(values).reshape(-1, 2)  # (K, 2): ROC-AUC, average precision
        self._value = mean_of_defined(self.by_class)
        self._slope /= np.maximum((~np.isnan(self.by_class)).sum(0), 1)[:, None]
        self._exact = exact

    def areas(self, weights: Weights) -> tuple[Numbers, Numbers]:
        """Return (r,) macro-averaged ROC-AUC and average precision."""
        if weights.shape[1] == 1 and (weights == 1).all():
            macro = self._value[:, None]
        elif self._exact:
            found = np.asarray([ranking.areas(weights) for ranking in self._kept]).reshape(-1, 2, weights.shape[1])
            macro = mean_of_defined(found)
        else:
            macro = np.clip(self._value[:, None] + self._slope @ (weights - 1), 0, 1)
        return macro[0], macro[1]


def _areas(reached: Numbers, gained: Numbers) -> tuple[Numbers, Numbers]:
    """Return (r,) ROC-AUC and average precision.

    Args:
        reached: (2 G + 1, r) weight down to the end of each segment.
        gained: (G, r) weight of the positives of each held score.
    """
    hits = np.cumsum(gained, axis=0)
    positives = gained.sum(0)
    negatives = reached[-1] - positives
    upto, above = reached[1::2] - hits, reached[:-1:2] - (hits - gained)  # negatives at or above, and above
    wins = (gained * (negatives - (upto + above) / 2)).sum(0)
    precision = ratio(hits, reached[1::2], 0.0)
    return ratio(wins, positives * negatives), ratio((gained * precision).sum(0), positives)


def _below(values: Numbers) -> Numbers:
    """Return sums from each place to the end, and 0 past it."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)
