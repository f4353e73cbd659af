"""Pixels are torchvision's and OpenCV's where the three overlap, and do not depend on the rest of the batch."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import _get_inverse_affine_matrix
from torchvision.transforms.v2 import functional as torchvision

from visus.core.annotations import Masks
from visus.transforms import geometry
from visus.transforms.resample import warp

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def noise(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    return image if dtype == torch.uint8 else image.float() / 255


def smooth(*shape: int) -> Tensor:
    """Return a picture without sharp edges, where kernels that place samples less finely still agree."""
    coarse = F.interpolate(noise(1, shape[0], 5, 6, dtype=torch.float32), shape[1:], mode="bicubic").clamp(0, 1)
    return (coarse[0] * 255).round().to(torch.uint8)


def box_to(box: tuple[int, int, int, int], size: tuple[int, int], keep_shape: bool = False) -> np.ndarray:
    return geometry.onto(np.array([box]), size, keep_shape=keep_shape)


def levels(a: Tensor, b: Tensor) -> float:
    """Return the largest difference in levels of 255."""
    assert a.shape == b.shape
    difference = (a.double() - b.double()).abs().max().item()
    return difference if a.dtype == torch.uint8 else 255 * difference


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_resized_crops_equal_torchvisions_pixel_for_pixel(mode, channels, dtype):
    image = noise(channels, 75, 100, dtype=dtype)
    for (x0, y0, x1, y1), size in (
        ((11, 7, 81, 70), (32, 40)),
        ((30, 20, 50, 50), (64, 64)),
        ((0, 0, 100, 75), (9, 7)),
    ):
        ours = warp(image[None], box_to((x0, y0, x1, y1), size), size, interpolation=mode)[0]
        theirs = torchvision.resized_crop(image, y0, x0, y1 - y0, x1 - x0, list(size), MODES[mode], antialias=True)
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("mode", MODES)
def test_a_mirrored_resized_crop_equals_torchvisions_pixel_for_pixel(mode):
    image = noise(3, 75, 100)
    flipped = geometry.about_middle(geometry.scalings(np.array([-1.0]), np.array([1.0])), (32, 40))
    ours = warp([image], flipped @ box_to((11, 7, 81, 70), (32, 40)), (32, 40), interpolation=mode)[0]
    theirs = torchvision.resized_crop(image, 7, 11, 63, 70, [32, 40], MODES[mode], antialias=True)
    assert torch.equal(ours, torchvision.horizontal_flip(theirs))


@pytest.mark.parametrize("across, down", [(-1, 1), (1, -1), (-1, -1)])
def test_flips_equal_torchvisions(across, down):
    images = noise(5, 3, 20, 30)
    flips = geometry.about_middle(geometry.scalings(np.full(5, across * 1.0), np.full(5, down * 1.0)), (20, 30))
    expected = torchvision.horizontal_flip(images) if across < 0 else images
    expected = torchvision.vertical_flip(expected) if down < 0 else expected
    assert torch.equal(warp(images, flips, (20, 30)), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_reflected_padding_and_a_crop_of_each_its_own_equal_torchvisions(dtype, channels):
    images = noise(40, channels, 32, 32, dtype=dtype)
    shifts = np.random.default_rng(0).integers(-4, 5, (40, 2))
    mirrored = np.random.default_rng(1).choice([-1.0, 1.0], 40)
    matrices = geometry.translations(-shifts[:, 0].astype(float), -shifts[:, 1].astype(float))
    matrices = geometry.about_middle(geometry.scalings(mirrored, np.ones(40)), (32, 32)) @ matrices
    ours = warp(images, matrices, (32, 32), reflect=4)
    for image, moved, (x, y), sign in zip(images, ours, shifts.tolist(), mirrored, strict=True):
        padded = torchvision.pad(image, [4], padding_mode="reflect")
        expected = torchvision.crop(padded, 4 + y, 4 + x, 32, 32)
        assert torch.equal(moved, torchvision.horizontal_flip(expected) if sign < 0 else expected)


@pytest.mark.parametrize("size", [(3, 4), (1, 5), (5, 1), (1, 1), (2, 2)])
def test_a_reflection_deeper_than_the_picture_goes_to_and_fro_as_numpys(size):
    image = noise(2, *size)
    moved = warp(image[None], geometry.identities(1) @ _shift(7, 6), (size[0] + 12, size[1] + 14), reflect=9)[0]
    assert torch.equal(moved, torch.from_numpy(np.pad(image.numpy(), ((0, 0), (6, 6), (7, 7)), mode="reflect")))


def _shift(x: float, y: float) -> np.ndarray:
    return geometry.translations(np.array([float(x)]), np.array([float(y)]))


def test_a_shift_out_of_the_picture_shows_the_fill_and_whole_pixels():
    image = noise(3, 10, 12)
    moved = warp([image], _shift(3, -2), (10, 12), fill=(7.0, 8.0, 9.0))[0]
    assert torch.equal(moved[:, :8, 3:], image[:, 2:, :9])
    for c in range(3):
        assert moved[c, 8:].unique().tolist() == [7 + c]
        assert moved[c, :, :3].unique().tolist() == [7 + c]


def test_a_picture_moved_out_of_sight_leaves_the_fill_alone():
    for matrix in (_shift(50, 0), _shift(50.5, 0.25)):
        assert warp([noise(3, 10, 12)], matrix, (10, 12), fill=(9.0,)).unique().tolist() == [9]


def test_letterboxing_equals_torchvisions_resize_and_pad():
    image = noise(3, 30, 61)
    ours = warp([image], box_to((0, 0, 61, 30), (64, 64), keep_shape=True), (64, 64), fill=(5.0,))[0]
    resized = torchvision.resize(image, [31, 64], antialias=True)
    assert torch.equal(ours, torchvision.pad(resized, [0, 16, 0, 17], fill=5))


def test_a_picture_that_does_not_move_is_returned_as_it_is():
    images = noise(4, 3, 9, 9)
    assert warp(images, geometry.identities(4), (9, 9)).data_ptr() == images.data_ptr()


def test_a_quarter_turn_moves_every_pixel_exactly():
    image = noise(3, 40, 40)
    turn = geometry.about_middle(geometry.rotations(np.array([math.pi / 2])), (40, 40))
    assert torch.equal(warp([image], turn, (40, 40))[0], image.rot90(-1, (1, 2)))


@pytest.mark.parametrize("angle, move, zoom, shear", [
    (17, (0, 0), 1.0, (0, 0)), (-140, (3, -5), 1.3, (0, 0)), (5, (2, 2), 1.0, (20, -10)), (0, (0.5, 0.25), 2.0, (0, 0)),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_affine_movements_agree_with_torchvision_within_a_level(angle, move, zoom, shear, dtype):
    image = noise(3, 45, 60, dtype=dtype)
    theirs = torchvision.affine(image, angle, list(move), zoom, list(shear), InterpolationMode.BILINEAR)
    inverse = np.array([*_get_inverse_affine_matrix([0.0, 0.0], angle, list(move), zoom, list(shear)), 0, 0, 1.0])
    matrix = geometry.about_middle(np.linalg.inv(inverse.reshape(1, 3, 3)), (45, 60))
    assert levels(warp([image], matrix, (45, 60))[0], theirs) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_perspectives_agree_with_torchvision_within_a_level(seed):
    image = noise(3, 45, 60)
    old = np.array([[0, 0], [60, 0], [60, 45], [0, 45]])
    new = old + np.random.default_rng(seed).integers(-4, 5, (4, 2))
    theirs = torchvision.perspective(image, old.tolist(), new.tolist(), InterpolationMode.BILINEAR)
    matrix = geometry.perspectives(old[None].astype(float), new[None].astype(float))
    assert _strongest_shrinkage(matrix[0], (45, 60)) < 1.25  # beyond, it is reduced first, which torchvision does not
    assert levels(warp([image], matrix, (45, 60))[0], theirs) <= 1


def _strongest_shrinkage(matrix: np.ndarray, size: tuple[int, int]) -> float:
    ends = np.array([[0, 0], [1e-4, 0], [0, 1e-4]]) + np.array([size[1] / 2, size[0] / 2])
    old = cv2.perspectiveTransform(ends[None], np.linalg.inv(matrix))[0]
    return float(np.hypot(*((old[1:] - old[0]) / 1e-4)).max())


def _between_centres(matrix: np.ndarray) -> np.ndarray:
    """Return the same movement where pixel centres, not edges, are at integers, as OpenCV counts."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(half) @ matrix @ half


