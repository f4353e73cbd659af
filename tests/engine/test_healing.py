"""What is not finite is found the same step, named, and never written down."""

import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.engine.test_loop import decisions
from tests.engine.toy import Points, Toy, network, recipe, train
from visus.core.errors import DivergedError, Interrupted
from visus.core.task import Term
from visus.engine import healing
from visus.engine.device import Device
from visus.engine.state import Generations

AT = 5  # the step at which trouble comes
NOT_FINITE = [math.nan, math.inf, -math.inf]


class Through(torch.autograd.Function):
    """Nothing on the way there; not finite on the way back."""

    @staticmethod
    def forward(ctx, values, bad):
        ctx.bad = bad
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient + ctx.bad, None


class Backward(nn.Module):
    def __init__(self):
        super().__init__()
        self.bad = 0.0

    def forward(self, values):
        return Through.apply(values, self.bad) if self.bad else values


class Marked(Toy):
    """A target that is a number; one sample's may be set."""

    def losses(self, model, batch, player, step):
        found = super().losses(model, batch, player, step)
        weight = batch.targets.get("weight")
        if weight is not None:
            found["weighed"] = Term((model(*batch.inputs).mean(1) * weight).sum(), "point")
        return found


def at_step(run, step, act):
    """Act just before a step."""
    batch = run.train.batch

    def tampered(number, without=frozenset()):
        given = batch(number, without)
        return (act(given) or given) if number == step else given

    run.train.batch = tampered


def all_saved_are_finite(folder):
    for path in [*folder.glob("*.safetensors"), *folder.glob("state/*.safetensors")]:
        assert all(bool(torch.isfinite(t).all()) for t in load_file(path).values() if t.is_floating_point()), path


def first(folder, kind):
    return next(d for d in decisions(folder) if d["kind"] == kind)


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_a_bad_input_is_found_the_same_step_with_its_sample(tmp_path, bad):
    def spoil(batch):
        batch.inputs[0][3, 1] = bad
        spoil.id = batch.ids[3]

    run = train(tmp_path, change=lambda run: at_step(run, AT, spoil))
    found = first(tmp_path, "skipped")
    assert (found["step"], found["cause"], found["ids"]) == (AT, "input", [spoil.id])
    assert run.state.finite()
    all_saved_are_finite(tmp_path)


@pytest.mark.parametrize("bad", [math.inf, -math.inf])
def test_a_bad_target_is_found_the_same_step_with_its_sample(tmp_path, bad):
    def spoil(batch):
        batch.targets["weight"] = torch.ones(len(batch))
        batch.targets["weight"][2] = bad
        spoil.id = batch.ids[2]

    train(tmp_path, task=Marked(), change=lambda run: at_step(run, AT, spoil))
    found = first(tmp_path, "skipped")
    assert (found["step"], found["cause"], found["module"], found["ids"]) == (AT, "target", "weight", [spoil.id])
    all_saved_are_finite(tmp_path)


def test_a_target_that_makes_the_loss_no_number_names_term_and_sample(tmp_path):
    def spoil(batch):
        batch.targets["weight"] = torch.ones(len(batch))
        batch.targets["weight"][2] = math.nan  # which elsewhere means: not known
        spoil.id = batch.ids[2]

    train(tmp_path, task=Marked(), change=lambda run: at_step(run, AT, spoil))
    found = first(tmp_path, "skipped")
    assert (found["step"], found["cause"], found["term"], found["ids"]) == (AT, "loss", "weighed", [spoil.id])


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_a_bad_weight_is_named_and_the_good_ones_come_back(tmp_path, bad):
    def change(run):
        at_step(run, AT, lambda batch: run.state.flat.parameters["4.weight"].data[0, 3].fill_(bad) and None)

    run = train(tmp_path, model=network(norm=True), change=change)
    assert first(tmp_path, "skipped")["module"] in ("4.weight", "")
    assert first(tmp_path, "rolled_back")["step"] == AT + 1
    assert run.state.finite()
    all_saved_are_finite(tmp_path)


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_a_bad_running_statistic_never_reaches_a_file_or_an_evaluation(tmp_path, bad):
    def change(run):
        at_step(run, AT, lambda batch: run.state.model[1].running_mean[2].fill_(bad) and None)

    settings = recipe(save_every=1000.0, steps=8)
    run = train(tmp_path, settings, model=network(norm=True), change=change)
    assert (
        "1.running_mean" in first(tmp_path, "rolled_back")["why"] or "buffer" in first(tmp_path, "rolled_back")["why"]
    )
    assert first(tmp_path, "rolled_back")["step"] == AT + 1
    assert run.state.finite()
    all_saved_are_finite(tmp_path)


