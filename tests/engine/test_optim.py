"""Optimisers by name are PyTorch's and timm's own, with the groups that this field expects."""

import pytest
import torch
from torch import nn

from tests.engine.toy import network, recipe, train
from visus.core.errors import UsageError
from visus.core.recipe import OptimSettings
from visus.engine.optim import OWN, build, check, described, takes

ALL = {"model": ""}
PLAIN = {
    "gd": lambda p, s: torch.optim.SGD(p, lr=s.lr),
    "sgd": lambda p, s: torch.optim.SGD(p, lr=s.lr),
    "momentum": lambda p, s: torch.optim.SGD(p, lr=s.lr, momentum=s.momentum),
    "nesterov": lambda p, s: torch.optim.SGD(p, lr=s.lr, momentum=s.momentum, nesterov=True),
    "rmsprop": lambda p, s: torch.optim.RMSprop(p, lr=s.lr, momentum=s.momentum, eps=s.eps),
    "adam": lambda p, s: torch.optim.Adam(p, lr=s.lr, betas=s.betas, eps=s.eps),
    "adamw": lambda p, s: torch.optim.AdamW(p, lr=s.lr, betas=s.betas, eps=s.eps, weight_decay=0.0),
}


def settings(name, **more):
    return recipe(**{"optim.name": name, **{f"optim.{k}": v for k, v in more.items()}}).optim


def descend(model, optimiser, steps=20):
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimiser.zero_grad()
        (model(x) - x[:, :3]).square().mean().backward()
        optimiser.step()
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("name", PLAIN)
def test_our_names_are_pytorchs_own_optimisers(name):
    chosen, ours, plain = settings(name, weight_decay=0.0, lr=0.01), network(dropout=0.0), network(dropout=0.0)
    expected = descend(plain, PLAIN[name](plain.parameters(), chosen))
    assert torch.allclose(descend(ours, build(ours, chosen, ALL)["model"]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(OWN))
def test_every_name_of_ours_descends(name):
    model = network(dropout=0.0)
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    before = (model(x) - x[:, :3]).square().mean().item()
    descend(model, build(model, settings(name, lr=0.01), ALL)["model"])
    assert (model(x) - x[:, :3]).square().mean().item() < before


def test_biases_and_norms_do_not_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.LayerNorm(2))
    made = build(model, settings("adamw", weight_decay=0.1), ALL)["model"]
    decays = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0,
        "2.weight": 0.1, "2.bias": 0.0, "3.weight": 0.0, "3.bias": 0.0,
    }  # fmt: skip


def test_a_layer_further_from_the_output_moves_slower():
    model = network()
    layers = [["0.weight", "0.bias"], ["3.weight", "3.bias"]]
    made = build(model, settings("adamw"), ALL, layers, 0.5)["model"]
    shares = {id(p): group["share"] for group in made.param_groups for p in group["params"]}
    assert {name: shares[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.5, "0.bias": 0.5, "3.weight": 1.0, "3.bias": 1.0,
    }  # fmt: skip


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as error:
        build(network(), settings("adamww"), ALL)
    assert "adamw" in error.value.fix


def test_a_player_without_a_parameter_is_refused():
    with pytest.raises(UsageError):
        build(network(), settings("adamw"), {"model": "nowhere."})


def test_names_are_ours_and_timms():
    assert {*OWN, "lion", "lamb", "adopt"} <= set(described())


@pytest.mark.parametrize("name", ["adahessian", "fusedadam", "bnbadamw", "kron"])
def test_what_the_loop_cannot_use_is_refused_in_words(name):
    with pytest.raises(UsageError) as error:
        build(network(), settings(name), ALL)
    assert error.value.exit == 2


@pytest.mark.parametrize("name", ["lion", "adopt", "nadamw", "adafactorbv", "laprop", "adan", "mars", "madgrad"])
def test_optimisers_of_timm_resume_exactly(tmp_path, name):
    chosen = recipe(steps=6, save_every=1000.0, evaluate_every=100.0, **{"optim.name": name})
    whole = train(tmp_path / "whole", chosen)
    train(tmp_path / "parts", chosen, change=lambda run: setattr(run.horizon, "ended", lambda step: step >= 3))
    parts = train(tmp_path / "parts", chosen)
    assert torch.equal(whole.state.flat.weights, parts.state.flat.weights)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop", "Muon", "Lion"])
def test_another_spelling_is_no_other_optimiser_but_a_question(name):
    with pytest.raises(UsageError) as told:
        check(OptimSettings(name=name))
    assert told.value.fix == f"did you mean {name.lower()!r}?"


@pytest.mark.parametrize(
    ("name", "number"),
    [("sgd", "momentum"), ("gd", "momentum"), ("adam", "momentum"), ("adamw", "momentum"), ("sgd", "betas"),
     ("rmsprop", "betas"), ("muon", "eps"), ("lion", "eps"), ("sgd", "eps")],
)  # fmt: skip
def test_a_number_that_an_optimiser_does_not_take_is_refused_where_it_was_asked_for(name, number):
    check(OptimSettings(name=name))
    with pytest.raises(UsageError) as told:
        check(OptimSettings(name=name), [number])
    assert told.value.code == "USE-038" and number in told.value.what


@pytest.mark.parametrize("name", [*OWN, "lion", "lamb", "adamp", "nadamw", "adafactor"])
def test_the_numbers_an_optimiser_is_said_to_take_change_what_it_is_made_of(name):
    usual = {"momentum": 0.9, "betas": (0.9, 0.999), "eps": 1e-8}
    other = {"momentum": 0.5, "betas": (0.5, 0.6), "eps": 1e-3}
    for number in takes(OptimSettings(name=name)):
        made = [
            build(nn.Linear(2, 2), OptimSettings(name=name, **{**usual, number: value}), {"model": ""})[
                "model"
            ].defaults
            for value in (usual[number], other[number])
        ]
        assert made[0] != made[1], number
