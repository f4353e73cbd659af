"""Class maps that cannot be right, on hand-made ones."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.checks.examples import codes, dataset, only, subject

from visus.checks.masks import look
from visus.data.dataset import Strings
from visus.data.objects import ClassMaps

GOOD = np.array([[0, 1], [255, 1]], np.uint8)


@pytest.fixture
def found(tmp_path):
    """Return the findings on masks of values 0 and 1, beside pictures of 2 x 2 pixels."""

    def of(*masks, size=(2, 2)):
        pictures, paths = [], []
        for i, mask in enumerate(masks):
            pictures.append(f"{i}.png")
            Image.new("RGB", size[::-1]).save(tmp_path / pictures[-1])
            paths.append(f"{i}_mask.png" if mask is not None else "")
            if mask is not None:
                Image.fromarray(mask).save(tmp_path / paths[-1])
        maps = ClassMaps(tmp_path, Strings(paths), np.array([0, 1]), pictures=Strings(pictures))
        return list(look(subject(dataset(count=len(masks), maps=maps))))

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


def test_masks_without_any_class_and_missing_ones_label_nothing(found):
    said = found(GOOD, np.full((2, 2), 255, np.uint8), None)
    assert codes(said) == ["CHECK-026"] and [item.file for item in said[0].items] == ["1.png", "2.png"]