@pytest.mark.parametrize("angle", [0.3, -1.1, 2.5])
def test_rotations_agree_with_opencv_within_a_level(angle):
    image = smooth(3, 90, 120)
    matrix = geometry.about_middle(geometry.rotations(np.array([angle])), (90, 120))
    theirs = cv2.warpAffine(
        image.permute(1, 2, 0).numpy(), _between_centres(matrix[0])[:2], (120, 90), flags=cv2.INTER_LINEAR
    )
    seen = warp([torch.full_like(image, 255)], matrix, (90, 120))[0] == 255  # OpenCV blends edges with another rule
    assert levels(warp([image], matrix, (90, 120))[0] * seen, torch.from_numpy(theirs).permute(2, 0, 1) * seen) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_perspectives_agree_with_opencv_within_a_level(seed):
    image = smooth(3, 90, 120)
    matrix = geometry.corner_shifts(np.random.default_rng(seed).uniform(-0.1, 0.1, (1, 8)), (90, 120))
    theirs = cv2.warpPerspective(
        image.permute(1, 2, 0).numpy(), _between_centres(matrix[0]), (120, 90), flags=cv2.INTER_LINEAR
    )
    seen = warp([torch.full_like(image, 255)], matrix, (90, 120))[0] == 255
    assert levels(warp([image], matrix, (90, 120))[0] * seen, torch.from_numpy(theirs).permute(2, 0, 1) * seen) <= 1


