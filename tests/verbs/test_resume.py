"""Resuming: a run that was stopped at any moment, in any way, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.verbs.examples import TINY, same_bits, train, write_classes

import visus
from visus.core.errors import DataError, IntegrityError, Interrupted, LockedError, UsageError
from visus.core.recipe import ModelSettings, Recipe
from visus.engine.folder import RunFolder

SETTINGS = {**TINY, "evaluate_every": 0.5, "augment.rotate": 0.2, "ema": 0.9, "model.options.dropout": 0.2}
STEPS = 60

CHILD = f"""
import sys, visus
settings = {{**{SETTINGS!r}, "data.workers": int(sys.argv[3]), "save_every": 0.1}}
visus.train(sys.argv[1], out=sys.argv[2], steps={STEPS}, set=settings)
"""


def whole(photos, out, **settings):
    return visus.train(photos, out=out, steps=STEPS, set={**SETTINGS, **settings})


@pytest.fixture(scope="module")
def uninterrupted(photos, tmp_path_factory):
    """Return a run of SETTINGS that nothing disturbed."""
    return whole(photos, tmp_path_factory.mktemp("whole") / "run")


def stopping(number, when):
    """Return a watch that sends this process a signal as soon as ``when(row)`` is true."""
    sent = []

    def watch(row):
        if not sent and when(row):
            sent.append(row)
            os.kill(os.getpid(), number)

    return watch


def test_a_run_that_has_ended_is_returned_as_it_is_and_says_so(run):
    said = []
    before = {
        path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file() and path.name != ".lock"
    }
    again = visus.resume(run.folder, watch=said.append)
    assert again.finished_before and again.scores == run.scores
    assert "this run has ended" in said[0]["note"]
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())


def test_a_folder_without_a_run_says_what_was_looked_for(tmp_path):
    with pytest.raises(UsageError) as caught:
        visus.resume(tmp_path / "nowhere")
    assert caught.value.code == "RUN-001" and caught.value.looked == "recipe.yaml"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_training_saves_the_step_it_came_at(photos, tmp_path, uninterrupted, number):
    watch = stopping(number, lambda row: row.get("step", 0) >= 20 and "loss" in row)
    with pytest.raises(Interrupted) as caught:
        visus.train(photos, out=tmp_path / "run", steps=STEPS, set=SETTINGS, watch=watch)
    assert caught.value.exit == 128 + number and f"visus resume {tmp_path / 'run'}" in caught.value.fix
    assert not (tmp_path / "run" / "result.json").exists()
    said = []
    ended = visus.resume(tmp_path / "run", watch=said.append)
    assert any(row.get("note", "").startswith("going on after step ") for row in said)
    assert same_bits(uninterrupted.folder, ended.folder) and ended.scores == uninterrupted.scores


def test_a_signal_while_the_best_weights_are_judged_loses_nothing(photos, tmp_path, uninterrupted):
    watch = stopping(signal.SIGTERM, lambda row: "judging" in row.get("note", ""))
    with pytest.raises(Interrupted) as caught:
        visus.train(photos, out=tmp_path / "run", steps=STEPS, set=SETTINGS, watch=watch)
    assert caught.value.exit == 143 and caught.value.done == "the last state is saved, nothing is lost"
    ended = visus.resume(tmp_path / "run")
    assert same_bits(uninterrupted.folder, ended.folder) and ended.scores == uninterrupted.scores


def test_a_signal_before_the_first_step_leaves_a_run_that_can_be_resumed(photos, tmp_path, uninterrupted):
    watch = stopping(signal.SIGINT, lambda row: row.get("note", "").startswith("cache:"))
    with pytest.raises(Interrupted) as caught:
        visus.train(photos, out=tmp_path / "run", steps=STEPS, set=SETTINGS, watch=watch)
    assert caught.value.done == "no step was taken yet"
    assert same_bits(uninterrupted.folder, visus.resume(tmp_path / "run").folder)


def test_signals_do_what_they_did_before_once_a_run_has_ended(run, photos, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(photos, tmp_path / "run", steps=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGKILL, 0), (signal.SIGKILL, 2), (signal.SIGTERM, 2)])
def test_a_process_that_is_killed_is_resumed_bit_for_bit(photos, tmp_path, uninterrupted, number, workers):
    folder = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(photos), str(folder), str(workers)],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    steps_seen(child, folder, 15)
    child.send_signal(number)
    said = child.communicate(timeout=60)[1].decode()
    assert child.returncode in (-number, 1), said  # Python ends with 1 for the Interrupted that SIGTERM becomes
    assert not (folder / "result.json").exists()
    ended = visus.resume(folder)
    assert same_bits(uninterrupted.folder, folder) and ended.scores == uninterrupted.scores
    assert not list(folder.rglob(".visus-part-*"))


def steps_seen(child, folder, step, seconds=120):
    """Wait until a child has taken a step, or fail with what it said."""
    log, until = Path(folder, "log.jsonl"), time.monotonic() + seconds
    while not log.exists() or log.read_text().count('"loss"') < step:
        if child.poll() is not None:
            pytest.fail(f"the child ended: {child.communicate()[1].decode()}")
        if time.monotonic() > until:
            child.kill()
            pytest.fail("the child took no steps")
        time.sleep(0.01)


@pytest.fixture
def stopped(photos, tmp_path):
    """Return the folder of a run that was stopped by SIGINT."""
    watch = stopping(signal.SIGINT, lambda row: row.get("step", 0) >= 10 and "loss" in row)
    with pytest.raises(Interrupted):
        visus.train(photos, out=tmp_path / "run", steps=STEPS, set={**SETTINGS, "save_every": 0.0}, watch=watch)
    return tmp_path / "run"


def test_a_folder_held_by_a_living_process_names_it_and_one_held_by_a_dead_one_is_taken_over(stopped):
    with RunFolder(stopped), pytest.raises(LockedError) as caught:
        visus.resume(stopped)
    assert caught.value.exit == 5 and f"process {os.getpid()}" in caught.value.where
    assert "process" in (stopped / ".lock").read_text()  # what the dead one wrote
    assert visus.resume(stopped).steps == STEPS


def test_a_damaged_state_is_passed_over_for_the_one_before_and_it_is_said(stopped, uninterrupted):
    newest = max((stopped / "state").glob("*.safetensors"))
    rotten = bytearray(newest.read_bytes())
    rotten[len(rotten) // 2] ^= 1
    newest.write_bytes(rotten)
    said = []
    ended = visus.resume(stopped, watch=said.append)
    (told,) = [row["why"] for row in said if row.get("event") == "damaged"]
    assert "is damaged" in told and "the one before it was used" in told
    assert any(
        row.get("why") == told for row in map(json.loads, (stopped / "decisions.jsonl").read_text().splitlines())
    )
    assert same_bits(uninterrupted.folder, ended.folder)


def test_without_one_whole_state_nothing_is_made_up(stopped):
    for file in (stopped / "state").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="no complete state"):
        visus.resume(stopped)


def test_data_that_changed_meanwhile_is_not_trained_on_unless_that_is_wanted(tmp_path):
    data = write_classes(tmp_path / "photos", each=20)
    watch = stopping(signal.SIGINT, lambda row: row.get("step", 0) >= 3 and "loss" in row)
    with pytest.raises(Interrupted):
        train(data, tmp_path / "run", watch=watch)
    next((data / "one").iterdir()).unlink()
    with pytest.raises(IntegrityError) as caught:
        visus.resume(tmp_path / "run")
    assert caught.value.code == "RUN-008" and str(data) in caught.value.what
    ended = visus.resume(tmp_path / "run", accept_changes=True)
    assert ended.steps == 30
    assert "labels, splits or sizes of files, in photos" in ended.report.read_text(encoding="utf-8")


@pytest.fixture
def stopped_on_files(tmp_path):
    """Return the folders of a run that was stopped early, and of its pictures."""
    data = write_classes(tmp_path / "photos", each=20)
    watch = stopping(signal.SIGINT, lambda row: row.get("step", 0) >= 3 and "loss" in row)
    with pytest.raises(Interrupted):
        train(data, tmp_path / "run", watch=watch)
    return tmp_path / "run", data


def test_a_picture_that_changed_while_its_size_did_not_is_found(stopped_on_files):
    run, data = stopped_on_files
    picture = next((data / "one").iterdir())
    picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError) as caught:
        visus.resume(run)
    assert caught.value.where == "changed: what is in the files; their names and sizes are the same"


def test_files_that_were_written_anew_with_the_same_bytes_are_no_change(stopped_on_files):
    run, data = stopped_on_files
    for file in data.rglob("*.png"):
        os.utime(file, ns=(1, 1))
    said = []
    assert visus.resume(run, watch=said.append).steps == 30
    assert not any("changed since" in row.get("note", "") for row in said)


def test_of_more_data_than_is_hashed_it_is_said_that_files_were_written_anew(stopped_on_files):
    run, data = stopped_on_files
    about = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**about, "contents": ""}))
    os.utime(next((data / "one").iterdir()), ns=(1, 1))
    said = []
    assert visus.resume(run, watch=said.append).steps == 30
    assert any("were written anew; if a picture changed" in row.get("note", "") for row in said)


def test_another_environment_is_named_and_only_accepted_when_that_is_wanted(stopped):
    told = json.loads((stopped / "environment.json").read_text())
    (stopped / "environment.json").write_text(json.dumps({**told, "torch": "1.0.0"}))
    with pytest.raises(IntegrityError) as caught:
        visus.resume(stopped)
    assert caught.value.exit == 6 and "torch: 1.0.0 then" in caught.value.where
    said = []
    assert visus.resume(stopped, accept_changes=True, watch=said.append).steps == STEPS
    assert any("torch: 1.0.0 then" in row.get("note", "") for row in said)


@pytest.mark.parametrize("name", ["data.json", "environment.json"])
def test_a_run_that_lost_what_it_wrote_about_itself_says_which_file(stopped, name):
    (stopped / name).write_text("{")
    with pytest.raises(IntegrityError) as caught:
        visus.resume(stopped)
    assert caught.value.code == "RUN-009" and name in caught.value.what


def test_a_recipe_edited_into_none_is_refused_with_the_nearest_name(stopped):
    recipe = stopped / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("momentum:", "momentun:"))
    with pytest.raises(UsageError) as caught:
        visus.resume(stopped)
    assert caught.value.fix == "did you mean 'optim.momentum'?"


def test_a_torn_result_is_written_anew(stopped, uninterrupted):
    visus.resume(stopped)
    (stopped / "result.json").write_text('{"scores": {')
    again = visus.resume(stopped)
    assert not again.finished_before and again.scores == uninterrupted.scores
    assert visus.resume(stopped).finished_before


def test_a_module_that_was_given_is_given_again_to_go_on(photos, tmp_path):
    import torch
    from torch import nn

    def module():
        torch.default_generator.manual_seed(5)
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 3))

    settings = {key: value for key, value in SETTINGS.items() if not key.startswith("model.")}
    whole = visus.train(photos, model=module(), out=tmp_path / "whole", steps=30, set=settings)
    watch = stopping(signal.SIGINT, lambda row: row.get("step", 0) >= 10 and "loss" in row)
    with pytest.raises(Interrupted):
        visus.train(photos, model=module(), out=tmp_path / "run", steps=30, set=settings, watch=watch)
    with pytest.raises(UsageError, match="a module of your own"):
        visus.resume(tmp_path / "run")
    assert same_bits(whole.folder, visus.resume(tmp_path / "run", model=module()).folder)


def test_a_run_that_writes_events_goes_on_writing_them(photos, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watch = stopping(signal.SIGINT, lambda row: row.get("step", 0) >= 8 and "loss" in row)
    with pytest.raises(Interrupted):
        visus.train(photos, out=tmp_path / "run", steps=20, set={**SETTINGS, "tensorboard": True}, watch=watch)
    visus.resume(tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 21))


OWN = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, outputs, channels):
        super().__init__(nn.Conv2d(channels, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(outputs))
"""


