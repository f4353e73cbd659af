"""Class maps that cannot be right, on hand-made ones."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.checks.examples import codes, dataset, only, subject

from visus.checks.masks import look
from visus.data.dataset import Strings
from visus.data.layers import Layers
from visus.data.objects import ClassMaps

GOOD = np.array([[0, 1], [255, 1]], np.uint8)


@pytest.fixture
def found(tmp_path):
    """Return the findings on masks of values 0 and 1 themselves, beside pictures of 2 x 2 pixels."""

    def of(*masks, size=(2, 2), max_bad=0.0):
        pictures, paths = [], []
        for i, mask in enumerate(masks):
            pictures.append(f"{i}.png")
            Image.new("RGB", size[::-1]).save(tmp_path / pictures[-1])
            paths.append(f"{i}_mask.png" if mask is not None else "")
            if mask is not None:
                Image.fromarray(mask).save(tmp_path / paths[-1])
        maps = ClassMaps(tmp_path, Strings(paths), np.array([0, 1]), pictures=Strings(pictures))
        return list(look(subject(dataset(count=len(masks), maps=maps, classes=()), max_bad=max_bad)))

    return of


def test_good_masks_are_no_finding(found):
    assert found(GOOD, np.zeros((2, 2), np.uint8)) == []


def test_data_without_masks_is_no_finding():
    assert list(look(subject(dataset([0, 1])))) == []


def test_values_of_no_class_are_an_error_that_names_them(found):
    finding = only(found(GOOD, GOOD + 6, GOOD), "CHECK-025")
    assert finding.level == "error" and finding.title.endswith("values of no class: 5, 6, 7")
    assert [(item.file, item.status, item.why) for item in finding.items] == [
        ("1.png", "refused", "the values 5, 6, 7")]  # fmt: skip


def test_a_mask_of_another_size_or_of_colours_is_refused_with_the_reason(found):
    finding = only(found(GOOD, np.zeros((3, 5), np.uint8), np.zeros((2, 2, 3), np.uint8)), "CHECK-019")
    assert [item.file for item in finding.items] == ["1.png", "2.png"]
    assert "the mask has 5 x 3 pixels" in finding.items[0].why and "3 channels" in finding.items[1].why


def test_masks_are_an_error_where_training_stops_at_them_and_a_warning_where_it_leaves_them_out(found):
    masks = GOOD, GOOD + 6, np.zeros((3, 5), np.uint8), GOOD
    few, many = found(*masks, max_bad=0.5), found(*masks, max_bad=0.25)
    assert [(each.level, each.consequence) for each in few] == [("warning", "loss")] * 2
    assert all("leaves their pictures out" in each.why and each.items[0].status == "skipped" for each in few)
    assert [(each.level, each.consequence) for each in many] == [("error", "stop")] * 2
    assert all("training stops" in each.why and each.items[0].status == "refused" for each in many)


def test_masks_without_any_class_and_missing_ones_label_nothing(found):
    said = found(GOOD, np.full((2, 2), 255, np.uint8), None)
    assert codes(said) == ["CHECK-026"] and [item.file for item in said[0].items] == ["1.png", "2.png"]


def test_masks_of_a_file_a_class_are_looked_at_too(tmp_path):
    masks = [(GOOD % 2, GOOD % 2), (GOOD, None), (np.zeros((2, 2), np.uint8), None), (None, None), (GOOD + 6, None),
             (None, np.zeros((3, 5), np.uint8))]  # fmt: skip
    pictures, paths = [], []
    for i, record in enumerate(masks):
        pictures.append(f"{i}.png")
        Image.new("RGB", (2, 2)).save(tmp_path / pictures[-1])
        for k, mask in enumerate(record):
            paths.append(f"{i}.{k}.png" if mask is not None else "")
            if mask is not None:
                Image.fromarray(mask).save(tmp_path / paths[-1])
    layers = Layers(tmp_path, Strings(paths), Strings(pictures), np.array([1, 1]))
    said = list(look(subject(dataset(count=6, drawn=layers, classes=()))))
    told = {finding.code: [(item.file, item.why) for item in finding.items] for finding in said}
    assert told["CHECK-026"] == [("3.png", "no pixel of any class")]  # of the third it is said that no class is there
    (stray, size) = told["CHECK-019"]
    assert stray[0] == "4.png" and stray[1].startswith("4.0.png: the value") and "stands for nothing" in stray[1]
    assert size[0] == "5.png" and size[1].startswith("5.1.png: the mask has 5 x 3 pixels")


@pytest.fixture
def balance(tmp_path):
    """Return the findings on the balance of classes, from what each map shows and the split it is in."""

    def of(*maps):
        for i, (_, values) in enumerate(maps):
            Image.fromarray(np.array([values], np.uint8)).save(tmp_path / f"{i}_mask.png")
        held = ClassMaps(tmp_path, Strings([f"{i}_mask.png" for i in range(len(maps))]), np.array([0, 7]))
        split = np.array([part for part, _ in maps], np.uint8)
        made = dataset(count=len(maps), maps=held, classes=("road", "sky")).with_(split=split)
        return list(look(subject(made)))

    return of


def test_a_class_that_few_maps_show_is_rare_and_uneven(balance):
    said = balance(*[(0, [0, 0])] * 30, *[(0, [0, 7])] * 3)
    assert codes(said) == ["CHECK-014", "CHECK-015"]
    assert only(said, "CHECK-015").title == "1 of 2 classes has fewer than 10 training pictures"
    uneven = only(said, "CHECK-014")
    assert uneven.title == "the classes are uneven: 'road' has 11 times as many training pictures as 'sky'"
    assert "class_weights" not in uneven.fix


def test_a_class_that_no_map_of_a_part_shows_is_missing_there(balance):
    finding = only(balance(*[(0, [0, 7])] * 12, *[(2, [0, 0])] * 2), "CHECK-016")
    assert finding.level == "warning" and finding.title == "the test part has no picture of 1 of 2 classes: sky"


def test_classes_that_maps_show_evenly_are_no_finding(balance):
    assert balance(*[(0, [0, 7])] * 12, *[(1, [7, 0])] * 2) == []
