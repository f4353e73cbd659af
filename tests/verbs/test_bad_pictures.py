"""Broken pictures in the data: a few are left out and all of them named; too many stop the run, and nothing is lost."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.verbs.examples import TINY, train, write_classes, write_splits

import visus
from visus.core.errors import BadDataLimit, DataError


def broken(file):
    """Cut a picture's file off in the middle; return its name below the data."""
    file.write_bytes(file.read_bytes()[:70])
    return f"{file.parent.name}/{file.name}"


def spoil(folder, count):
    """Break some pictures of a folder of classes; return their names below the data's root."""
    files = sorted(folder.rglob("*.png"))
    step = len(files) // count
    return [f"{folder.name}/{broken(file)}" for file in files[::step][:count]]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """Return a run on data with unreadable pictures in every part, no more than are tolerated, and their names."""
    data = write_splits(tmp_path_factory.mktemp("spoilt") / "photos", train=40, val=20, test=20)
    names = {split: spoil(data / split, 1) for split in ("train", "val", "test")}
    said = []
    run = train(data, data.parent / "run", settings={"data.max_bad": 0.02}, watch=said.append)
    return run, names, said


def test_a_few_broken_pictures_are_left_out(spoilt):
    run, *_ = spoilt
    assert run.scores["accuracy"].n == 59 and run.scores["accuracy"].value > 0.8


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_broken_picture_is_named_in_the_output_the_report_the_result_and_the_journal(spoilt, split):
    run, names, said = spoilt
    (name,) = names[split]
    decisions = [json.loads(line) for line in (run.folder / "decisions.jsonl").read_text().splitlines()]
    assert name in {row.get("id") for row in said if row.get("event") == "unreadable"}
    assert name in {row["id"] for row in decisions if row["kind"] == "unreadable"}
    assert name in dict(run.bad) and name in {row["file"] for row in run.json()["bad"]}
    assert name in run.report.read_text(encoding="utf-8")


def test_more_broken_training_pictures_than_are_tolerated_stop_the_run_with_its_state_kept(tmp_path):
    data = write_splits(tmp_path / "photos", train=40, val=10, test=10)
    names = spoil(data / "train", 6)
    with pytest.raises(BadDataLimit) as caught:
        train(data, tmp_path / "run")
    assert caught.value.exit == 3 and any(name in caught.value.where for name in names)
    assert list((tmp_path / "run" / "state").glob("*.json"))


def test_once_they_are_mended_the_run_goes_on(tmp_path):
    data = write_splits(tmp_path / "photos", train=40, val=10, test=10)
    whole = shutil.copytree(data, tmp_path / "whole")
    spoil(data / "train", 6)
    with pytest.raises(BadDataLimit):
        train(data, tmp_path / "run")
    shutil.copytree(whole, data, dirs_exist_ok=True)
    assert visus.resume(tmp_path / "run", accept_changes=True).steps == 30


def test_a_test_part_of_which_too_much_is_broken_gives_no_scores_without_saying_so(tmp_path):
    data = write_splits(tmp_path / "photos", train=30, val=10, test=10)
    names = spoil(data / "test", 4)
    with pytest.raises(BadDataLimit) as caught:
        train(data, tmp_path / "run")
    assert caught.value.what == "4 of 150 pictures cannot be read" and "are written" in caught.value.done
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in names)
    found = visus.evaluate(tmp_path / "run", data)
    assert not found.readable and [name for name, _ in found.bad] == names


def test_a_run_is_kept_of_whose_test_part_nothing_can_be_read_and_judged_once_it_is_mended(tmp_path):
    data = write_splits(tmp_path / "photos", train=30, val=10, test=2)
    whole = shutil.copytree(data, tmp_path / "whole")
    spoil(data / "test", 6)
    with pytest.raises(DataError, match="not one picture can be read") as caught:
        train(data, tmp_path / "run")
    assert caught.value.done == f"the weights are kept in {tmp_path / 'run'}" and "visus resume" in caught.value.fix
    shutil.copytree(whole, data, dirs_exist_ok=True)
    assert visus.resume(tmp_path / "run", accept_changes=True).scores["accuracy"].n == 6


def test_one_broken_picture_of_a_small_test_part_is_left_out_and_named(run, photos, tmp_path):
    data = shutil.copytree(photos, tmp_path / "photos")
    names = spoil(data / "test", 1)
    found = visus.evaluate(run.best, data)
    assert found.readable and (found.n, [name for name, _ in found.bad]) == (89, names)


def test_a_run_in_minutes_begins_though_the_first_picture_to_be_judged_is_broken(tmp_path):
    data = write_splits(tmp_path / "photos", train=40, val=20, test=20)
    name = broken(min((data / "val").rglob("*.png")))
    run = visus.train(data, out=tmp_path / "run", minutes=0.02, set={**TINY, "batch": 1})
    assert [file for file, _ in run.bad] == [f"val/{name}"]


def test_a_table_that_lists_files_that_are_not_there_names_them_all_the_way(tmp_path):
    data = write_classes(tmp_path / "photos", each=50)
    files = sorted(path.relative_to(data) for path in data.rglob("*.png"))
    (data / "labels.csv").write_text(
        "path,label\n" + "".join(f"{f},{f.parent}\n" for f in files) + "one/gone.png,one\n"
    )
    said = []
    run = train(data / "labels.csv", tmp_path / "run", steps=2, watch=said.append)
    assert dict(run.bad).keys() == {"one/gone.png"}
    assert {row["id"] for row in said if row.get("event") == "unusable"} == {"one/gone.png"}
    assert "one/gone.png" in run.report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda data: shutil.rmtree(data / "one") or (data / "one").mkdir(), "DATA-030"),
        (lambda data: [shutil.rmtree(data / name) for name in ("one", "two")], "DATA-081"),
        (lambda data: [shutil.rmtree(path) for path in data.iterdir()], "DATA-004"),
    ],
    ids=["an empty class", "one class alone", "an empty folder"],
)
def test_data_from_which_nothing_can_be_learned_stops_before_anything_is_written(tmp_path, spoil, code):
    data = write_classes(tmp_path / "photos", each=3)
    spoil(data)
    with pytest.raises(DataError) as caught:
        train(data, tmp_path / "run")
    assert caught.value.fix and not (tmp_path / "run").exists(), caught.value


def test_one_picture_a_class_is_too_few_to_hold_any_back(tmp_path):
    with pytest.raises(DataError) as caught:
        train(write_classes(tmp_path / "photos", each=1), tmp_path / "run")
    assert caught.value.fix and not (tmp_path / "run").exists()


def test_odd_pictures_inside_a_class_are_learned_from_and_broken_ones_are_named(bad_inputs, tmp_path):
    data = write_splits(tmp_path / "photos", train=50, val=10, test=10)
    expected = json.loads((bad_inputs / "images_expect.json").read_text())
    for name in expected:
        shutil.copyfile(bad_inputs / "images" / name, data / "train" / "one" / f"odd-{name}")
    said = []
    settings = {"data.max_bad": 1.0, "data.stored": 16, "input.size": 16}
    run = train(data, tmp_path / "run", steps=24, settings=settings, watch=said.append)
    named = {name.partition("odd-")[2] for name, _ in run.bad}
    (left_out,) = [row["note"] for row in said if row.get("note", "").startswith("left out")]
    refused = {name for name, entry in expected.items() if entry["expect"] == "refuse" and name not in left_out}
    assert refused <= named, refused - named
    assert not {name for name in named if expected[name]["expect"] in ("ok", "ok_warn")}
