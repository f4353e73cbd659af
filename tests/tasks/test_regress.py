import math

import numpy as np
import pytest
import torch
from torch import nn

from visus.core.errors import UsageError
from visus.core.recipe import Choice, Draft, Facts
from visus.core.task import Batch
from visus.tasks.regress import Regress

NAMES = ("width", "age")
STANDARD = {"target.mean": [100.0, -3.0], "target.std": [20.0, 0.5]}
SAYS = nn.Identity()


def task(**settings):
    settings = {"loss.name": "mean_squared_error", **STANDARD, **settings}
    return Regress(Draft(Choice(key, value, "the test") for key, value in settings.items()).finish(), NAMES)


def batch(answers, **targets):
    n = len(answers)
    return Batch((answers,), targets, tuple(map(str, range(n))), torch.arange(n), torch.eye(3).repeat(n, 1, 1))


def test_numbers_are_learned_standardised_and_said_in_their_own_units():
    numbers = torch.tensor([[120.0, -3.5], [100.0, -3.0]])
    standardised = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    given = batch(standardised, numbers=numbers)
    assert task().losses(SAYS, given, "model", 0)["mean_squared_error"].sum == 0
    torch.testing.assert_close(task().raw(SAYS, given)["predictions"], numbers)


def test_an_error_of_one_deviation_costs_the_same_in_every_unit():
    given = batch(torch.zeros(1, 2), numbers=torch.tensor([[120.0, math.nan]]))
    other = batch(torch.zeros(1, 2), numbers=torch.tensor([[math.nan, -3.5]]))
    costs = [task().losses(SAYS, b, "model", 0)["mean_squared_error"].sum.item() for b in (given, other)]
    assert costs == pytest.approx([1, 1])


def test_each_known_number_counts_once():
    numbers = torch.tensor([[1.0, math.nan], [2.0, 3.0], [math.nan, math.nan]])
    assert task().counts(batch(torch.zeros(3, 2), numbers=numbers))["number"] == 3


@pytest.mark.parametrize("loss", ["mean_squared_error", "absolute_error", "huber"])
def test_every_loss_of_numbers_fits(loss):
    given = batch(torch.randn(3, 2), numbers=torch.randn(3, 2))
    term = task(**{"loss.name": loss}).losses(SAYS, given, "model", 0)[loss]
    assert term.unit == "number"
    assert term.sum > 0


def test_a_loss_of_classes_is_refused_before_training():
    with pytest.raises(UsageError, match="learns from 'label'"):
        task(**{"loss.name": "cross_entropy", "model.name": "cnn", "input.size": 8}).model()


def test_without_a_mean_and_deviation_numbers_are_learned_as_they_are():
    plain = task(**{"target.mean": [], "target.std": []})
    given = batch(torch.tensor([[5.0, 6.0]]), numbers=torch.tensor([[5.0, 6.0]]))
    assert plain.losses(SAYS, given, "model", 0)["mean_squared_error"].sum == 0


def test_a_mean_for_other_numbers_is_refused_before_training():
    with pytest.raises(UsageError, match="for 2 numbers"):
        task(**{"target.mean": [1.0], "model.name": "cnn", "input.size": 8}).model()


def test_the_defaults_standardise_by_the_training_part_and_survive_a_constant_number():
    facts = Facts("numbers", NAMES, (), 50, ((300, 300),), 3, means=(2.0, 7.0), deviations=(1.5, 0.0))
    chosen = {choice.key: choice.value for choice in Regress.defaults(facts)}
    assert (chosen["target.mean"], chosen["target.std"]) == ([2.0, 7.0], [1.5, 1.0])
    assert chosen["augment.flip"] == 0


def test_a_prediction_in_json_has_every_number_by_name_and_null_for_none():
    (said,) = task().decode({"predictions": torch.tensor([[3.5, math.inf]])})
    assert said.json() == {"values": {"width": 3.5, "age": None}}


def test_a_single_number_is_also_the_value():
    alone = Regress(Draft([Choice("loss.name", "huber", "")]).finish(), ("age",))
    (said,) = alone.decode({"predictions": torch.tensor([[3.5]])})
    assert said.json() == {"value": 3.5, "values": {"age": 3.5}}


def test_the_score_of_one_number_can_pick_the_best_weights():
    assert task(score="r2/age").score == "r2/age"
    with pytest.raises(UsageError, match="better when smaller"):
        task(score="mae/age")


def test_the_truth_is_drawn_in_brackets_where_it_is_known():
    known = task().annotations({"numbers": np.array([[1.0, np.nan]], dtype=np.float32)}, 0)
    assert known["numbers"].values[0] == 1
    assert task().annotations({}, 0) == {}
