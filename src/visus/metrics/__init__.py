"""Metrics: rows that merge over batches and ranks, and scores with intervals.  Importing it loads no torch."""

from __future__ import annotations

SMALLER_IS_BETTER = frozenset({
    "log_loss", "brier", "calibration_error", "hamming_loss", "mae", "mse", "rmse", "median_absolute_error", "cost",
    "fid", "kid", "style_distance", "content_distance",
})  # fmt: skip

UNBOUNDED = SMALLER_IS_BETTER - {"brier", "calibration_error", "hamming_loss"}
"""Scores that are no part of one: a hundredth of them means nothing."""

OF_ITS_OWN = frozenset({"real_logits", "fake_logits"})
"""Numbers in a unit that every model has of its own: neither of two is the better one."""


def kind_of(name: str) -> str:
    """Return the kind of a score: ``mae`` of ``mae/width``, ``fid`` of ``fid (random convolutions, seed 0)``."""
    return name.partition("/")[0].partition(" (")[0]
