"""A score with its interval: no number is shown without its n."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

TOP = re.compile(r"top(\d+)_accuracy")
_SHARES = {"accuracy", "balanced_accuracy", "subset_accuracy"}

SMALLER_IS_BETTER = frozenset({
    "log_loss", "brier", "calibration_error", "hamming_loss", "mae", "mse", "rmse", "median_absolute_error", "cost",
    "fid", "kid", "style_distance", "content_distance",
})  # fmt: skip

OF_ITS_OWN = frozenset({"real_logits", "fake_logits"})
"""Numbers in a unit that every model has of its own: neither of two is the better one."""

UNBOUNDED = (SMALLER_IS_BETTER | OF_ITS_OWN) - {"brier", "calibration_error", "hamming_loss"}
"""Scores that are no part of one: a hundredth of them means nothing."""


def kind_of(name: str) -> str:
    """Return the kind of a score: ``mae`` of ``mae/width``, ``fid`` of ``fid (random convolutions, seed 0)``."""
    return name.partition("/")[0].partition(" (")[0]


def is_share(name: str) -> bool:
    """Tell whether a score is a share of items, which people read in percent."""
    return name in _SHARES or TOP.fullmatch(name) is not None


@dataclass(frozen=True)
class Score:
    """A measured value, the ends of its 95 % bootstrap interval, and the number of items it was measured on."""

    value: float
    low: float
    high: float
    n: int

    @property
    def bounded(self) -> bool:
        """Whether it has an interval: all resamples of one item are that item, which tells of none."""
        return math.isfinite(self.low) and math.isfinite(self.high) and (self.n > 1 or self.low < self.high)

    def __str__(self) -> str:
        if not self.bounded:
            return f"{self.value:.4f} (n = {self.n:,})"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}] (n = {self.n:,})"

    def json(self) -> dict[str, float | int]:
        """Return the four numbers by name."""
        return asdict(self)


@dataclass(frozen=True)
class WithoutLeaks:
    """Scores without the judged pictures that other parts of the data give away.

    Attributes:
        score: name of the headline score.
        judged: pictures that were judged.
        left_out: how many of them leak.
        kinds: how many in which way: by the ``same`` pixels, a ``near`` duplicate, a ``stated_group`` or a
            ``guessed_group``; one picture may leak in several.
        scores: on the others; empty where none leaks, and where all do.
        guess: how groups were guessed, in a phrase.
        unknown: why it was not looked at; empty where it was.
    """

    score: str
    judged: int
    left_out: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)
    guess: str = ""
    unknown: str = ""

    def json(self) -> dict[str, Any]:
        """Return plain values, the scores as those of the whole."""
        return {**vars(self), "kinds": dict(self.kinds), "scores": {name: s.json() for name, s in self.scores.items()}}
