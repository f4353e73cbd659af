"""Evaluating: the same scores as the run reported, on any data whose classes the model knows."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.verbs.examples import NAMES, train, write_classes, write_table

import visus
from visus.core.errors import DataError, UsageError


def test_the_scores_are_those_of_the_run(run, photos):
    found = visus.evaluate(run.best, photos)
    assert found.scores == run.scores and found.score == "accuracy"
    assert (found.n, found.bad, found.split) == (90, (), "test")


def test_a_run_folder_or_a_loaded_model_will_do(run, photos):
    loaded = visus.load(run.folder)
    assert visus.evaluate(run.folder, photos).scores == visus.evaluate(loaded, photos).scores == run.scores


def test_the_document_has_the_fields_names_with_interval_and_n(run, photos):
    told = json.loads(json.dumps(visus.evaluate(run.best, photos).json()))
    assert told["scores"]["accuracy"].keys() == {"value", "low", "high", "n"}
    assert {"f1_macro", "log_loss", "calibration_error", "roc_auc_macro"} <= told["scores"].keys()


@pytest.mark.parametrize(("split", "n"), [("train", 180), ("val", 60), ("test", 90), ("all", 330)])
def test_each_part_is_measured_alone(run, photos, split, n):
    assert visus.evaluate(run.best, photos, split=split).n == n


def test_the_size_of_a_batch_does_not_change_a_score(run, photos):
    one, other = visus.evaluate(run.best, photos, batch=1), visus.evaluate(run.best, photos, batch=64)
    assert one.scores["accuracy"] == other.scores["accuracy"]
    assert one.scores["log_loss"].value == pytest.approx(other.scores["log_loss"].value, abs=1e-6)


def test_a_misspelt_split_is_answered_with_the_nearest(run, photos):
    with pytest.raises(UsageError) as caught:
        visus.evaluate(run.best, photos, split="tset")
    assert caught.value.fix == "did you mean 'test'?"


def test_what_was_carved_for_the_run_is_carved_again(tmp_path):
    data = write_classes(tmp_path / "photos")
    found = train(data, tmp_path / "run", seed=7)
    assert visus.evaluate(found.best, data).scores == found.scores


def test_of_a_run_without_a_test_part_the_validation_part_is_judged(tmp_path):
    data = write_classes(tmp_path / "photos")
    found = train(data, tmp_path / "run", settings={"data.test": 0})
    judged = visus.evaluate(found.best, data)
    assert (found.split, judged.split) == ("val", "val")
    assert judged.scores == found.scores


def test_data_that_shows_some_of_the_classes_is_judged_by_all_of_them(run, photos, tmp_path):
    for name in ("two", "one"):
        shutil.copytree(photos / "test" / name, tmp_path / "some" / name)
    found = visus.evaluate(run.best, tmp_path / "some", split="all")
    assert found.n == 60
    right = visus.predict(run.best, [tmp_path / "some" / "two", tmp_path / "some" / "one"])
    share = sum(said.label in file for file, said in right) / 60
    assert found.scores["accuracy"].value == pytest.approx(share)


def test_a_class_that_the_model_does_not_know_is_named(run, tmp_path):
    data = write_classes(tmp_path / "photos", each=5, names={**NAMES, "seven": 7})
    with pytest.raises(DataError) as caught:
        visus.evaluate(run.best, data, split="all")
    assert caught.value.what == "photos shows 'seven', which the model does not know"
    assert caught.value.where == "the model knows one, six, two"


def test_labels_in_another_format_and_order_mean_the_same(run, photos, tmp_path):
    """The same pictures as a table, whose first label is another class than the model's first."""
    from PIL import Image

    files = sorted((photos / "test").rglob("*.png"), key=lambda file: file.parent.name, reverse=True)
    import numpy as np

    data = write_table(tmp_path / "table", [(np.asarray(Image.open(f)), f.parent.name) for f in files], ["label"])
    assert visus.evaluate(run.best, data, split="all").scores["accuracy"].value == run.scores["accuracy"].value


def test_data_that_does_not_say_what_the_model_was_trained_for_is_refused(run, photos, tmp_path):
    import numpy as np
    from PIL import Image

    files = list((photos / "test").rglob("*.png"))[:30]
    data = write_table(tmp_path / "table", [(np.asarray(Image.open(f)), i / 10) for i, f in enumerate(files)], ["age"])
    with pytest.raises(DataError) as caught:
        visus.evaluate(run.best, data)
    assert caught.value.where == "it has numbers; the model reads label"


