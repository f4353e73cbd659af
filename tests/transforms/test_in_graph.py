"""The judging transform in tensor operations: what the pipeline does, bit for bit."""

import numpy as np
import pytest
import torch

from visus.core.boxes import moved
from visus.core.recipe import InputSettings
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.transforms.in_graph import Judging
from visus.transforms.pipeline import build

SIZES = [(30, 47), (64, 64), (200, 33), (1, 9), (300, 500)]


def judged(pictures, settings):
    """Return pictures (B, H, W, C) as the pipeline prepares them for judging, and their frames."""
    B = len(pictures)
    samples = Samples(
        tuple(map(str, range(B))), torch.arange(B), pictures.movedim(-1, 1), {},
        torch.eye(3, dtype=torch.float64).expand(B, 3, 3),
    )  # fmt: skip
    ready = build(settings)(samples, Draws(0, np.zeros(B, np.int64), np.arange(B)))
    return ready.images, ready.frames


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("fit", "margin"), [("squash", 1.0), ("crop", 1.0), ("crop", 0.875), ("pad", 1.0)])
def test_pictures_of_8_bits_become_the_pixels_that_the_pipeline_makes_of_them(size, interpolation, fit, margin):
    settings = InputSettings(size=(32, 48), fit=fit, margin=margin, interpolation=interpolation, mean=(0.2, 0.5, 0.6))
    pictures = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    images, _ = Judging(settings)(pictures)
    assert torch.equal(images, judged(pictures, settings)[0])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
def test_any_number_of_channels_becomes_the_pixels_that_the_pipeline_makes_of_them(channels):
    settings = InputSettings(size=(40, 24), channels=channels, std=(0.3,))
    pictures = torch.randint(0, 256, (2, 61, 90, channels), dtype=torch.uint8)
    assert torch.equal(Judging(settings)(pictures)[0], judged(pictures, settings)[0])


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_pictures_of_16_bits_agree_with_the_pipeline_to_rounding(fit):
    settings = InputSettings(size=(24, 40), channels=1, fit=fit, mean=(0.4,), std=(0.2,))
    pictures = torch.randint(0, 65536, (2, 71, 60, 1), dtype=torch.int32).to(torch.uint16)
    images, _ = Judging(settings, deep=True)(pictures)
    torch.testing.assert_close(images, judged(pictures, settings)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_boxes_go_home_as_by_the_frame(fit, size):
    settings = InputSettings(size=(32, 48), fit=fit)
    pictures = torch.zeros(1, *size, 3, dtype=torch.uint8)
    _, view = Judging(settings)(pictures)
    boxes = torch.tensor([[0.0, 0, 48, 32], [5, 7, 11, 30]])
    torch.testing.assert_close(view.home(boxes), moved(boxes.double(), judged(pictures, settings)[1][0]).float())


def test_weights_for_one_size_made_beforehand_are_those_made_on_the_way():
    settings = InputSettings(size=(32, 48), fit="pad")
    pictures = torch.randint(0, 256, (2, 50, 30, 3), dtype=torch.uint8)
    assert torch.equal(Judging(settings, size=(50, 30))(pictures)[0], Judging(settings)(pictures)[0])
