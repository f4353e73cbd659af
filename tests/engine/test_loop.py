"""A step is a function of (state, number, seed): repeated, resumed, retried and rolled back alike."""

import json
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.engine.toy import Points, Rows, Toy, network, recipe, train
from visus.core.errors import DivergedError, Interrupted, ResourceError, UsageError
from visus.core.modelfile import read_model
from visus.core.task import Condemned, Term
from visus.engine import loop
from visus.engine.state import Generations


def losses(folder):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row.get("loss")) for row in rows if "loss" in row]


def test_the_same_recipe_twice_gives_the_same_bits(tmp_path):
    a, b = train(tmp_path / "a"), train(tmp_path / "b")
    assert torch.equal(a.state.flat.weights, b.state.flat.weights)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert (tmp_path / "a/last.safetensors").read_bytes() == (tmp_path / "b/last.safetensors").read_bytes()


def test_another_seed_gives_other_bits(tmp_path):
    a, b = train(tmp_path / "a"), train(tmp_path / "b", recipe(seed=1))
    assert not torch.equal(a.state.flat.weights, b.state.flat.weights)


@pytest.mark.parametrize("at", [1, 5, 11])
def test_a_run_stopped_at_any_step_ends_as_if_it_had_not_been(tmp_path, at):
    whole = train(tmp_path / "whole")

    def stop_at(run):
        batch = run.train.batch

        def batch_or_stop(step, without=frozenset()):
            if step == at:
                os.kill(os.getpid(), signal.SIGTERM)
            return batch(step, without)

        run.train.batch = batch_or_stop

    with pytest.raises(Interrupted) as stopped:
        train(tmp_path / "parts", change=stop_at)
    assert stopped.value.exit == 143
    assert "visus resume" in str(stopped.value)
    parts = train(tmp_path / "parts")
    assert torch.equal(whole.state.flat.weights, parts.state.flat.weights)
    assert torch.equal(whole.state.average, parts.state.average)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert (tmp_path / "whole/best.safetensors").read_bytes() == (tmp_path / "parts/best.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_sent_twice_stops_at_once_with_its_own_exit_code(tmp_path, number):
    whole = train(tmp_path / "whole")

    def stop_twice(run):
        batch = run.train.batch

        def batch_or_stop(step, without=frozenset()):
            for _ in range(2 * (step == 5)):
                os.kill(os.getpid(), number)
            return batch(step, without)

        run.train.batch = batch_or_stop

    with pytest.raises(Interrupted) as stopped:
        train(tmp_path / "parts", change=stop_twice)
    assert stopped.value.exit == 128 + number
    assert "at once" in str(stopped.value)
    assert torch.equal(whole.state.flat.weights, train(tmp_path / "parts").state.flat.weights)


@pytest.mark.parametrize("name", ["momentum", "nesterov", "rmsprop", "adam", "muon", "lamb"])
def test_every_kind_of_optimiser_resumes_exactly(tmp_path, name):
    settings = recipe(**{"optim.name": name})
    whole = train(tmp_path / "whole", settings)
    train(
        tmp_path / "parts",
        recipe(**{"optim.name": name}),
        change=lambda run: setattr(run.horizon, "ended", lambda s: s >= 5),
    )
    steps = Generations(tmp_path / "parts").steps()
    assert steps[0] == 5
    manifest = tmp_path / f"parts/state/{5:010d}.json"
    assert json.loads(manifest.read_text())["progress"]["finished"]
    parts = train(tmp_path / "parts", settings, change=lambda run: setattr(run.state.progress, "evaluated", 0))
    assert torch.equal(whole.state.flat.weights, parts.state.flat.weights)


def test_the_average_is_what_is_shipped(tmp_path):
    run = train(tmp_path, recipe(ema=0.8))
    tensors, card = read_model(tmp_path / "last.safetensors")
    assert torch.equal(tensors["0.weight"], run.state.flat.view(run.state.average, "0.weight"))
    assert card.step == 12


def test_the_average_follows_the_textbook_formula(tmp_path):
    seen = []

    def watch_moves(run):
        move = loop._follow

        def follow(state, settings, step):
            seen.append(state.flat.weights.clone())
            move(state, settings, step)

        run.state.first = run.state.flat.weights.clone()
        loop_follow = loop._follow
        loop._follow = follow
        run.restore = lambda: setattr(loop, "_follow", loop_follow)

    run = train(tmp_path, recipe(ema=0.9), change=watch_moves)
    run.restore()
    average = run.state.first.double()
    for step, weights in enumerate(seen):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weights.double()
    assert torch.allclose(run.state.average.double(), average, atol=1e-6)


class Sick(Toy):
    """The loss of one sample is not a number from step ``since`` on."""

    def __init__(self, sample=None, since=0, value=float("nan")):
        self.sample, self.since, self.value = sample, since, value

    def losses(self, model, batch, player, step):
        found = super().losses(model, batch, player, step)
        sick = self.sample is None or bool((batch.indices == self.sample).any())
        if sick and step >= self.since:
            found["sick"] = Term(found["cross_entropy"].sum * self.value, "point")
        return found


def decisions(folder):
    path = folder / "decisions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_sick_sample_is_named_then_quarantined_and_the_run_ends_finite(tmp_path):
    run = train(tmp_path, recipe(steps=16), task=Sick(sample=3))
    skipped = [d for d in decisions(tmp_path) if d["kind"] == "skipped"]
    assert [d["ids"] for d in skipped] == [["point 3"], ["point 3"]]
    assert skipped[0]["term"] == "sick"
    assert run.state.progress.quarantined == {"3": "point 3"}
    assert run.state.finite()


def test_a_skipped_step_leaves_weights_and_buffers_alone(tmp_path):
    kept = {}

    def remember(run):
        kept["weights"] = run.state.flat.weights.clone()
        kept["buffers"] = [b.clone() for b in run.state.buffers]

    with pytest.raises(DivergedError):
        train(tmp_path, recipe(steps=40), model=network(norm=True), task=Sick(), change=remember)
    tensors, _ = read_model(tmp_path / "last.safetensors")
    fresh = network(norm=True).state_dict()
    assert all(torch.equal(tensors[name], fresh[name]) for name in fresh)


def test_divergence_ends_with_exit_7_and_the_last_good_weights(tmp_path):
    with pytest.raises(DivergedError) as error:
        train(tmp_path, recipe(steps=60), task=Sick(since=4))
    assert error.value.exit == 7
    kinds = [d["kind"] for d in decisions(tmp_path)]
    assert kinds.count("rolled_back") == 3
    tensors, _ = read_model(tmp_path / "last.safetensors")
    assert all(torch.isfinite(t).all() for t in tensors.values())


class Never(Toy):
    """A loss that is no number, whatever is shown."""

    def losses(self, model, batch, player, step):
        return {"never": Term(model(*batch.inputs).sum() * float("nan"), "point")}


def test_a_run_too_short_to_give_up_does_not_end_well_where_no_step_was_finite(tmp_path):
    with pytest.raises(DivergedError, match="not one of 4 steps was finite") as error:
        train(tmp_path, recipe(steps=4), task=Never())
    assert error.value.exit == 7 and "loss term never" in error.value.where
    assert not (tmp_path / "best.safetensors").exists()


class Detached(Toy):
    """A loss of an answer that remembers nothing of the weights."""

    def losses(self, model, batch, player, step):
        return {"detached": Term(model(*batch.inputs).detach().square().sum(), "point")}


def test_a_loss_that_no_weight_can_change_is_an_error_not_a_training(tmp_path):
    with pytest.raises(UsageError, match="does not depend on any weight") as error:
        train(tmp_path, recipe(steps=4), task=Detached())
    assert error.value.code == "FIT-013" and "detached" in error.value.where


def test_a_rate_far_too_high_is_halved(tmp_path):
    with pytest.raises(DivergedError):
        train(
            tmp_path,
            recipe(steps=60, **{"optim.name": "sgd", "optim.lr": 1e38, "optim.clip": 0.0, "schedule.warmup": 0.0}),
        )
    assert [d["lr_scale"] for d in decisions(tmp_path) if d["kind"] == "rolled_back"] == [0.5, 0.25, 0.125]


class Hungry(Toy):
    """Needs more memory than there is for more than ``rows`` rows."""

    def __init__(
        self, rows, message="[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"
    ):
        self.rows, self.message = rows, message

    def losses(self, model, batch, player, step):
        found = super().losses(model, batch, player, step)
        if len(batch) > self.rows:
            raise RuntimeError(self.message)
        return found


def test_out_of_memory_splits_the_batch_and_changes_nothing_else(tmp_path):
    split = train(tmp_path / "split", task=Hungry(5))
    small = train(tmp_path / "small", recipe(micro=4))
    assert [d["micro"] for d in decisions(tmp_path / "split") if d["kind"] == "micro"] == [8, 4]
    assert torch.equal(split.state.flat.weights, small.state.flat.weights)


def test_a_resumed_run_splits_where_the_first_one_did(tmp_path):
    train(tmp_path, task=Hungry(5), change=lambda run: setattr(run.horizon, "ended", lambda s: s >= 3))
    run = train(tmp_path, task=Toy())
    assert run.micro(0) == 4


def test_a_sample_that_does_not_fit_alone_stops_with_exit_4(tmp_path):
    with pytest.raises(ResourceError) as error:
        train(tmp_path, task=Hungry(0))
    assert error.value.exit == 4
    assert "point" in str(error.value)
    assert (tmp_path / "last.safetensors").exists()


def test_memory_trouble_a_process_cannot_survive_stops_and_resumes_smaller(tmp_path):
    with pytest.raises(ResourceError) as error:
        train(tmp_path, task=Hungry(8, "could not create a memory object"))
    assert error.value.exit == 4
    whole = train(tmp_path, task=Hungry(8, "could not create a memory object"))
    assert whole.state.progress.finished
    assert whole.micro(0) == 8


class Twins(Toy):
    """Two players with half of the network each."""

    players = {"front": "0.", "back": "3."}  # noqa: RUF012

    def __init__(self, *sick_at):
        self.sick_at = sick_at

    def losses(self, model, batch, player, step):
        found = super().losses(model, batch, player, step)
        if player == "back" and step in self.sick_at:
            return {"sick": Term(found["cross_entropy"].sum * float("nan"), "point")}
        return found


def test_each_player_moves_its_own_weights_alone(tmp_path):
    moved = {}

    def note(run):
        move = run.state.optimisers["front"].step

        def step(*args):
            before = run.state.flat.weights.clone()
            move(*args)
            moved.update(
                {n: not torch.equal(run.state.flat.view(before, n), p) for n, p in run.state.flat.parameters.items()}
            )

        run.state.optimisers["front"].step = step

    train(tmp_path, recipe(steps=1), task=Twins(), change=note)
    assert moved == {"0.weight": True, "0.bias": True, "3.weight": False, "3.bias": False}


@pytest.mark.parametrize("optimiser", ["adamw", "momentum"])
@pytest.mark.parametrize("times", [1, 2])
def test_when_the_second_player_fails_the_first_is_put_back(tmp_path, times, optimiser):
    flat = {"schedule.name": "constant", "schedule.warmup": 0.0, "optim.name": optimiser}
    a = train(tmp_path / "a", recipe(steps=3, **flat), task=Twins())
    b = train(tmp_path / "b", recipe(steps=3 + times, **flat), task=Twins(3, 4))
    one, two = a.state.tensors(), b.state.tensors()
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert a.state.scalars() == b.state.scalars()


class Resting(Twins):
    """The second player has no loss at odd steps; the first one tells a number that is no loss."""

    def losses(self, model, batch, player, step):
        if player == "back" and step % 2:
            return {}
        found = Toy.losses(self, model, batch, player, step)
        told = {"rows": Term(torch.tensor(7.0 * len(batch)), "point", told=True)}
        return found | told if player == "front" else found


def test_a_player_without_a_loss_at_a_step_rests(tmp_path):
    flat = {"schedule.name": "constant", "schedule.warmup": 0.0}
    one = train(tmp_path / "one", recipe(steps=1, **flat), task=Resting())
    two = train(tmp_path / "two", recipe(steps=2, **flat), task=Resting())
    moved = {n: not torch.equal(p, two.state.flat.parameters[n]) for n, p in one.state.flat.parameters.items()}
    assert moved == {"0.weight": True, "0.bias": True, "3.weight": False, "3.bias": False}


def test_what_is_only_told_is_logged_by_its_count_and_is_no_part_of_the_loss(tmp_path):
    plain = train(tmp_path / "plain", recipe(steps=1), task=Twins())
    telling = train(tmp_path / "telling", recipe(steps=1), task=Resting())
    rows = [next(row for row in run.folder.rows() if "loss/front" in row) for run in (plain, telling)]
    assert rows[0]["loss/front"] == rows[1]["loss/front"]
    known = int((telling.train.batch(0).targets["label"] >= 0).sum())
    assert rows[1]["told/rows"] == pytest.approx(7.0 * 16 / known)
    assert torch.equal(plain.state.flat.weights, telling.state.flat.weights)


class Counting(Toy):
    """A task with a number of its own, which its network holds and no model file."""

    def losses(self, model, batch, player, step):
        model.held.add_(len(batch))
        return super().losses(model, batch, player, step)


def test_a_number_of_the_tasks_own_is_saved_restored_and_not_averaged(tmp_path):
    def made():
        model = network()
        model.register_buffer("held", torch.tensor(0.5), persistent=False)
        return model

    whole = train(tmp_path / "whole", recipe(steps=6), model=made(), task=Counting())

    def stop(run):
        batch = run.train.batch
        run.train.batch = lambda step, without: (step == 3 and os.kill(os.getpid(), signal.SIGTERM), batch(step))[1]

    with pytest.raises(Interrupted):
        train(tmp_path / "parts", recipe(steps=6), model=made(), task=Counting(), change=stop)
    resumed = train(tmp_path / "parts", recipe(steps=6), model=made(), task=Counting())
    assert float(whole.state.model.held) == float(resumed.state.model.held) == 0.5 + 6 * 16


class Shown(Toy):
    """A task whose network shows what it makes."""

    command = "made {model}"

    def shown(self, model):
        return np.full((4, 6, 3), 200, np.uint8)


def test_what_a_network_makes_is_kept_at_every_validation(tmp_path):
    run = train(tmp_path, recipe(steps=4), task=Shown())
    sheets = sorted(place.name for place in (tmp_path / "samples").iterdir())
    judged = [row["step"] for row in run.folder.rows() if "validation" in row]
    assert sheets == [f"{step:010d}.png" for step in judged]


def test_frozen_parameters_stay_until_they_are_freed(tmp_path):
    names = frozenset({"0.weight", "0.bias"})
    fresh = network().state_dict()

    def freeze(run):
        run.frozen = names

    half = recipe(**{"model.freeze": ["0"], "model.unfreeze": 0.5, "ema": 0.0})
    seen = {}

    def both(run):
        freeze(run)
        run.watch = lambda row: seen.setdefault(row.get("step"), run.state.flat.parameters["0.weight"].clone())

    train(tmp_path / "half", half, change=both)
    run = train(
        tmp_path / "held",
        recipe(**{"model.freeze": ["0"], "model.unfreeze": 0.99, "ema": 0.0, "steps": 6}),
        change=freeze,
    )
    assert torch.equal(run.state.flat.parameters["0.weight"], fresh["0.weight"])
    assert not torch.equal(run.state.flat.parameters["3.weight"], fresh["3.weight"])


def test_a_run_in_minutes_ends_in_time_and_replays_its_decisions(tmp_path):
    settings = recipe(minutes=1, steps=None, batch=16)
    first = train(tmp_path / "first", settings, seconds=2.0)
    assert 1.8 < first.state.progress.elapsed < 2.4
    second = tmp_path / "second"
    second.mkdir()
    (second / "decisions.jsonl").write_bytes((tmp_path / "first/decisions.jsonl").read_bytes())
    again = train(second, settings, seconds=2.0)
    assert torch.equal(first.state.flat.weights, again.state.flat.weights)
    assert losses(tmp_path / "first") == losses(second)


def test_training_ends_early_when_nothing_gets_better(tmp_path):
    run = train(tmp_path, recipe(steps=400, patience=3, evaluate_every=1.0, **{"optim.lr": 1e-12}))
    assert run.state.progress.step < 400
    assert run.state.progress.stale == 3


def test_empty_steps_move_nothing(tmp_path):
    feed = Points()
    feed.y[:] = -1
    run = train(tmp_path, recipe(steps=3), feed=feed)
    fresh = network().state_dict()
    assert torch.equal(run.state.flat.parameters["0.weight"], fresh["0.weight"])


def test_a_run_in_minutes_that_was_stopped_late_ends_all_the_same(tmp_path):
    settings = recipe(minutes=1, steps=None, save_every=1000.0)

    def stop_in_the_decay(run):
        decide = run.horizon.decide

        def decided(step, elapsed):
            decide(step, elapsed)
            if len(run.horizon.segments) == 3:
                raise KeyboardInterrupt

        run.horizon.decide = decided

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, settings, seconds=1.5, change=stop_in_the_decay)
    marks = [d for d in decisions(tmp_path) if d["kind"] in ("mark", "segment")]
    run = train(tmp_path, settings, seconds=1.5)
    assert run.state.progress.finished
    assert [d for d in decisions(tmp_path) if d["kind"] in ("mark", "segment")][: len(marks)] == marks


