import math

import pytest
import torch
import torch.nn.functional as F

from visus.losses.cross_entropy import cross_entropy


def logits_and_labels(n=50, k=7):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(n, k, generator=generator, dtype=torch.float64)
    return logits, torch.randint(-1, k, (n,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_indices_cost_what_torch_says(smoothing, weighted):
    logits, label = logits_and_labels()
    weights = torch.arange(1, 8, dtype=torch.float64) / 4 if weighted else None
    theirs = F.cross_entropy(logits, label, weights, ignore_index=-1, reduction="none", label_smoothing=smoothing)
    ours = cross_entropy(logits, label, smoothing=smoothing, class_weights=weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0)


def test_shares_of_one_class_cost_the_same_as_its_index():
    logits, label = logits_and_labels()
    label = label.clamp(min=0)
    ours = cross_entropy(logits, F.one_hot(label, 7).double(), smoothing=0.1)
    torch.testing.assert_close(ours, cross_entropy(logits, label, smoothing=0.1))


def test_a_mixture_costs_the_mixture_of_the_costs():
    logits, label = logits_and_labels()
    label, other = label.clamp(min=0), label.clamp(min=0).roll(1)
    mixed = 0.3 * F.one_hot(label, 7).double() + 0.7 * F.one_hot(other, 7).double()
    expected = 0.3 * cross_entropy(logits, label) + 0.7 * cross_entropy(logits, other)
    torch.testing.assert_close(cross_entropy(logits, mixed), expected)


def test_indifference_costs_the_logarithm_of_the_number_of_classes():
    assert cross_entropy(torch.zeros(1, 10), torch.tensor([3])).item() == pytest.approx(math.log(10))


def test_weights_multiply_and_do_not_enter_a_denominator():
    logits, label = logits_and_labels()
    twice = cross_entropy(logits, label, class_weights=torch.full((7,), 2.0))
    torch.testing.assert_close(twice, 2 * cross_entropy(logits, label))