def test_numbers_are_found_by_their_names_among_others(tmp_path):
    import numpy as np

    pixels = np.zeros((8, 8), np.uint8)
    rows = [(pixels + 5 * i, i, 10 - i, 7.5) for i in range(30)]
    one = write_table(tmp_path / "a", rows, ["up", "down", "same"])
    other = write_table(tmp_path / "b", [(p, s, d, u) for p, u, d, s in rows], ["same", "down", "up"])
    found = train(one, tmp_path / "run", steps=5, settings={"batch": 8})
    scores = [visus.evaluate(found.best, data, split="all").scores for data in (one, other)]
    assert scores[0] == scores[1]
    fewer = write_table(tmp_path / "c", [(p, u) for p, u, *_ in rows], ["up"])
    with pytest.raises(DataError, match="c lacks 'down', 'same', which the model was trained for"):
        visus.evaluate(found.best, fewer)


def test_data_without_parts_that_is_new_to_the_model_is_judged_whole_and_says_so(run, photos, tmp_path):
    for name in NAMES:
        shutil.copytree(photos / "test" / name, tmp_path / "new" / name)
    found = visus.evaluate(run.best, tmp_path / "new")
    assert (found.split, found.n) == ("all", 90) and found.scores == run.scores
    assert "new has no test part and is new to the model: all of its pictures are judged" in found.json()["notes"]
    assert found.summary().splitlines()[-1].endswith("on all of new")


def test_data_of_one_class_that_is_new_to_the_model_can_be_judged(run, photos, tmp_path):
    shutil.copytree(photos / "test" / "two", tmp_path / "new" / "two")
    assert visus.evaluate(run.best, tmp_path / "new").n == 30


def test_the_part_that_was_held_back_is_judged_of_data_the_model_was_trained_on_also_under_another_name(tmp_path):
    data = write_classes(tmp_path / "photos")
    found = train(data, tmp_path / "run", seed=7)
    again = visus.evaluate(found.best, data.rename(tmp_path / "moved"))
    assert again.split == "test" and again.scores == found.scores
    assert again.notes[-1].endswith("moved, which has no test part of its own: it is carved as it was then")


def test_training_data_that_has_changed_is_recognised_and_its_change_is_told(tmp_path):
    data = write_classes(tmp_path / "photos")
    found = train(data, tmp_path / "run", steps=2)
    write_classes(data, each=10, first=40)
    again = visus.evaluate(found.best, data)
    assert again.split == "test" and any("the data has changed since" in note for note in again.notes)


def test_scores_on_pictures_that_were_trained_on_are_said_to_flatter(run, photos, tmp_path):
    assert not any("flatter" in note for note in visus.evaluate(run.best, photos).notes)
    shutil.copytree(photos / "train", tmp_path / "photos" / "test")
    found = visus.evaluate(run.best, tmp_path / "photos")
    assert any("so the scores flatter: 64 of the 64 training pictures" in note for note in found.notes)


def test_a_part_that_is_asked_for_by_name_is_carved_also_of_new_data(run, photos, tmp_path):
    for name in NAMES:
        shutil.copytree(photos / "test" / name, tmp_path / "new" / name)
    found = visus.evaluate(run.best, tmp_path / "new", split="test")
    assert found.n == 18 and any("--split all judges every picture" in note for note in found.notes)


def test_data_too_small_to_carve_a_part_of_can_still_be_judged_whole_as_is_said(run, photos, tmp_path):
    for name in NAMES:
        (tmp_path / "few" / name).mkdir(parents=True)
        shutil.copy(next((photos / "test" / name).iterdir()), tmp_path / "few" / name)
    with pytest.raises(DataError, match="no test part can be carved") as caught:
        visus.evaluate(run.best, tmp_path / "few", split="test")
    assert caught.value.fix.endswith("--split all judges every picture")
    assert visus.evaluate(run.best, tmp_path / "few", split="all").n == len(NAMES)


def test_a_batch_of_fewer_pictures_than_one_is_refused(run, photos):
    with pytest.raises(UsageError) as caught:
        visus.evaluate(run.best, photos, batch=-1)
    assert caught.value.what == "a batch of -1 pictures: the smallest is one" and caught.value.fix


def test_a_model_that_remembers_no_picture_does_not_take_its_training_data_for_new(tmp_path):
    data = write_classes(tmp_path / "photos")
    found = train(data, tmp_path / "run", steps=2, settings={"data.trace": False})
    assert visus.load(found.best).card.trace == ()
    assert any("whose file remembers no training pictures" in note for note in visus.evaluate(found.best, data).notes)