def test_a_skip_whose_step_is_done_again_after_a_resume_is_written_down_once(tmp_path):
    settings = recipe(steps=16, save_every=1000.0, evaluate_every=100.0)

    def killed(run):
        batch = run.train.batch

        def batch_or_die(step, without=frozenset()):
            if step == 12:
                raise KeyboardInterrupt
            return batch(step, without)

        run.train.batch = batch_or_die

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", settings, task=Sick(sample=3), change=killed)
    before = decisions(tmp_path / "parts")
    assert {d["kind"] for d in before} == {"skipped", "quarantined"}
    resumed = train(tmp_path / "parts", settings, task=Sick(sample=3))
    whole = train(tmp_path / "whole", settings, task=Sick(sample=3))
    assert decisions(tmp_path / "parts") == before
    assert torch.equal(whole.state.flat.weights, resumed.state.flat.weights)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert len(list((tmp_path / "parts/bundles").iterdir())) == 2


def test_a_damaged_state_that_a_run_goes_back_over_is_told_and_written_down(tmp_path):
    told = []

    def damage(run):
        run.watch = told.append
        batch = run.train.batch

        def damaged(step, without=frozenset()):
            if step == 5:
                run.generations.wait()
                newest = tmp_path / f"state/{5:010d}.safetensors"
                newest.write_bytes(newest.read_bytes()[:-1])
                run.state.flat.weights[0] = float("nan")
            return batch(step, without)

        run.train.batch = damaged

    train(tmp_path, change=damage)
    written = [d for d in decisions(tmp_path) if d["kind"] == "damaged"]
    assert "state 5 is damaged" in written[0]["why"]
    assert any(row.get("event") == "damaged" for row in told)


