"""A model file recognises some of the pictures it was trained on, wherever they lie, and no others."""

import shutil

import numpy as np
import pytest
from tests.data.plain import in_folder, odd_sizes, of_array, of_files

from visus.data.dataset import ArrayImages, Strings
from visus.data.fetched import FetchedImages
from visus.data.traces import KEPT, recognised, trace


def everything(data):
    return data.indices("all")


@pytest.mark.parametrize("count", [5, 200])
def test_pictures_that_were_trained_on_are_recognised_in_files_and_in_arrays(tmp_path, count):
    for data in (of_files(tmp_path, odd_sizes(count)), of_array(count)):
        marks = trace(data)
        assert len(marks) == min(count, KEPT) and recognised(data, everything(data), marks) == len(marks)


def test_only_the_training_part_is_remembered(tmp_path):
    data = of_array(40)
    half = data.with_(split=np.repeat(np.array([0, 2], np.uint8), 20))
    assert recognised(half, half.indices("test"), trace(half)) == 0
    assert recognised(half, half.indices("train"), trace(half)) == 20


def test_pictures_are_recognised_in_another_place_and_below_another_folder(tmp_path):
    (tmp_path / "data/cat").mkdir(parents=True)
    names = [f"cat/{name}" for name in of_files(tmp_path / "data/cat", odd_sizes(9)).ids]
    marks = trace(in_folder(tmp_path / "data", names))
    shutil.copytree(tmp_path / "data", tmp_path / "moved/train")
    moved = in_folder(tmp_path / "moved", [f"train/{name}" for name in names])
    assert recognised(moved, everything(moved), marks) == 9


def test_other_pictures_of_the_same_names_are_not_recognised(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        of_files(tmp_path / name, odd_sizes(9, seed))
    names = [f"{i:03d}.png" for i in range(9)]
    one, other = in_folder(tmp_path / "a", names), in_folder(tmp_path / "b", names)
    assert recognised(other, everything(other), trace(one)) == 0


def test_a_file_that_cannot_be_read_is_neither_remembered_nor_recognised(tmp_path):
    data = of_files(tmp_path, odd_sizes(4))
    marks = trace(data)
    (tmp_path / "002.png").unlink()
    assert len(trace(data)) == 3 == recognised(data, everything(data), marks)


def test_a_picture_that_cannot_be_fetched_is_neither_remembered_nor_recognised(tmp_path):
    data = of_files(tmp_path, odd_sizes(4))
    lengths = np.array([(tmp_path / name).stat().st_size for name in data.ids], np.int64)
    places = Strings([str(tmp_path / name) for name in data.ids])
    fetched = data.with_(images=FetchedImages(places, np.arange(4), np.zeros(4, np.int64), lengths, data.ids))
    marks = trace(fetched)
    (tmp_path / "002.png").unlink()
    assert len(marks) == 4 and len(trace(fetched)) == 3 == recognised(fetched, everything(fetched), marks)


def test_pictures_of_an_array_are_known_by_their_pixels_alone():
    data = of_array(10)
    assert isinstance(data.images, ArrayImages)
    turned = data.with_(images=ArrayImages(data.images.array[::-1]))
    assert recognised(turned, everything(turned), trace(data)) == 10