class Huge(Toy):
    """One sample so large, in one step, that its variance overflows while every output stays finite."""

    def losses(self, model, batch, player, step):
        if step == AT:
            points = batch.inputs[0].clone()
            points[0] = 1e30
            batch = replace(batch, inputs=(points,))
        return super().losses(model, batch, player, step)


def test_a_statistic_that_a_finite_step_breaks_is_named_the_same_step_and_put_back(tmp_path):
    kept = {}

    def change(run):
        at_step(run, AT, lambda batch: kept.update(before=run.state.model[1].running_var.clone()))
        at_step(run, AT + 1, lambda batch: kept.update(after=run.state.model[1].running_var.clone()))

    run = train(tmp_path, recipe(save_every=1000.0), model=network(norm=True), task=Huge(), change=change)
    found = first(tmp_path, "skipped")
    assert (found["step"], found["cause"], found["module"]) == (AT, "statistic", "1.running_var")
    assert torch.equal(kept["before"], kept["after"])
    assert run.state.finite()


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_a_bad_average_is_found_before_it_is_saved(tmp_path, bad):
    def change(run):
        at_step(run, AT, lambda batch: run.state.average[1].fill_(bad) and None)

    run = train(tmp_path, recipe(save_every=1000.0), change=change)
    found = first(tmp_path, "rolled_back")
    assert found["step"] > AT
    assert "average" in found["why"]
    assert run.state.finite()
    all_saved_are_finite(tmp_path)


def test_a_moment_that_is_not_finite_is_found_before_it_is_saved(tmp_path):
    def spoil(run):
        def fill(batch):
            next(iter(run.state.optimisers["model"].state.values()))["exp_avg_sq"][0] = math.inf

        at_step(run, AT, fill)

    train(tmp_path, change=spoil)
    assert "exp_avg_sq" in first(tmp_path, "rolled_back")["why"]
    all_saved_are_finite(tmp_path)


@pytest.mark.parametrize("bad", NOT_FINITE)
def test_a_gradient_that_breaks_on_the_way_back_moves_nothing_and_is_named(tmp_path, bad):
    layer, kept = Backward(), {}
    model = nn.Sequential(*network(dropout=0.0), layer)

    def change(run):
        def spoil(batch):
            layer.bad = bad
            kept["weights"] = run.state.flat.weights.clone()

        def mend(batch):
            layer.bad = 0.0
            kept["after"] = run.state.flat.weights.clone()

        at_step(run, AT, spoil)
        at_step(run, AT + 1, mend)

    train(tmp_path, model=model, change=change)
    found = first(tmp_path, "skipped")
    assert (found["step"], found["cause"], found["term"]) == (AT, "backward", "cross_entropy")
    assert torch.equal(kept["weights"], kept["after"])
    all_saved_are_finite(tmp_path)


class Steep(Toy):
    """A loss whose gradient is finite, but whose sum of squares is not in float32."""

    def losses(self, model, batch, player, step):
        found = super().losses(model, batch, player, step)
        return {name: Term(term.sum * 1e25, term.unit) for name, term in found.items()}


class Dividing(nn.Sequential):
    """A network that spoils its answer itself, outside any layer."""

    def forward(self, x):
        return super().forward(x) / torch.zeros(())


def test_a_network_whose_own_forward_gives_no_numbers_is_named_by_its_class(tmp_path):
    with pytest.raises(DivergedError):
        train(tmp_path, recipe(steps=4), model=Dividing(*network()))
    assert first(tmp_path, "skipped")["module"] == "Dividing"


def test_a_steep_gradient_is_clipped_not_feared(tmp_path):
    run = train(tmp_path, recipe(**{"optim.clip": 1.0}), task=Steep())
    assert decisions(tmp_path) == []
    fresh = network().state_dict()
    assert not torch.equal(run.state.flat.parameters["0.weight"], fresh["0.weight"])


def test_clean_runs_raise_no_alarm(tmp_path):
    for seed in range(6):
        train(tmp_path / str(seed), recipe(seed=seed, save_every=1000.0), model=network(seed, norm=bool(seed % 2)))
        assert decisions(tmp_path / str(seed)) == []


