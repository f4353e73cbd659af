"""A range test finds a rate that trains, on a copy, the same each time."""

import pytest
import torch
from torch import nn

from tests.engine.test_memory import scarce
from tests.engine.toy import CLASSES, FEATURES, Points, Toy, network, recipe, train
from visus.core.errors import ResourceError, UsageError
from visus.core.task import Term
from visus.engine.device import Device
from visus.engine.range_test import range_test

CPU = Device(torch.device("cpu"))
SGD = {"optim.name": "sgd", "optim.clip": 0.0, "ema": 0.0}


def convex():
    """A linear classifier: its loss has one valley."""
    model = nn.Sequential(nn.Linear(FEATURES, CLASSES))
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    return model


def loss_of(model):
    feed, task = Points(), Toy()
    with torch.no_grad():
        return sum(float(task.losses(model, batch, "model", 0)["cross_entropy"].sum) for batch in feed.sweep())


def test_the_rate_found_trains_well(tmp_path):
    found = range_test(Toy(), convex(), Points(), recipe(**SGD), CPU)
    reached = {}
    for share in (0.01, 1):
        chosen = recipe(steps=60, save_every=1000.0, evaluate_every=100.0, **SGD, **{"optim.lr": share * found.rate})
        reached[share] = loss_of(train(tmp_path / str(share), chosen, model=convex()).state.model)
    assert reached[1] < 0.4 * loss_of(convex()) < 0.5 * reached[0.01]


def test_the_model_is_left_as_it_was():
    model = network(norm=True).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    range_test(Toy(), model, Points(), recipe(), CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_it_finds_the_same_twice():
    assert range_test(Toy(), network(), Points(), recipe(), CPU) == range_test(
        Toy(), network(), Points(), recipe(), CPU
    )


def test_it_says_why():
    found = range_test(Toy(), network(), Points(), recipe(), CPU)
    assert f"{found.rate:.1e}" in found.why
    assert len(found.rates) == len(found.losses)
    assert all(torch.isfinite(torch.tensor(found.losses)))


def test_a_loss_that_never_falls_is_refused():
    class Rising(Toy):
        def losses(self, model, batch, player, step):
            found = super().losses(model, batch, player, step)["cross_entropy"]
            return {"rising": Term(found.sum * 0 + (step + 1) ** 2 * len(batch), "point")}

    with pytest.raises(UsageError) as error:
        range_test(Rising(), network(), Points(), recipe(), CPU)
    assert "no learning rate at which the loss falls" in str(error.value)


def test_what_the_run_holds_is_held_here_too():
    model = network(norm=True)
    seen = []

    class Looking(Toy):
        def losses(self, model, batch, player, step):
            seen.append((model[0].weight.detach().clone(), model[1].training, model[1].running_mean.clone()))
            return super().losses(model, batch, player, step)

    frozen = frozenset({"0.weight", "0.bias", "1.weight", "1.bias"})
    range_test(Looking(), model, Points(), recipe(), CPU, frozen=frozen, still=[model[1]])
    assert all(torch.equal(weight, model[0].weight) and not training for weight, training, _ in seen)
    assert torch.equal(seen[-1][2], model[1].running_mean)


def test_layers_move_by_the_factors_of_the_run():
    """With the first layer at a hundredth of the rate, its weights move about a hundredth as far."""
    moved = {}
    for decay in (1.0, 0.01):
        model = network(dropout=0.0)

        class Looking(Toy):
            def losses(self, copy, batch, player, step, model=model, decay=decay):
                if step == 1:
                    moved[decay] = [float((copy[i].weight - model[i].weight).norm().detach()) for i in (0, 3)]
                return super().losses(copy, batch, player, step)

        settings = recipe(**SGD, **{"model.layer_decay": decay})
        layers = [["0.weight", "0.bias"], ["3.weight", "3.bias"]]
        range_test(Looking(), model, Points(), settings, CPU, layers=layers, low=1e-2)
    assert moved[0.01][0] == pytest.approx(0.01 * moved[1.0][0], rel=1e-2)
    assert moved[0.01][1] == pytest.approx(moved[1.0][1], rel=1e-4)


class Scarce(Toy):
    def __init__(self, rows):
        self.rows = rows

    def losses(self, model, batch, player, step):
        if len(batch) > self.rows:
            raise scarce()
        return super().losses(model, batch, player, step)


def test_want_of_memory_splits_its_batches():
    split = range_test(Scarce(4), network(), Points(), recipe(), CPU)
    assert split.rate == pytest.approx(range_test(Toy(), network(), Points(), recipe(), CPU).rate, rel=1e-3)


def test_a_single_row_that_batch_normalisation_cannot_learn_from_is_a_named_error():
    with pytest.raises(UsageError) as error:
        range_test(Toy(), network(norm=True), Points(), recipe(micro=1), CPU)
    assert error.value.code == "FIT-010"


def test_a_sample_that_does_not_fit_ends_it_with_exit_4():
    with pytest.raises(ResourceError) as error:
        range_test(Scarce(0), network(), Points(), recipe(), CPU)
    assert error.value.exit == 4