@pytest.mark.parametrize("shrink", [2.0, 3.7, 8.0])
def test_a_turned_and_shrunk_picture_is_antialiased(shrink):
    fine = (torch.arange(256)[:, None] + torch.arange(256)).remainder(2).float().expand(1, 256, 256)  # a chequerboard
    size = (24, 24)
    matrix = _shift(12, 12) @ geometry.rotations(np.array([0.4])) @ geometry.scalings(*np.full((2, 1), 1 / shrink))
    grey = warp([fine], matrix @ _shift(-128, -128), size)[0]
    assert (grey - 0.5).abs().max() < 0.05  # read without reducing, values of 0 and 1 would show


def test_a_shrunk_and_turned_picture_is_near_the_mean_of_what_each_pixel_covers():
    image = smooth(3, 300, 400)
    angle, shrink, size = 0.3, 5.0, (50, 70)
    matrix = _shift(35, 25) @ geometry.rotations(np.array([angle])) @ geometry.scalings(*np.full((2, 1), 1 / shrink))
    matrix = matrix @ _shift(-200, -150)
    finer = geometry.scalings(*np.full((2, 1), shrink)) @ matrix
    covered = F.avg_pool2d(warp([image], finer, (250, 350))[0].float(), 5)
    assert (warp([image], matrix, size)[0].float() - covered).abs().mean() < 1.0


def test_nothing_is_seen_behind_the_horizon_and_no_number_is_broken():
    tilt = np.array([[[1.0, 0, 0], [0, 1, 0], [-0.05, 0, 1]]])
    inverse = _shift(80, 80) @ tilt  # x = 30, y = 30 has depth -0.5, and would be read at (20, 20)
    moved = warp([torch.ones(1, 40, 40)], np.linalg.inv(inverse), (40, 60), fill=(-1.0,))
    assert moved.unique().tolist() == [-1]