@pytest.mark.slow
def test_fifty_clean_runs_raise_no_alarm(tmp_path):
    for seed in range(50):
        name = ["adamw", "momentum", "rmsprop", "muon"][seed % 4]
        settings = recipe(seed=seed, save_every=1000.0, **{"optim.name": name})
        train(tmp_path / str(seed), settings, model=network(seed, norm=bool(seed % 2)))
        assert decisions(tmp_path / str(seed)) == []


class Odd(Toy):
    """The logarithm of a sample's first feature, one of which is 0."""

    def losses(self, model, batch, player, step):
        found = super().losses(model, batch, player, step)
        if step == AT:
            found["odd"] = Term((batch.inputs[0][:, 0].abs().log() * model(*batch.inputs)[:, 0]).sum(), "point")
        return found


@pytest.mark.parametrize("micro", [0, 4])
def test_a_bundle_shows_the_cause_again(tmp_path, micro):
    def zero(batch):
        batch.inputs[0][4, 0] = 0

    train(tmp_path, recipe(micro=micro), model=network(norm=True), task=Odd(), change=lambda r: at_step(r, AT, zero))
    found = first(tmp_path, "skipped")
    place = tmp_path / found["bundle"]
    device = Device(torch.device("cpu"))
    again = healing.replay(place, Odd(), network(norm=True), device)
    assert (again.kind, again.module, again.term, list(again.ids)) == (
        found["cause"], found["module"], found["term"], found["ids"],
    )  # fmt: skip
    assert len(again.ids) == 1


def test_bundles_are_counted(tmp_path):
    class Often(Toy):
        def losses(self, model, batch, player, step):
            found = super().losses(model, batch, player, step)
            if step % 2:
                found["often"] = Term(found["cross_entropy"].sum * math.nan, "point")
            return found

    train(tmp_path, recipe(steps=30), task=Often())
    assert [d["kind"] for d in decisions(tmp_path)].count("skipped") == 15
    assert len(list((tmp_path / "bundles").iterdir())) == 8


def test_a_cause_is_looked_for_in_parts_that_fit(tmp_path):
    class Small(Odd):
        def losses(self, model, batch, player, step):
            if len(batch) > 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().losses(model, batch, player, step)

    def zero(batch):
        batch.inputs[0][4, 0] = 0
        zero.id = batch.ids[4]

    train(tmp_path, task=Small(), change=lambda run: at_step(run, AT, zero))
    assert first(tmp_path, "skipped")["ids"] == [zero.id]


def test_frozen_normalisations_stay_frozen_through_an_evaluation(tmp_path):
    model = network(norm=True)

    def freeze(run):
        run.frozen, run.still = frozenset({"1.weight", "1.bias"}), (model[1],)

    settings = recipe(evaluate_every=0.5, **{"model.freeze": ["1"], "model.unfreeze": 1.0})
    before = model[1].running_mean.clone()
    train(tmp_path, settings, model=model, change=freeze)
    assert torch.equal(model[1].running_mean, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_an_evaluation_abandons_it_and_loses_nothing(tmp_path, number):
    whole = train(tmp_path / "whole")

    class Interrupting(Points):
        def sweep(self):
            for i, batch in enumerate(super().sweep()):
                if i == 1 and not (tmp_path / "sent").exists():
                    (tmp_path / "sent").touch()
                    os.kill(os.getpid(), number)
                yield batch

    with pytest.raises(Interrupted) as stopped:
        train(tmp_path / "parts", change=lambda run: setattr(run, "validation", Interrupting()))
    assert stopped.value.exit == 128 + number
    step = Generations(tmp_path / "parts").steps()[0]
    kept = json.loads((tmp_path / f"parts/state/{step:010d}.json").read_text())["progress"]
    assert kept["evaluated"] < kept["step"]
    parts = train(tmp_path / "parts")
    assert torch.equal(whole.state.average, parts.state.average)
    assert (tmp_path / "whole/best.safetensors").read_bytes() == (tmp_path / "parts/best.safetensors").read_bytes()


def test_a_cause_is_found_where_a_normalisation_knows_no_statistics_of_its_own(tmp_path):
    def zero(batch):
        batch.inputs[0][4, 0] = 0

    model = network(dropout=0.0)
    model.insert(1, torch.nn.BatchNorm1d(16, track_running_stats=False))
    train(tmp_path, model=model, task=Odd(), change=lambda run: at_step(run, AT, zero))
    found = first(tmp_path, "skipped")
    assert (found["term"], found["ids"]) == ("odd", [])
