"""Scores that follow from three counts of each class: how often it was right, named and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from visus.core.figures import Table
from visus.metrics.bootstrap import Numbers, Weights, mean_of_defined, measured, ratio, scored


@dataclass(frozen=True)
class Counts:
    """Weighted counts of K classes in r resamples, each (K, r).

    A class that is neither shown nor named is left out of macro averages.  One that is only named has recall 0 in them,
    one that is only shown has precision 0, as in scikit-learn.

    Attributes:
        right: shown and named; named: said by the network; shown: true.
    """

    right: Numbers
    named: Numbers
    shown: Numbers

    def precision(self) -> Numbers:
        """Return (K, r) shares of what was named that are right; NaN where a class was never named."""
        return ratio(self.right, self.named)

    def recall(self) -> Numbers:
        """Return (K, r) shares of what is shown that were named; NaN where a class is never shown."""
        return ratio(self.right, self.shown)

    def f1(self) -> Numbers:
        """Return (K, r) harmonic means of precision and recall; NaN where a class is neither named nor shown."""
        return ratio(2 * self.right, self.named + self.shown)

    def behind(self, name: str, n: int) -> Numbers:
        """Return (1, K) how many items the rarest kind of a macro average has behind the classes it has a say in.

        An item that is lost is missed in its own class.  Where precision counts, it also is named wrongly in another,
        which costs as much as one of all that were named there, were they right.

        Args:
            name: of a score.
            n: items, which are behind every other score as one.
        """
        kind = name.removesuffix("_macro")
        if kind == name and name != "balanced_accuracy":
            return np.array([[float(n)]])
        right, named, shown = self.right[:, 0], self.named[:, 0], self.shown[:, 0]
        own, other = shown, np.full_like(shown, np.inf)
        if kind == "precision":
            own, other = named, ratio(named, ratio(right, named), np.inf)
        elif kind == "f1":
            own, other = (named + shown) / 2, ratio(named + shown, ratio(2 * right, named + shown), np.inf)
        met = (named + shown if kind in ("precision", "recall", "f1") else shown) > 0
        sizes = np.full((1, max(1, int(met.sum()))), np.inf)
        ends = [part[part > 0].min(initial=np.inf) for part in (own[met], other[met])]
        sizes[0, : len(ends)] = ends[: sizes.shape[1]]
        return sizes

    def scores(self) -> dict[str, Numbers]:
        """Return (r,) averages under the field's names."""
        right, named, shown = self.right.sum(0), self.named.sum(0), self.shown.sum(0)
        f1 = self.f1()
        met = ratio(self.named + self.shown, self.named + self.shown)  # 1, or NaN where a class does not occur
        return {
            "precision_macro": mean_of_defined(ratio(self.right, self.named, 0.0) * met),
            "recall_macro": mean_of_defined(ratio(self.right, self.shown, 0.0) * met),
            "f1_macro": mean_of_defined(f1),
            "f1_weighted": ratio((self.shown * ratio(2 * self.right, self.named + self.shown, 0.0)).sum(0), shown),
            "precision_micro": ratio(right, named),
            "recall_micro": ratio(right, shown),
            "f1_micro": ratio(2 * right, named + shown),
        }


def class_table(
    classes: Sequence[str],
    counts: Callable[[Weights], Counts],
    n: int,
    resamples: int,
    average_precision: Numbers | None = None,
) -> Table:
    """Return one row a class: how often it is shown, precision, recall and F1 with intervals; the worst first.

    Args:
        classes: names.
        counts: from weights (n, r) to counts.
        n: items.
        resamples: of the bootstrap.
        average_precision: (K,) of each class, by which rows are then ordered in place of F1.
    """

    def by_class(weights: Weights) -> dict[str, Numbers]:
        found = counts(weights)
        return {"precision": found.precision().T, "recall": found.recall().T, "F1": found.f1().T}  # (r, K)

    measures = measured(by_class, n, resamples)
    all_items = counts(np.ones((n, 1)))
    behind = {"precision": all_items.named[:, 0], "recall": all_items.shown[:, 0], "F1": all_items.shown[:, 0]}
    ranked = np.asarray(measures["F1"][0]) if average_precision is None else average_precision
    rows = []
    for k in np.argsort(np.where(np.isnan(ranked), np.inf, ranked), kind="stable"):
        cells = []
        for name, (value, low, high) in measures.items():
            of_class = np.asarray(value)[k], np.asarray(low)[k], np.asarray(high)[k]
            cells.append(scored({name: of_class}, int(behind[name][k]), measures).get(name))
        area = () if average_precision is None else (None if np.isnan(ranked[k]) else float(ranked[k]),)
        rows.append((classes[k], int(all_items.shown[k, 0]), *area, *cells))
    area_title = () if average_precision is None else ("average precision",)
    return Table("Classes", ("class", "n", *area_title, "precision", "recall", "F1"), rows, _NOTE)


_NOTE = "The worst class first.  Blank: no precision where it was never named, no recall where it is never shown."
