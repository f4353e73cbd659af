"""Data in the order of a model's classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.plain import of_array

from visus.core.errors import DataError
from visus.data.dataset import Strings
from visus.data.mask_door import read_map
from visus.data.objects import ClassMaps
from visus.verbs.parts import in_order


def mapped(folder: Path):
    Image.fromarray(np.array([[0, 7, 9, 255]], np.uint8)).save(folder / "map.png")
    maps = ClassMaps(folder, Strings(["map.png"]), np.array([0, 7, 9]), palette=np.zeros((3, 3), np.uint8))
    return of_array(1).with_(columns={}, maps=maps, classes=("sky", "road", "car"))


def test_class_maps_follow_the_order_of_the_names(tmp_path):
    ordered = in_order(mapped(tmp_path), ("road", "car", "sky"))
    assert read_map(ordered.maps, 0).tolist() == [[2, 0, 1, 255]] and ordered.classes == ("road", "car", "sky")


def test_a_class_that_the_maps_do_not_show_keeps_its_place(tmp_path):
    ordered = in_order(mapped(tmp_path), ("car", "tree", "road", "sky"))
    assert read_map(ordered.maps, 0).tolist() == [[3, 2, 0, 255]]


def test_a_class_of_maps_that_the_model_does_not_know_is_refused(tmp_path):
    with pytest.raises(DataError, match="'car'"):
        in_order(mapped(tmp_path), ("sky", "road"))
