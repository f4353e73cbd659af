"""Filters against a naive reference, forward and through two backward passes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from visus.core.filters import BINOMIAL, double, halve, smooth

UNEVEN = (0.5, 2.0, -1.0, 3.0, 1.0, 0.25)
"""Taps with no symmetry, by which a filter that is turned round would be seen."""


def naive(maps: Tensor, taps: tuple[float, ...], up: int, down: int, padding: tuple[int, int], gain: float) -> Tensor:
    """Zeros between the pixels, then padding, then a sum over taps written out, then every ``down``-th pixel."""
    line = torch.tensor(taps, dtype=maps.dtype) * (gain / sum(taps))
    B, C, H, W = maps.shape
    wide = torch.zeros(B, C, H * up, W * up, dtype=maps.dtype)
    wide[:, :, ::up, ::up] = maps
    wide = F.pad(wide, padding * 2)
    height, width = wide.shape[2] - len(taps) + 1, wide.shape[3] - len(taps) + 1
    summed = torch.zeros(B, C, height, width, dtype=maps.dtype)
    for i, a in enumerate(line):
        for j, b in enumerate(line):
            summed = summed + a * b * wide[:, :, i : i + height, j : j + width]
    return summed[:, :, ::down, ::down]


FILTERS = {
    "smooth": (lambda maps, taps: smooth(maps, taps, 2, 2.0), lambda maps, taps: naive(maps, taps, 1, 1, (2, 2), 2.0)),
    "halve": (halve, lambda maps, taps: naive(maps, taps, 1, 2, (len(taps) // 2 - 1,) * 2, 1.0)),
    "halve, bare": (lambda maps, taps: halve(maps, taps, 0), lambda maps, taps: naive(maps, taps, 1, 2, (0, 0), 1.0)),
    "double": (
        double,  # a transposed correlation: the taps are turned round
        lambda maps, taps: naive(maps, taps[::-1], 2, 1, (len(taps) // 2, len(taps) // 2 - 1), 2.0),
    ),
}


@pytest.mark.parametrize("taps", [BINOMIAL, UNEVEN])
@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_equals_sums_written_out(name: str, taps: tuple[float, ...]) -> None:
    filtered, reference = FILTERS[name]
    maps = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(filtered(maps, taps), reference(maps, taps))


@pytest.mark.parametrize("size", [(6, 9), (7, 8)])
@pytest.mark.parametrize("name", FILTERS)
def test_first_and_second_gradients_are_those_of_finite_differences(name: str, size: tuple[int, int]) -> None:
    filtered = FILTERS[name][0]
    maps = torch.randn(1, 2, *size, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda each: filtered(each, UNEVEN), maps)
    assert gradgradcheck(lambda each: filtered(each, UNEVEN).square(), maps)


@pytest.mark.parametrize("name", FILTERS)
def test_a_penalty_on_gradients_is_that_of_the_reference(name: str) -> None:
    filtered, reference = FILTERS[name]

    def penalised(each: object) -> Tensor:
        maps = torch.linspace(-1, 1, 96, dtype=torch.float64).view(1, 2, 8, 6).requires_grad_()
        (gradient,) = torch.autograd.grad(each(maps, UNEVEN).pow(3).sum(), maps, create_graph=True)  # type: ignore[operator]
        return torch.autograd.grad(gradient.square().sum(), maps)[0]

    torch.testing.assert_close(penalised(filtered), penalised(reference))


def test_doubling_and_halving_keep_what_is_even() -> None:
    even = torch.full((1, 1, 12, 12), 3.0)
    torch.testing.assert_close(double(even, BINOMIAL)[:, :, 2:-2, 2:-2], torch.full((1, 1, 20, 20), 3.0))
    torch.testing.assert_close(halve(even, BINOMIAL)[:, :, 1:-1, 1:-1], torch.full((1, 1, 4, 4), 3.0))


def test_doubling_is_bilinear_interpolation_within_the_edges() -> None:
    maps = torch.randn(1, 2, 6, 8)
    expected = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(double(maps, BINOMIAL)[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])


def test_mixed_precision_passes_both_ways() -> None:
    maps = torch.randn(1, 2, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        halved = halve(double(maps, BINOMIAL), BINOMIAL)
    halved.float().square().sum().backward()
    assert maps.grad is not None and maps.grad.dtype == torch.float32 and bool(torch.isfinite(maps.grad).all())
