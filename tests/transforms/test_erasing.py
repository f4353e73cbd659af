"""Rectangles are as large, as long and as frequent as the paper draws them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as torchvision

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms.erasing import erase, rectangles

N = 3000


def draws(n: int = N) -> Draws:
    return Draws(0, np.zeros(n, np.int64), np.arange(n))


def test_a_rectangle_is_erased_as_often_as_asked():
    boxes = rectangles((64, 64), AugmentSettings(erase=0.3), draws())
    assert (boxes[:, 2] > boxes[:, 0]).mean() == pytest.approx(0.3, abs=0.03)


def test_its_area_and_shape_lie_within_their_ranges_and_inside_the_picture():
    boxes = rectangles((200, 300), AugmentSettings(erase=1.0, erase_area=(0.05, 0.2)), draws())
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] <= (300, 200)).all()
    share, shape = wide * high / 60_000, high / wide
    assert 0.048 < share.min() < 0.055
    assert 0.19 < share.max() < 0.202
    assert 0.29 < shape.min() < 0.32
    assert 3.1 < shape.max() < 3.4


def test_erased_pixels_are_0_and_equal_torchvisions_erase():
    images = torch.randn(50, 3, 32, 48)
    augment = AugmentSettings(erase=0.7)
    boxes = rectangles((32, 48), augment, draws(50))
    expected = [
        torchvision.erase(image, y0, x0, y1 - y0, x1 - x0, torch.zeros(3, 1, 1)) if x1 > x0 else image
        for image, (x0, y0, x1, y1) in zip(images, boxes.tolist(), strict=True)
    ]
    assert torch.equal(erase(images.clone(), boxes), torch.stack(expected))


def test_without_a_chance_nothing_is_erased():
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(erase(images.clone(), rectangles((8, 8), AugmentSettings(), draws(4))), images)


def test_a_picture_too_small_for_any_rectangle_is_left_alone():
    images = torch.ones(5, 1, 1, 1)
    assert torch.equal(erase(images.clone(), rectangles((1, 1), AugmentSettings(erase=1.0), draws(5))), images)
