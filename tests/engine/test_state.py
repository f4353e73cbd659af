"""A state is saved whole or not at all; damage is seen, and the generation before is used."""

import json
import multiprocessing
import os
import random
import resource
import signal
import time

import pytest
import torch

from tests.engine.test_loop import decisions, losses
from tests.engine.toy import network, recipe, train
from visus.core.errors import IntegrityError, ResourceError, UsageError
from visus.engine.state import Generations, new_state


def state_at(step, model=None):
    """Return a state with moments in its optimiser."""
    state = new_state(model or network(norm=True), recipe(), {"model": ""})
    state.flat.attach(frozenset())
    state.flat.gradients.normal_(generator=torch.Generator().manual_seed(step))
    state.optimisers["model"].step()
    state.progress.step = step
    return state


def saved(folder, *steps):
    generations = Generations(folder)
    for step in steps:
        generations.save(state_at(step), wait=True)
    return generations


def damages(data, n, seed):
    """Yield ``n`` ways in which a file rots: a flipped bit, a cut, a page of zeros."""
    chance = random.Random(seed)
    for i in range(n):
        at = chance.randrange(len(data))
        if i % 3 == 0:
            yield data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        elif i % 3 == 1:
            yield data[:at]
        else:
            page = at // 512 * 512
            yield data[:page] + bytes(len(data[page : page + 512])) + data[page + 512 :]


def check_damage(folder, kind, n):
    generations = saved(folder, 1, 2)
    path = folder / f"state/{2:010d}.{kind}"
    whole, unseen = path.read_bytes(), 0
    for damaged in damages(whole, n, seed=n):
        if damaged == whole:
            continue  # the page was zero before
        path.write_bytes(damaged)
        state = state_at(9)
        wrong = generations.load(state)
        unseen += not (state.progress.step == 1 and len(wrong) == 1 and "state 2 is damaged" in wrong[0])
    assert unseen == 0


@pytest.mark.parametrize("kind", ["safetensors", "json"])
def test_damage_anywhere_is_seen_and_the_generation_before_is_used(tmp_path, kind):
    check_damage(tmp_path, kind, 150)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["safetensors", "json"])
def test_damage_at_a_thousand_places_is_seen(tmp_path, kind):
    check_damage(tmp_path, kind, 1000)


def test_every_bit_of_the_manifest_counts(tmp_path):
    generations = saved(tmp_path, 1, 2)
    path = tmp_path / f"state/{2:010d}.json"
    whole = path.read_bytes()
    at = whole.index(b"e-")  # 1e-05 and 1E-05 are the same number
    path.write_bytes(whole[:at] + b"E" + whole[at + 1 :])
    assert generations.load(state_at(9))


def test_without_a_whole_generation_nothing_is_guessed(tmp_path):
    generations = saved(tmp_path, 1)
    (tmp_path / f"state/{1:010d}.json").write_bytes(b"[]")
    with pytest.raises(IntegrityError) as error:
        generations.load(state_at(9))
    assert error.value.exit == 6


def test_a_loaded_state_is_the_saved_one_to_the_last_bit(tmp_path):
    first, second = state_at(3), state_at(9)
    saved(tmp_path, 3).load(second)
    assert second.scalars() == first.scalars()
    assert second.progress == first.progress
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, second.tensors()[name]), name


def test_two_generations_are_kept_and_nothing_else(tmp_path):
    saved(tmp_path, *range(1, 6))
    names = sorted(p.name for p in (tmp_path / "state").iterdir())
    assert names == [f"{step:010d}.{kind}" for step in (4, 5) for kind in ("json", "safetensors")]


def test_tensors_without_a_manifest_are_removed(tmp_path):
    generations = saved(tmp_path, 1)
    (tmp_path / f"state/{7:010d}.safetensors").write_bytes(b"left by a kill")
    generations.save(state_at(2), wait=True)
    assert not (tmp_path / f"state/{7:010d}.safetensors").exists()


def test_a_damaged_generation_takes_no_place_among_the_two(tmp_path):
    generations = saved(tmp_path, 1, 9)
    (tmp_path / f"state/{9:010d}.json").write_bytes(b"rotten")
    generations.save(state_at(2), wait=True)
    assert generations.steps() == [2, 1]


