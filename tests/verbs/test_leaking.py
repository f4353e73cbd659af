"""Scores without what other parts give away: from planted leaks, against scikit-learn on what remains."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, mean_absolute_error, r2_score
from tests.data.test_near import brighter, cut, mirrored, saved, scenes
from tests.verbs.examples import train

import visus
from visus.verbs import leaking
from visus.verbs.runs import Run

CHANGES = (saved, cut, brighter, mirrored)
LOOKING = {"data.leaks": True}


def striped(picture, number):
    """Return a picture of its class: every second one has stripes, weak ones so that some are mistaken."""
    stripes = 26 * (np.arange(64)[:, None] % 4 < 2) if number % 2 else 0
    return np.clip(picture.astype(int) * 0.7 + stripes, 0, 255).astype(np.uint8)


def write(root, part, number, picture):
    """Write a picture into its class folder under a name that tells neither series nor group; return its path."""
    folder = root / part / ("striped" if number % 2 else "plain")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number * 7919 % 1009:04}.png"
    Image.fromarray(np.ascontiguousarray(picture)).save(path)
    return path


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """Return a folder with 24 test pictures of its own and 8 changed ones of training, and the names of these."""
    root = tmp_path_factory.mktemp("leaky") / "photos"
    pictures = [striped(picture, number) for number, picture in enumerate(scenes(100))]
    for number, picture in enumerate(pictures):
        write(root, "train" if number < 60 else "val" if number < 76 else "test", number, picture)
    planted = {write(root, "test", 200 + i, CHANGES[i % 4](pictures[3 * i - i % 2])).name for i in range(8)}
    return root, planted


@pytest.fixture(scope="module")
def run(leaky, tmp_path_factory):
    """Return a run on the leaky folder."""
    return train(leaky[0], tmp_path_factory.mktemp("runs") / "run", steps=12, settings=LOOKING)


def test_planted_near_duplicates_are_left_out_and_the_others_scored_as_scikit_learn_does(run, leaky):
    root, planted = leaky
    said = [(Path(file), answer.label) for file, answer in visus.predict(run.best, [root / "test"])]
    kept = [(file.parent.name, label) for file, label in said if file.name not in planted]
    found = run.without_leaks
    assert (found.judged, found.left_out, found.kinds) == (32, 8, {"near": 8})
    truth, answers = zip(*kept, strict=True)
    assert found.scores["accuracy"].value == accuracy_score(truth, answers)
    assert found.scores["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(truth, answers), abs=1e-12)
    assert found.scores["accuracy"].n == len(kept) == 24
    assert found.scores.keys() == run.scores.keys() and run.scores["accuracy"].n == 32
    assert found.scores["accuracy"].low <= found.scores["accuracy"].value <= found.scores["accuracy"].high


def test_the_document_the_notes_and_the_page_tell_of_it(run):
    told = json.loads((run.folder / "result.json").read_text())["without_leaks"]
    assert told["left_out"] == 8 and told["scores"]["accuracy"].keys() == {"value", "low", "high", "n"}
    assert any(note.startswith("8 of 32 pictures in the test part are given away by other parts: 8 by nearly the same")
               and "without these the accuracy is" in note and "n = 24" in note for note in run.notes)  # fmt: skip
    assert "Without what other parts give away" in run.report.read_text()


def test_a_run_that_is_read_back_tells_the_same(run):
    assert Run.read(run.folder).without_leaks == run.without_leaks


def test_evaluating_a_model_on_what_it_was_trained_on_tells_the_same(run, leaky):
    found = visus.evaluate(run.best, leaky[0])
    assert found.without_leaks == run.without_leaks and found.json()["without_leaks"]["left_out"] == 8
    assert any("given away" in note for note in found.notes)


def test_data_that_is_new_to_a_model_gives_nothing_of_it_away(run, leaky, tmp_path):
    """Its own training part is none that the model learned from."""
    for number, picture in enumerate(scenes(40, seed=5)):
        write(tmp_path / "new", "train" if number < 20 else "test", number, striped(picture, number))
    assert visus.evaluate(run.best, tmp_path / "new").without_leaks is None


def test_an_evaluation_that_would_wait_for_it_says_that_it_was_not_looked_at(run, leaky, monkeypatch):
    monkeypatch.setattr(leaking, "CHEAP", 0.0)
    monkeypatch.setattr("visus.data.leaks.LEARNING", 1e6)
    found = visus.evaluate(run.best, leaky[0])
    assert "would take about" in found.without_leaks.unknown and not found.without_leaks.scores
    assert any("was not compared with the others" in note for note in found.notes)


def test_a_budget_too_short_for_it_says_that_it_was_not_looked_at(leaky, tmp_path):
    run = visus.train(leaky[0], out=tmp_path / "run", minutes=0.05, set={
        "model.name": "cnn", "model.options.widths": [8], "model.options.flatten": True, "augment.pad": 0,
        "optim.lr": 0.003, "batch": 16, "resamples": 30, "precision": "float32",
    })  # fmt: skip
    assert run.without_leaks.unknown and not run.without_leaks.scores
    assert any("the test part was not compared with the others" in note for note in run.notes)
    assert "The test part was not compared with the others" in run.report.read_text()


def test_who_does_not_want_it_is_told_that_it_was_not_done(leaky, tmp_path):
    run = train(leaky[0], tmp_path / "run", steps=2)
    assert run.without_leaks.unknown == "data.leaks = false"


def test_where_nothing_leaks_there_is_nothing_to_say(leaky, tmp_path):
    root, planted = leaky
    shutil.copytree(root, tmp_path / "photos")
    for file in (tmp_path / "photos" / "test").rglob("*.png"):
        if file.name in planted:
            file.unlink()
    run = train(tmp_path / "photos", tmp_path / "run", steps=2, settings=LOOKING)
    assert (run.without_leaks.left_out, run.without_leaks.unknown, run.without_leaks.scores) == (0, "", {})
    assert not any("given away" in note for note in run.notes)
    assert "Without what other parts give away" not in run.report.read_text()


def test_the_same_pictures_and_torn_groups_that_were_allowed_count_too(tmp_path):
    """Of 30 test pictures one is that of training, and three are of groups that are also trained on."""
    lines = ["path,label,split,group"]
    (tmp_path / "table").mkdir()
    pictures = [striped(picture, number) for number, picture in enumerate(scenes(90))]
    pictures[60] = pictures[10]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "table" / f"{number:03}.png")
        group = number if number not in (70, 71, 72) else number - 70
        split = "train" if number < 45 else "val" if number < 60 else "test"
        lines.append(f"{number:03}.png,{'striped' if number % 2 else 'plain'},{split},{group}")
    (tmp_path / "table" / "labels.csv").write_text("\n".join(lines) + "\n")
    run = train(tmp_path / "table", tmp_path / "run", steps=2, settings=LOOKING, allow_leak=True)
    found = run.without_leaks
    assert (found.judged, found.left_out, found.kinds) == (30, 4, {"same": 1, "stated_group": 3})
    assert found.scores["accuracy"].n == 26


def test_where_everything_leaks_there_is_nothing_to_judge_by(leaky, tmp_path):
    root, planted = leaky
    shutil.copytree(root, tmp_path / "photos")
    for file in (tmp_path / "photos" / "test").rglob("*.png"):
        if file.name not in planted:
            file.unlink()
    run = train(tmp_path / "photos", tmp_path / "run", steps=2, settings=LOOKING)
    assert (run.without_leaks.left_out, run.without_leaks.judged, run.without_leaks.scores) == (8, 8, {})
    assert any(note.endswith("without these there is nothing to judge by") for note in run.notes)


def test_numbers_are_scored_without_them_as_scikit_learn_does(tmp_path):
    """Of 30 test pictures, five are changed ones of training."""
    (tmp_path / "table").mkdir()
    pictures, numbers = list(scenes(85)), np.random.default_rng(0).uniform(0, 100, 90).round(2)
    pictures += [CHANGES[i % 4](pictures[i]) for i in range(5)]
    lines = ["path,height,split"]
    for i, picture in enumerate(pictures):
        Image.fromarray(np.ascontiguousarray(picture)).save(tmp_path / "table" / f"{i:03}.png")
        lines.append(f"{i:03}.png,{numbers[i]},{'train' if i < 45 else 'val' if i < 60 else 'test'}")
    (tmp_path / "table" / "labels.csv").write_text("\n".join(lines) + "\n")
    run = train(tmp_path / "table", tmp_path / "run", steps=4, settings=LOOKING)
    said = {Path(file).name: answer for file, answer in visus.predict(run.best, [tmp_path / "table"])}
    kept = range(60, 85)
    answers = [said[f"{i:03}.png"].values["height"] for i in kept]
    found = run.without_leaks
    assert (found.left_out, found.score) == (5, "r2")
    assert found.scores["mae"].value == pytest.approx(mean_absolute_error(numbers[60:85], answers), rel=1e-5)
    assert found.scores["r2"].value == pytest.approx(r2_score(numbers[60:85], answers), rel=1e-4)
    assert found.scores["mae"].n == 25 and not math.isnan(found.scores["mae"].low)