@pytest.mark.parametrize("name", ["{run}/evil.py:net", "hub:{run}/evil:net"])
def test_code_that_comes_with_a_run_folder_is_not_run(tmp_path, name):
    (tmp_path / "evil").mkdir()
    for file in ("evil.py", "evil/hubconf.py"):
        (tmp_path / file).write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    recipe = Recipe(steps=1, model=ModelSettings(name=name.format(run=tmp_path)))
    (tmp_path / "recipe.yaml").write_text(recipe.write())
    with pytest.raises(UsageError) as caught:
        visus.resume(tmp_path)
    assert caught.value.code == "RUN-011" and not (tmp_path / "was_run").exists()


def test_code_and_weights_named_from_one_folder_are_found_from_another(photos, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("own.py").write_text(OWN)
    plain = {key: value for key, value in SETTINGS.items() if not key.startswith("model.")} | {"input.size": 16}
    first = visus.train(photos, out=tmp_path / "first", steps=4, model="own.py:Net", set=plain)
    Path("start.safetensors").write_bytes(first.best.read_bytes())
    watch = stopping(signal.SIGINT, lambda row: row.get("step", 0) >= 2 and "loss" in row)
    again = {**plain, "model.weights": "start.safetensors", "save_every": 0.0}
    with pytest.raises(Interrupted):
        visus.train(photos, out=tmp_path / "run", steps=40, model="own.py:Net", set=again, watch=watch)
    monkeypatch.chdir(tmp_path / "there")
    ended = visus.resume(tmp_path / "run")
    assert ended.steps == 40
    for file in (ended.best, ended.folder / "last.safetensors"):
        assert str(tmp_path).encode() not in file.read_bytes()
    assert b"own.py:Net" in ended.best.read_bytes()
    assert len(visus.predict(ended.best, photos / "test" / "six", network=str(tmp_path / "here/own.py:Net"))) == 30


def test_a_run_goes_on_where_its_data_was_moved_and_remembers_the_place(photos, uninterrupted, tmp_path):
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "run"
    shutil.copytree(photos, here)
    with pytest.raises(Interrupted):
        visus.train(here, out=out, steps=STEPS, set=SETTINGS, watch=stopping(signal.SIGINT, lambda row: "step" in row))
    here.rename(there)
    with pytest.raises(DataError, match="no such folder"):
        visus.resume(out)
    with pytest.raises(Interrupted):
        visus.resume(out, data=there, watch=stopping(signal.SIGINT, lambda row: row.get("step", 0) > 20))
    assert same_bits(visus.resume(out).folder, uninterrupted.folder)