def test_what_happens_to_the_weights_while_they_are_written_changes_nothing(tmp_path):
    generations, state = Generations(tmp_path), state_at(1, torch.nn.Linear(512, 512))
    expected = {name: tensor.clone() for name, tensor in state.tensors().items()}
    generations.save(state)
    for tensor in state.tensors().values():
        tensor.fill_(7)
    generations.wait()
    again = state_at(9, torch.nn.Linear(512, 512))
    generations.load(again)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.tensors().items())


def test_a_failed_save_is_told_at_the_next_one(tmp_path):
    generations = saved(tmp_path, 1)

    def fail():
        raise ResourceError("RUN-004", "no room")

    generations.save(state_at(2), fail)
    with pytest.raises(ResourceError):
        generations.save(state_at(3))
    generations.wait()  # it is told once


def _train_with_files_of_at_most(folder, limit):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        train(folder, recipe(steps=8))
    except ResourceError as error:
        os._exit(error.exit if "disk is full" in str(error) and "bytes free" in str(error) else 99)


def in_child(function, *arguments):
    """Start a function in a fork of this process: no import of torch, but a process of its own."""
    child = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    child.start()
    return child


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_full_disk_ends_with_exit_4_and_the_old_generation(tmp_path, share):
    train(tmp_path, recipe(steps=4))
    steps = Generations(tmp_path).steps()
    size = (tmp_path / f"state/{steps[0]:010d}.safetensors").stat().st_size
    child = in_child(_train_with_files_of_at_most, tmp_path, int(size * share))
    child.join(60)
    assert child.exitcode == 4
    state = state_at(99, network())
    assert Generations(tmp_path).load(state) == []
    assert state.progress.step == steps[0]
    assert not list(tmp_path.rglob(".visus-part-*"))


def _train_quietly(folder, settings):
    train(folder, settings)


def killed_and_resumed(tmp_path, kills, steps):
    settings = recipe(steps=steps, evaluate_every=2.0)
    whole = train(tmp_path / "whole", settings)
    chance, folder, last, killed = random.Random(kills), tmp_path / "parts", 0, 0
    for i in range(kills):
        child = in_child(_train_quietly, folder, settings)
        while child.is_alive() and max(Generations(folder).steps(), default=0) < steps * i // (kills + 2):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))  # anywhere in a step or a save
        alive = child.is_alive()
        child.kill()
        child.join()
        if not alive:
            break
        killed += 1
        if Generations(folder).steps():
            state = state_at(99, network())
            assert Generations(folder).load(state) == []
            assert state.progress.step >= last
            last = state.progress.step
    parts = train(folder, settings)
    assert not list(folder.rglob(".visus-part-*"))
    expected = whole.state.tensors()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in parts.state.tensors().items())
    assert losses(tmp_path / "whole") == losses(folder)
    return killed


def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path):
    assert killed_and_resumed(tmp_path, kills=5, steps=120) == 5


@pytest.mark.slow
def test_a_run_killed_fifty_times_ends_as_if_it_had_not_been(tmp_path):
    assert killed_and_resumed(tmp_path, kills=50, steps=1500) == 50


def test_constants_among_the_buffers_are_neither_averaged_nor_mistrusted(tmp_path):
    model = network()
    model.register_buffer("mask", torch.full((2, 2), float("-inf")), persistent=False)
    run = train(tmp_path, recipe(steps=3), model=model)
    assert run.state.finite()
    assert decisions(tmp_path) == []


def test_tied_weights_and_shared_statistics_are_averaged_under_each_of_their_names():
    norm = torch.nn.BatchNorm1d(6)
    model = torch.nn.Sequential(torch.nn.Linear(6, 6), norm, torch.nn.Linear(6, 6), norm)
    model[2].weight = model[0].weight
    state = new_state(model, recipe(ema=0.9), {"model": ""})
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state.flat.weights.add_(1)  # the average lags behind
    norm.running_mean.add_(1)
    told = state.judged_tensors()
    assert all(torch.equal(told[name], tensor) for name, tensor in kept.items())


def test_weights_that_are_not_finite_are_refused_before_the_first_step(tmp_path):
    model = network()
    model[0].weight.data[0, 0] = torch.nan
    with pytest.raises(UsageError) as error:
        train(tmp_path, model=model)
    assert "model.0.weight" in str(error.value)
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_manifest_says_what_it_is(tmp_path):
    saved(tmp_path, 5)
    told = json.loads((tmp_path / f"state/{5:010d}.json").read_bytes())
    assert told["progress"]["step"] == 5
    assert set(told) == {"progress", "optimisers", "sha256", "self"}
