"""Identical pictures across splits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.examples import write_picture, write_tree

from visus.core.recipe import DataSettings
from visus.data import identical
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.formats import FORMATS
from visus.data.identical import identical_across_splits
from visus.data.reading import open_data


def of_array(pixels: np.ndarray, split: list[int]) -> Dataset:
    return Dataset(
        name="made", root=Path(), format="idx", evidence="", ids=Strings([str(i) for i in range(len(pixels))]),
        images=ArrayImages(pixels), columns={}, split=np.asarray(split, np.uint8),
    )  # fmt: skip


def test_a_training_picture_in_the_test_part_is_found(tmp_path: Path):
    write_tree(tmp_path, {f"{part}/{name}": 3 for part in ("train", "test") for name in ("cat", "dog")})
    shutil.copyfile(tmp_path / "train/cat/1.png", tmp_path / "test/dog/copy.png")
    shutil.copyfile(tmp_path / "train/cat/1.png", tmp_path / "train/dog/same split.png")
    dataset = FORMATS["folder"].read(tmp_path, DataSettings())
    assert identical_across_splits(dataset) == [("train/cat/1.png", "test/dog/copy.png")]


def test_of_many_copies_each_later_one_is_told_once_beside_the_first():
    pixels = np.zeros((6, 2, 2), np.uint8)
    pixels[4:] = 7
    dataset = of_array(pixels, [0, 2, 1, 2, 2, 1])
    assert identical_across_splits(dataset) == [("0", "2"), ("0", "1"), ("0", "3"), ("5", "4")]


def test_pictures_that_differ_by_one_pixel_are_not_identical():
    pixels = np.zeros((2, 8, 8), np.uint8)
    pixels[1, 3, 3] = 1
    assert identical_across_splits(of_array(pixels, [0, 2])) == []


def test_a_file_that_is_gone_is_identical_to_none(tmp_path: Path):
    write_tree(tmp_path, {"train/cat": 1, "test/cat": 1})
    write_picture(tmp_path / "test/cat/0.png", 1)
    dataset = FORMATS["folder"].read(tmp_path, DataSettings())
    (tmp_path / "test/cat/0.png").unlink()
    assert identical_across_splits(dataset) == []


def test_a_picture_saved_again_without_loss_is_found_by_its_pixels(tmp_path: Path):
    write_tree(tmp_path, {f"{part}/{name}": 3 for part in ("train", "test") for name in ("cat", "dog")})
    Image.open(tmp_path / "train/cat/1.png").save(tmp_path / "test/dog/again.bmp")
    dataset = FORMATS["folder"].read(tmp_path, DataSettings())
    assert identical_across_splits(dataset) == [("train/cat/1.png", "test/dog/again.bmp")]


def test_of_very_many_files_only_those_with_the_same_bytes_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(identical, "FEW", 5)
    write_tree(tmp_path, {f"{part}/{name}": 3 for part in ("train", "test") for name in ("cat", "dog")})
    Image.open(tmp_path / "train/cat/1.png").save(tmp_path / "test/dog/again.bmp")
    shutil.copyfile(tmp_path / "train/cat/0.png", tmp_path / "test/dog/copy.png")
    dataset = FORMATS["folder"].read(tmp_path, DataSettings())
    assert identical_across_splits(dataset) == [("train/cat/0.png", "test/dog/copy.png")]


def test_the_same_bytes_as_another_shape_or_depth_are_another_picture():
    class Shapes:
        def read(self, i: int) -> np.ndarray:
            return (np.zeros((2, 8), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((2, 4), np.uint16))[i]

    dataset = of_array(np.zeros((3, 1, 1), np.uint8), [0, 1, 2]).with_(images=Shapes())
    assert identical_across_splits(dataset) == []


def test_of_very_many_pixels_only_those_with_the_same_bytes_are_decoded_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(identical, "WORK", 5 * identical.EACH)
    write_tree(tmp_path, {f"{part}/{name}": 3 for part in ("train", "test") for name in ("cat", "dog")})
    Image.open(tmp_path / "train/cat/1.png").save(tmp_path / "test/dog/again.bmp")
    told: list[str] = []
    assert identical_across_splits(FORMATS["folder"].read(tmp_path, DataSettings()), tell=told.append) == []
    assert len(told) == 1 and "bytes" in told[0]


def test_a_picture_saved_again_is_found_in_a_data_set_of_tens_of_megabytes(tmp_path: Path):
    write_tree(tmp_path, {"train/cat": 3, "test/dog": 3})
    noise = np.random.default_rng(0).integers(0, 256, (2400, 2400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "train/cat/large.png", compress_level=0)
    Image.fromarray(noise).save(tmp_path / "test/dog/again.bmp")
    dataset = FORMATS["folder"].read(tmp_path, DataSettings())
    assert identical_across_splits(dataset) == [("train/cat/large.png", "test/dog/again.bmp")]


def test_only_pictures_of_a_size_that_two_splits_have_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_tree(tmp_path, {"train/cat": 3, "test/dog": 3})
    Image.new("RGB", (900, 900)).save(tmp_path / "train/cat/large.png")
    monkeypatch.setattr(identical, "WORK", 800_000)  # less than the large one costs, enough for the others
    Image.open(tmp_path / "train/cat/1.png").save(tmp_path / "test/dog/again.bmp")
    dataset = FORMATS["folder"].read(tmp_path, DataSettings())
    assert identical_across_splits(dataset) == [("train/cat/1.png", "test/dog/again.bmp")]


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10_jpg_subset"])
def test_published_sets_keep_training_and_test_apart(name: str, real_data: Path):
    assert identical_across_splits(open_data(real_data / name, DataSettings())) == []


def test_broken_files_are_identical_to_nothing(tmp_path: Path):
    write_tree(tmp_path, {f"{part}/{name}": 3 for part in ("train", "test") for name in ("cat", "dog")})
    for name, content in {"empty.png": b"", "torn.png": (tmp_path / "train/cat/1.png").read_bytes()[:40]}.items():
        for part in ("train", "test"):
            (tmp_path / part / "cat" / name).write_bytes(content)
    assert identical_across_splits(FORMATS["folder"].read(tmp_path, DataSettings())) == []
