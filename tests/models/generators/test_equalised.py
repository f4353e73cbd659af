"""Layers with equalised rates: unit variance at first, and steps that are felt alike."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from visus.models.generators._equalised import GAIN, Convolution, Linear, rectified


@pytest.mark.parametrize("inputs", [16, 256])
@pytest.mark.parametrize("rate", [0.01, 1.0])
def test_what_a_layer_gives_at_first_has_unit_variance_whatever_its_width_and_rate(inputs: int, rate: float) -> None:
    layer = Linear(inputs, 512, rate=rate)
    assert layer(torch.randn(64, inputs)).std().item() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("kernel", [1, 3])
def test_what_a_convolution_gives_at_first_has_unit_variance(kernel: int) -> None:
    layer = Convolution(64, 128, kernel)
    assert layer(torch.randn(4, 64, 16, 16))[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_a_step_of_adam_is_felt_as_much_less_as_the_rate_says(rate: float) -> None:
    def felt(layer: Linear) -> float:
        inputs = torch.ones(1, 32)
        optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
        before = layer(inputs)
        before.sum().backward()
        optimiser.step()
        return (layer(inputs) - before).mean().item()

    assert felt(Linear(32, 4, rate=rate)) == pytest.approx(rate * felt(Linear(32, 4)), rel=1e-2)


@pytest.mark.parametrize("inputs", [16, 1024])
def test_a_step_of_adam_changes_weights_by_the_same_share_whatever_the_width(inputs: int) -> None:
    layer = Linear(inputs, 8)
    used = layer.weight.detach() * layer.scale
    layer(torch.randn(4, inputs)).square().sum().backward()
    torch.optim.Adam([layer.weight], lr=1e-2).step()
    share = (layer.weight.detach() * layer.scale - used).norm() / used.norm()
    assert share.item() == pytest.approx(1e-2, rel=0.15)


def test_a_bias_is_what_it_was_said_to_be_whatever_the_rate() -> None:
    layer = Linear(4, 3, bias=1.0, rate=0.01)
    torch.testing.assert_close(layer(torch.zeros(2, 4)), torch.ones(2, 3))


def test_the_gain_before_a_rectification_is_the_gain_after_it() -> None:
    layer = Convolution(4, 6, 3, gain=GAIN)
    nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    maps = torch.randn(2, 4, 8, 8)
    plain = F.conv2d(maps, layer.weight / math.sqrt(36), layer.bias, padding=1)
    torch.testing.assert_close(rectified(layer(maps)), math.sqrt(2) * F.leaky_relu(plain, 0.2))


def test_a_halving_convolution_reads_every_second_place_within_the_edges() -> None:
    layer = Convolution(2, 3, 3, halve=True)
    maps = torch.randn(1, 2, 9, 7)
    whole = F.conv2d(maps, layer.weight * layer.scale, layer.bias)
    torch.testing.assert_close(layer(maps), whole[:, :, ::2, ::2])
