"""Objects that cannot be right, and pictures of odd sizes: each ends in words, or in a result without them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image
from tests.verbs.examples import train_detector

import visus
from visus.core.errors import DataError, VisusError

SIZE = (60, 80)
GOOD = [10, 10, 30, 20]
PARTS = {"train": 5, "val": 2, "test": 2}
FIRST = "train0.png"


def picture(file, size=SIZE):
    """Write noise that no other picture of its name shows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(ord(letter) << (k % 20) for k, letter in enumerate(file.name))
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(file)


def coco(root, *, images=(), annotations=(), boxes=GOOD, categories=("cat", "dog"), sizes=None):
    """Write COCO data with one good box a picture; what else is listed belongs to the training part.

    Args:
        root: the folder.
        images: names that are listed besides, whether there are such pictures or not.
        annotations: (image, category, bbox) besides; image 1 is the first.
        boxes: of every picture, or None for none.
        categories: names of the classes.
        sizes: by part, of the first picture.
    """
    for part, count in PARTS.items():
        names = [f"{part}{i}.png" for i in range(count)]
        shapes = [(sizes or {}).get(part, SIZE), *[SIZE] * (count - 1)]
        for name, size in zip(names, shapes, strict=True):
            picture(root / "images" / part / name, size)
        more, marked = (images, annotations) if part == "train" else ((), ())
        listed = [
            {"id": i, "file_name": name, "height": size[0], "width": size[1]}
            for i, (name, size) in enumerate([*zip(names, shapes, strict=True), *((name, SIZE) for name in more)], 1)
        ]
        known = [(i, 1 + i % len(categories), boxes) for i in range(1, count + 1)] if boxes is not None else []
        document = {
            "images": listed,
            "annotations": [
                {"id": i, "image_id": image, "category_id": category, "bbox": box}
                for i, (image, category, box) in enumerate([*known, *marked], 1)
            ],
            "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
        }
        file = root / "annotations" / f"instances_{part}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document))
    return root


def table(root, rows):
    """Write pictures, and a table of (name, label, x0, y0, x1, y1) for the training part beside good ones of all."""
    good = [(f"{part}{i}.png", "cat", 10, 10, 40, 30, part) for part, count in PARTS.items() for i in range(count)]
    for name, *_ in good:
        picture(root / name)
    lines = ["path,label,xmin,ymin,xmax,ymax,split", *(",".join(map(str, row)) for row in [*good, *rows])]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def yolo(root, line):
    """Write YOLO data whose first training picture has the given line."""
    for part, count in PARTS.items():
        for i in range(count):
            picture(root / "images" / part / f"{part}{i}.png")
            label = root / "labels" / part / f"{part}{i}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(line + "\n" if (part, i) == ("train", 0) else "0 .5 .5 .2 .2\n")
    parts = "".join(f"{part}: images/{part}\n" for part in PARTS)
    (root / "data.yaml").write_text(f"{parts}names: [cat, dog]\n")
    return root


def whole_way(data, out):
    """Train, evaluate and predict; return the three results."""
    run = train_detector(data, out)
    return run, visus.evaluate(run.best, data, split="all"), visus.predict(run.best, data, least=0.0, out=out / "said")


@pytest.fixture(scope="module")
def amended(tmp_path_factory):
    """Return what comes of boxes and pictures that reading leaves out or amends, all of them in one data set."""
    root = tmp_path_factory.mktemp("amended")
    boxes = ([5, 5, 0, 10], [5, 5, -4, 10], [500, 500, 10, 10], [60, 40, 500, 500])
    data = coco(root / "data", images=("gone.png", FIRST),
                annotations=[(2, 1, box) for box in boxes])  # fmt: skip
    return whole_way(data, root / "run")


def test_boxes_without_area_or_beyond_the_picture_are_left_out_and_the_rest_is_learned(amended):
    run, evaluated, predicted = amended
    assert run.steps == 2 and run.scores["map"].n == 2
    assert evaluated.n == sum(PARTS.values())
    assert predicted.problems == () and all(len(said) for _, said in predicted)