def test_a_score_that_the_validation_part_does_not_define_is_told_of_once_and_the_newest_weights_are_kept(tmp_path):
    class Undefined(Rows):
        def quick(self):
            return {"accuracy": float("nan")}

    class Unjudged(Toy):
        def metric(self):
            return Undefined()

    train(tmp_path, recipe(evaluate_every=1.0), task=Unjudged())
    (told,) = [d for d in decisions(tmp_path) if d["kind"] == "undefined_score"]
    assert "does not define accuracy" in told["why"]
    assert read_model(tmp_path / "best.safetensors")[1].step == 12


@pytest.mark.parametrize("size", ["too_many", "enough"])
def test_a_budget_of_few_steps_is_told_of(tmp_path, size):
    def slow(run):
        batch = run.train.batch

        def slowly(step, without=frozenset()):
            time.sleep(0.2 if size == "too_many" else 0.0)
            return batch(step, without)

        run.train.batch = slowly

    run = train(tmp_path, recipe(minutes=1, steps=None), seconds=0.9, change=slow)
    few = [d for d in decisions(tmp_path) if d["kind"] == "few_steps"]
    assert len(few) == (size == "too_many")
    assert all("--minutes" in d["why"] and d["steps"] < 10 for d in few)
    assert run.state.progress.finished


def test_a_condemned_picture_is_left_out_of_the_same_steps_by_a_resumed_run(tmp_path):
    """The feed finds out at step 4; after a resume from the start, another feed is told before it could find out."""
    seen = []

    def condemning(find):
        def change(run):
            batch = run.train.batch

            def without_it(step, without=frozenset()):
                if find and step == 4:
                    run.train.condemned[7] = Condemned(4, "point 7", "every process that read it was ended")
                    return replace(batch(step, without), bad=(("point 7", "every process that read it was ended"),))
                return batch(step, without)

            run.train.batch = without_it
            seen.append(dict(run.train.condemned))

        return change

    settings = recipe(save_every=1000.0, **{"data.max_bad": 0.5})
    train(tmp_path, settings, change=condemning(True))
    (tmp_path / "state").rename(tmp_path / "gone")
    train(tmp_path, settings, change=condemning(False))
    assert seen == [{}, {7: Condemned(4, "point 7", "every process that read it was ended")}]
    assert [d["kind"] for d in decisions(tmp_path) if d["part"] == "train"] == ["condemned", "unreadable"]
