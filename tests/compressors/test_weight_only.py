"""Weights as whole numbers: how far they move, and what is left alone."""

from __future__ import annotations

import numpy as np

from visus.compressors.weight_only import rounded


def test_no_weight_moves_by_more_than_half_a_step_of_its_channel():
    weights = np.random.default_rng(0).normal(0, 1, (6, 4, 3, 3)).astype(np.float32)
    weights *= np.logspace(-3, 2, 6, dtype=np.float32)[:, None, None, None]
    whole, scale = rounded(weights, 0)
    steps = scale[:, None, None, None]
    assert whole.dtype == np.int8
    assert (np.abs(whole * steps - weights) <= steps * 0.5001).all()
    assert (np.abs(whole).reshape(6, -1).max(1) == 127).all()


def test_a_channel_of_zeros_stays_one():
    whole, scale = rounded(np.zeros((2, 3), np.float32), 1)
    assert not whole.any()
    assert (scale == 1).all()
