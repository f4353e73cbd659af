"""Matrices are those of OpenCV, crops are distributed as torchvision's, and each setting does what it says."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp, kstest
from torchvision.transforms import v2

from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.seeds import Draws
from visus.transforms import geometry

N = 3000


def draws(n: int = N, seed: int = 0) -> Draws:
    return Draws(seed, np.zeros(n, np.int64), np.arange(n))


def sizes(height: int, width: int, n: int = N) -> np.ndarray:
    return np.tile(np.array([height, width]), (n, 1))


def matrices(n: int = N, size: tuple[int, int] = (100, 100), fit: str = "squash", **settings: object) -> np.ndarray:
    """Return the matrices of training on pictures of ``size`` that are not resized."""
    return geometry.training(sizes(*size, n), InputSettings(size=size, fit=fit), AugmentSettings(**settings), draws(n))


def moved(matrices: np.ndarray, x: float, y: float) -> np.ndarray:
    places = matrices @ np.array([x, y, 1.0])
    return places[:, :2] / places[:, 2:]


@pytest.mark.parametrize("picture", [(375, 500), (500, 90), (60, 700)])
def test_random_boxes_are_distributed_as_those_of_torchvisions_random_resized_crop(picture):
    ours = geometry.random_boxes(sizes(*picture), (0.08, 1.0), (0.75, 4 / 3), draws())
    blank = torch.zeros(1, *picture)
    torch.default_generator.manual_seed(1)
    crop = v2.RandomResizedCrop(224, (0.08, 1.0), (0.75, 4 / 3))
    theirs = [crop.make_params([blank]) for _ in range(N)]
    for name, values in {
        "left": ours[:, 0], "top": ours[:, 1], "width": ours[:, 2] - ours[:, 0], "height": ours[:, 3] - ours[:, 1]
    }.items():  # fmt: skip
        assert ks_2samp(values, [float(params[name]) for params in theirs]).pvalue > 1e-3, name


@given(st.integers(1, 90), st.integers(1, 90), st.floats(0.01, 1), st.floats(0.1, 10), st.floats(1, 4))
def test_every_random_box_lies_inside_its_picture_and_holds_a_pixel(height, width, area, ratio, spread):
    boxes = geometry.random_boxes(sizes(height, width, 20), (area / 2, area), (ratio, ratio * spread), draws(20))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_where_no_box_fits_the_largest_central_one_of_an_allowed_shape_is_taken():
    box = geometry.random_boxes(sizes(20, 100, 1), (1.0, 1.0), (0.75, 4 / 3), draws(1))
    assert box.tolist() == [[36, 0, 63, 20]]  # 27 = round(20 * 4 / 3)


def test_a_central_box_is_torchvisions_center_crop():
    image = torch.arange(375 * 500, dtype=torch.float32).reshape(1, 375, 500)
    x0, y0, x1, y1 = geometry.central_boxes(sizes(375, 500, 1), (224, 224), 0.8)[0].tolist()
    assert torch.equal(image[:, y0:y1, x0:x1], v2.functional.center_crop(image, [300, 300]))


def test_the_margin_applies_when_judging_and_not_when_training():
    input = InputSettings(size=(80, 80), fit="crop", margin=0.8)
    judged = geometry.judging(sizes(100, 100, 1), input)
    trained = geometry.training(sizes(100, 100, 1), input, AugmentSettings(), draws(1))
    np.testing.assert_allclose(judged[0], [[1, 0, -10], [0, 1, -10], [0, 0, 1]])
    np.testing.assert_allclose(trained[0], [[0.8, 0, 0], [0, 0.8, 0], [0, 0, 1]])


def test_squash_brings_every_corner_to_a_corner():
    squashed = geometry.judging(sizes(30, 50, 1), InputSettings(size=(64, 64), fit="squash"))
    np.testing.assert_allclose(moved(squashed, 50, 30), [[64, 64]])


def test_pad_keeps_the_shape_and_centres_the_picture():
    padded = geometry.judging(sizes(30, 60, 1), InputSettings(size=(64, 64), fit="pad"))
    np.testing.assert_allclose(moved(padded, 0, 0), [[0, 16]])
    np.testing.assert_allclose(moved(padded, 60, 30), [[64, 48]])


def test_a_random_crop_keeps_its_shape_where_the_input_is_padded():
    input = InputSettings(size=(64, 64), fit="pad")
    cropped = geometry.training(sizes(90, 120, 200), input, AugmentSettings(crop=(0.2, 0.9)), draws(200))
    assert np.abs(cropped[:, 0, 0] / cropped[:, 1, 1] - 1).max() < 0.05  # equal but for whole pixels


def test_pad_shifts_by_every_whole_number_of_pixels_equally_often():
    shift = matrices(5000, pad=2)[:, :2, 2]
    assert set(np.unique(shift)) == {-2, -1, 0, 1, 2}
    counts = np.unique(shift[:, 0] * 10 + shift[:, 1], return_counts=True)[1]
    assert len(counts) == 25
    assert counts.min() > 140  # of 200 expected


@pytest.mark.parametrize("setting, sign", [("flip", (-1, 1)), ("flip_vertical", (1, -1))])
def test_a_flip_mirrors_about_the_middle_as_often_as_asked(setting, sign):
    flips = matrices(**{setting: 0.3})
    mirrored = (flips[:, [0, 1], [0, 1]] == sign).all(1)
    assert mirrored.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(moved(flips, 50, 50), np.full((N, 2), 50.0))


def test_rotations_are_uniform_up_to_the_largest_angle_and_keep_the_middle():
    turned = matrices(rotate=0.5)
    angle = np.arctan2(turned[:, 1, 0], turned[:, 0, 0])
    assert kstest(angle, "uniform", (-0.5, 1.0)).pvalue > 1e-3
    np.testing.assert_allclose(moved(turned, 50, 50), np.full((N, 2), 50.0))


def test_a_rotation_is_opencvs():
    ours = geometry.about_middle(geometry.rotations(np.array([0.3])), (90, 120))[0]
    np.testing.assert_allclose(ours[:2], cv2.getRotationMatrix2D((60, 45), -math.degrees(0.3), 1.0), atol=1e-5)


def test_a_rotation_by_half_a_turn_is_two_flips():
    ours = geometry.about_middle(geometry.rotations(np.array([np.pi])), (90, 120))[0]
    np.testing.assert_allclose(ours, [[-1, 0, 120], [0, -1, 90], [0, 0, 1]], atol=1e-12)


def test_shears_stay_within_the_largest_angle_and_keep_areas():
    sheared = matrices(shear=0.4)
    x, y = np.arctan(sheared[:, 0, 1]), np.arctan(sheared[:, 1, 0])
    assert kstest(x, "uniform", (-0.4, 0.8)).pvalue > 1e-3
    assert kstest(y, "uniform", (-0.4, 0.8)).pvalue > 1e-3
    np.testing.assert_allclose(np.linalg.det(sheared), 1)


def test_scale_zooms_both_sides_alike_uniformly_between_its_ends():
    zoomed = matrices(scale=(0.5, 1.5))
    np.testing.assert_array_equal(zoomed[:, 0, 0], zoomed[:, 1, 1])
    assert kstest(zoomed[:, 0, 0], "uniform", (0.5, 1.0)).pvalue > 1e-3


def test_a_perspective_moves_each_corner_within_its_share_of_the_sides():
    tilted = matrices(size=(80, 120), perspective=0.2)
    for x, y in ((0, 0), (120, 0), (120, 80), (0, 80)):
        shift = (moved(tilted, x, y) - (x, y)) / (120, 80)
        assert np.abs(shift).max() <= 0.2 + 1e-9
        assert np.abs(shift).max() > 0.19


def test_a_perspective_is_opencvs():
    old = np.array([[0, 0], [120, 0], [120, 80], [0, 80]], np.float32)
    new = old + np.random.default_rng(0).uniform(-15, 15, (4, 2)).astype(np.float32)
    ours = geometry.perspectives(old[None].astype(float), new[None].astype(float))[0]
    np.testing.assert_allclose(ours, cv2.getPerspectiveTransform(old, new), rtol=1e-6, atol=1e-8)


def test_the_strongest_perspective_never_folds_the_picture():
    tilted = matrices(20_000, perspective=0.5)
    corners = np.array([[0, 0, 1], [100, 0, 1], [100, 100, 1], [0, 100, 1.0]])
    assert (tilted @ corners.T)[:, 2].min() > 0.01  # all in front of the horizon
    assert (np.linalg.det(tilted) > 0).all()


def test_without_settings_nothing_moves():
    np.testing.assert_array_equal(matrices(3), np.tile(np.eye(3), (3, 1, 1)))


EVERYTHING = {
    "crop": (0.3, 1.0), "pad": 3, "flip": 0.5, "flip_vertical": 0.5, "rotate": 0.4, "shear": 0.2, "perspective": 0.1,
    "scale": (0.8, 1.2),
}  # fmt: skip


def test_a_matrix_depends_on_its_own_sample_alone_to_the_last_bit():
    together = matrices(100, **EVERYTHING)
    input, augment = InputSettings(size=(100, 100), fit="squash"), AugmentSettings(**EVERYTHING)
    for i in (0, 1, 17, 99):
        alone = geometry.training(sizes(100, 100, 1), input, augment, draws(100).rows(np.array([i])))
        np.testing.assert_array_equal(alone[0], together[i])


def test_another_epoch_is_another_movement():
    input, augment = InputSettings(size=(100, 100)), AugmentSettings(**EVERYTHING)
    one, two = (
        geometry.training(sizes(100, 100, 50), input, augment, Draws(0, np.full(50, epoch), np.arange(50)))
        for epoch in (0, 1)
    )
    assert (np.abs(one - two).max((1, 2)) > 1e-3).all()
