"""Each operation of a policy is the field's, and which is drawn depends on seed, epoch and sample alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as torchvision

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms import policy
from visus.transforms.policy import BINS, OPERATIONS, Policy
from visus.transforms.resample import warp

NAMES = [operation.name for operation in OPERATIONS]
EXPECTED = {
    "brightness": (0.4, lambda x: torchvision.adjust_brightness(x, 1.4)),
    "saturation": (-0.5, lambda x: torchvision.adjust_saturation(x, 0.5)),
    "contrast": (0.4, lambda x: torchvision.adjust_contrast(x, 1.4)),
    "sharpness": (0.9, lambda x: torchvision.adjust_sharpness(x, 1.9)),
    "posterize": (3.0, lambda x: torchvision.posterize(x, 3)),
    "solarize": (0.5, lambda x: torchvision.solarize(x, 0.5 * (255 if x.dtype == torch.uint8 else 1))),
    "autocontrast": (0.0, torchvision.autocontrast),
    "equalize": (0.0, torchvision.equalize),
    "identity": (0.0, lambda x: x),
}


THEIRS = {
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX",
    "translate_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness", "saturation": "Color",
    "contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize",
    "autocontrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip
"""Our name of each operation, and torchvision's."""


def space(kind: type[v2.Transform], name: str) -> tuple[np.ndarray, bool]:
    """Return torchvision's strength of an operation at each magnitude, for a side of 331 pixels; is it signed?"""
    magnitudes, signed = kind._AUGMENTATION_SPACE[THEIRS[name]]
    strength = magnitudes(BINS + 1, 331, 331)
    return np.zeros(BINS + 1) if strength is None else strength.double().numpy(), signed


def strengths(drawn: Policy, name: str, side: int) -> np.ndarray:
    """Return every strength drawn for an operation, in torchvision's units."""
    ours = drawn.strength[drawn.chosen == NAMES.index(name)]
    if name == "rotate":
        return np.degrees(ours)
    return np.rint(ours) if name == "posterize" else ours * side if name.startswith("translate") else ours


def draws(n: int, seed: int = 0, epoch: int = 0) -> Draws:
    return Draws(seed, np.full(n, epoch), np.arange(n))


def one(name: str, strength: float, n: int = 1) -> Policy:
    return Policy(np.full((n, 1), NAMES.index(name)), np.full((n, 1), strength))


def pictures(n: int, channels: int, dtype: torch.dtype) -> Tensor:
    images = torch.randint(20, 200, (n, channels, 19, 23), dtype=torch.uint8)
    return images if dtype == torch.uint8 else images / 255


def smooth(height: int, width: int) -> Tensor:
    """Return a picture without sharp edges, where kernels that place samples less finely still agree."""
    coarse = F.interpolate(torch.rand(1, 3, 5, 6), (height, width), mode="bicubic").clamp(0, 1)
    return (coarse[0] * 255).round().to(torch.uint8)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_colours_change_as_in_torchvision(name, channels, dtype):
    images = pictures(3, channels, dtype)
    strength, reference = EXPECTED[name]
    theirs = torch.stack([reference(image) for image in images])
    ours = one(name, strength, 3).recolour(images)
    rounded = name in ("brightness", "saturation", "contrast", "sharpness")  # torchvision cuts decimals off
    atol = (1 if rounded else 0) if dtype == torch.uint8 else 1e-6
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in EXPECTED])
def test_what_moves_pixels_leaves_colours_alone(name):
    images = pictures(2, 3, torch.uint8)
    assert torch.equal(one(name, 0.2, 2).recolour(images), images)


@pytest.mark.parametrize("name, strength, moved", [
    ("rotate", -math.pi / 2, (40, 70)), ("translate_x", 0.1, (90, 50)), ("translate_y", -0.1, (80, 42)),
    ("translate_x", 7.0, (87, 50)), ("translate_y", -900.0, (80, -30)),
])  # fmt: skip
def test_pictures_turn_about_their_middle_and_move_by_pixels_or_shares_of_their_side(name, strength, moved):
    matrix = one(name, strength).matrices(np.array([[80, 100]]))[0]  # middle (50, 40)
    np.testing.assert_allclose((matrix @ (80, 50, 1.0))[:2], moved, atol=1e-9)


