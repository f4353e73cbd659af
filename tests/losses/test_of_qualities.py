import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from visus.losses.quality_focal import quality_focal
from visus.losses.varifocal import varifocal


def logits_and_quality(n=40, k=5):
    generator = torch.Generator().manual_seed(4)
    logits = 4 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    shown = torch.rand(n, k, generator=generator) < 0.3
    return logits, shown * torch.rand(n, k, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 4.0])
def test_quality_focal_of_perfect_boxes_is_torchvisions_focal_loss(gamma):
    logits, quality = logits_and_quality()
    theirs = sigmoid_focal_loss(logits, quality.ceil(), alpha=-1, gamma=gamma).sum(1)
    torch.testing.assert_close(quality_focal(logits, quality.ceil(), gamma=gamma), theirs)


def test_quality_focal_by_hand():
    logits, quality = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.75, 0.0]])
    expected = (0.25**2 + 0.5**2) * torch.log(torch.tensor(2.0))  # a half sure costs log 2, whatever the quality
    torch.testing.assert_close(quality_focal(logits, quality), expected[None])


def test_quality_focal_is_least_and_nothing_where_the_score_is_the_quality():
    quality = torch.tensor([[0.1, 0.5, 0.9]], dtype=torch.float64)
    assert quality_focal(quality.logit(), quality).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_varifocal_of_background_is_torchvisions_focal_loss(gamma):
    logits, _ = logits_and_quality()
    nothing = torch.zeros_like(logits)
    theirs = sigmoid_focal_loss(logits, nothing, alpha=0.25, gamma=gamma).sum(1)  # theirs is a factor of what is shown
    torch.testing.assert_close(varifocal(logits, nothing, gamma=gamma, alpha=0.75), theirs)


def test_varifocal_weighs_what_is_shown_by_its_quality_and_does_not_focus_on_it():
    logits, quality = logits_and_quality()
    quality = quality.clamp(min=0.1)  # something everywhere
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    torch.testing.assert_close(varifocal(logits, quality), (quality * entropy).sum(1))


def test_without_alpha_background_has_no_factor():
    logits, _ = logits_and_quality()
    nothing = torch.zeros_like(logits)
    torch.testing.assert_close(varifocal(logits, nothing, alpha=-1.0), varifocal(logits, nothing, alpha=1.0))


@pytest.mark.parametrize("loss", [quality_focal, varifocal])
@pytest.mark.parametrize("unknown", [-1.0, torch.nan])
def test_a_class_that_is_unknown_at_a_place_counts_as_if_it_were_not_there(loss, unknown):
    logits, quality = logits_and_quality()
    without = loss(logits[:, 1:], quality[:, 1:])
    quality[:, 0] = unknown
    torch.testing.assert_close(loss(logits, quality), without)


@pytest.mark.parametrize("loss", [quality_focal, varifocal])
def test_no_places_cost_nothing(loss):
    logits = torch.zeros(0, 3, requires_grad=True)
    loss(logits, torch.zeros(0, 3)).sum().backward()
    assert logits.grad.shape == (0, 3)
