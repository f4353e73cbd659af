"""Curves of a report: how far probabilities can be trusted, and what each threshold costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from visus.core.figures import Curve, Line
from visus.metrics.bootstrap import Numbers
from visus.metrics.calibration import BINS, reliability_bins
from visus.metrics.ranking import Ranking

MOST_LINES = 10
_MOST_POINTS = 200


def reliability(
    confidence: Numbers, right: NDArray[np.bool_], name: str, said: str = "probability of the predicted class"
) -> Curve:
    """Return how often answers of each confidence are right, with 95 % intervals.

    Args:
        confidence: (N,) in [0, 1].
        right: (N,).
        name: of the line.
        said: what the confidence is.

    Source:
        Interval of a share: Wilson, JASA 1927.
    """
    bins = reliability_bins(confidence)
    count = np.bincount(bins, minlength=BINS)
    held = count > 0
    n = count[held].astype(np.float64)
    x = np.bincount(bins, confidence, BINS)[held] / n
    y = np.bincount(bins, right, BINS)[held] / n
    z = 1.959963984540054
    middle = (y + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(y * (1 - y) / n + z * z / (4 * n * n))
    return reliability_curve(name, x, y, middle - half, middle + half, n, said)


def reliability_curve(
    name: str,
    confidence: Numbers,
    right: Numbers,
    low: Numbers,
    high: Numbers,
    items: Numbers,
    said: str,
    counted: str = "item",
) -> Curve:
    """Return how often answers of some confidences are right: (bins,) of each, its interval and the items behind it.

    Args:
        name, confidence, right, low, high, items: of the line, and of each bin.
        said: what the confidence is.
        counted: what the items are, one of them.
    """
    line = Line(name, confidence.tolist(), right.tolist(), low.tolist(), high.tolist())
    return Curve("Reliability", said, "share that is right", [line], diagonal=True, points=True, bars=items.tolist(),
                 counted=counted)  # fmt: skip


def roc_curves(classes: Sequence[str], ranking: Callable[[int], Ranking], areas: Numbers) -> Curve:
    """Return the ROC curve of each class, or of the ten with the smallest area."""
    chosen, note = _worst(areas)
    lines = [_thinned(f"{classes[k]} ({areas[k]:.3f})", *ranking(k).roc()) for k in chosen]
    return Curve("ROC, each class against the rest", "false positive rate", "true positive rate", lines,
                 diagonal=True, note=note)  # fmt: skip


def precision_recall_curves(
    classes: Sequence[str],
    curve: Callable[[int], tuple[Numbers, Numbers]],
    areas: Numbers,
    title: str = "Precision and recall",
) -> Curve:
    """Return precision against recall for each class, or for the ten of the smallest average precision.

    Args:
        classes: names.
        curve: from a class to its recall and precision.
        areas: (K,) average precision, NaN where it is not defined.
        title: of the curve.
    """
    chosen, note = _worst(areas)
    lines = [_thinned(f"{classes[k]} ({areas[k]:.3f})", *curve(k)) for k in chosen]
    return Curve(title, "recall", "precision", lines, unit=True, note=note)


def _worst(areas: Numbers) -> tuple[list[int], str]:
    """Return the classes of the smallest areas, and what the reader should know of the choice."""
    defined = np.flatnonzero(~np.isnan(areas))
    chosen = defined[np.argsort(areas[defined], kind="stable")][:MOST_LINES]
    note = f"The {MOST_LINES} classes of the smallest area, of {len(defined)}." if len(defined) > MOST_LINES else ""
    return sorted(chosen.tolist()), note


def _thinned(name: str, x: Numbers, y: Numbers) -> Line:
    """Return a line of at most 200 points, the first and last among them."""
    at = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    return Line(name, x[at].tolist(), y[at].tolist())
