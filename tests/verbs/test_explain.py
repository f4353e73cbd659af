"""The verb ``explain``: for every task, from files to maps in original pixels, and what is said where it cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.verbs.examples import TINY, write_classes

import visus
from visus.core.errors import DataError, UsageError
from visus.explainers import EXPLAINERS


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def model(photos, tmp_path_factory):
    run = visus.train(photos, steps=20, seed=1, set=TINY, out=tmp_path_factory.mktemp("runs") / "run")
    return visus.load(run.best)


@pytest.fixture
def picture(photos):
    return sorted(photos.rglob("*.png"))[0]


def test_maps_are_of_the_original_size_between_0_and_1_and_reach_1(model, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (37, 61), np.uint8)).save(tmp_path / "odd.png")
    (one,) = visus.explain(model, tmp_path / "odd.png", check=False)
    assert one.map.shape == (37, 61) and one.map.dtype == np.float32
    assert one.map.min() >= 0 and one.map.max() == 1


def test_what_is_explained_is_what_the_model_says(model, picture):
    (one,) = visus.explain(model, picture, check=False)
    ((_, said),) = visus.predict(model, picture)
    assert (one.label, pytest.approx(one.score)) == (said.label, said.score)


def test_a_named_class_is_explained_instead(model, picture):
    (one,) = visus.explain(model, picture, label="two", check=False)
    assert one.label == "two"


@pytest.mark.parametrize("method", sorted(set(EXPLAINERS) - {"attention_rollout"}))
def test_every_method_gives_the_same_map_twice(model, picture, method):
    maps = [visus.explain(model, picture, method=method, check=False).explanations[0].map for _ in range(2)]
    assert np.array_equal(*maps)


def test_measuring_tells_curves_and_a_gain_with_its_interval_over_pictures(model, photos):
    found = visus.explain(model, sorted(photos.rglob("*.png"))[::50])
    assert found.gain.n == len(found) == 3 and found.gain.low <= found.gain.value <= found.gain.high
    assert all(len(one.faithfulness.deletion) == len(one.faithfulness.shares) for one in found)


def test_the_folder_holds_an_overlay_each_the_page_and_the_numbers(model, picture, tmp_path):
    found = visus.explain(model, picture, out=tmp_path / "why")
    (overlay,) = found.drawn
    assert Image.open(overlay).mode == "RGB"
    page = (tmp_path / "why" / "report.html").read_text(encoding="utf-8")
    assert found.explanations[0].layer in page and "<script" not in page
    told = json.loads((tmp_path / "why" / "explanations.json").read_text(encoding="utf-8"))
    assert told["explanations"][0]["label"] == found.explanations[0].label


@pytest.mark.parametrize(
    ("asked", "code", "helps"),
    [
        ({"method": "gradcam"}, "USE-004", "grad_cam"),
        ({"label": "on"}, "EXPLAIN-002", "one"),
        ({"layer": "block.1"}, "EXPLAIN-003", "blocks.1"),
        ({"layer": "stages", "method": "smooth_grad"}, "EXPLAIN-011", "--layer"),
        ({"method": "attention_rollout"}, "EXPLAIN-008", "grad_cam"),
        ({"most": 0}, "EXPLAIN-009", "leave"),
    ],
)
def test_bad_usage_is_refused_with_what_helps(model, picture, asked, code, helps):
    with pytest.raises(UsageError) as refused:
        visus.explain(model, picture, **asked)
    assert refused.value.code == code and helps in refused.value.fix


def test_a_picture_that_cannot_be_read_is_told_and_stops_nothing_else(model, picture, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    found = visus.explain(model, [tmp_path / "broken.jpg", picture], check=False)
    assert len(found) == 1 and found.problems[0][0].endswith("broken.jpg")


def test_nothing_that_can_be_explained_is_an_error(model, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    with pytest.raises(DataError) as refused:
        visus.explain(model, tmp_path / "broken.jpg")
    assert refused.value.code == "EXPLAIN-010"
