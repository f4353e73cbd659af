"""Colours are torchvision's where both are linear, hue keeps the luma, and numbers do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms import colour

NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "turns": 0.0}


def mid(*shape: int) -> Tensor:
    """Return float pictures with levels so far from 0 and 1 that a mild change leaves none of them outside."""
    return 0.3 + 0.4 * torch.rand(*shape)


def recoloured(images: Tensor, **factors: float) -> Tensor:
    arrays = {name: np.full(len(images), value) for name, value in {**NEUTRAL, **factors}.items()}
    return colour.recolour(images, colour.matrices(images, **arrays))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.2])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_factor_equals_torchvisions(name, factor, channels):
    images = mid(4, channels, 9, 11)
    theirs = torch.stack([getattr(torchvision, f"adjust_{name}")(image, factor) for image in images])
    torch.testing.assert_close(recoloured(images, **{name: factor}), theirs, atol=1e-6, rtol=0)


def test_the_three_factors_together_equal_torchvisions_one_after_the_other():
    images = mid(4, 3, 9, 11)
    theirs = torch.stack([
        torchvision.adjust_saturation(torchvision.adjust_contrast(torchvision.adjust_brightness(x, 0.9), 1.2), 0.8)
        for x in images
    ])  # fmt: skip
    ours = recoloured(images, brightness=0.9, contrast=1.2, saturation=0.8)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_on_bytes_each_factor_is_torchvisions_within_a_level(name):
    images = torch.randint(0, 256, (4, 3, 9, 11), dtype=torch.uint8)
    theirs = torch.stack([getattr(torchvision, f"adjust_{name}")(image, 1.4) for image in images])
    assert (recoloured(images, **{name: 1.4}) * 255 - theirs).abs().max() <= 1


def test_what_leaves_0_to_1_is_cut():
    images = torch.tensor([0.2, 0.9]).reshape(1, 1, 1, 2)
    assert recoloured(images, brightness=2.0).flatten().tolist() == pytest.approx([0.4, 1.0])


def test_neutral_factors_return_the_pixels():
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    torch.testing.assert_close(recoloured(images), images / 255, atol=1e-6, rtol=0)


def test_hue_keeps_the_luma_of_every_pixel():
    images = mid(2, 3, 8, 8)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    before, after = (images * luma).sum(1), (recoloured(images, turns=0.05) * luma).sum(1)
    torch.testing.assert_close(after, before, atol=2e-5, rtol=0)


def test_a_whole_turn_of_hue_is_none_and_half_a_turn_twice_too():
    images = mid(2, 3, 8, 8) * 0.2 + 0.4
    torch.testing.assert_close(recoloured(images, turns=1.0), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(recoloured(recoloured(images, turns=0.5), turns=0.5), images, atol=1e-6, rtol=0)


def test_hue_turns_the_way_torchvisions_does():
    red = torch.tensor([0.6, 0.4, 0.4]).reshape(1, 3, 1, 1)
    for turns in (0.1, -0.1):
        ours, theirs = recoloured(red, turns=turns)[0, :, 0, 0], torchvision.adjust_hue(red, turns)[0, :, 0, 0]
        assert ours.argmin() == theirs.argmin()


@pytest.mark.parametrize("turns, mean, largest", [(0.05, 0.055, 0.27), (0.1, 0.095, 0.4)])
def test_hue_differs_from_torchvisions_by_no_more_than_is_said(turns, mean, largest):
    side = torch.linspace(0, 1, 17)
    cube = torch.stack(torch.meshgrid(side, side, side, indexing="ij")).reshape(1, 3, 17, -1)
    difference = (recoloured(cube, turns=turns) - torchvision.adjust_hue(cube, turns)).abs()
    assert difference.mean() < mean
    assert difference.max() < largest


def test_pictures_without_three_channels_have_no_saturation_and_no_hue():
    images = mid(2, 5, 8, 8)
    torch.testing.assert_close(recoloured(images, saturation=0.3, turns=0.2), images, atol=1e-6, rtol=0)


def test_every_factor_is_drawn_from_its_whole_range():
    images, n = mid(1, 3, 2, 2).expand(2000, -1, -1, -1), 2000
    draws = Draws(0, np.zeros(n, np.int64), np.arange(n))
    matrices = colour.jitter(images, AugmentSettings(brightness=0.4), draws)
    assert kstest(matrices[:, 0, 0], "uniform", (0.6, 0.8)).pvalue > 1e-3
    matrices = colour.jitter(images, AugmentSettings(contrast=0.4), draws)
    assert kstest(matrices[:, 0, 0], "uniform", (0.6, 0.8)).pvalue > 1e-3
    matrices = colour.jitter(images, AugmentSettings(saturation=0.4), draws)
    assert kstest(matrices[:, 0, 0] - matrices[:, 1, 0], "uniform", (0.6, 0.8)).pvalue > 1e-3
    matrices = colour.jitter(images, AugmentSettings(hue=0.1), draws)
    angle = np.arccos((np.trace(matrices[:, :, :3], axis1=1, axis2=2) - 1) / 2)
    assert kstest(angle, "uniform", (0, 0.2 * np.pi)).pvalue > 1e-3


def test_without_settings_no_colour_is_touched():
    assert colour.jitter(mid(1, 3, 2, 2), AugmentSettings(), Draws(0, np.zeros(1, np.int64), np.zeros(1, int))) is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalising_equals_torchvision(dtype):
    images = torch.randint(0, 256, (3, 3, 8, 9), dtype=torch.uint8)
    images = images if dtype == torch.uint8 else images / 255
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    theirs = torchvision.normalize(torchvision.to_dtype(images, torch.float32, scale=True), mean, std)
    torch.testing.assert_close(colour.normalise(images, mean, std), theirs, atol=1e-6, rtol=0)


def test_normalising_by_0_and_1_is_division_by_255_to_the_last_bit():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(colour.normalise(levels, [0.0], [1.0]), levels / 255)


def test_grey_is_torchvisions():
    images = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    assert (colour.grey(images).int() - torchvision.rgb_to_grayscale(images, 1).int()).abs().max() <= 1
    floats = torch.rand(2, 3, 8, 9)
    torch.testing.assert_close(colour.grey(floats), torchvision.rgb_to_grayscale(floats, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(7, 3, 33, 31), (7, 1, 230, 229), (3, 3, 300, 299)])
def test_colours_are_the_same_to_the_last_bit_alone_in_a_batch_and_with_two_threads(dtype, shape):
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    images = images if dtype == torch.uint8 else images / 255
    augment = AugmentSettings(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    draws = Draws(3, np.zeros(shape[0], np.int64), np.arange(shape[0]))

    def run(images: Tensor, draws: Draws) -> Tensor:
        return colour.normalise(colour.recolour(images, colour.jitter(images, augment, draws)), [0.4], [0.3])

    together = run(images, draws)
    torch.set_num_threads(2)
    assert torch.equal(run(images, draws), together)
    for i in range(shape[0]):
        assert torch.equal(run(images[i : i + 1], draws.rows(np.array([i])))[0], together[i])
