"""Penalties on slopes, against what can be reckoned by hand."""

from __future__ import annotations

import pytest
import torch

from visus.tasks.generate.penalties import distance_from_one, path_lengths, squared_slopes

GENERATOR = torch.Generator().manual_seed(3)
IMAGES = torch.randn(5, 2, 3, 4, dtype=torch.float64, generator=GENERATOR)
WEIGHTS = torch.randn(2, 3, 4, dtype=torch.float64, generator=GENERATOR)


def test_the_slope_of_a_plane_is_the_length_of_its_weights():
    images = IMAGES.clone().requires_grad_()
    found = squared_slopes((images * WEIGHTS).sum((1, 2, 3)), images)
    assert found.tolist() == pytest.approx([WEIGHTS.square().sum().item()] * 5)


def test_the_slope_of_a_parabola_is_that_of_each_picture_by_itself():
    images = IMAGES.clone().requires_grad_()
    found = squared_slopes(images.square().sum((1, 2, 3)), images)
    assert found.tolist() == pytest.approx((4 * IMAGES.square().sum((1, 2, 3))).tolist())


def test_the_penalty_pulls_at_the_weights_as_differences_say():
    """R1 of a small network: its gradient is one of second order."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Softplus(), torch.nn.Flatten(),
                                  torch.nn.Linear(6, 1)).double()  # fmt: skip

    def penalty() -> torch.Tensor:
        images = IMAGES.clone().requires_grad_()
        return squared_slopes(network(images)[:, 0], images).sum()

    penalty().backward()
    weight = network[0].weight
    with torch.no_grad():
        ours, step = weight.grad[1, 0, 2, 1].item(), 1e-5
        weight[1, 0, 2, 1] += step
    above = penalty().item()
    with torch.no_grad():
        weight[1, 0, 2, 1] -= 2 * step
    assert ours == pytest.approx((above - penalty().item()) / (2 * step), rel=1e-6)


def test_a_slope_of_one_costs_nothing():
    images = IMAGES.clone().requires_grad_()
    even = (images * WEIGHTS / torch.linalg.vector_norm(WEIGHTS)).sum((1, 2, 3))
    assert distance_from_one(even, images).tolist() == pytest.approx([0] * 5, abs=1e-10)
    assert distance_from_one(3 * even, images).tolist() == pytest.approx([4] * 5)


def test_path_lengths_of_a_linear_generator_are_those_of_its_transpose():
    matrix = torch.randn(24, 6, dtype=torch.float64, generator=GENERATOR)
    styles = torch.randn(5, 2, 3, dtype=torch.float64, generator=GENERATOR).requires_grad_()
    directions = torch.randn(5, 2, 3, 4, dtype=torch.float64, generator=GENERATOR)
    images = (styles.flatten(1) @ matrix.T).view(5, 2, 3, 4)
    moves = (directions.flatten(1) @ matrix).view(5, 2, 3) / 12**0.5
    expected = moves.square().sum(2).mean(1).sqrt()
    torch.testing.assert_close(path_lengths(images, styles, directions), expected)
