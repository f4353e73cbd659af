"""Predicting objects: what was found comes back from every format it was written in, and results judge as the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.verbs.examples import train_detector, write_boxes

import visus
from visus.core.errors import DataError, UsageError
from visus.core.recipe import DataSettings
from visus.core.task import Located
from visus.data.converting import convert
from visus.data.objects import Mark
from visus.data.reading import open_data
from visus.verbs.found import names_of

LEAST = 0.02


@pytest.fixture(scope="module")
def model(detector):
    return visus.load(detector.best)


def told(out):
    """Return {name of a picture: what predictions.json says of it}."""
    document = json.loads((out / "predictions.json").read_text())
    return {Path(said["file"]).name: said for said in document["predictions"]}


def test_what_was_found_has_boxes_labels_and_scores_one_an_object(model, squares):
    found = visus.predict(model, squares, least=LEAST)
    assert any(len(said) for _, said in found)
    for _, said in found:
        assert isinstance(said, Located) and said.boxes.shape == (len(said), 4)
        assert len(said.labels) == len(said.scores) == len(said)
        assert said.scores.tolist() == sorted(said.scores.tolist(), reverse=True)
        assert [(box.tolist(), label, score) for box, label, score in said] == list(
            zip(said.boxes.tolist(), said.labels, said.scores.tolist(), strict=True)
        )


@pytest.mark.parametrize("to", ["coco", "yolo", "voc", "csv"])
def test_a_data_set_of_what_was_found_is_read_back_equal(model, squares, tmp_path, to):
    found = visus.predict(model, squares, out=tmp_path / "said", to=to, least=LEAST)
    assert found.data == str(tmp_path / "said" / to)
    data = open_data(found.data, DataSettings(), carve=False)
    said = told(tmp_path / "said")
    assert sorted(data.ids) == sorted(said) and set(data.classes) == set(model.classes)
    for i, name in enumerate(data.ids):
        marks: list[Mark] = data.objects[i]
        assert [data.classes[mark.label] for mark in marks] == said[name]["labels"]
        boxes = np.array([mark.box for mark in marks]).reshape(-1, 4)
        np.testing.assert_allclose(boxes, np.array(said[name]["boxes"]).reshape(-1, 4), atol=1e-6)
        if to != "yolo":
            scores = [float(json.loads(mark.more)["score"]) for mark in marks]
            np.testing.assert_allclose(scores, said[name]["scores"], atol=1e-6)
    assert tuple(note for note in found.notes if "hold" in note) == (
        ("yolo cannot hold what is said of objects: score",) if to == "yolo" else ()
    )
    assert not data.remarks


def test_results_with_the_numbers_of_the_users_data_name_its_pictures_and_classes(model, squares, tmp_path):
    own = open_data(squares, DataSettings(), carve=False)
    convert(own.with_(split=np.full(len(own), 1, np.uint8)), "coco", tmp_path / "own")
    truth = tmp_path / "own" / "annotations" / "instances_val.json"
    document = json.loads(truth.read_text())
    for image in document["images"]:
        image["id"] += 70
    for category in document["categories"]:
        category["id"] *= 9
    for annotation in document["annotations"]:
        annotation["image_id"] += 70
        annotation["category_id"] *= 9
    truth.write_text(json.dumps(document))
    visus.predict(model, squares, out=tmp_path / "said", to="coco", numbers=truth, least=LEAST)
    results = json.loads((tmp_path / "said" / "results.json").read_text())
    numbers = {image["file_name"]: image["id"] for image in document["images"]}
    classes = {category["name"]: category["id"] for category in document["categories"]}
    said = told(tmp_path / "said")
    assert len(results) == sum(len(each["labels"]) for each in said.values())
    expected = [(numbers[name], classes[label]) for name, each in said.items() for label in each["labels"]]
    assert [(one["image_id"], one["category_id"]) for one in results] == expected
    x, y, width, height = results[0]["bbox"]
    name = {number: name for name, number in numbers.items()}[results[0]["image_id"]]
    assert [x, y, x + width, y + height] == pytest.approx(said[name]["boxes"][0], abs=0.0051)


def test_results_are_judged_as_the_model_itself_is(model, squares, tmp_path):
    convert(open_data(squares, DataSettings(), carve=False), "coco", tmp_path / "own")
    truth = tmp_path / "own" / "annotations" / "instances_test.json"
    visus.predict(
        model, tmp_path / "own" / "images" / "test", out=tmp_path / "said", to="coco", numbers=truth,
        least=model.recipe.detect.least,
    )  # fmt: skip
    judged = visus.evaluate(predictions=tmp_path / "said" / "results.json", data=truth)
    itself = visus.evaluate(model, tmp_path / "own", split="test")
    assert judged.scores["map"].value > 0
    for name in ("map", "map50", "map75", "mar_100"):
        assert judged.scores[name].value == pytest.approx(itself.scores[name].value, abs=1e-9)


def test_numbers_of_other_data_are_refused_before_anything_is_asked(model, squares, tmp_path):
    own = open_data(squares, DataSettings(), carve=False)
    convert(own, "coco", tmp_path / "own")
    truth = tmp_path / "own" / "annotations" / "instances_val.json"
    with pytest.raises(DataError, match="has no picture of this name"):
        visus.predict(model, squares, out=tmp_path / "said", to="coco", numbers=truth)
    with pytest.raises(DataError, match="have no numbers"):
        visus.predict(model, squares, out=tmp_path / "said", to="coco", numbers=squares)
    assert not (tmp_path / "said").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [({"to": "coco"}, "--to FORMAT needs --out DIR"), ({"to": "folder", "out": "said"}, "written as coco, yolo"),
     ({"numbers": "x", "to": "voc", "out": "said"}, "--numbers DATA needs --to coco"),
     ({"least": 1.5}, "a score from 0 to 1")],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_in_words(model, squares, tmp_path, monkeypatch, options, why):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=why):
        visus.predict(model, squares, **{"out": "said"} | options if "least" in options else options)
    assert not (tmp_path / "said").exists()


def test_drawings_of_before_that_stay_are_counted(model, squares, tmp_path):
    visus.predict(model, [squares / "000.png", squares / "001.png"], out=tmp_path)
    assert visus.predict(model, [squares / "000.png", squares / "001.png"], out=tmp_path).notes == ()
    (note,) = visus.predict(model, squares / "000.png", out=tmp_path).notes
    assert note.endswith("1 picture drawn before is still there")


def test_a_data_set_is_never_written_over_another(model, squares, tmp_path):
    visus.predict(model, squares / "000.png", out=tmp_path, to="voc")
    with pytest.raises(UsageError, match="is there already"):
        visus.predict(model, squares / "000.png", out=tmp_path, to="voc")


def test_a_model_of_whole_pictures_finds_no_objects_to_write(run, photos, tmp_path):
    with pytest.raises(UsageError, match="finds no objects"):
        visus.predict(run.best, photos, out=tmp_path, to="coco")


def test_showing_more_for_once_leaves_the_model_as_it_was(model, squares):
    before = visus.predict(model, squares).json()
    assert visus.predict(model, squares, least=1.0).json() != visus.predict(model, squares, least=0.0).json()
    assert visus.predict(model, squares).json() == before


def test_a_picture_that_cannot_be_read_is_no_part_of_the_data_set(model, squares, tmp_path):
    (tmp_path / "torn.png").write_bytes((squares / "000.png").read_bytes()[:100])
    found = visus.predict(model, [tmp_path / "torn.png", squares / "000.png"], out=tmp_path / "said", to="coco")
    assert len(found.problems) == 1
    assert len(open_data(found.data, DataSettings(), carve=False)) == 1


def test_pictures_are_named_as_below_their_common_folder_and_numbered_where_two_would_be_one(tmp_path):
    files = [str(tmp_path / name) for name in ("a/1.jpg", "b/1.jpg", "b/1.png", "b/c/x\ny.png", "b/1.JPG")]
    assert names_of(files) == ["a/1.jpg", "b/1.jpg", "00002.png", "00003.png", "00004.JPG"]
    assert names_of(files[:1]) == ["1.jpg"] and names_of([]) == []


def test_files_of_one_name_in_two_folders_are_both_there(model, squares, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.open(squares / "000.png").save(tmp_path / folder / "same.png")
    found = visus.predict(model, str(tmp_path / "*" / "same.png"), out=tmp_path / "said", to="yolo")
    assert sorted(open_data(found.data, DataSettings(), carve=False).ids) == ["a/same.png", "b/same.png"]


def test_large_pictures_with_tiny_objects_go_the_whole_way_in_tiles(tmp_path):
    data = write_boxes(tmp_path / "large", splits=("train",) * 4 + ("val", "test"), size=(300, 400), each=40)
    run = train_detector(data, tmp_path / "run", settings={"input.tiles": "auto", "input.size": [64, 64]})
    assert run.recipe.input.tiles == 32  # objects of 8 pixels, twice enlarged
    model = visus.load(run.best)
    assert model.recipe.input.tiles == run.recipe.input.tiles
    assert "tiles 32 pixels wide" in str(visus.info(run.best).json())
    again = visus.evaluate(model, data, split="test")
    assert again.scores["map50"].value == pytest.approx(run.scores["map50"].value, abs=1e-9)
    ((_, said),) = visus.predict(model, data / "005.png", least=0.0)
    x0, y0, x1, y1 = said.boxes.T.numpy()
    assert x0.max() > 300 and y0.max() > 200 and x1.max() <= 400.001 and y1.max() <= 300.001
