"""Pictures of which nothing is said: read where a task learns from them alone, and recognised by nobody."""

from __future__ import annotations

import numpy as np
import pytest
from tests.data.examples import write_tree

from visus.core.errors import DataError
from visus.core.recipe import DataSettings
from visus.data.formats.pictures import read, sniff
from visus.data.reading import open_data, recognised

ALONE = DataSettings(format="pictures")


def test_pictures_of_a_folder_are_read_however_deep_and_nothing_is_known_of_them(tmp_path):
    dataset = read(write_tree(tmp_path, {"2019": 3, "2020/may": 4}), ALONE)
    assert list(dataset.ids)[:4] == ["2019/0.png", "2019/1.png", "2019/2.png", "2020/may/0.png"]
    assert dataset.known() == () and dataset.classes == () and len(dataset) == 7
    assert dataset.images.read(6).shape == (8, 8, 3)


def test_folders_named_as_splits_are_splits_where_one_is_of_training(tmp_path):
    parts = read(write_tree(tmp_path / "parts", {"test": 2, "train/deep": 3, "val": 1}), ALONE)
    assert [len(parts.indices(split)) for split in ("train", "val", "test")] == [3, 1, 2]
    bare = read(write_tree(tmp_path / "bare", {"test": 2, "more": 3}), ALONE)
    assert len(bare.indices("train")) == 5


def test_what_is_missing_is_carved(tmp_path):
    dataset = open_data(write_tree(tmp_path, {"": 20}), ALONE)
    assert dataset.carved == ("test", "val") and np.bincount(dataset.split).tolist() == [14, 2, 4]


def test_it_is_never_sure(tmp_path):
    assert sniff(tmp_path) is None
    assert sniff(write_tree(tmp_path, {"": 2})).score == 0


@pytest.mark.parametrize(("tree", "name"), [({"": 3}, ""), ({"cats": 3}, ""), ({"cats": 3, "dogs": 3}, "folder")])
def test_only_what_says_something_of_its_pictures_is_recognised(tmp_path, tree, name):
    assert recognised(write_tree(tmp_path, tree)) == name


def test_a_folder_without_a_picture_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, ALONE)
    assert caught.value.code == "DATA-007"
