"""The sheet of augmented pictures: what is shown, and that its proof can fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.checks.examples import dataset

from visus.core.annotations import Boxes, ClassMap
from visus.core.recipe import AugmentSettings, InputSettings, Recipe
from visus.data.dataset import ArrayImages, Strings
from visus.data.objects import ClassMaps, Mark
from visus.tasks._drawing import COLOURS
from visus.verbs.augmenting import EPOCHS, ROWS, sheet, usual

INPUT = InputSettings(size=(32, 48), channels=1, fit="pad")
STRONG = AugmentSettings(rotate=0.5, flip=0.5, scale=(0.7, 1.2), perspective=0.1, crop=(0.6, 1.0))


def pictures(count, **known):
    array = np.random.Generator(np.random.Philox(1)).integers(0, 256, (count, 40, 40), dtype=np.uint8)
    return dataset(**{"count": count} | known).with_(images=ArrayImages(array))


def test_a_row_is_a_picture_as_it_is_and_as_each_epoch_would_show_it():
    data = pictures(20, labels=[i % 2 for i in range(20)])
    made = sheet(data, Recipe(input=INPUT, augment=STRONG), np.arange(20))
    assert len(made.rows) == ROWS and {len(row.images) for row in made.rows} == {1 + EPOCHS}
    assert all(image.shape == (32, 48, 3) for row in made.rows for image in row.images)
    assert made.rows[0].label == "cat" and not np.array_equal(made.rows[0].images[1], made.rows[0].images[2])


def test_classes_and_numbers_are_proved_to_be_what_they_were():
    recipe = Recipe(input=INPUT, augment=STRONG.model_copy(update={"mixup": 0.4}))
    told = sheet(pictures(4, labels=[0, 1, 1, 0]), recipe, np.arange(4)).proof
    assert told.startswith(f"The labels of all {4 * (1 + EPOCHS)} pictures are what they were")
    values = np.array([[1.0, np.nan]] * 4, np.float32)
    numbers = pictures(4).with_(columns={"numbers": values}, numbers=("a", "b"))
    made = sheet(numbers, recipe, np.arange(4))
    assert "are what they were" in made.proof and made.rows[0].label == "a 1, b nan"


def boxed(count=6):
    return pictures(count, marks=[[Mark((12.0 + i, 14.0, 24.0 + i, 25.0), 0)] for i in range(count)])


EVERYTHING = STRONG.model_copy(update={"mosaic": 0.5, "copy_paste": 0.5, "mixup": 8.0, "erase": 0.3, "brightness": 0.4})


@pytest.mark.parametrize("augment", [AugmentSettings(), STRONG, EVERYTHING])
def test_boxes_are_proved_to_lie_where_their_pixels_are(augment):
    made = sheet(boxed(), Recipe(input=INPUT, augment=augment), np.arange(6))
    assert made.proof.startswith("Labels moved with the pixels: objects were painted white")
    assert int(made.proof.split(" boxes")[0].split()[-1]) >= 20


def test_outlines_are_proved_and_drawn_with_their_boxes():
    leaf = np.array([[12.0, 14], [24, 18], [15, 25]])
    marks = [[Mark((12.0, 14.0, 24.0, 25.0), 0, polygons=[leaf])] for _ in range(4)]
    made = sheet(pictures(4, marks=marks), Recipe(input=INPUT, augment=STRONG), np.arange(4))
    assert made.proof.startswith("Labels moved with the pixels: objects were painted white")


def test_pictures_with_boxes_are_drawn_large_enough_to_be_read():
    row = sheet(boxed(), Recipe(input=INPUT, augment=STRONG), np.arange(6)).rows[0]
    assert {image.shape for image in row.images} == {(213, 320, 3)} and len(row.images) == 1 + EPOCHS
    assert any((image == COLOURS[0]).all(-1).any() for image in row.images)


def test_boxes_that_stay_behind_are_told(monkeypatch):
    def left(self, matrix, size, least=0.0, within=None):
        return Boxes(self.xyxy + torch.tensor(9.0), self.labels)

    monkeypatch.setattr(Boxes, "warp", left)
    assert sheet(boxed(), Recipe(input=INPUT), np.arange(6)).proof.startswith("LABELS DID NOT MOVE WITH THE PIXELS")


def test_boxes_on_the_wrong_object_are_told(monkeypatch):
    moved = Boxes.warp
    monkeypatch.setattr(Boxes, "warp", lambda self, matrix, size, *more: moved(self, torch.eye(3), size))
    recipe = Recipe(input=INPUT, augment=AugmentSettings(flip=1.0))
    assert sheet(boxed(), recipe, np.arange(6)).proof.startswith("LABELS DID NOT MOVE WITH THE PIXELS")


def test_class_maps_are_proved_pixel_by_pixel_and_tinted(tmp_path):
    data = mapped(tmp_path)
    recipe = Recipe(input=INPUT, augment=STRONG)
    made = sheet(data, recipe, np.arange(4))
    assert made.proof.startswith("Labels moved with the pixels: every class was painted")
    plain = sheet(data.with_(maps=None), recipe, np.arange(4))
    assert not np.array_equal(made.rows[0].images[0], plain.rows[0].images[0])


def test_class_maps_are_tinted_in_the_colours_of_the_data_where_it_states_them(tmp_path):
    recipe = Recipe(input=INPUT, segment={"palette": ("#ff0000", "#0000ff")})
    image = sheet(mapped(tmp_path), recipe, np.arange(4)).rows[0].images[0].astype(int)
    redder = image[..., 0] - image[..., 2]  # of grey pictures
    assert {-140, 140} <= set(np.unique(redder).tolist()) <= {-141, -140, 0, 140, 141}


def test_class_maps_that_stay_behind_are_told(tmp_path, monkeypatch):
    moved = ClassMap.warp
    monkeypatch.setattr(ClassMap, "warp", lambda self, matrix, size: moved(self, torch.eye(3), size))
    recipe = Recipe(input=INPUT, augment=AugmentSettings(flip=1.0))
    assert sheet(mapped(tmp_path), recipe, np.arange(4)).proof.startswith("LABELS DID NOT MOVE WITH THE PIXELS")


def test_a_map_that_cannot_be_read_leaves_its_picture_out(tmp_path):
    data = mapped(tmp_path)
    (tmp_path / "2.png").write_bytes(b"no picture")
    assert [row.file for row in sheet(data, Recipe(input=INPUT), np.arange(4)).rows] == ["0.png", "1.png", "3.png"]


def mapped(folder):
    """Return four pictures with a map of two classes each, one left and one right."""
    for i in range(4):
        values = np.zeros((40, 40), np.uint8)
        values[8:, 10 + 5 * i :] = 7
        Image.fromarray(values).save(folder / f"{i}.png")
    maps = ClassMaps(folder, Strings([f"{i}.png" for i in range(4)]), np.array([0, 7]))
    return pictures(4).with_(columns={}, maps=maps, classes=("ground", "thing"))


def test_data_no_task_learns_from_has_usual_settings_and_other_data_has_none(tmp_path):
    assert usual(boxed()).augment.mosaic > 0
    assert usual(mapped(tmp_path)).augment.mosaic == 0
    assert sheet(mapped(tmp_path), usual(mapped(tmp_path)), np.arange(4)).proof.startswith("Labels moved")
    assert usual(pictures(4, labels=[0, 1, 1, 0])) is None


@pytest.mark.parametrize("readable", [[0], [1, 3]])
def test_only_readable_pictures_are_shown(readable):
    made = sheet(pictures(4, labels=[0, 1, 1, 0]), Recipe(input=INPUT), np.array(readable))
    assert [row.file for row in made.rows] == [f"{i}.png" for i in readable]
