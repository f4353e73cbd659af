"""Noise for maps: of a normal distribution, of the words of core/seeds.py, and of each row alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from visus.core.seeds import Draws, _mix
from visus.tasks.generate.fields import _GOLDEN, _mixed, fields

DRAWS = Draws(5, np.zeros(40, np.int64), np.arange(40))


def test_words_are_mixed_as_those_of_core():
    words = DRAWS.keys("x")
    ours = _mixed(torch.from_numpy(words.view(np.int64))).numpy().view(np.uint64)
    assert np.array_equal(ours, _mix(words))
    assert np.uint64(_GOLDEN + (1 << 64)) == np.uint64(0x9E3779B97F4A7C15)


def test_numbers_are_of_a_normal_distribution_and_independent():
    found = fields(DRAWS, "x", 5001, torch.zeros(1))
    assert found.shape == (40, 5001) and found.dtype == torch.float32
    assert stats.kstest(found.double().flatten().numpy(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(found[:, ::2].double().numpy()) - np.eye(40)).max() < 0.1
    half = found[:, :2500].double().flatten(), found[:, 2501:].double().flatten()
    assert abs(stats.pearsonr(*half).statistic) < 0.01
    assert abs(stats.pearsonr(half[0].square(), half[1].square()).statistic) < 0.02


def test_a_row_depends_neither_on_the_others_nor_on_how_many_numbers_another_has():
    whole = fields(DRAWS, "x", 64, torch.zeros(1))
    assert torch.equal(fields(DRAWS.rows(np.array([7, 3])), "x", 64, torch.zeros(1)), whole[[7, 3]])
    assert not torch.isclose(fields(DRAWS, "y", 64, torch.zeros(1)), whole, atol=1e-6).any(1).all()


@pytest.mark.parametrize("n", [1, 2, 7])
def test_an_odd_number_of_numbers_is_one_pair_cut(n):
    assert fields(DRAWS, "x", n, torch.zeros(1, dtype=torch.float64)).shape == (40, n)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
def test_a_graphics_card_draws_the_same_numbers_but_for_rounding():
    here, there = (fields(DRAWS, "x", 5000, torch.zeros(1, device=device)) for device in ("cpu", "cuda"))
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-5)