def test_a_missing_picture_is_named(amended):
    run, evaluated, _ = amended
    assert [name for name, _ in run.bad] == ["gone.png"] == [name for name, _ in evaluated.bad]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Return what comes of one class alone, on pictures of one pixel and of a width of 20,000."""
    root = tmp_path_factory.mktemp("odd")
    data = coco(root / "data", categories=("cat",), sizes={"train": (40, 20_000), "val": (1, 1), "test": (1, 1)},
                boxes=[0, 0, 1, 1], annotations=[(1, 1, [15_000, 5, 60, 30])])  # fmt: skip
    return whole_way(data, root / "run")


def test_one_class_alone_is_learned_judged_and_found(odd):
    run, evaluated, predicted = odd
    assert run.scores["map"].n == 2 and evaluated.scores["map"].n == sum(PARTS.values())
    assert {label for _, said in predicted for label in said.labels} == {"cat"}


def test_boxes_on_pictures_of_one_pixel_and_of_20000_lie_within_them(odd):
    _, _, predicted = odd
    shapes = set()
    for file, said in predicted:
        width, height = Image.open(file).size
        shapes.add((height, width))
        x0, y0, x1, y1 = said.boxes.T.numpy()
        assert (x0 >= -1e-3).all() and (x0 < x1).all() and (x1 <= width * (1 + 1e-6)).all()
        assert (y0 >= -1e-3).all() and (y0 < y1).all() and (y1 <= height * (1 + 1e-6)).all()
    assert shapes == {SIZE, (1, 1), (40, 20_000)} and len(predicted.drawn) == sum(PARTS.values())


def test_a_part_without_any_box_is_judged_by_nothing_and_told(odd, tmp_path):
    run, *_ = odd
    found = visus.evaluate(run.best, coco(tmp_path, boxes=None, categories=("cat",)), split="test")
    assert found.scores == {}
    assert "the test part shows nothing that a score could be made of" in found.notes
    compared = visus.compare(run.best, run.best, tmp_path, split="test")
    assert compared.verdict == "the data defines no score" and compared.json()["differences"] == {}


def test_a_picture_of_which_a_box_is_left_out_is_not_said_to_be_left_out(tmp_path):
    found = visus.check(coco(tmp_path, annotations=[(1, 1, [5, 5, 0, 10])]))
    assert found.files["skipped"] == 0 and found.files["warned"] == 1
    (item,) = next(finding for finding in found.findings if "left out" in finding.title).items
    assert item.status == "skipped" and item.where == "annotations[5].bbox"


def test_data_without_any_box_is_checked_to_its_end_and_told_that_training_stops(tmp_path):
    found = visus.check(coco(tmp_path, boxes=None))
    first = found.findings[0]
    assert (found.exit, first.code, first.consequence) == (1, "CHECK-029", "stop")
    assert "no object is marked on its 5 training pictures" in first.title and "visus check" not in first.fix
    assert sum(found.files.values()) == sum(PARTS.values())


REFUSED = {
    "a number that is not finite": (lambda root: coco(root, annotations=[(1, 1, [5, 5, math.nan, 9])]), "is no number"),
    "not finite in a table": (lambda root: table(root, [(FIRST, "cat", "nan", 1, 9, 9, "train")]), "'nan' is not"),
    "not finite in YOLO": (lambda root: yolo(root, "0 nan .5 .2 .2"), "'nan' is not a number"),
    "a category that is not listed": (lambda root: coco(root, annotations=[(1, 9, GOOD)]), "9 is no category"),
    "a class without a name": (lambda root: yolo(root, "7 .5 .5 .2 .2"), "class 7 has no name"),
    "an image that is not listed": (lambda root: coco(root, annotations=[(99, 1, GOOD)]), "99 is no image"),
    "a picture in two parts": (lambda root: table(root, [(FIRST, "cat", 1, 1, 9, 9, "val")]), "is there already"),
    "no box at all": (lambda root: coco(root, boxes=None), "no object is marked on its 5 training pictures"),
    "no class at all": (lambda root: coco(root, boxes=None, categories=()), "no object is marked"),
    "boxes without area alone": (lambda root: coco(root, boxes=[5, 5, 0, 10]), "no object is marked"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learned_from_is_refused_in_words_before_anything_is_written(tmp_path, case):
    make, why = REFUSED[case]
    with pytest.raises(DataError, match=why) as caught:
        train_detector(make(tmp_path / "data"), tmp_path / "run")
    assert isinstance(caught.value, VisusError) and caught.value.exit == 2
    assert not (tmp_path / "run" / "recipe.yaml").exists()
