"""Whether one model is better than another: the paired bootstrap over the same items."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from visus.core.errors import UsageError, did_you_mean
from visus.core.scores import SMALLER_IS_BETTER, is_share, kind_of
from visus.metrics.bootstrap import Numbers, Weights, interval, resampled
from visus.metrics.rows import RowMetric


@dataclass(frozen=True)
class Difference:
    """How far the score of B lies above that of A on the same items.

    Attributes:
        score: name of the score.
        a, b: the score of each.
        value: b - a; low, high: the ends of its 95 % interval.
        n: items.
    """

    score: str
    a: float
    b: float
    value: float
    low: float
    high: float
    n: int

    @property
    def better(self) -> str:
        """``A``, ``B``, or an empty string where the interval holds zero."""
        if self.low <= 0 <= self.high:
            return ""
        return "B" if (self.value > 0) != (kind_of(self.score) in SMALLER_IS_BETTER) else "A"

    @property
    def unit(self) -> int:
        """100 for scores that are read in percent, see ``is_share``; 1 for all others."""
        return 100 if is_share(self.score) else 1

    @property
    def values(self) -> tuple[str, str]:
        """``91.42``, ``92.05``: the score of each, in the unit of ``change``."""
        one, other = (f"{100 * v:.2f}" if self.unit == 100 else f"{v:.4g}" for v in (self.a, self.b))
        return one, other

    @property
    def change(self) -> str:
        """``+0.6 +- 0.9``: the difference, and how far its interval reaches from there towards zero.

        Shares of items are in percent, other scores as they are.  So what is added or taken away changes the sign
        exactly where the interval holds zero, as ``better`` says, be the interval as lopsided as it may.
        """
        towards_zero = self.value - self.low if self.value > 0 else self.high - self.value
        return f"{self._written(self.value)} +- {self._written(towards_zero).removeprefix('+')}"

    @property
    def interval(self) -> str:
        """``-0.3 to +1.5``, in the unit of ``change``."""
        return f"{self._written(self.low)} to {self._written(self.high)}"

    @property
    def said(self) -> str:
        """``B is better``, or ``no difference shown``."""
        return f"{self.better} is better" if self.better else "no difference shown"

    @property
    def verdict(self) -> str:
        """``+0.6 +- 0.9: no difference shown (95 % interval -0.3 to +1.5)``."""
        return f"{self.change}: {self.said} (95 % interval {self.interval})"

    def _written(self, value: float) -> str:
        """Return a signed number with the digits that its interval deserves, and that keep both its ends off zero."""
        sizes = [(self.high - self.low) / 2, *(abs(end) for end in (self.low, self.high) if self.better)]
        smallest = min((self.unit * size for size in sizes if size > 0), default=0.0)
        digits = min(6, max(1, -math.floor(math.log10(smallest)))) if smallest > 0 else 1
        text = f"{self.unit * value:+.{digits}f}"
        return text if float(text) else f"+{text[1:]}"  # there is no zero below zero

    def json(self) -> dict[str, Any]:
        """Return the numbers by name, and the verdict."""
        return {
            **{name: getattr(self, name) for name in ("score", "a", "b", "value", "low", "high", "n")},
            "better": self.better or None,
            "verdict": self.verdict,
        }


def paired(a: object, b: object, score: str, resamples: int = 1000) -> Difference:
    """Return the difference of two models' scores, with an interval from resamples of the items they share.

    Both are judged on the same resamples, so what makes an item hard for both cancels: the interval is as narrow as the
    models are alike.

    Args:
        a, b: metrics of one task that keep a row an item, loaded with both models' rows for the same items.
        score: name of a score of theirs.
        resamples: of the bootstrap.

    Raises:
        UsageError: metrics that keep no rows, other items, no such score, or one that this data does not define.

    Source:
        Efron and Tibshirani, An introduction to the bootstrap, 1993, section 8.6, applied to pairs.
    """
    if not (isinstance(a, RowMetric) and isinstance(b, RowMetric)):
        raise UsageError("COMPARE-003", f"{type(a).__name__} keeps no rows by item, so that pairs cannot be compared")
    if not np.array_equal(a.indices, b.indices):
        only_a, only_b = (len(np.setdiff1d(*pair)) for pair in ((a.indices, b.indices), (b.indices, a.indices)))
        raise UsageError(
            "COMPARE-001",
            "the two models were not judged on the same items",
            where=f"only A: {only_a:,}; only B: {only_b:,}; both: {len(np.intersect1d(a.indices, b.indices)):,}",
            fix="visus compare A B DATA judges both on one data set",
        )
    n = len(a.indices)
    ones = np.ones((n, 1))
    known = a.weighted(ones) if n else {}
    if score not in known or np.isnan(known[score][0]):
        raise UsageError(
            "COMPARE-002",
            f"this data defines no score {score!r} ({n:,} judged items)",
            fix=did_you_mean(score, [name for name, value in known.items() if not np.isnan(value[0])]),
        )

    def both(weights: Weights) -> dict[str, Numbers]:
        of_a, of_b = a.weighted(weights, (score,))[score], b.weighted(weights, (score,))[score]
        return {"a": of_a, "b": of_b, "difference": of_b - of_a}

    value = {name: found[0] for name, found in both(ones).items()}
    low, high = interval(value["difference"], resampled(both, n, resamples)["difference"])
    return Difference(
        score, float(value["a"]), float(value["b"]), float(value["difference"]), float(low), float(high), n
    )
