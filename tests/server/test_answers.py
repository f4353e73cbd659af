"""What the server says is what ``visus predict`` says, for every task, picture and fault."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import visus
from visus.data.decode import MAX_PIXELS


def files_of(folder: Path, *, most: int = 4) -> list[Path]:
    return sorted(folder.rglob("*.png"))[:most]


def sent(paths) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (path.name, path.read_bytes())) for path in paths]


def same(said, expected) -> bool:
    """Tell whether two documents agree: numbers within what the size of a batch changes."""
    if isinstance(expected, dict):
        return said.keys() == expected.keys() and all(same(said[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        return len(said) == len(expected) and all(map(same, said, expected))
    if isinstance(expected, float):
        return said == pytest.approx(expected, rel=1e-4, abs=0.011)  # boxes are rounded to hundredths of a pixel
    return said == expected


def predicted(model, paths) -> dict:
    """Return what ``visus predict --json`` prints, with names instead of paths."""
    document = visus.predict(model, paths).json()
    for part in ("predictions", "problems"):
        for one in document[part]:
            one["file"] = Path(one["file"]).name
    return document


@pytest.mark.parametrize(("model", "data"), [("digits", "photos"), ("squares", "squares"), ("scenes", "scenes")])
def test_many_pictures_of_one_request_are_answered_as_predict_does(client, request, model, data):
    paths = files_of(request.getfixturevalue(data))
    name = {"digits": "classifier", "squares": "detector", "scenes": "segmenter"}[model]
    answer = client.post("/predict", params={"model": model}, files=sent(paths))
    assert answer.status_code == 200
    assert same(answer.json(), predicted(request.getfixturevalue(name), paths))


def test_a_picture_that_is_the_body_is_answered_whatever_its_content_type(client, photos):
    (path,) = files_of(photos, most=1)
    for kind in ("image/png", "application/x-www-form-urlencoded", "text/plain"):
        answer = client.post("/predict", params={"name": "a.png"}, content=path.read_bytes(),
                             headers={"content-type": kind})  # fmt: skip
        assert answer.status_code == 200 and answer.json()["predictions"][0]["file"] == "a.png"


def test_the_first_model_is_asked_where_none_is_named_and_an_unknown_one_is_not_found(client, photos):
    body = files_of(photos, most=1)[0].read_bytes()
    assert "label" in client.post("/predict", content=body).json()["predictions"][0]
    answer = client.post("/predict", params={"model": "digit"}, content=body)
    assert answer.status_code == 404 and answer.json()["error"]["fix"] == "did you mean 'digits'?"


@pytest.mark.parametrize(("page", "parameter", "fix"), [
    ("/predict", "modle", "did you mean 'model'?"),
    ("/predict", "threshold", "one of: as, model, name"),
    ("/explain", "chek", "did you mean 'check'?"),
])  # fmt: skip
def test_a_parameter_that_would_change_nothing_is_refused(client, photos, page, parameter, fix):
    answer = client.post(page, params={parameter: "1"}, content=files_of(photos, most=1)[0].read_bytes())
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["fix"]) == (422, "SERVE-013", fix)


def test_drawn_on_request(client, squares):
    (path,) = files_of(squares, most=1)
    answer = client.post("/predict", params={"model": "squares", "as": "png"}, content=path.read_bytes())
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).mode == "RGB"


def test_the_map_of_classes_is_that_of_predict(client, scenes, segmenter, tmp_path):
    (path,) = files_of(scenes / "images" / "test", most=1)
    answer = client.post("/predict", params={"model": "scenes", "as": "map"}, content=path.read_bytes())
    written = visus.predict(segmenter, path, out=tmp_path).maps[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), np.asarray(Image.open(written)))


@pytest.mark.parametrize("form", ["png", "map"])
def test_several_pictures_are_not_answered_by_one(client, scenes, form):
    answer = client.post("/predict", params={"model": "scenes", "as": form}, files=sent(files_of(scenes / "images")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "SERVE-011")


def test_a_broken_picture_among_others_is_a_problem_and_alone_it_is_refused_in_the_words_of_predict(
    client, photos, classifier, tmp_path
):
    (good,) = files_of(photos, most=1)
    bad = tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:60])
    expected = predicted(classifier, [good, bad])
    both, alone = client.post("/predict", files=sent([good, bad])), client.post("/predict", files=sent([bad]))
    assert both.status_code == 200 and same(both.json(), expected)
    assert alone.status_code == 422
    assert alone.json() == {"predictions": [], "problems": expected["problems"], "notes": []}


def test_every_odd_and_broken_picture_is_answered_as_predict_does(client, classifier, bad_inputs):
    """The door is the same; only the limit of pixels is lower, and says so in the same words."""
    paths = sorted(path for path in (bad_inputs / "images").iterdir() if path.is_file())
    expected = predicted(classifier, paths)
    said = {one["file"]: one for one in expected["predictions"]} | {one["file"]: one for one in expected["problems"]}
    wrong = []
    for path in paths:
        answer = client.post("/predict", files=sent([path]))
        document = answer.json()
        (one,) = document["predictions"] + document["problems"] if "error" not in document else [document]
        known = said[path.name]
        if "why" in known:
            known = {**known, "why": known["why"].replace(f"{MAX_PIXELS:,}", f"{50_000_000:,}")}
        if answer.status_code != (422 if "why" in known else 200) or not same(one, known):
            wrong.append((path.name, answer.status_code, one, known))
    assert len(paths) > 150 and not wrong


def test_there_must_be_a_picture(client):
    answer = client.post("/predict")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "SERVE-006")


def test_a_form_that_cannot_be_read_is_refused(client):
    form = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--x\r\n", b"--y--\r\n", b"--x\r\nContent-Disposition: form-data; name=files\r\n\r\nabc"):
        answer = client.post("/predict", content=body, headers=form)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "SERVE-007"), body
    answer = client.post("/predict", files=[("picture", ("a.png", b"abc"))])
    assert answer.status_code == 400 and answer.json()["error"]["fix"] == "its pictures belong into the field files"


def test_the_models_say_what_they_read_and_say(client):
    told = {one["name"]: one for one in client.get("/models").json()["models"]}
    assert list(told) == ["digits", "squares", "scenes"]
    assert told["digits"]["classes"] == ["one", "six", "two"] and told["digits"]["split"] == "test"
    assert len(told["scenes"]["palette"]) == 3


@pytest.mark.parametrize(("method", "address", "status"), [("GET", "/nowhere", 404), ("GET", "/predict", 405)])
def test_what_is_not_there_is_said_as_every_fault_is(client, method, address, status):
    answer = client.request(method, address)
    assert answer.status_code == status and answer.json()["error"]["fix"] == "/docs"


def test_prometheus_reads_what_was_counted(client, photos):
    from prometheus_client.parser import text_string_to_metric_families

    before = client.post("/predict", content=files_of(photos, most=1)[0].read_bytes())
    assert before.status_code == 200
    answer = client.get("/metrics")
    counted = {family.name: family for family in text_string_to_metric_families(answer.text)}
    values = {(s.labels.get("model"), s.labels.get("result")): s.value for s in counted["visus_pictures"].samples
              if s.name.endswith("_total")}  # fmt: skip
    assert values["digits", "answered"] >= 1 and counted["visus_pictures_waiting"].samples[0].value == 0
