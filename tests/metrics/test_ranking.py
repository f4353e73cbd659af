import numpy as np
import pytest
from sklearn import metrics as sklearn

from visus.metrics.bootstrap import resamples_of
from visus.metrics.ranking import Ranking, Rankings


def scores_and_truth(n=80, levels=15, share=0.3, seed=0):
    random = np.random.default_rng(seed)
    positive = random.random(n) < share
    return np.round(random.random(n) + 0.4 * positive, 8) if not levels else random.integers(
        0, levels, n
    ) / 7.0, positive


@pytest.mark.parametrize("levels", [0, 1, 2, 15])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.97])
def test_areas_under_weights_equal_scikit_learns(levels, share):
    scores, positive = scores_and_truth(120, levels, share, seed=3)
    positive[:2] = True, False
    weights = np.concatenate([next(resamples_of(120, 5)), np.ones((120, 1))], axis=1)
    auc, precision = Ranking(scores, positive).areas(weights)
    for r, w in enumerate(weights.T):
        if w[positive].sum() and w[~positive].sum():
            assert auc[r] == pytest.approx(sklearn.roc_auc_score(positive, scores, sample_weight=w), abs=1e-12)
        if w[positive].sum():
            expected = sklearn.average_precision_score(positive, scores, sample_weight=w)
            assert precision[r] == pytest.approx(expected, abs=1e-12)


def test_some_of_the_items_are_ranked_as_if_there_were_no_others():
    scores, positive = scores_and_truth()
    items = np.arange(0, 80, 3)
    weights = next(resamples_of(80, 4))
    some = Ranking(scores[items], positive[items], items, 80).areas(weights)
    alone = Ranking(scores[items], positive[items]).areas(weights[items])
    np.testing.assert_allclose(some, alone)


@pytest.mark.parametrize("positives", [0, 20])
def test_an_area_without_both_kinds_is_not_a_number(positives):
    auc, precision = Ranking(np.arange(20.0), np.arange(20) < positives).areas(np.ones((20, 1)))
    assert np.isnan(auc[0])
    assert np.isnan(precision[0]) == (positives == 0)


@pytest.mark.parametrize("levels", [0, 4])
def test_influences_are_the_slopes_of_the_areas(levels):
    scores, positive = scores_and_truth(40, levels)
    ranking = Ranking(scores, positive)
    step = 1e-6
    ones = np.ones((40, 1))
    moved = np.ones((40, 40)) + step * np.eye(40)
    for slope, area, value in zip(ranking.influences(), ranking.areas(moved), ranking.areas(ones), strict=True):
        np.testing.assert_allclose(slope, (area - value) / step, atol=1e-6)
        assert slope.sum() == pytest.approx(0, abs=1e-12)


def test_linearised_resamples_spread_like_exact_ones():
    rankings = [Ranking(*scores_and_truth(2000, 0, seed=seed)) for seed in range(3)]
    exact, linear = Rankings(rankings, 2000, exact=True), Rankings(rankings, 2000, exact=False)
    blocks = list(resamples_of(2000, 640))
    for which in (0, 1):
        of_exact = np.concatenate([exact.areas(weights)[which] for weights in blocks])
        of_linear = np.concatenate([linear.areas(weights)[which] for weights in blocks])
        assert of_linear.std() == pytest.approx(of_exact.std(), rel=0.05)
        assert of_linear.mean() == pytest.approx(of_exact.mean(), abs=0.3 * of_exact.std())


def test_a_class_that_never_occurs_is_left_out_of_the_mean():
    one = Ranking(*scores_and_truth())
    absent = Ranking(np.arange(80.0), np.zeros(80, dtype=bool))
    ones = np.ones((80, 1))
    for exact in (True, False):
        np.testing.assert_allclose(Rankings([absent, one], 80, exact).areas(ones), one.areas(ones))


def test_the_curve_of_precision_and_recall_is_scikit_learns():
    scores, positive = scores_and_truth(60, 12)
    recall, precision = Ranking(scores, positive).precision_recall()
    theirs = sklearn.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(precision, theirs[0][-2::-1])
    np.testing.assert_allclose(recall, theirs[1][-2::-1])
