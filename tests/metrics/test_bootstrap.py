import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from visus.core.scores import Score
from visus.metrics.bootstrap import interval, measured, resampled, resamples_of, scored, summing
from visus.metrics.counts import Counts


def test_every_resample_draws_as_many_items_as_there_are():
    for weights in resamples_of(57, 70):
        assert (weights.sum(0) == 57).all()


def test_items_are_drawn_equally_often():
    total = sum(weights.sum(1) for weights in resamples_of(40, 2000))
    assert stats.chisquare(total).pvalue > 0.001


def test_the_same_resamples_come_at_every_call():
    first, second = (np.concatenate(list(resamples_of(30, 70)), axis=1) for _ in range(2))
    assert first.shape == (30, 70)
    assert (first == second).all()


def test_more_items_than_a_block_holds_come_in_narrower_blocks():
    assert next(resamples_of(3_000_000, 5)).shape == (3_000_000, 1)


@pytest.mark.parametrize("statistic", ["mean", "share"])
def test_the_interval_holds_the_truth_in_about_95_of_100_trials(statistic):
    random = np.random.default_rng(1)
    held, trials = 0, 600
    for _ in range(trials):
        values = random.gamma(4, 1, 200) / 4 - 1 if statistic == "mean" else (random.random(200) < 0.7) - 0.7
        ((_, low, high),) = measured(lambda w, v=values: {"mean": v @ w / 200}, 200, 800).values()
        held += low <= 0 <= high
    assert 0.93 <= held / trials <= 0.97


def test_the_interval_of_macro_f1_holds_the_truth_where_plain_percentiles_fail():
    random = np.random.default_rng(3)
    k, n, trials = 15, 200, 150

    def answers(n):
        truth = random.integers(0, k, n)
        return truth, (random.normal(size=(n, k)) + 2 * np.eye(k)[truth]).argmax(1)

    expected = f1_score(*answers(200_000), average="macro")
    held = plain = 0
    for _ in range(trials):
        truth, said = answers(n)
        right = np.flatnonzero(truth == said)
        sums = summing(truth[right], k, n, right), summing(said, k, n), summing(truth, k, n)
        weighted = lambda w, sums=sums: {"f1": Counts(*(s @ w for s in sums)).scores()["f1_macro"]}  # noqa: E731
        draws = resampled(weighted, n, 200)["f1"]
        low, high = interval(weighted(np.ones((n, 1)))["f1"][0], draws)
        held += low <= expected <= high
        plain += np.quantile(draws, 0.025) <= expected <= np.quantile(draws, 0.975)
    assert held / trials >= 0.92
    assert plain < held


def test_an_interval_of_shares_stays_within_zero_and_one():
    draws = np.clip(np.random.default_rng(0).normal(0.97, 0.02, 500), 0, 1)
    low, high = interval(np.float64(0.99), draws)
    assert 0 <= low <= high <= 1


def test_a_statistic_the_data_does_not_define_is_no_score():
    assert list(scored({"a": (np.float64(np.nan),) * 3, "b": (np.float64(1),) * 3}, 4)) == ["b"]


@pytest.mark.parametrize("n", [1, 12, 100])
@pytest.mark.parametrize("right", ["none", "all"])
def test_a_share_of_none_or_all_has_the_interval_of_the_binomial_distribution(n, right):
    value = np.float64(right == "all")
    (score,) = scored({"accuracy": (value,) * 3}, n, {"accuracy"}).values()
    exact = binomtest(n * int(value), n).proportion_ci(method="exact")
    assert (score.low, score.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_a_share_of_no_items_keeps_the_interval_it_has():
    assert scored({"F1": (np.float64(0),) * 3}, 0, {"F1"})["F1"] == Score(0.0, 0.0, 0.0, 0)


def test_only_shares_are_given_that_interval():
    assert scored({"r2": (np.float64(1),) * 3}, 4)["r2"] == Score(1.0, 1.0, 1.0, 4)
