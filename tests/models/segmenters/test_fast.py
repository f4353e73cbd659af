"""visus' own segmenter: its options, and that the whole picture reaches every place."""

from __future__ import annotations

import pytest
import torch

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build


def network(**options):
    return build(ModelSettings(name="fast", options=options), 4, 3, (64, 96)).eval()


@pytest.mark.parametrize("stride", [4, 8])
def test_logits_are_at_the_stride_that_is_asked_for(stride):
    assert network(stride=stride)(torch.rand(1, 3, 64, 96)).shape == (1, 4, 64 // stride, 96 // stride)


def test_the_far_corner_of_a_large_picture_is_told_of_every_other():
    model = network(normalisation="none").double()
    images = torch.rand(1, 3, 512, 512, dtype=torch.float64, requires_grad=True)
    model(images)[0, :, -1, -1].sum().backward()
    assert bool(images.grad[0, :, :8, :8].any())


@pytest.mark.parametrize("options", [{"scale": "small"}, {"width": 24}, {"activation": "silu"}])
def test_its_options_change_it(options):
    changed = network(**options)(torch.rand(2, 3, 64, 96))
    assert changed.shape == (2, 4, 16, 24)


def test_another_stride_is_refused():
    with pytest.raises(UsageError, match="stride = 16"):
        network(stride=16)
