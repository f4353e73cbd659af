"""Metrics: rows that merge over batches and ranks, and scores with intervals.  Importing it loads no torch."""

from __future__ import annotations

SMALLER_IS_BETTER = frozenset(
    {"log_loss", "brier", "calibration_error", "hamming_loss", "mae", "mse", "rmse", "median_absolute_error", "cost"}
)
