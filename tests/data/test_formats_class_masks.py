"""Masks in a file for each class that a picture shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.drawings import refused
from tests.data.examples import write_mask, write_picture
from tests.data.test_mapped import feed

from visus.core.recipe import DataSettings
from visus.data.converting import convert
from visus.data.formats.class_masks import FORMAT
from visus.data.painting import painted
from visus.data.reading import open_data
from visus.verbs.parts import in_order

SIZE = (8, 10)


def values(*boxes, inside=255):
    pixels = np.zeros(SIZE, np.uint8)
    for x, y, side in boxes:
        pixels[y : y + side, x : x + side] = inside
    return pixels


CAT, DOG = values((1, 1, 5)), values((4, 2, 4))


def laid(root: Path, masks, pictures=("0", "1"), where="masks/{}/{}.png", images="images/{}.png"):
    """Write pictures, and masks by (class, name)."""
    for i, name in enumerate(pictures):
        write_picture(root / images.format(name), i, SIZE)
    for (label, name), pixels in masks.items():
        write_mask(root / where.format(label, name), pixels)
    return root


def opened(root, **settings):
    return open_data(root, DataSettings(**settings), carve=False)


def test_a_pixel_shows_every_class_whose_mask_says_so(tmp_path):
    data = opened(laid(tmp_path, {("cat", "0"): CAT, ("dog", "0"): DOG, ("dog", "1"): DOG}))
    assert (data.format, data.classes, data.known()) == ("class_masks", ("cat", "dog"), ("class_sets",))
    assert np.array_equal(data.drawn.read(0, SIZE), (CAT > 0) * 1 + (DOG > 0) * 2)
    assert np.array_equal(data.drawn.read(1, SIZE), (DOG > 0) * 2), "a class without a mask is not there"


def test_beside_a_one_255_says_nothing_and_leaves_the_pixel_out_of_all_classes(tmp_path):
    unsure = values((1, 1, 5), inside=1) + values((7, 6, 2))
    data = opened(laid(tmp_path, {("cat", "0"): unsure, ("dog", "0"): DOG}))
    expected = np.where(unsure == 255, -1, (unsure == 1) * 1 + (DOG > 0) * 2)
    assert np.array_equal(data.drawn.read(0, SIZE), expected)


def test_of_a_picture_without_any_mask_nothing_is_said_and_that_is_told(tmp_path):
    data = opened(laid(tmp_path, {("cat", "0"): CAT}))
    assert bool((data.drawn.read(1, SIZE) == -1).all())
    assert [(remark.file, remark.code) for remark in data.remarks] == [("images/1.png", "DATA-279")]


@pytest.mark.parametrize(
    ("where", "images"),
    [
        ("masks/{split}/{}/{}.png", "images/{split}/{}.png"),
        ("{split}/masks/{}/{}.png", "{split}/images/{}.png"),
        ("{split}_masks/{}/{}.png", "{split}_images/{}.png"),
    ],
)
def test_splits_lie_below_both_or_outside_or_in_the_names(tmp_path, where, images):
    for split in ("train", "test"):
        laid(tmp_path, {("cat", "0"): CAT, ("dog", "1"): DOG}, where=where.replace("{split}", split),
             images=images.replace("{split}", split))  # fmt: skip
    data = opened(tmp_path)
    assert data.format == "class_masks" and data.classes == ("cat", "dog")
    assert [len(data.indices(split)) for split in ("train", "val", "test")] == [2, 0, 2] and not data.bad


@pytest.mark.parametrize(
    ("pixels", "code", "told"),
    [
        (values((1, 1, 5), inside=7), "DATA-273", "the value 7 stands for nothing in a mask of one class"),
        (np.zeros((*SIZE, 3), np.uint8), "DATA-270", "3 channels"),
    ],
)
def test_a_mask_that_is_none_is_refused_when_it_is_looked_at(tmp_path, pixels, code, told):
    error = refused(lambda: opened(laid(tmp_path, {("cat", "0"): CAT, ("dog", "0"): pixels})))
    assert error.code == code and told in error.what and "masks/dog/0.png" in error.what


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda file: file.write_bytes(b"no picture"), "not an image"),
        (lambda file: write_mask(file, values((0, 0, 3), inside=9)), "the value 9 stands for nothing"),
        (lambda file: write_mask(file, np.zeros((4, 4), np.uint8)), "the mask has 4 x 4 pixels, its picture 10 x 8"),
        (lambda file: Image.new("RGB", SIZE[::-1]).save(file), "a mask has one number a pixel"),
    ],
)
def test_a_mask_that_cannot_be_read_later_is_a_bad_sample_that_is_named(tmp_path, spoil, why):
    data = opened(laid(tmp_path, {("cat", "0"): CAT, ("cat", "1"): CAT, ("dog", "1"): DOG}))
    spoil(tmp_path / "masks" / "dog" / "1.png")
    with feed(data, train=False) as batches:
        batch = batches.batch(0)
    assert batch.indices.tolist()[:1] == [0]
    said = dict(batch.bad)["1.png"]
    assert said.startswith("its mask masks/dog/1.png: ") and why in said


def test_masks_without_a_picture_are_told_and_stop_the_reading_where_they_are_many(tmp_path):
    masks = {("cat", "0"): CAT, ("cat", "1"): CAT, ("dog", "elsewhere"): DOG}
    data = opened(laid(tmp_path, masks))
    assert dict(data.bad).keys() == {"masks/dog/elsewhere.png"}
    error = refused(lambda: opened(laid(tmp_path, {("dog", "nowhere"): DOG}), format="class_masks"))
    assert error.code == "DATA-278"


def test_more_classes_than_bits_are_refused(tmp_path):
    error = refused(lambda: opened(laid(tmp_path, {(f"c{k:02d}", "0"): CAT for k in range(64)})))
    assert error.code == "DATA-277" and "64 folders" in error.what


def test_a_folder_without_such_masks_is_not_taken_for_one(tmp_path):
    for i in range(2):
        write_picture(tmp_path / f"images/{i}.png", i, SIZE)
        write_mask(tmp_path / f"masks/{i}.png", CAT // 255)
    assert FORMAT.sniff(tmp_path) is None and opened(tmp_path).format == "masks"


def test_classes_are_put_in_the_order_of_a_model_that_knows_more(tmp_path):
    data = opened(laid(tmp_path, {("cat", "0"): CAT, ("dog", "0"): DOG}))
    ordered = in_order(data, ("dog", "bird", "cat"))
    assert np.array_equal(ordered.drawn.read(0, SIZE), (CAT > 0) * 4 + (DOG > 0) * 1)


def test_converted_to_coco_and_painted_again_they_are_what_they_were(tmp_path):
    data = opened(laid(tmp_path / "a", {("cat", "0"): CAT, ("dog", "0"): DOG, ("dog", "1"): DOG}))
    assert convert(data, "coco", tmp_path / "b") == []
    again = painted(opened(tmp_path / "b"), ("class_sets",))
    for i in range(2):
        assert np.array_equal(again.drawn.read(i, SIZE), data.drawn.read(i, SIZE))


def test_what_coco_cannot_say_of_them_is_told(tmp_path):
    data = opened(laid(tmp_path / "a", {("cat", "0"): CAT, ("dog", "0"): DOG}))  # nothing is said of picture 1
    error = refused(lambda: convert(data, "coco", tmp_path / "b"))
    assert error.code == "DATA-350" and "nothing is said of some pixels of 1 picture (1.png)" in error.where
