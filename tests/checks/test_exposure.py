"""Pictures that show next to nothing, measured by the rest of the data."""

from __future__ import annotations

import numpy as np
import pytest
from tests.checks.examples import codes, dataset, only, seen, subject

from visus.checks.exposure import look
from visus.core.recipe import DataSettings
from visus.data.dataset import ArrayImages
from visus.data.looking import look as look_at
from visus.data.reading import open_data


def found(count=60, **odd):
    return list(look(subject(dataset(count=count), seen(count, **odd))))


def test_usual_pictures_are_no_finding():
    assert found() == []


@pytest.mark.parametrize(("code", "brightness"), [("CHECK-010", 0.02), ("CHECK-011", 0.99), ("CHECK-012", 0.5)])
def test_a_picture_without_contrast_is_told_by_its_brightness(code, brightness):
    finding = only(found(brightness={4: brightness}, contrast={4: 0.01}), code)
    assert [item.file for item in finding.items] == ["4.png"]


def test_dark_pictures_with_contrast_are_no_finding():
    assert found(brightness=dict.fromkeys(range(60), 0.05)) == []


def test_what_is_usual_in_the_data_is_no_finding():
    assert found(brightness=dict.fromkeys(range(60), 0.01), contrast=dict.fromkeys(range(60), 0.02)) == []


def test_a_picture_far_less_sharp_than_all_is_blurred():
    finding = only(found(sharpness={7: 0.002, 8: 0.0005}), "CHECK-013")
    assert [item.file for item in finding.items] == ["8.png", "7.png"]
    assert finding.items[0].why == "200 times less sharp than usual"


def test_where_sharpness_varies_much_anyway_a_smooth_picture_is_no_finding():
    varied = {i: float(s) for i, s in enumerate(np.geomspace(0.005, 0.5, 60))}
    assert found(sharpness=varied | {7: 0.001}) == []


def test_few_pictures_have_no_usual():
    assert found(10, contrast={0: 0.03}, sharpness={1: 1e-6}) == []
    assert codes(found(10, contrast={0: 0.001})) == ["CHECK-012"]


def planted(array):
    """Return the findings on an array of pictures, as (code, indices)."""
    data = dataset(count=len(array)).with_(images=ArrayImages(array))
    return {finding.code: {item.index for item in finding.items} for finding in look(subject(data, look_at(data)))}


def test_black_white_flat_and_blurred_digits_are_found_and_no_others():
    from scipy.ndimage import gaussian_filter
    from sklearn.datasets import load_digits

    array = np.rint(load_digits().images[:500] * 15.9).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    array[3], array[5], array[8] = 2, 253, 120
    array[11] = np.rint(gaussian_filter(array[11].astype(float), 6))
    assert planted(array) == {"CHECK-010": {3}, "CHECK-011": {5}, "CHECK-012": {8}, "CHECK-013": {11}}


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10_jpg_subset"])
def test_real_data_gives_next_to_no_alarm(real_data, name):
    data = open_data(real_data / name, DataSettings(), carve=False)
    alarms = {finding.code: len(finding.items) for finding in look(subject(data, look_at(data)))}
    assert sum(alarms.values()) <= 0.001 * len(data), alarms
