"""How far a share moved: what its interval misses, from the chances of every pair of counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from visus.metrics.moved import moved

SHARES = [0.0, 0.003, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0]


@pytest.mark.parametrize("chance", [0.05, 0.025, 0.05 / 6])
@pytest.mark.parametrize("n", [60, 875, 2000])
@pytest.mark.parametrize("lost", [0, 1, 2, 5, 40])
def test_where_none_is_won_the_lower_end_is_the_exact_limit_of_what_is_lost(lost, n, chance):
    limit = stats.binomtest(lost, n).proportion_ci(1 - chance, method="exact").high
    assert moved(lost, 0, n, chance)[0] == pytest.approx(-limit)


@pytest.mark.parametrize("chance", [0.05, 0.025, 0.05 / 12])
@pytest.mark.parametrize("n", [60, 200])
def test_of_models_that_only_lose_the_true_loss_is_missed_by_no_larger_chance_than_promised(n, chance):
    counts = np.arange(n + 1)
    low, high = np.array([moved(int(lost), 0, n, chance) for lost in counts]).T
    for rate in np.linspace(0, 12 / n, 121):
        chances = stats.binom.pmf(counts, n, rate)
        assert chances[-rate < low - 1e-9].sum() <= chance / 2 + 1e-12
        assert chances[(-rate < low - 1e-9) | (-rate > high + 1e-9)].sum() <= chance + 1e-12


@pytest.mark.parametrize("chance", [0.05, 0.004])
def test_whatever_is_lost_and_won_either_end_is_wrong_by_no_larger_chance_than_promised(chance):
    n = 12
    pairs = [(lost, won) for lost in range(n + 1) for won in range(n + 1 - lost)]
    low, high = np.array([moved(*pair, n, chance) for pair in pairs]).T
    counts = np.array([(*pair, n - sum(pair)) for pair in pairs])
    for lost in SHARES:
        for won in [share for share in SHARES if share + lost < 1 + 1e-9]:
            chances = stats.multinomial.pmf(counts, n, [lost, won, max(0.0, 1 - lost - won)])
            assert chances[low > won - lost + 1e-9].sum() <= chance / 2
            assert chances[high < won - lost - 1e-9].sum() <= chance / 2


def test_the_ends_are_quantiles_of_a_dirichlet():
    drawn = np.random.default_rng(0).dirichlet([3, 5 + 1, 39 - 8], 1_000_000)
    assert moved(5, 3, 39, 0.05)[0] == pytest.approx(np.quantile(drawn[:, 0] - drawn[:, 1], 0.025), abs=0.001)


def test_of_many_changed_items_the_interval_is_the_usual_one():
    lost, won, n = 4200, 3900, 100_000
    share, reach = (won - lost) / n, 1.959964 * (lost + won) ** 0.5 / n
    assert moved(lost, won, n, 0.05) == pytest.approx((share - reach, share + reach), rel=0.01)


@pytest.mark.parametrize(("lost", "won"), [(0, 7), (7, 0), (3, 4), (0, 1), (1, 0)])
def test_the_ends_stay_within_what_there_is_and_change_sides_with_lost_and_won(lost, won):
    low, high = moved(lost, won, 7, 0.01)
    assert -1 <= low <= (won - lost) / 7 <= high <= 1
    assert moved(won, lost, 7, 0.01) == (-high, -low)


@pytest.mark.parametrize("won", [0, 1, 30])
def test_each_further_item_that_is_lost_lowers_both_ends(won):
    ends = np.array([moved(lost, won, 500, 0.025) for lost in range(40)])
    assert (np.diff(ends, axis=0) < 0).all()
