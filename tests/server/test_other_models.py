"""Exported files, and models that say several classes of a pixel, are served like any other model."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.server.test_answers import files_of, predicted, same, sent
from tests.server.test_page import answered, first, until
from tests.verbs.segmenting import train
from tests.verbs.test_segmenting_sources import write_layers

import visus


@pytest.fixture(scope="module")
def layers(tmp_path_factory) -> Path:
    return write_layers(tmp_path_factory.mktemp("data") / "layers")


@pytest.fixture(scope="module")
def exported(classifier, segmenter, tmp_path_factory) -> dict[str, Path]:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    wanted = {"any": (classifier, None), "fixed": (classifier, (16, 16)), "regions": (segmenter, None)}
    return {
        name: visus.export(model, to="onnx", out=folder / f"{name}.onnx", size=size).path
        for name, (model, size) in wanted.items()
    }


@pytest.fixture(scope="module")
def others(exported, layers, starting, tmp_path_factory):
    run = train(layers, tmp_path_factory.mktemp("runs") / "layers", steps=80)
    return starting(*(f"{name}={path}" for name, path in exported.items()), f"layers={run.best}")


@pytest.fixture
def asking(others):
    with others.client() as client:
        yield client


def test_an_exported_file_answers_pictures_of_several_sizes_at_once_as_predict_does(asking, exported, scenes, photos):
    paths = [*sorted((scenes / "images" / "test").iterdir())[:3], *files_of(photos, most=3)]
    for name in ("any", "regions"):
        answer = asking.post("/predict", params={"model": name}, files=sent(paths))
        assert answer.status_code == 200
        assert same(answer.json(), predicted(exported[name], paths))


def test_a_picture_of_another_size_than_an_exported_file_reads_is_its_own_problem(asking):
    def picture(height, width):
        file = io.BytesIO()
        Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(file, "PNG")
        return file.getvalue()

    both = [("files", ("fits.png", picture(16, 16))), ("files", ("large.png", picture(40, 24)))]
    answer = asking.post("/predict", params={"model": "fixed"}, files=both)
    assert answer.status_code == 200
    assert [one["file"] for one in answer.json()["predictions"]] == ["fits.png"]
    (problem,) = answer.json()["problems"]
    assert problem == {"file": "large.png", "why": "it has 40 x 24 pixels, the file reads 16 x 16"}
    assert asking.post("/predict", params={"model": "fixed"}, content=picture(40, 24)).status_code == 422


def test_an_exported_file_is_drawn_and_explained_or_said_not_to_be(asking, scenes):
    data = first(scenes / "images" / "test").read_bytes()
    drawn = asking.post("/predict", params={"model": "regions", "as": "png"}, content=data)
    assert Image.open(io.BytesIO(drawn.content)).format == "PNG"
    answer = asking.post("/explain", params={"model": "regions"}, content=data)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "EXPLAIN-015"


def test_several_classes_of_a_pixel_are_answered_as_predict_does(asking, others, layers, tmp_path):
    paths = sorted((layers / "images" / "test").iterdir())[:3]
    (model,) = [one for one in asking.get("/models").json()["models"] if one["name"] == "layers"]
    assert model["task"] == "segment_multilabel"
    answer = asking.post("/predict", params={"model": "layers"}, files=sent(paths))
    assert answer.status_code == 200
    assert {"red", "blue"} == {name for one in answer.json()["predictions"] for name in one["areas"]}
    refused = asking.post("/predict", params={"model": "layers", "as": "map"}, content=paths[0].read_bytes())
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "SERVE-012"


def test_the_page_shows_several_classes_of_a_pixel_by_their_mixed_colours(browser, others, layers):
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(others.url)
    page.wait_for_selector("#model option:nth-child(4)", state="attached")
    page.select_option("#model", "layers")
    assert "red" in answered(page, first(layers / "images" / "test"))
    assert page.locator("#scores .bar").count() == 2
    until(page, "document.getElementById('picture').naturalWidth > 64")  # the drawing is larger than the picture
    assert not said
    page.close()


def test_the_page_shows_what_an_exported_file_says(browser, others, scenes):
    page = browser.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(others.url)
    page.wait_for_selector("#model option:nth-child(4)", state="attached")
    page.select_option("#model", "regions")
    answered(page, first(scenes / "images" / "test"))
    page.wait_for_selector("#regions:not([hidden])")
    assert not said
    page.close()
