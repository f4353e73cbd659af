"""Pictures and their masks, as people lay them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.examples import write_mask, write_picture

from visus.core.errors import DataError
from visus.data.mask_pairs import Pairs, find_pairs, find_places, stem_of


def lay(root: Path, *names: str) -> Path:
    """Write a small picture under each name."""
    for i, name in enumerate(names):
        if name.endswith(".txt"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("")
        elif name.endswith(".jpg"):
            write_picture(root / name, i)
        else:
            write_mask(root / name, np.zeros((8, 8), np.uint8))
    return root


def found(root: Path) -> Pairs:
    return find_pairs(root, find_places(root))


def told(root: Path) -> list[tuple[int, str, str, str]]:
    return [(pair.split, pair.id, pair.picture, pair.mask) for pair in found(root).pairs]


@pytest.mark.parametrize("picture", ["images", "imgs", "JPEGImages", "Image"])
@pytest.mark.parametrize("mask", ["masks", "labels", "annotations", "gt", "SegmentationClass"])
def test_folders_side_by_side_are_known_by_their_names(picture: str, mask: str, tmp_path: Path):
    lay(tmp_path, f"{picture}/a.jpg", f"{mask}/a.png")
    assert told(tmp_path) == [(0, "a.jpg", f"{picture}/a.jpg", f"{mask}/a.png")]


@pytest.mark.parametrize(("pictures", "masks"), [
    ("images/{}", "masks/{}"), ("{}/images", "{}/masks"), ("{}", "{}annot"), ("{}_images", "{}_masks"),
    ("images_{}", "labels_{}"), ("{}", "{}_labels"),
])  # fmt: skip
def test_splits_stand_inside_outside_or_in_the_names(pictures: str, masks: str, tmp_path: Path):
    for split in ("train", "val"):
        lay(tmp_path, f"{pictures.format(split)}/x/{split}.jpg", f"{masks.format(split)}/x/{split}.png")
    assert [(split, id) for split, id, _, _ in told(tmp_path)] == [(0, "x/train.jpg"), (1, "x/val.jpg")]
    assert all(mask for *_, mask in told(tmp_path))


def test_training_and_validation_are_splits_too(tmp_path: Path):
    lay(tmp_path, "images/training/a.jpg", "annotations/training/a.png", "images/validation/b.jpg",
        "annotations/validation/b.png")  # fmt: skip
    assert [(split, id) for split, id, _, _ in told(tmp_path)] == [(0, "a.jpg"), (1, "b.jpg")]


def test_cityscapes_is_read_as_it_is_unpacked(tmp_path: Path):
    stem = "{}/train/aachen/aachen_000000_000019_{}.png"
    lay(tmp_path, stem.format("leftImg8bit", "leftImg8bit"), stem.format("gtFine", "gtFine_labelIds"),
        stem.format("gtFine", "gtFine_instanceIds"), stem.format("gtFine", "gtFine_color"))  # fmt: skip
    (pair,) = found(tmp_path).pairs
    assert pair.id == "aachen/aachen_000000_000019_leftImg8bit.png"
    assert pair.mask == stem.format("gtFine", "gtFine_labelIds")
    assert found(tmp_path).notes == ["left out 2 files in gtFine that do not end in _gtFine_labelIds"]
    assert found(tmp_path).alone == []


def test_the_oxford_pets_have_their_masks_among_their_annotations(tmp_path: Path):
    lay(tmp_path, "images/a.jpg", "annotations/trimaps/a.png", "annotations/list.txt")
    assert told(tmp_path) == [(0, "a.jpg", "images/a.jpg", "annotations/trimaps/a.png")]


@pytest.mark.parametrize(("picture", "mask"), [
    ("cat.jpg", "cat_mask.png"), ("cat.jpg", "cat_label.png"), ("cat.jpg", "cat_GT.png"),
    ("cat_image.jpg", "cat_mask.png"), ("cat_sat.jpg", "cat_mask.png"), ("a/b/cat.jpg", "a/b/cat_seg.png"),
])  # fmt: skip
def test_one_folder_may_hold_both(picture: str, mask: str, tmp_path: Path):
    lay(tmp_path, picture, mask)
    assert told(tmp_path) == [(0, picture, picture, mask)]


def test_masks_of_one_folder_may_have_splits(tmp_path: Path):
    lay(tmp_path, "train/a.jpg", "train/a_mask.png", "test/b.jpg", "test/b_mask.png")
    assert [(split, id) for split, id, _, _ in told(tmp_path)] == [(0, "a.jpg"), (2, "b.jpg")]


@pytest.mark.parametrize("names", [
    ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"),
    ("images/a.jpg", "labels/a.txt"),
    ("images/train/a.jpg", "labels/train/a.txt"),
    ("mask/1.jpg", "no_mask/2.jpg"),
    ("train/a.jpg", "test/a.jpg"),
])  # fmt: skip
def test_other_data_is_not_taken_for_pictures_with_masks(names: tuple[str, ...], tmp_path: Path):
    assert not find_places(lay(tmp_path, *names))


def test_a_mask_may_bear_its_pictures_whole_name(tmp_path: Path):
    lay(tmp_path, "images/a.jpg", "images/a.png", "masks/a.jpg.png", "masks/a.png.png")
    assert [pair.mask for pair in found(tmp_path).pairs] == ["masks/a.jpg.png", "masks/a.png.png"]


@pytest.mark.parametrize("names", [
    ("images/a.jpg", "images/a.png", "masks/a.png"), ("images/a.jpg", "masks/a.png", "masks/a.bmp"),
])  # fmt: skip
def test_names_that_leave_open_what_belongs_together_are_refused(names: tuple[str, ...], tmp_path: Path):
    with pytest.raises(DataError) as caught:
        found(lay(tmp_path, *names))
    assert caught.value.code == "DATA-276" and "a.png" in caught.value.what


def test_what_has_no_partner_is_kept_as_a_picture_and_named_as_a_mask(tmp_path: Path):
    lay(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a.png", "masks/c.png")
    assert [(id, mask) for _, id, _, mask in told(tmp_path)] == [("a.jpg", "masks/a.png"), ("b.jpg", "")]
    assert found(tmp_path).alone == [("masks/c.png", "there is no picture of this name in images")]


def test_vocs_lists_say_which_pictures_there_are_and_their_splits(tmp_path: Path):
    for name in "abc":
        lay(tmp_path, f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png")
    lay(tmp_path, "JPEGImages/without.jpg", "SegmentationObject/a.png", "ImageSets/Segmentation/train.txt")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("b\ngone\n")
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("a\n")
    (tmp_path / "ImageSets/Segmentation/trainval.txt").write_text("a\nb\nc\n")
    pairs = found(tmp_path)
    assert [(pair.split, pair.id) for pair in pairs.pairs] == [(0, "b.jpg"), (1, "a.jpg")]
    assert pairs.alone == [("gone", "ImageSets/Segmentation/train.txt, line 2: there is no such picture")]
    assert pairs.notes == ["left out 2 pictures that ImageSets/Segmentation does not list (train, val)"]


@pytest.mark.parametrize(("path", "stem"), [
    ("a/b.jpg", "a/b"), ("a/v1.2", "a/v1.2"), ("a/v1.2.PNG", "a/v1.2"), (".png", ".png"), ("a/.png", "a/.png"),
])  # fmt: skip
def test_a_stem_is_the_path_without_a_pictures_ending(path: str, stem: str):
    assert stem_of(path) == stem
