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


def test_a_sample_that_does_not_fit_ends_it_with_exit_4():
    with pytest.raises(ResourceError) as error:
        range_test(Scarce(0), network(), Points(), recipe(), CPU)
    assert error.value.exit == 4
