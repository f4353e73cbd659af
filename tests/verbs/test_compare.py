"""Comparing two models on the same items."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.verbs.examples import NAMES, train, write_classes

import visus
from visus.core.errors import UsageError


@pytest.fixture(scope="module")
def poor(photos, tmp_path_factory):
    """Return a run that had no time to learn."""
    return train(photos, tmp_path_factory.mktemp("poor") / "run", steps=1, seed=3)


def test_a_model_is_no_better_than_itself(run, photos):
    found = visus.compare(run.best, run.folder, photos)
    assert found.verdict.startswith("+0.0 +- 0.0: no difference shown")
    assert all(d.value == d.low == d.high == 0 for d in found.differences.values())


def test_a_model_that_learned_is_better_than_one_that_did_not(run, poor, photos):
    found = visus.compare(poor.best, run.best, photos)
    assert found.verdict.partition(" (")[0].endswith("B is better")
    assert visus.compare(run.best, poor.best, photos).verdict.partition(" (")[0].endswith("A is better")
    difference = found.differences["accuracy"]
    assert difference.value == pytest.approx(run.scores["accuracy"].value - poor.scores["accuracy"].value)
    assert difference.n == 90


def test_the_document_says_both_scores_the_difference_and_the_verdict(run, poor, photos):
    told = json.loads(json.dumps(visus.compare(poor.best, run.best, photos).json()))
    assert told["scores"]["a"]["accuracy"]["value"] == poor.scores["accuracy"].value
    assert told["differences"]["accuracy"]["verdict"] == told["verdict"] and told["score"] == "accuracy"


def test_models_of_other_classes_are_not_compared(run, tmp_path):
    data = write_classes(tmp_path / "photos", each=20, names={name: NAMES[name] for name in ("one", "two")})
    other = train(data, tmp_path / "run", steps=1)
    with pytest.raises(UsageError) as caught:
        visus.compare(run.best, other.best, data)
    assert caught.value.where == "A: classify, one, six, two; B: classify, one, two" and caught.value.fix


def test_models_that_had_other_pictures_held_back_are_not_compared(tmp_path):
    """Without a test part of its own, data is carved by the seed: one model has trained on the other's test."""
    data = write_classes(tmp_path / "photos", each=20)
    runs = [train(data, tmp_path / str(seed), steps=1, seed=seed).best for seed in (0, 1)]
    with pytest.raises(UsageError) as caught:
        visus.compare(*runs, data)
    assert "12 pictures were not held back from B" in caught.value.where and "--seed" in caught.value.fix


def test_data_that_is_new_to_both_models_is_judged_whole(run, poor, photos, tmp_path):
    for name in NAMES:
        shutil.copytree(photos / "test" / name, tmp_path / "new" / name)
    found = visus.compare(poor.best, run.best, tmp_path / "new")
    assert (found.split, found.differences["accuracy"].n) == ("all", 90)


def test_data_that_one_of_the_models_was_trained_on_is_judged_on_what_was_held_back_from_it(run, photos, tmp_path):
    data = write_classes(tmp_path / "photos", each=20, first=150)
    other = train(data, tmp_path / "run", steps=1, seed=5)
    for pair in ((run.best, other.best), (other.best, run.best)):
        found = visus.compare(*pair, data)
        assert (found.split, found.differences["accuracy"].n) == ("test", 12)
