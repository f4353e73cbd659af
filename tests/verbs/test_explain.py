"""The verb ``explain``: for every task, from files to maps in original pixels, and what is said where it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.verbs import detecting, segmenting
from tests.verbs.examples import TINY, digits, write_classes, write_table

import visus
from visus.core.errors import DataError, UsageError
from visus.data.dataset import FileImages, Strings
from visus.explainers import EXPLAINERS, Explainer
from visus.verbs.explain import Explanations, judged
from visus.verbs.explaining import Asked


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
    found = visus.explain(model, sorted(photos.rglob("*.png"))[::20])
    assert found.gain.n == len(found) == 6 and found.gain.low <= found.gain.value <= found.gain.high
    assert all(len(one.faithfulness.deletion) == len(one.faithfulness.shares) for one in found)


def test_the_folder_holds_an_overlay_each_the_page_and_the_numbers(model, picture, tmp_path):
    found = visus.explain(model, picture, out=tmp_path / "why")
    (overlay,) = found.drawn
    assert Image.open(overlay).mode == "RGB"
    page = (tmp_path / "why" / "report.html").read_text(encoding="utf-8")
    assert found.explanations[0].layer in page and "<script" not in page
    told = json.loads((tmp_path / "why" / "explanations.json").read_text(encoding="utf-8"))
    assert told["explanations"][0]["label"] == found.explanations[0].label


def test_a_folder_that_is_explained_into_again_holds_no_overlay_of_the_first_time(model, photos, tmp_path):
    many = sorted(photos.rglob("*.png"))[:3]
    (tmp_path / "mine.png").write_bytes(b"mine")
    visus.explain(model, many, check=False, nearest=0, layers=True, out=tmp_path)
    found = visus.explain(model, many[2], check=False, nearest=0, out=tmp_path)
    (overlay,) = found.drawn
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {
        "mine.png", "explanations.json", "report.html", Path(overlay).name,
    }  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        "mine",
        '{"drawn": 3}',
        '{"page": "why/report.html", "drawn": ["why/../mine.png", "mine.png", "/mine.png", "why/a/mine.png", 3]}',
        '{"page": "why/report.html", "drawn": ["why/../mine.png", "why/a/mine.png", "why/a\\u0000.png", "why/b.png"]}',
        '{"page": "why/report.html", "drawn": ["why/layers/mine.png"]}',
        "[" * 100_000,
    ],
)
def test_what_a_folder_says_of_itself_removes_nothing_beside_its_overlays(told, model, picture, tmp_path):
    out = tmp_path / "why"
    (out / "a").mkdir(parents=True)
    kept = [tmp_path / "mine.png", out / "mine.png", out / "a" / "mine.png"]
    for file in kept:
        file.write_bytes(b"mine")
    (out / "b.png").mkdir()
    (out / "layers").symlink_to(tmp_path)
    (out / "explanations.json").write_text(told)
    visus.explain(model, picture, check=False, nearest=0, out=out)
    assert all(file.is_file() for file in kept)


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
        visus.explain(model, tmp_path / "broken.jpg", out=tmp_path / "why")
    assert refused.value.code == "EXPLAIN-010" and not (tmp_path / "why").exists()


def test_pictures_in_memory_are_explained_as_files_are(model, picture):
    (one,) = model.explain([np.asarray(Image.open(picture))])
    (same,) = visus.explain(model, picture, check=False, nearest=0)
    assert one.label == same.label and np.array_equal(one.map, same.map)


def test_the_nearest_training_pictures_are_told_with_label_and_distance(model, photos):
    """A training picture is its own nearest one."""
    train = sorted(photos.rglob("*.png"))
    found = visus.explain(model, train[:8], check=False, nearest=3, data=photos)
    own = [near[0] for file, near in found.nearest.items() if near[0].id.endswith(file.rsplit("/", 1)[1])]
    assert len(own) >= 4 and all(abs(each.distance) < 1e-5 for each in own)  # the others are not of the training part
    assert all(near[0].distance <= near[1].distance <= near[2].distance for near in found.nearest.values())
    assert {each.labels[0] for near in found.nearest.values() for each in near} <= {"one", "two", "six"}


def test_features_of_training_pictures_are_kept_beside_the_run_and_a_damaged_file_is_made_anew(model, picture):
    place = model.path.parent / "features.safetensors"
    place.unlink(missing_ok=True)
    asked = [visus.explain(model, picture, check=False, nearest=2).nearest]
    written = place.read_bytes()
    asked.append(visus.explain(model, picture, check=False, nearest=2).nearest)
    place.write_bytes(written[:100])
    asked.append(visus.explain(model, picture, check=False, nearest=2).nearest)
    assert asked[0] == asked[1] == asked[2] and place.read_bytes() == written


def test_a_model_without_its_training_data_says_that_there_are_no_nearest_pictures(model, picture, tmp_path):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(model.path.read_bytes())
    found = visus.explain(alone, picture, check=False)
    assert not found.nearest and any("--data" in note for note in found.notes)


def test_layers_draws_the_first_filters_and_maps_of_every_size(model, picture, tmp_path):
    found = visus.explain(model, picture, check=False, nearest=0, layers=True, out=tmp_path)
    drawn = sorted((tmp_path / "layers").glob("*.png"))
    assert any(place.name.startswith("filters-") for place in drawn) and len(drawn) >= 3
    assert {str(place) for place in drawn} < set(found.drawn)


def test_layers_without_a_folder_is_refused(model, picture):
    with pytest.raises(UsageError) as refused:
        visus.explain(model, picture, layers=True)
    assert refused.value.code == "EXPLAIN-014"


def test_a_number_is_explained_too(tmp_path):
    """Of a regression, the value is the number itself, and how strongly it is said is in units of its deviation."""
    images, labels = digits()
    data = write_table(tmp_path / "data", [(images[i], labels[i]) for i in range(60)], ["count"])
    run = visus.train(data, task="regress", steps=5, set=TINY, out=tmp_path / "run")
    (one,) = visus.explain(run.best, tmp_path / "data" / "0000.png", nearest=1)
    ((_, said),) = visus.predict(run.best, tmp_path / "data" / "0000.png")
    assert one.label == "count" and one.score == pytest.approx(said.values["count"], rel=1e-4)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    root = tmp_path_factory.mktemp("boxes")
    data = detecting.write_rectangles(root / "data", train=16, val=8)
    run = visus.train(data, steps=60, set={**detecting.TINY, "batch": 8}, out=root / "run")
    return visus.load(run.best), sorted((root / "data" / "train").glob("*.png"))


def test_each_object_is_explained_where_it_is(detector):
    model, files = detector
    found = visus.explain(model, files[1:10:4], least=0.05, most=1, nearest=0)
    for one in found:
        x0, y0, x1, y1 = (round(side) for side in one.box)
        inside = one.map[max(0, y0 - 8) : y1 + 8, max(0, x0 - 8) : x1 + 8].sum() / one.map.sum()
        area = (min(64, y1 + 8) - max(0, y0 - 8)) * (min(64, x1 + 8) - max(0, x0 - 8)) / 64**2
        assert inside > area  # more of the map lies on the object than would by chance
    assert found.method == "layer_cam" and found.gain.value > 0


def test_a_picture_without_objects_is_told(detector):
    model, files = detector
    with pytest.raises(DataError) as refused:
        visus.explain(model, files[0], least=1.0)
    assert refused.value.code == "EXPLAIN-010" and "--least" in refused.value.fix


def test_what_is_asked_of_an_object_is_the_score_that_it_was_found_with(detector):
    model, files = detector
    found = visus.explain(model, files[3], least=0.01, most=2, nearest=0)
    for one in found:
        assert one.faithfulness.deletion[0] == pytest.approx(one.score, rel=1e-4)


def test_each_region_of_a_class_is_explained(tmp_path):
    data = segmenting.write_scenes(tmp_path / "data", train=12, val=6)
    run = segmenting.train(data, tmp_path / "run", steps=6, flips=False)
    file = sorted((tmp_path / "data" / "images" / "train").glob("*.png"))[0]
    found = visus.explain(run.best, file, out=tmp_path / "why")
    ((_, said),) = visus.predict(run.best, file)
    shown = [said.names[k] for k in said.class_map.unique().tolist()]
    assert {one.label for one in found} == set(shown)
    for one in found:
        assert one.map.shape == one.region.shape == (48, 64)
        assert one.region.mean() == pytest.approx(said.shares()[one.label], abs=0.05)


def test_a_class_of_a_picture_read_in_tiles_is_explained_by_the_tile_that_shows_most_of_it(tmp_path):
    data = segmenting.write_scenes(tmp_path / "data", size=(96, 160), train=12, val=6)
    run = segmenting.train(data, tmp_path / "run", steps=30, **{"input.tiles": 64})
    file = sorted((tmp_path / "data" / "images" / "train").glob("*.png"))[4]
    ((_, said),) = visus.predict(run.best, file)
    found = visus.explain(run.best, file, out=tmp_path / "why")
    assert [one.label for one in found] == list(said.shares()) and len(found) > 1
    for one in found:
        class_map = said.class_map.numpy() == said.names.index(one.label)
        rows, columns = np.nonzero(one.region)
        assert one.region.shape == one.map.shape == (96, 160) and 0.9 < one.map.max() <= 1
        assert np.ptp(rows) < 64 and np.ptp(columns) < 64
        if said.shares()[one.label] > 0.05:  # a few pixels are of another class to a tile alone
            assert (class_map & one.region).sum() > 0.5 * one.region.sum()
        assert not one.map[:, : max(0, columns.max() - 65)].any() and not one.map[:, columns.min() + 66 :].any()
    assert "explained by the one that shows most of it" in found.notes[0]


def test_a_map_that_does_not_depend_on_the_model_is_called_that(model, photos):
    """An edge detector that poses as an explanation: Adebayo et al., NeurIPS 2018, section 5.1."""

    def edges(question):
        image = question.image[0].mean(0)
        return (image - image.roll(1, 0)).abs() + (image - image.roll(1, 1)).abs()

    posing = Explainer(edges, "answers", "edges of the picture", "nobody")
    asked = Asked.settle(model, "occlusion", "", "", None, most=1, check=True, batch=16)
    names = [str(file) for file in sorted(photos.rglob("*.png"))[::50]]
    found = replace(asked, explainer=posing).explain(FileImages(Path(), Strings(names)), names, {})
    result = judged(Explanations("model", "edges", "", tuple(found)))
    assert result.correlation.value == pytest.approx(1) and "learned nothing" in result.warnings[0]
    assert "they show the picture, not what the model makes of it; --method occlusion asks" in result.warnings[0]
    boxed = tuple(replace(one, box=(0, 0, 4, 4)) for one in result.explanations)
    assert "they show where the box lies" in judged(replace(result, explanations=boxed)).warnings[0]
    assert "--method" not in judged(replace(result, method="occlusion")).warnings[0]


def test_what_was_left_unexplained_is_told_of_the_picture_that_says_most(model):
    asked = Asked.settle(model, None, "", "", None, most=2, check=False, batch=16)
    asked.passed["a/few.png"] = 3
    assert asked.notes() == ["few.png: 2 of 3 things that are said were explained; --most 3 explains all"]
    asked.passed.update({"many.png": 9, "more.png": 4})
    told = "many.png: 2 of 9 things that are said were explained, and only some in 2 other pictures"
    assert asked.notes() == [f"{told}; --most 9 explains all"]
