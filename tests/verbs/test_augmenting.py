"""The sheet of augmented pictures: what is shown, and that its proof can fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.checks.examples import dataset

from visus.core.annotations import Boxes
from visus.core.recipe import AugmentSettings, InputSettings, Recipe
from visus.data.dataset import ArrayImages
from visus.data.objects import Mark
from visus.verbs.augmenting import EPOCHS, ROWS, sheet

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


def test_boxes_are_proved_to_lie_where_their_frames_put_them():
    made = sheet(boxed(), Recipe(input=INPUT, augment=STRONG), np.arange(6))
    assert made.proof.startswith("Labels moved with the pixels: the corners of all ")
    assert int(made.proof.split(" boxes")[0].split()[-1]) >= 20 and len(made.rows[0].boxes[1]) <= 1


def test_boxes_that_stay_behind_are_told(monkeypatch):
    monkeypatch.setattr(Boxes, "warp", lambda self, *_: Boxes(self.xyxy + torch.tensor(3.0), self.labels))
    assert sheet(boxed(), Recipe(input=INPUT), np.arange(6)).proof.startswith("LABELS DID NOT MOVE WITH THE PIXELS")


@pytest.mark.parametrize("readable", [[0], [1, 3]])
def test_only_readable_pictures_are_shown(readable):
    made = sheet(pictures(4, labels=[0, 1, 1, 0]), Recipe(input=INPUT), np.array(readable))
    assert [row.file for row in made.rows] == [f"{i}.png" for i in readable]