def test_the_picture_fades_into_the_fill_along_a_turned_edge():
    turn = geometry.about_middle(geometry.rotations(np.array([0.3])), (40, 40))
    moved = warp([torch.full((1, 40, 40), 0.75)], turn, (40, 40), fill=(0.25,))
    covered = warp([torch.ones(1, 40, 40)], turn, (40, 40))
    torch.testing.assert_close(moved, 0.25 + 0.5 * covered)


@pytest.mark.parametrize("seed", range(6))
def test_pixels_and_masks_go_to_the_same_place(seed):
    generator = np.random.default_rng(seed)
    mask = torch.zeros(120, 160, dtype=torch.bool)
    mask[30:90, 40:130] = True
    mask[50:70, 60:90] = False
    if seed % 2:
        matrix = geometry.corner_shifts(generator.uniform(-0.2, 0.2, (1, 8)), (120, 160))
    else:
        matrix = geometry.about_middle(geometry.rotations(generator.uniform(-3, 3, 1)), (120, 160))
    pixels = warp([mask[None].float()], matrix, (120, 160))[0, 0] >= 0.5
    labels = Masks(mask[None], torch.tensor([0])).warp(torch.from_numpy(matrix[0]), (120, 160)).masks[0]
    assert (pixels & labels).sum() / (pixels | labels).sum() >= 0.98


def some_matrices(n: int, size: tuple[int, int]) -> np.ndarray:
    """Return movements of every kind: still, shifted, resized, mirrored, turned, shrunk, tilted."""
    generator = np.random.default_rng(5)
    high, wide = size
    kinds = [
        geometry.identities(1), _shift(3, -2), box_to((2, 3, wide - 4, high - 1), size),
        geometry.about_middle(geometry.scalings(np.array([-1.0]), np.array([1.0])), size),
        geometry.about_middle(geometry.rotations(np.array([0.3])), size),
        geometry.about_middle(geometry.rotations(np.array([-0.2])) @ geometry.scalings(*np.full((2, 1), 0.4)), size),
        geometry.corner_shifts(generator.uniform(-0.2, 0.2, (1, 8)), size), _shift(0.25, 0.5),
    ]  # fmt: skip
    return np.concatenate([kinds[i % len(kinds)] for i in range(n)])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("reflect", [0, 5])
def test_a_picture_is_the_same_to_the_last_bit_alone_in_a_batch_in_a_list_and_with_two_threads(
    mode, channels, dtype, reflect
):
    images, matrices = noise(19, channels, 41, 53, dtype=dtype), some_matrices(19, (41, 53))
    settings = {"interpolation": mode, "fill": (0.25,) if dtype == torch.float32 else (64.0,), "reflect": reflect}
    together = warp(images, matrices, (41, 53), **settings)
    assert torch.equal(warp(list(images), matrices, (41, 53), **settings), together)
    pixels_last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(warp(pixels_last, matrices, (41, 53), **settings), together)
    torch.set_num_threads(2)
    assert torch.equal(warp(images, matrices, (41, 53), **settings), together)
    for i in range(19):
        assert torch.equal(warp(images[i : i + 1], matrices[i : i + 1], (41, 53), **settings)[0], together[i])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_movement_of_any_picture_has_the_asked_for_size_and_stays_between_its_levels(high, wide, h, w, seed):
    generator = np.random.default_rng(seed)
    matrix = geometry.about_middle(
        geometry.rotations(generator.uniform(-3, 3, 1)) @ geometry.scalings(*generator.uniform(0.01, 5, (2, 1))), (h, w)
    )
    image = torch.from_numpy(generator.uniform(0.25, 0.5, (2, high, wide))).float()
    moved = warp([image], matrix @ _shift(*generator.uniform(-40, 40, 2)), (h, w), fill=(0.25,), reflect=seed % 3)
    assert moved.shape == (1, 2, h, w)
    assert moved.min() >= 0.25 - 1e-6
    assert moved.max() <= 0.5 + 1e-6


def test_no_picture_has_no_channels_to_return():
    with pytest.raises(ValueError, match="no picture"):
        warp([], np.zeros((0, 3, 3)), (4, 4))
