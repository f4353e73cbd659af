"""Modulated convolutions against their definition, and the variance that demodulation keeps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from visus.core.filters import BINOMIAL, smooth
from visus.models.generators._modulated import StyledConvolution, StyledPicture, demodulation, modulated


def defined(maps: Tensor, style: Tensor, weight: Tensor, *, demodulate: bool, double: bool) -> Tensor:
    """Return each picture convolved with weights of its own, as the paper defines them."""
    pictures = []
    for each, factors in zip(maps, style, strict=True):
        own = weight * factors[None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if double:
            bare = F.conv_transpose2d(each[None], own.transpose(0, 1), stride=2)
            pictures.append(smooth(bare, BINOMIAL, 1, gain=2.0))
        else:
            pictures.append(F.conv2d(each[None], own, padding=weight.shape[-1] // 2))
    return torch.cat(pictures)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize(("batch", "inputs", "outputs"), [(1, 3, 5), (4, 16, 8), (3, 64, 32)])
def test_a_modulated_convolution_equals_its_definition_within_a_hundred_thousandth(
    batch: int, inputs: int, outputs: int, demodulate: bool, double: bool
) -> None:
    maps, style = torch.randn(batch, inputs, 10, 6), torch.randn(batch, inputs) + 1
    weight = torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5
    found = modulated(maps, style, weight, demodulate=demodulate, double=double)
    expected = defined(maps, style, weight, demodulate=demodulate, double=double)
    assert found.shape == (batch, outputs, *((20, 12) if double else (10, 6)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("double", [False, True])
def test_its_gradients_are_those_of_its_definition(double: bool) -> None:
    def gradients(way: object) -> list[Tensor]:
        torch.manual_seed(3)
        inputs = [torch.randn(2, 4, 6, 6), torch.randn(2, 4) + 1, torch.randn(3, 4, 3, 3)]
        inputs = [each.double().requires_grad_() for each in inputs]
        drawn = way(*inputs, demodulate=True, double=double)  # type: ignore[operator]
        (slope,) = torch.autograd.grad(drawn.pow(3).sum(), inputs[1], create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), inputs))

    for found, expected in zip(gradients(modulated), gradients(defined), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_demodulated_outputs_have_unit_variance_whatever_the_style(strength: float) -> None:
    style = strength * (1 + torch.randn(4, 64).abs())
    weight = torch.randn(32, 64, 3, 3)
    convolved = modulated(torch.randn(4, 64, 34, 34), style, weight)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(convolved.square().mean((2, 3)), torch.ones(4, 32), rtol=0, atol=0.25)
    assert convolved.square().mean().item() == pytest.approx(1, abs=0.02)


def test_demodulation_gives_each_outputs_weights_unit_length() -> None:
    style, weight = torch.randn(5, 12), torch.randn(7, 12, 3, 3)
    scaled = weight * style[:, None, :, None, None] * demodulation(style, weight)[:, :, None, None, None]
    torch.testing.assert_close(scaled.square().sum((2, 3, 4)), torch.ones(5, 7))


def test_a_scaled_style_changes_nothing_that_is_demodulated() -> None:
    maps, style, weight = torch.randn(2, 8, 6, 6), torch.rand(2, 8) + 0.5, torch.randn(4, 8, 3, 3)
    torch.testing.assert_close(modulated(maps, style, weight), modulated(maps, 7 * style, weight))


def test_noise_reaches_every_channel_alike_by_its_strength() -> None:
    layer = StyledConvolution(8, 5, 6, (6, 4), double=False)
    maps, style, noise = torch.randn(2, 8, 6, 4), torch.randn(2, 6), torch.randn(2, 1, 6, 4)
    still = layer(maps, style, noise)
    torch.testing.assert_close(still, layer(maps, style, 0 * noise))  # no strength at first
    with torch.no_grad():
        layer.strength.fill_(0.7)
    bare = still.where(still > 0, still / 0.2)
    moved = layer(maps, style, noise)
    torch.testing.assert_close(moved.where(moved > 0, moved / 0.2) - bare, (0.7 * 2**0.5 * noise).expand(2, 5, 6, 4))


def test_without_noise_the_fixed_one_is_added_to_every_picture() -> None:
    layer = StyledConvolution(8, 5, 6, (6, 4), double=False)
    with torch.no_grad():
        layer.strength.fill_(0.7)
    maps, style = torch.randn(2, 8, 6, 4), torch.randn(2, 6)
    torch.testing.assert_close(layer(maps, style), layer(maps, style, layer.noise.expand(2, 1, 6, 4)))


def test_a_layers_output_begins_with_unit_mean_square() -> None:
    layer = StyledConvolution(128, 128, 32, (32, 32), double=False)
    mapped = layer(torch.randn(8, 128, 32, 32), torch.randn(8, 32))
    assert mapped.square().mean().item() == pytest.approx(1, abs=0.1)


def test_a_pictures_layer_is_a_weighted_sum_of_maps() -> None:
    layer = StyledPicture(8, 3, 6)
    maps, style = torch.randn(2, 8, 6, 4), torch.randn(2, 6)
    weights = layer.weight[None, :, :, 0, 0] * layer.affine(style)[:, None] / 8**0.5
    torch.testing.assert_close(layer(maps, style), torch.einsum("bci,bihw->bchw", weights, maps))
