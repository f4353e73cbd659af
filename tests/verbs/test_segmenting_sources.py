"""Segmentation of whatever says a class of pixels: outlines, two values, a file a class, and masks with faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.verbs.segmenting import PALETTE, TINY, train, write_scenes

import visus
from visus.core.errors import UsageError
from visus.core.recipe import DataSettings
from visus.data.formats.masks import LOOKED
from visus.data.mask_door import read_map
from visus.data.painting import painted
from visus.data.reading import open_data
from visus.verbs.predict import Told
from visus.verbs.resume import resume

SPLITS = {"train": range(16), "val": range(16, 20), "test": range(20, 28)}
"""Numbers of the pictures of each split."""
SIZE = (48, 64)


def objects(i):
    """Return two overlapping rectangles of a picture, (class, x, y, width, height)."""
    random = np.random.default_rng(i)
    x, y = random.integers(2, 20, 2).tolist()
    return [(0, x, y, 28, 20), (1, x + 10, y + 6, 12, 20)]


def picture(i):
    random = np.random.default_rng(100 + i)
    pixels = random.integers(90, 130, (*SIZE, 3), np.uint8)
    for k, x, y, wide, high in objects(i):
        pixels[y : y + high, x : x + wide] = PALETTE[1 + k]
    return Image.fromarray(pixels)


def write_coco(root):
    """Write pictures with red and blue rectangles, and their outlines as COCO has them."""
    for split, numbers in SPLITS.items():
        folder = root / f"{split}2017"
        folder.mkdir(parents=True)
        told = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]}
        for i in numbers:
            name = f"{split}{i:02d}.png"
            picture(i).save(folder / name)
            told["images"].append({"id": i + 1, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
            for k, x, y, wide, high in objects(i):
                outline = [x, y, x + wide, y, x + wide, y + high, x, y + high]
                told["annotations"].append({
                    "id": len(told["annotations"]) + 1, "image_id": i + 1, "category_id": k + 1, "iscrowd": 0,
                    "bbox": [x, y, wide, high], "area": wide * high, "segmentation": [outline],
                })  # fmt: skip
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(told))
    return root


def write_layers(root):
    """Write the same pictures, each with a mask of 0 and 255 for each of its classes."""
    for split, numbers in SPLITS.items():
        for i in numbers:
            for path in (root / "images" / split, *(root / "masks" / split / name for name in ("red", "blue"))):
                path.mkdir(parents=True, exist_ok=True)
            picture(i).save(root / "images" / split / f"{i:02d}.png")
            for k, x, y, wide, high in objects(i):
                mask = np.zeros(SIZE, np.uint8)
                mask[y : y + high, x : x + wide] = 255
                Image.fromarray(mask).save(root / "masks" / split / ("red", "blue")[k] / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco") / "coco")


@pytest.fixture(scope="module")
def of_outlines(coco, tmp_path_factory):
    """Return a run that painted the outlines."""
    return train(coco, tmp_path_factory.mktemp("painted") / "run", steps=60, task="segment")


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    return write_layers(tmp_path_factory.mktemp("layers") / "layers")


@pytest.fixture(scope="module")
def of_layers(layers, tmp_path_factory):
    """Return a run of several classes a pixel."""
    return train(layers, tmp_path_factory.mktemp("layered") / "run", steps=80)


def test_outlines_are_painted_for_the_task_that_asks_for_pixels_and_detected_otherwise(of_outlines, coco):
    assert of_outlines.recipe.task == "segment" and of_outlines.scores["miou"].value > 0.6
    assert {"iou/background", "iou/red", "iou/blue"} <= set(of_outlines.scores)
    assert visus.evaluate(of_outlines.best, coco).scores == of_outlines.scores
    assert "detect" in visus.train.__doc__ or open_data(coco, DataSettings()).column() == "objects"


def test_painted_data_is_judged_by_the_pixels_that_the_converter_writes(of_outlines, coco, tmp_path):
    visus.convert(coco, to="masks", out=tmp_path / "masks", lossy=True)
    assert visus.evaluate(of_outlines.best, tmp_path / "masks").scores == of_outlines.scores
    mine = painted(open_data(coco, DataSettings(), carve=False), ("class_map",))
    theirs = open_data(tmp_path / "masks", DataSettings(), carve=False)
    of = {name.rpartition("/")[2]: i for i, name in enumerate(theirs.ids)}
    for i, name in enumerate(mine.ids):
        assert np.array_equal(mine.drawn.read(i, SIZE), read_map(theirs.maps, of[name.rpartition("/")[2]]))


def test_a_run_on_painted_outlines_is_resumed_on_them(coco, tmp_path):
    whole = train(coco, tmp_path / "run", steps=2, task="segment")
    (tmp_path / "run" / "result.json").unlink()
    assert resume(tmp_path / "run").scores == whole.scores


def test_a_file_a_class_trains_a_network_that_says_several_classes_a_pixel(of_layers, layers):
    assert (of_layers.recipe.task, of_layers.recipe.loss.name) == ("segment_multilabel", "binary_cross_entropy")
    assert of_layers.scores["miou"].value > 0.6 and of_layers.scores["miou"].n == 8
    assert visus.evaluate(of_layers.best, layers).scores == of_layers.scores


def test_several_classes_a_pixel_are_predicted_as_a_png_a_class_which_can_be_read_again(of_layers, layers, tmp_path):
    files = sorted((layers / "images" / "test").iterdir())
    found = visus.predict(of_layers.best, files, out=tmp_path / "said")
    assert len(found.drawn) == len(files)
    for i, file in enumerate(files):
        said = found.predictions[i]
        for name, layer in said.layers.items():
            held = Image.open(found.drawn[i].replace(".png", f".{name}.png"))
            assert held.mode == "P" and np.array_equal(np.asarray(held), layer.numpy())
            (tmp_path / "new" / "masks" / name).mkdir(parents=True, exist_ok=True)
            held.save(tmp_path / "new" / "masks" / name / file.name)
        (tmp_path / "new" / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "new" / "images" / file.name)
    scores = visus.evaluate(of_layers.best, tmp_path / "new", split="all").scores
    assert scores["miou"].value == scores["pixel_accuracy"].value == 1


def test_several_classes_a_pixel_are_learned_judged_predicted_and_explained_in_tiles(tmp_path):
    data = tmp_path / "large"
    for split, numbers in {"train": range(8), "val": range(8, 10), "test": range(10, 12)}.items():
        for i in numbers:
            for path in (data / "images" / split, *(data / "masks" / split / name for name in ("red", "blue"))):
                path.mkdir(parents=True, exist_ok=True)
            whole = Image.new("RGB", (128, 96), (110, 110, 110))
            layers = [Image.new("L", (128, 96)) for _ in range(2)]
            for corner in ((0, 0), (64, 0), (0, 48), (64, 48)):
                number = 10 * i + sum(corner)
                whole.paste(picture(number), corner)
                for k, x, y, wide, high in objects(number):
                    layers[k].paste(255, (corner[0] + x, corner[1] + y, corner[0] + x + wide, corner[1] + y + high))
            whole.save(data / "images" / split / f"{i:02d}.png")
            for name, layer in zip(("red", "blue"), layers, strict=True):
                layer.save(data / "masks" / split / name / f"{i:02d}.png")
    run = train(data, tmp_path / "run", steps=60, **{"input.tiles": 64})
    assert run.scores["miou"].value > 0.5 and visus.evaluate(run.best, data).scores == run.scores
    found = visus.explain(run.best, data / "images" / "test", check=False, nearest=0, most=2)
    assert {one.label for one in found} == {"red", "blue"}
    assert all(one.region.shape == (96, 128) and 0 < one.region.sum() <= 64 * 64 for one in found)


def test_regions_of_several_classes_a_pixel_are_read_back_as_the_same_classes_of_each(of_layers, layers, tmp_path):
    files = sorted((layers / "images" / "test").iterdir())
    found = visus.predict(of_layers.best, files, out=tmp_path / "said", to="coco")
    read = painted(open_data(found.data, DataSettings(), carve=False), ("class_sets",))
    assert any((said.bits == 3).any() for said in found.predictions)  # where both overlap
    for i, said in enumerate(found.predictions):
        assert np.array_equal(read.drawn.read(i, SIZE), said.bits.numpy())


def test_of_several_classes_a_pixel_only_what_tables_say_is_kept_where_that_is_asked_for(of_layers, layers):
    found = visus.predict(of_layers.best, layers / "images" / "test", keep=False)
    whole = visus.predict(of_layers.best, layers / "images" / "test")
    assert all(isinstance(said, Told) for said in found.predictions)
    assert found.json() == whole.json()


def test_overlapping_outlines_can_be_learned_as_several_classes_a_pixel(of_layers, coco):
    scores = visus.evaluate(of_layers.best, coco).scores
    assert scores["miou"].value == of_layers.scores["miou"].value


def test_a_mask_of_two_values_is_judged_by_its_foreground_too(tmp_path):
    for split, numbers in SPLITS.items():
        for kind in ("images", "masks"):
            (tmp_path / "two" / kind / split).mkdir(parents=True)
        for i in numbers:
            picture(i).save(tmp_path / "two" / "images" / split / f"{i:02d}.png")
            mask = np.zeros(SIZE, np.uint8)
            for _, x, y, wide, high in objects(i):
                mask[y : y + high, x : x + wide] = 255
            Image.fromarray(mask).save(tmp_path / "two" / "masks" / split / f"{i:02d}.png")
    run = train(tmp_path / "two", tmp_path / "run", steps=40)
    iou, dice = run.scores["iou/foreground"].value, run.scores["dice/foreground"].value
    assert iou > 0.6 and dice == pytest.approx(2 * iou / (1 + iou))
    assert run.scores["miou"].value == pytest.approx((iou + run.scores["iou/background"].value) / 2)


def test_crops_about_rare_classes_cutmix_and_weights_go_together(tmp_path):
    data = write_scenes(tmp_path / "few", train=8, val=2, test=2)
    settings = {
        "augment.crop": [0.3, 0.8], "augment.rare": 0.5, "augment.majority": 0.75, "augment.cutmix": 1.0,
        "augment.mix": 0.5, "loss.class_weights": "balanced", "segment.region_loss": "dice",
    }  # fmt: skip
    one, other = (train(data, tmp_path / name, steps=2, **settings, **more)
                  for name, more in (("a", {}), ("b", {"data.workers": 2, "micro": 3})))  # fmt: skip
    assert len(one.recipe.target.counts) == 3 and min(one.recipe.target.counts) > 0
    assert {k: s.value for k, s in other.scores.items()} == pytest.approx(
        {k: s.value for k, s in one.scores.items()}, abs=0.02
    )


def test_outlines_alone_have_no_pixels_for_those_who_know_only_boxes(tmp_path):
    root = write_coco(tmp_path / "boxes")
    for path in (root / "annotations").iterdir():
        told = json.loads(path.read_text())
        for annotation in told["annotations"]:
            del annotation["segmentation"]
        path.write_text(json.dumps(told))
    with pytest.raises(UsageError, match="segment cannot learn from boxes"):
        visus.train(root, out=tmp_path / "run", steps=1, task="segment", set=TINY)


def test_every_bad_mask_is_answered_as_labelled_in_training_and_in_judging(bad_inputs, tmp_path):
    labelled = json.loads((bad_inputs / "annotations_expect.json").read_text())
    odd = {name.partition("/")[2]: said["expect"] for name, said in labelled.items() if name.startswith("mask/")}
    assert set(odd.values()) == {"ok", "warn", "refuse"}
    counts = {"train": 40, "val": 4, "test": 41}
    root = tmp_path / "data"
    for split, count in counts.items():
        looked = set(np.linspace(0, count - 1, min(LOOKED, count)).round().astype(int).tolist())
        free = [i for i in range(count) if i not in looked]  # where nobody looks before they are learned from
        odd_at = dict(zip(free, odd, strict=False)) if count > LOOKED else {}
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            name = f"{split}{i:02d}-{odd_at.get(i, 'plain.png')}"
            picture(i + 1000 * len(split)).save(root / "images" / split / name)
            if i in odd_at:
                shutil.copyfile(bad_inputs / "annotations" / "mask" / odd_at[i], root / "masks" / split / name)
            else:
                Image.fromarray(np.asarray(picture(i + 1000 * len(split)))[..., 0] // 140).save(
                    root / "masks" / split / name
                )
    (root / "classes.txt").write_text("background\nthing\n")
    run = train(root, tmp_path / "run", steps=8, **{"data.max_bad": 0.2})
    refused = {name for name, said in odd.items() if said == "refuse"}
    assert len(run.bad) == 2 * len(refused)  # of training, and of the test part
    assert {Path(name).name.partition("-")[2] for name, _ in run.bad} == refused
    assert all("its mask " in why for _, why in run.bad)
    judged = visus.evaluate(run.best, root)
    assert {Path(name).name.partition("-")[2] for name, _ in judged.bad} == refused
    assert judged.scores == run.scores
    said = visus.predict(run.best, root / "images" / "test")
    assert len(said.files) == 41 and not said.problems
