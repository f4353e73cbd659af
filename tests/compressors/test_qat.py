"""Rounding while training: the steps are those of the file, and gradients pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from visus.compressors.qat import RoundedInput, RoundedWeight, with_rounding, without_rounding
from visus.compressors.weight_only import rounded


def test_weights_are_rounded_as_in_the_file():
    weight = torch.randn(5, 3, 3, 3)
    whole, scale = rounded(weight.numpy(), 0)
    torch.testing.assert_close(
        RoundedWeight()(weight), torch.from_numpy(whole * scale[:, None, None, None]), rtol=0, atol=1e-6
    )


def test_the_gradient_of_a_weight_is_that_without_rounding():
    weight = torch.randn(4, 6, requires_grad=True)
    (RoundedWeight()(weight) * torch.arange(24.0).view(4, 6)).sum().backward()
    assert torch.equal(weight.grad, torch.arange(24.0).view(4, 6))


def looked_at(low, high):
    reads = RoundedInput()
    reads(torch.tensor([low, high]))
    reads.settle()
    return reads


def test_the_first_range_is_what_was_seen():
    assert looked_at(-1.0, 3.0).range() == (-1.0, 3.0)
    assert looked_at(0.5, 3.0).range() == (0.0, 3.0)  # zero is always a step


def test_a_layer_that_only_training_asks_is_not_clipped_to_nothing():
    reads, images = RoundedInput(), torch.linspace(-2, 4, 50)
    reads.settle()
    assert torch.equal(reads(images), images)


def test_inputs_have_256_steps_of_which_one_is_zero():
    found = looked_at(-1.0, 3.0)(torch.linspace(-2, 4, 6001)).detach()
    assert len(found.unique()) == 256
    assert 0.0 in found


def test_rounding_an_input_moves_it_by_half_a_step_at_most_within_its_range():
    images = torch.linspace(-0.99, 2.99, 5000)
    assert (looked_at(-1.0, 3.0)(images) - images).abs().max() <= 4 / 255 * 0.51


def test_clipping_teaches_the_ends_of_the_range():
    reads = looked_at(-1.0, 3.0)
    reads(torch.tensor([-5.0, 0.0, 1.0, 4.0, 7.0])).sum().backward()
    assert reads.low.grad.item() == 1
    assert reads.high.grad.item() == 2


def test_a_network_gets_its_learned_weights_back_without_the_rounding():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    rounding = with_rounding(network)
    with torch.no_grad():
        rounding(torch.randn(2, 3, 4, 4))
        rounding[0].parametrizations.weight.original.mul_(2)
    back = without_rounding(rounding, network)
    assert torch.equal(back[0].weight, 2 * network[0].weight)
    assert [type(part) for part in back.modules()] == [type(part) for part in network.modules()]


def test_folding_normalisation_in_later_changes_no_rounding():
    weight, factor = torch.randn(4, 3, 3, 3), torch.tensor([0.1, -2.0, 5.0, 0.7]).view(4, 1, 1, 1)
    np.testing.assert_allclose(
        RoundedWeight()(weight * factor).numpy(), (RoundedWeight()(weight) * factor).numpy(), rtol=1e-5, atol=1e-6
    )
