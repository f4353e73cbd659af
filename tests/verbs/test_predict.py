"""Predicting: files, folders and patterns; what cannot be read is named, and everything else is answered."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.verbs.examples import digits

import visus
from visus.core.errors import DataError, ResourceError, UsageError
from visus.verbs.predict import file_words


@pytest.fixture(scope="module")
def model(run):
    return visus.load(run.best)


def test_a_folder_is_looked_through_for_pictures(model, photos):
    found = visus.predict(model, photos / "test" / "six")
    assert len(found) == 30 and found.problems == () and found.readable
    assert sum(said.label == "six" for _, said in found) >= 28


def test_a_pattern_finds_what_it_matches(model, photos):
    found = visus.predict(model, str(photos / "test" / "*" / "*.png"))
    assert len(found) == 90
    assert visus.predict(model, str(photos / "test" / "**")).files == found.files


def test_a_file_named_twice_is_answered_once_and_the_order_is_kept(model, photos):
    first, second = sorted((photos / "test" / "one").iterdir())[:2]
    assert visus.predict(model, [second, first, second]).files == (str(second), str(first))


def test_the_document_has_file_label_and_score(model, photos):
    file = next((photos / "test" / "two").iterdir())
    (told,) = json.loads(json.dumps(visus.predict(model, file).json()))["predictions"]
    assert told["file"] == str(file) and told["label"] == "two" and 1 / 3 < told["score"] <= 1


def test_the_table_is_csv_that_python_reads(model, photos):
    found = visus.predict(model, photos / "test" / "one")
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert rows[0].keys() == {"file", "label", "score"}
    assert [row["file"] for row in rows] == list(found.files)


def test_files_and_arrays_are_answered_alike(model, photos):
    files = sorted((photos / "test").rglob("*.png"))[:40]
    said = model.predict([np.asarray(Image.open(file)) for file in files])
    assert said == list(visus.predict(model, files).predictions)


def test_pictures_of_any_size_and_mode_are_answered(model, tmp_path):
    pixels = digits()[0][1]
    grey = Image.fromarray(pixels)
    grey.resize((300, 20)).save(tmp_path / "wide.png")
    grey.convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    grey.save(tmp_path / "lossy.jpg")
    found = visus.predict(model, tmp_path)
    assert len(found) == 4 and found.problems == ()


def test_blue_green_red_is_told_apart_from_red_green_blue(model):
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., 0] = digits()[0][1]
    assert model.predict([picture[..., ::-1]], order="bgr") == model.predict([picture])
    with pytest.raises(UsageError, match="channels come as rgb or bgr"):
        model.predict([picture], order="gbr")


def test_one_array_is_not_taken_for_a_list_of_its_rows(model):
    with pytest.raises(UsageError) as caught:
        model.predict(digits()[0][1])
    assert caught.value.fix == "model.predict([picture])"


def test_what_cannot_be_read_is_named_with_its_reason_and_the_rest_is_answered(model, photos, tmp_path):
    good = next((photos / "test" / "two").iterdir())
    (tmp_path / "torn.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "words.jpg").write_text("not a picture")
    found = visus.predict(model, [tmp_path / "torn.png", good, tmp_path / "words.jpg"])
    assert [file for file, _ in found.problems] == [str(tmp_path / "torn.png"), str(tmp_path / "words.jpg")]
    assert [said is not None for _, said in found] == [False, True, False]
    assert not found.readable
    assert [row["file"] for row in found.json()["problems"]] == [file for file, _ in found.problems]


def test_what_is_not_there_is_told_and_the_rest_is_answered(model, photos, tmp_path):
    good = next((photos / "test" / "two").iterdir())
    (tmp_path / "empty").mkdir()
    names = [str(tmp_path / name) for name in ("nothing.png", "*.jpg", "empty")]
    found = visus.predict(model, [names[0], good, *names[1:]])
    reasons = ["there is no such file or folder", "no file matches this pattern", "this folder is empty"]
    assert found.problems == tuple(zip(names, reasons, strict=True))
    assert [said is not None for _, said in found] == [True] and not found.readable


def test_other_files_of_a_folder_are_noted(model, photos, tmp_path):
    good = next((photos / "test" / "two").iterdir())
    (tmp_path / "two.png").write_bytes(good.read_bytes())
    (tmp_path / "notes.txt").write_text("hello")
    found = visus.predict(model, tmp_path)
    assert len(found) == 1 and found.readable
    assert found.notes == (f"{tmp_path}: 1 other file passed over, such as notes.txt",)


@pytest.mark.parametrize(
    ("name", "why"),
    [("nothing.png", "there is no such file"), ("*.jpg", "no file matches this pattern"),
     (".", "no picture in this folder, but 1 other file")],
)  # fmt: skip
def test_without_one_picture_nothing_is_predicted(model, tmp_path, name, why):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=why) as caught:
        visus.predict(model, tmp_path / name)
    assert caught.value.fix and caught.value.exit == 2


def test_a_pipe_is_not_waited_for(model, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe" in visus.predict(model, tmp_path / "pipe.png").problems[0][1]


def test_pictures_are_drawn_with_what_was_said(model, photos, tmp_path):
    found = visus.predict(model, photos / "test" / "two", out=tmp_path / "said")
    assert len(found.drawn) == 30
    drawn = np.asarray(Image.open(found.drawn[0]))
    assert drawn.ndim == 3 and drawn.shape[0] > 16
    told = json.loads((tmp_path / "said" / "predictions.json").read_text())
    assert len(told["predictions"]) == 30
    assert (tmp_path / "said" / "predictions.csv").read_text().startswith("file,label,score\n")


def test_every_odd_picture_is_answered_or_refused_with_a_reason(model, bad_inputs):
    """Broken headers, lying sizes, bombs and rare modes: each gets the answer that its label asks for."""
    expected = json.loads((bad_inputs / "images_expect.json").read_text())
    files = sorted((bad_inputs / "images").iterdir())
    found = visus.predict(model, files)
    refused = {Path(file).name: why for file, why in found.problems}
    assert {file.name for file in files} == expected.keys() and all(refused.values())
    answers = {Path(file).name: "refuse" if said is None else "ok" for file, said in found}
    wanted = {name: entry["expect"].removesuffix("_warn") for name, entry in expected.items()}
    assert {name for name, answer in answers.items() if wanted[name] not in (answer, "any")} == set()
    assert {name for name, answer in answers.items() if answer == "refuse"} == refused.keys()


def hungry(run, rows, message="DefaultCPUAllocator: can't allocate memory"):
    """Return the model, which needs more memory than there is for more than so many pictures."""
    model = visus.load(run.best)
    raw = model.task.raw

    def scarce(network, batch):
        if len(batch) > rows:
            raise RuntimeError(message)
        return raw(network, batch)

    model.task.raw = scarce
    return model


def test_where_memory_is_short_fewer_pictures_are_looked_at_at_once(run, photos):
    found = visus.predict(hungry(run, 4), photos / "test" / "six")
    whole = visus.predict(visus.load(run.best), photos / "test" / "six")
    assert len(found) == len(whole) > 4
    for few, many in zip(found.predictions, whole.predictions, strict=True):
        # Another number of pictures may have its sums added in another order.
        assert [name for name, _ in few.top] == [name for name, _ in many.top]
        assert dict(few.top) == pytest.approx(dict(many.top), rel=1e-5)


def test_memory_that_cannot_be_healed_says_what_helps(run, photos):
    with pytest.raises(ResourceError) as error:
        visus.predict(hungry(run, 0, "could not create a memory object"), photos / "test" / "six")
    assert error.value.code == "FIT-009" and "batch=1" in error.value.fix


def test_a_file_in_the_place_of_the_folder_is_said_so_before_anything_is_predicted(model, photos, tmp_path):
    (tmp_path / "said").write_text("mine")
    for out in (tmp_path / "said", tmp_path / "said" / "deeper"):
        with pytest.raises(UsageError, match="a file is in the way of this folder") as caught:
            visus.predict(model, photos / "test" / "two", out=out)
        assert caught.value.fix == "--out takes a folder: --out said"
    assert (tmp_path / "said").read_text() == "mine"


def test_a_picture_with_the_longest_name_there_can_be_is_drawn(model, photos, tmp_path):
    good = next((photos / "test" / "two").iterdir())
    named = tmp_path / ("犬" * 83 + ".png")  # 253 of 255 bytes
    named.write_bytes(good.read_bytes())
    (drawn,) = visus.predict(model, named, out=tmp_path / "said").drawn
    assert Path(drawn).is_file()


def test_pictures_as_large_as_were_trained_on_are_answered(run, photos):
    small = visus.load(run.best)
    data = small.recipe.data.model_copy(update={"max_pixels": 16 * 16 - 1})
    small.recipe = small.recipe.model_copy(update={"data": data})
    found = visus.predict(small, photos / "test" / "two")
    assert "are more than the 255 that are decoded" in found.problems[0][1]


def test_masks_of_classes_whose_names_look_alike_in_a_file_system_are_files_of_their_own():
    assert file_words(["left arm", "left/arm", "left_arm", "犬"]) == ["left_arm", "left_arm_", "left_arm__", "犬"]
