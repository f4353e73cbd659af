import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn

from visus.core.figures import Curve, Table
from visus.metrics.bootstrap import resamples_of
from visus.metrics.regression import Regression

SKLEARN = {
    "r2": sklearn.r2_score,
    "mae": sklearn.mean_absolute_error,
    "mse": sklearn.mean_squared_error,
    "rmse": sklearn.root_mean_squared_error,
    "median_absolute_error": sklearn.median_absolute_error,
}


def case(n, m, seed=0):
    generator = torch.Generator().manual_seed(seed + n)
    numbers = 100 + torch.arange(1, m + 1) * torch.randn(n, m, generator=generator)
    return numbers + torch.randn(n, m, generator=generator).round(decimals=1), numbers


@pytest.fixture
def judge(batch_of):
    """Return a maker of metrics that have seen all pictures."""

    def make(predictions, numbers, **options):
        metric = Regression([f"n{m}" for m in range(numbers.shape[1])], **{"resamples": 20, **options})
        metric.update({"predictions": predictions}, batch_of(numbers=numbers))
        return metric

    return make


@pytest.mark.parametrize("n", [2, 3, 50, 201])
def test_scores_of_one_number_equal_scikit_learns(judge, n):
    predictions, numbers = case(n, 1)
    found = judge(predictions, numbers).compute()
    assert set(found) == set(SKLEARN)
    for name, function in SKLEARN.items():
        expected = function(numbers.double().numpy(), predictions.double().numpy())
        assert found[name].value == pytest.approx(expected, rel=1e-9, abs=1e-9), name


def test_scores_of_several_numbers_are_scikit_learns_for_each_and_its_uniform_average(judge):
    predictions, numbers = case(80, 3)
    found = judge(predictions, numbers).compute()
    for name, function in SKLEARN.items():
        y, p = numbers.double().numpy(), predictions.double().numpy()
        assert found[name].value == pytest.approx(function(y, p), abs=1e-9)
        for m in range(3):
            assert found[f"{name}/n{m}"].value == pytest.approx(function(y[:, m], p[:, m]), abs=1e-9)


def test_scores_under_weights_equal_scikit_learns_with_the_items_repeated(judge):
    predictions, numbers = case(40, 1)
    weights = next(resamples_of(40, 5))
    found = judge(predictions, numbers).weighted(weights)
    for r, w in enumerate(weights.T.astype(int)):
        y, p = (np.repeat(t.double().numpy()[:, 0], w) for t in (numbers, predictions))
        for name, function in SKLEARN.items():
            assert found[name][r] == pytest.approx(function(y, p), abs=1e-9), name


def test_unknown_numbers_are_left_out_and_each_score_says_how_many_are_behind_it(judge):
    predictions, numbers = case(50, 2)
    numbers[:10, 0] = torch.nan
    numbers[5:8, 1] = torch.nan
    found = judge(predictions, numbers).compute()
    assert (found["mae"].n, found["mae/n0"].n, found["mae/n1"].n) == (47, 40, 47)
    expected = sklearn.mean_absolute_error(numbers[10:, 0].double().numpy(), predictions[10:, 0].double().numpy())
    assert found["mae/n0"].value == pytest.approx(expected)


@pytest.mark.parametrize("numbers", [torch.full((20, 1), 7.3), torch.full((1, 1), 2.0)])
def test_r2_is_left_out_where_all_true_numbers_are_equal(judge, numbers):
    found = judge(numbers + 1, numbers).compute()
    assert "r2" not in found
    assert found["mae"].value == pytest.approx(1, abs=1e-6)


def test_no_numbers_give_no_scores_and_a_headline_that_is_not_a_number(judge):
    metric = judge(torch.zeros(2, 1), torch.full((2, 1), torch.nan))
    assert metric.compute() == {}
    assert metric.figures() == ()
    assert np.isnan(metric.quick()["r2"])


def test_an_answer_that_is_not_finite_is_a_huge_error_and_no_hole(judge):
    predictions, numbers = case(20, 1)
    predictions[3] = torch.nan
    found = judge(predictions, numbers).compute()
    assert found["mae"].n == 20
    assert found["mae"].value > 1e30


def test_parts_merge_to_the_whole(judge, batch_of):
    predictions, numbers = case(50, 2)
    whole = judge(predictions, numbers)
    parts = [Regression(whole.names, resamples=20) for _ in range(2)]
    for i, part in enumerate(parts):
        rows = slice(25 * i, 25 * i + 25)
        part.update({"predictions": predictions[rows]}, batch_of(25 * i, numbers=numbers[rows]))
    merged = Regression(whole.names, resamples=20)
    merged.load([part.state() for part in reversed(parts)])
    assert merged.compute() == whole.compute()


def test_the_gallery_weighs_each_number_by_its_own_error(judge):
    numbers = torch.zeros(3, 2)
    predictions = torch.tensor([[1000.0, 0.1], [0.0, 10.0], [2000.0, 0.1]])
    assert judge(predictions, numbers).gallery(2) == {"worst": [1], "best": [0, 2]}


def test_the_figures_are_a_table_of_scores_and_a_scatter_for_each_number(judge):
    table, *curves = judge(*case(1500, 2)).figures()
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["n0", "n1"]
    assert [curve.title for curve in curves] == ["n0", "n1"]
    assert all(isinstance(curve, Curve) and len(curve.lines[0].x) == 1000 and "1,500" in curve.note for curve in curves)


def test_the_headline_agrees_with_the_full_judgement(judge):
    metric = judge(*case(50, 2), score="r2/n1")
    full = metric.compute()
    assert metric.quick() == {name: full[name].value for name in ("r2", "mae", "r2/n1")}
