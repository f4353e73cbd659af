import pytest
import torch
import torch.nn.functional as F

from visus.losses.cross_entropy import cross_entropy
from visus.losses.focal import focal


def logits_and_labels(n=50, k=6):
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return logits, torch.randint(-1, k, (n,), generator=generator)


def test_without_focus_it_is_cross_entropy():
    logits, label = logits_and_labels()
    weights = torch.linspace(0.5, 2, 6, dtype=torch.float64)
    ours = focal(logits, label, gamma=0.0, class_weights=weights)
    torch.testing.assert_close(ours, cross_entropy(logits, label, class_weights=weights))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_it_is_cross_entropy_times_a_power_of_what_is_missing(gamma):
    logits, label = logits_and_labels()
    plain = cross_entropy(logits, label)
    torch.testing.assert_close(focal(logits, label, gamma=gamma), (1 - (-plain).exp()) ** gamma * plain)


def test_shares_of_one_class_cost_the_same_as_its_index():
    logits, label = logits_and_labels()
    label = label.clamp(min=0)
    torch.testing.assert_close(focal(logits, F.one_hot(label, 6).double()), focal(logits, label))


def test_a_certain_and_right_answer_has_a_finite_slope_at_any_focus():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    focal(logits, torch.tensor([0]), gamma=0.5).sum().backward()
    assert (logits.grad == 0).all()