@pytest.mark.parametrize("name, strength", [
    ("shear_x", 0.3), ("shear_x", -0.7), ("shear_y", 0.7), ("shear_y", -0.3), ("rotate", math.radians(30)),
    ("rotate", math.radians(-135)), ("translate_x", 7.0), ("translate_x", -32.0), ("translate_y", 32.0),
])  # fmt: skip
def test_pixels_move_as_in_torchvision(name, strength):
    """Beyond a shear of 0.75 a step in the new picture passes 1.25 old pixels, which only ours averages."""
    image = smooth(64, 81)
    kind = v2.RandAugment(interpolation=InterpolationMode.BILINEAR)
    magnitude = math.degrees(strength) if name == "rotate" else strength
    theirs = kind._apply_image_or_video_transform(image, THEIRS[name], magnitude, kind.interpolation, kind._fill)
    (ours,) = warp(image[None], one(name, strength).matrices(np.array([[64, 81]])), (64, 81))
    assert (ours.short() - theirs.short()).abs().max() <= (0 if name.startswith("translate") else 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_strength_of_each_magnitude_of_randaugment_is_torchvisions(name):
    for magnitude in range(BINS + 1):
        augment = AugmentSettings(policy="randaugment", operations=1, magnitude=magnitude)
        expected, signed = space(v2.RandAugment, name)
        ours = strengths(policy.draw(augment, draws(400)), name, side=331)
        np.testing.assert_allclose(np.unique(np.abs(ours)), np.unique(expected[magnitude]), rtol=1e-5)
        assert (ours < 0).any() == (signed and magnitude > 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_strengths_of_trivialaugment_are_torchvisions(name):
    expected, signed = space(v2.TrivialAugmentWide, name)
    ours = strengths(policy.draw(AugmentSettings(policy="trivialaugment"), draws(10_000)), name, side=1)
    np.testing.assert_allclose(np.unique(np.abs(ours)), np.unique(expected), rtol=1e-5)
    assert (ours < 0).any() == signed


@pytest.mark.parametrize("kind", [v2.RandAugment, v2.TrivialAugmentWide])
def test_the_operations_are_torchvisions(kind):
    assert {THEIRS[name] for name in NAMES} == set(kind._AUGMENTATION_SPACE)


@pytest.mark.parametrize("side", [32, 331, 500, 662])
def test_pictures_move_by_torchvisions_whole_pixels(side):
    shares = np.linspace(0, 150 / 331, BINS + 1)
    matrices = one("translate_x", 0.0, BINS + 1)
    ours = Policy(matrices.chosen, shares[:, None]).matrices(np.tile([40, side], (BINS + 1, 1)))[:, 0, 2]
    theirs = v2.RandAugment._AUGMENTATION_SPACE["TranslateX"][0](BINS + 1, 40, side)
    assert ours.tolist() == [int(pixels) for pixels in theirs.tolist()]


def test_operations_that_move_pixels_are_composed_in_the_order_drawn():
    two = Policy(np.array([[NAMES.index("translate_x"), NAMES.index("rotate")]]), np.array([[10.0, math.pi / 2]]))
    matrix = two.matrices(np.array([[100, 100]]))[0]
    np.testing.assert_allclose((matrix @ (50, 50, 1.0))[:2], (50, 40), atol=1e-9)


def test_colours_change_in_the_order_drawn():
    images = pictures(1, 3, torch.uint8)
    two = Policy(np.array([[NAMES.index("solarize"), NAMES.index("equalize")]]), np.array([[0.5, 0.0]]))
    expected = torchvision.equalize(torchvision.solarize(images[0], 127.5))
    assert torch.equal(two.recolour(images)[0], expected)


def test_a_policy_does_not_write_into_the_pictures_it_is_given():
    images = pictures(1, 3, torch.uint8)
    before = images.clone()
    one("solarize", 0.0).recolour(images)
    assert torch.equal(images, before)


def test_randaugment_draws_every_operation_equally_often_at_one_magnitude():
    drawn = policy.draw(AugmentSettings(policy="randaugment", operations=3, magnitude=15), draws(4000))
    assert drawn.chosen.shape == (4000, 3)
    counts = np.bincount(drawn.chosen.ravel(), minlength=len(OPERATIONS))
    assert counts.min() > 0.9 * 12_000 / len(OPERATIONS)
    rotations = drawn.strength[drawn.chosen == NAMES.index("rotate")]
    np.testing.assert_allclose(np.abs(rotations), math.radians(15))
    assert (rotations > 0).mean() == pytest.approx(0.5, abs=0.06)
    assert set(drawn.strength[drawn.chosen == NAMES.index("posterize")]) == {6.0}


def test_trivialaugment_draws_one_operation_at_any_magnitude():
    drawn = policy.draw(AugmentSettings(policy="trivialaugment"), draws(4000))
    assert drawn.chosen.shape == (4000, 1)
    angles = np.abs(drawn.strength[drawn.chosen == NAMES.index("rotate")])
    assert len(np.unique(angles.round(9))) == 31
    assert angles.max() == pytest.approx(math.radians(135))
    assert np.unique(np.abs(drawn.strength[drawn.chosen == NAMES.index("translate_x")])).max() == 32


def test_no_policy_draws_nothing():
    assert policy.draw(AugmentSettings(), draws(3)) is None


@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_what_is_drawn_depends_on_seed_epoch_and_sample_alone(name):
    augment = AugmentSettings(policy=name)
    together = policy.draw(augment, draws(60))
    alone = policy.draw(augment, draws(60).rows(np.array([41])))
    assert alone.chosen[0].tolist() == together.chosen[41].tolist()
    assert alone.strength[0].tolist() == together.strength[41].tolist()
    assert policy.draw(augment, draws(60, epoch=1)).chosen.tolist() != together.chosen.tolist()
    assert policy.draw(augment, draws(60, seed=1)).chosen.tolist() != together.chosen.tolist()


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_pictures_survive_every_operation(name, size):
    strength = {"posterize": 4.0}.get(name, 0.3)
    for dtype in (torch.uint8, torch.float32):
        images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
        images = images if dtype == torch.uint8 else images / 255
        changed = one(name, strength, 2).recolour(images)
        assert changed.shape == images.shape
        assert changed.dtype == dtype


def test_pictures_of_any_number_of_channels_survive_every_operation():
    for name in NAMES:
        images = pictures(2, 5, torch.uint8)
        assert one(name, {"posterize": 4.0}.get(name, 0.3), 2).recolour(images).shape == images.shape
