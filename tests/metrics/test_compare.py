import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visus.core.errors import UsageError
from visus.metrics.classification import Classification
from visus.metrics.compare import Difference, paired
from visus.metrics.regression import Regression


@pytest.fixture
def judge(batch_of):
    """Return a maker of metrics over two classes, right where told."""

    def make(right, start=0):
        metric = Classification(("a", "b"), resamples=20)
        label = torch.arange(len(right)) % 2
        logits = torch.nn.functional.one_hot(torch.where(right, label, 1 - label), 2).float()
        metric.update({"logits": logits}, batch_of(start, label=label))
        return metric

    return make


def coins(n, share, seed):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed)) < share


def test_a_lead_beyond_chance_names_the_better_one(judge):
    found = paired(judge(coins(1000, 0.8, 2)), judge(coins(1000, 0.9, 1)), "accuracy", 300)
    assert found.better == "B"
    assert found.value == pytest.approx(found.b - found.a)
    assert found.low < found.value < found.high
    assert found.n == 1000
    assert found.value > 0
    assert paired(judge(coins(1000, 0.9, 1)), judge(coins(1000, 0.8, 2)), "accuracy", 300).better == "A"


def test_a_lead_within_chance_shows_no_difference(judge):
    found = paired(judge(coins(100, 0.85, 1)), judge(coins(100, 0.84, 2)), "accuracy", 300)
    assert found.better == ""
    assert found.said == "no difference shown"


def test_what_is_hard_for_both_cancels(judge):
    base = coins(400, 0.7, 1)
    better = base.clone()
    better[(~base).nonzero()[:12, 0]] = True
    alike = paired(judge(better), judge(base), "accuracy", 300)
    apart = paired(judge(coins(400, 0.73, 5)), judge(base), "accuracy", 300)
    assert alike.better == "A"
    assert alike.high - alike.low < 0.5 * (apart.high - apart.low)


def test_the_interval_is_that_of_the_paired_differences(judge):
    a, b = coins(600, 0.85, 1), coins(600, 0.8, 2)
    found = paired(judge(a), judge(b), "accuracy", 1000)
    half = 1.96 * (a.double() - b.double()).std().item() / np.sqrt(600)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_a_model_against_itself_shows_no_difference(judge):
    found = paired(judge(coins(50, 0.8, 1)), judge(coins(50, 0.8, 1)), "f1_macro", 50)
    assert found.verdict == "+0.0 +- 0.0: no difference shown (95 % interval +0.0 to +0.0)"


def test_a_smaller_loss_is_better(judge):
    assert paired(judge(coins(500, 0.9, 1)), judge(coins(500, 0.7, 2)), "log_loss", 200).better == "A"


@pytest.mark.parametrize(
    ("score", "numbers", "said"),
    [
        ("accuracy", (0.006, -0.003, 0.015), "+0.6 +- 0.9: no difference shown (95 % interval -0.3 to +1.5)"),
        ("accuracy", (-0.02, -0.03, -0.01), "-2.0 +- 1.0: A is better (95 % interval -3.0 to -1.0)"),
        ("map", (0.006, -0.003, 0.015), "+0.006 +- 0.009: no difference shown (95 % interval -0.003 to +0.015)"),
        ("log_loss", (0.03, -0.02, 0.08), "+0.03 +- 0.05: no difference shown (95 % interval -0.02 to +0.08)"),
        ("accuracy", (0.0004, 0.0002, 0.0006), "+0.04 +- 0.02: B is better (95 % interval +0.02 to +0.06)"),
        ("mae/width", (-3.0, -4.0, -2.0), "-3.0 +- 1.0: B is better (95 % interval -4.0 to -2.0)"),
        ("accuracy", (-0.019, -0.0385, -0.0001), "-1.90 +- 1.89: A is better (95 % interval -3.85 to -0.01)"),
        ("accuracy", (0.019, -0.0001, 0.04), "+1.9 +- 1.9: no difference shown (95 % interval +0.0 to +4.0)"),
    ],
)
def test_the_verdict_is_one_line(score, numbers, said):
    assert Difference(score, 0.0, 0.0, *numbers, n=10).verdict == said


@pytest.mark.parametrize(("score", "values"), [("accuracy", ("91.42", "92.00")), ("map", ("0.9142", "0.92"))])
def test_values_are_in_the_form_in_which_the_score_is_read_elsewhere(score, values):
    assert Difference(score, 0.9142, 0.92, 0.0058, 0.0, 0.01, n=10).values == values


def test_models_judged_on_other_items_are_refused(judge):
    with pytest.raises(UsageError, match="same items") as caught:
        paired(judge(coins(10, 0.5, 1)), judge(coins(10, 0.5, 1), start=4), "accuracy")
    assert caught.value.where == "only A: 4; only B: 4; both: 6"


def test_a_misspelt_score_is_answered_with_the_nearest(judge):
    with pytest.raises(UsageError, match="no score 'acuracy'") as caught:
        paired(judge(coins(10, 0.5, 1)), judge(coins(10, 0.5, 1)), "acuracy")
    assert "accuracy" in caught.value.fix


def test_numbers_are_compared_too(batch_of):
    numbers = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    metrics = []
    for off in (0.1, 0.5):
        metrics.append(Regression(("size",), resamples=20))
        noise = off * torch.randn(200, 1, generator=torch.Generator().manual_seed(1))
        metrics[-1].update({"predictions": numbers + noise}, batch_of(numbers=numbers))
    assert paired(*metrics, "mae", 100).better == "A"
    assert paired(*metrics, "r2", 100).better == "A"


@given(
    low=st.integers(-50_000, 50_000),
    width=st.integers(0, 50_000),
    at=st.floats(0, 1),
    score=st.sampled_from(["accuracy", "rmse"]),
)
def test_the_verdict_and_the_printed_numbers_agree(low, width, at, score):
    found = Difference(score, 0.0, 0.0, (low + at * width) / 1e5, low / 1e5, (low + width) / 1e5, n=10)
    middle, reach = map(float, found.change.split(" +- "))
    ends = [float(end) for end in found.interval.split(" to ")]
    if found.better:
        assert ends[0] > 0 or ends[1] < 0
        assert abs(middle) >= reach
    else:
        assert ends[0] <= 0 <= ends[1]
        assert abs(middle) <= reach


def test_the_document_holds_every_number_and_the_verdict(judge):
    document = paired(judge(coins(50, 0.8, 1)), judge(coins(50, 0.8, 1)), "accuracy", 50).json()
    assert set(document) == {"score", "a", "b", "value", "low", "high", "n", "better", "verdict"}
    assert document["better"] is None
