"""Mosaics: how often, until when, where the four meet, and that each pixel is read once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from visus.core.annotations import Boxes
from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.transforms import mosaic
from visus.transforms.pipeline import build

INPUT = InputSettings(size=(60, 80), channels=1, fit="squash", mean=(0.0,), std=(1.0,))


def draws(n: int, epoch: int = 0, first: int = 0) -> Draws:
    return Draws(0, np.full(n, epoch), np.arange(first, first + n))


def layout(n: int = 200, sizes: tuple[int, int] = (60, 80), **augment: Any) -> mosaic.Layout:
    settings = AugmentSettings(mosaic=1.0, **augment)
    each = [np.tile(np.array(sizes), (n, 1))] * 4
    return mosaic.layout(each, INPUT, settings, [draws(n, first=1000 * k) for k in range(4)], [None] * 4)


def test_mosaics_are_as_frequent_as_asked_and_end_with_their_epochs():
    settings = AugmentSettings(mosaic=0.3, mosaic_epochs=2)
    shares = [mosaic.chosen(settings, draws(3000, epoch)).mean() for epoch in range(4)]
    assert shares[:2] == pytest.approx([0.3, 0.3], abs=0.03) and shares[2:] == [0, 0]
    assert mosaic.chosen(AugmentSettings(mosaic=1.0), draws(10, 10**6)).all()


def test_the_four_meet_anywhere_in_the_picture_and_each_takes_every_quarter():
    plan = layout()
    assert plan.meeting.min(0).max() <= 3 and (plan.meeting.max(0) >= (77, 57)).all()
    assert (np.sort(plan.quarters, 0) == np.arange(4)[:, None]).all()
    assert (np.bincount(plan.quarters[0]) > 25).all()


def test_the_corner_towards_the_middle_of_each_picture_lies_where_they_meet():
    plan = layout(sizes=(30, 50))
    for tile in range(4):
        for row in range(20):
            quarter = plan.quarters[tile, row]
            corner = plan.matrices[tile, row] @ [50 * (quarter % 2 == 0), 30 * (quarter < 2), 1]
            np.testing.assert_allclose(corner[:2], plan.meeting[row], atol=1e-9)


@pytest.mark.parametrize("augment", [{}, {"rotate": 0.5, "scale": (0.4, 1.5)}, {"perspective": 0.2, "flip": 0.5}])
def test_the_regions_of_the_four_cover_the_picture_and_hold_the_pixels_of_their_quarter(augment):
    plan = layout(30, **augment)
    for row in range(30):
        quarter_of, area = plan.quarter_of(row), 0.0
        for tile in range(4):
            region = plan.region(tile, row)
            x, y = region.unbind(1) if len(region) else (torch.zeros(1), torch.zeros(1))
            part = float((x * y.roll(-1) - y * x.roll(-1)).sum().abs() / 2)
            area += part
            pixels = (quarter_of == plan.quarters[tile, row]).sum()
            assert abs(pixels - part) <= 150  # half a pixel along its edges
        assert area == pytest.approx(60 * 80, rel=1e-6)


def test_every_pixel_of_a_mosaic_is_read_once_from_its_own_picture():
    """Of linear pictures bilinear reading is exact, wherever it reads; reading twice near an edge is not."""
    y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    tiles = [(0.2 * k + 0.001 * x + 0.0005 * y)[None] for k in range(4)]
    plan = layout(10, scale=(0.9, 0.9))
    for row in range(10):
        whole = mosaic.compose(tiles, plan, row, INPUT, [0.0], 0)[0]
        quarter_of = plan.quarter_of(row)
        for tile in range(4):
            back = np.linalg.inv(plan.matrices[tile, row])
            at_x, at_y = back[0, 0] * x + back[0, 2], back[1, 1] * y + back[1, 2]
            inside = (at_x > 1) & (at_x < 79) & (at_y > 1) & (at_y < 59)
            mine = inside & torch.from_numpy(quarter_of == plan.quarters[tile, row])
            expected = 0.2 * tile + 0.001 * at_x + 0.0005 * at_y
            torch.testing.assert_close(whole[mine].double(), expected[mine].double(), atol=2e-4, rtol=0)


def test_pictures_of_any_size_and_depth_meet():
    images = [torch.full((1, 50, 90), 200, dtype=torch.uint8), torch.full((1, 9, 7), 0.5), torch.ones(1, 200, 10)]
    none = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    frames = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    of = Samples(("a", "b", "c"), torch.arange(3), images, {"boxes": [none] * 3}, frames)
    move = build(INPUT, AugmentSettings(mosaic=1.0))
    others = [(of.rows([(i + k) % 3 for i in range(3)]), draws(3, first=10 * k)) for k in (1, 2, 3)]
    ready = move(of, draws(3), others)
    levels = torch.tensor([0.0, 200 / 255, 0.5, 1.0])
    near = (ready.images[..., None] - levels).abs() < 0.005
    assert near.any(-1).float().mean() > 0.8  # else at the edge of a picture, which fades over a pixel
    assert near[..., 1:].any((0, 1, 2, 3)).all()
