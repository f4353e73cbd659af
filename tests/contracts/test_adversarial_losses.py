"""What every loss of two players keeps: a new file in ``losses`` that reads ``fake`` is tested because it exists."""

from __future__ import annotations

import pytest
import torch

from visus.core.errors import UsageError
from visus.core.recipe import LossSettings
from visus.losses import LOSSES, reads, settled

NAMES = [name for name in LOSSES if reads(name) == "fake"]
PLAYERS = ("discriminator", "generator")
B = 9


def logits(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    real, fake = 3 * torch.randn(2, B, generator=generator, dtype=torch.float64).to(dtype)
    return real, fake


def test_a_loss_is_the_function_that_its_file_is_named_for():
    assert {"non_saturating", "hinge", "wasserstein", "relativistic"} <= set(NAMES)
    assert all(LOSSES[name].__name__ == name for name in NAMES)


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("micro", [1, 2, 4])
def test_splitting_a_batch_does_not_change_the_sum(name, player, micro):
    real, fake = logits()
    parts = [LOSSES[name](r, f, player=player).sum() for r, f in zip(real.split(micro), fake.split(micro), strict=True)]
    whole = LOSSES[name](real, fake, player=player)
    assert whole.shape == (B,)
    assert torch.stack(parts).sum().item() == pytest.approx(whole.sum().item(), rel=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_the_discriminator_gains_from_real_pictures_above_and_generated_ones_below(name):
    real, fake = (t.requires_grad_() for t in logits())
    LOSSES[name](real, fake, player="discriminator").sum().backward()
    assert (real.grad <= 0).all() and real.grad.any()
    assert (fake.grad >= 0).all() and fake.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_gains_from_pictures_that_are_taken_for_real(name):
    real, fake = (t.requires_grad_() for t in logits())
    LOSSES[name](real, fake, player="generator").sum().backward()
    assert (fake.grad < 0).all()


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_logits_are_judged_in_float32(name, player):
    real, fake = logits(torch.bfloat16)
    found = LOSSES[name](real, fake, player=player)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, LOSSES[name](real.float(), fake.float(), player=player))


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("name", NAMES)
def test_logits_far_out_keep_values_and_slopes_finite(name, player):
    real, fake = ((200 * t).requires_grad_() for t in logits(torch.float32))
    values = LOSSES[name](real, fake, player=player)
    values.sum().backward()
    assert torch.isfinite(values).all() and torch.isfinite(fake.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_learn_from_labels(name):
    with pytest.raises(UsageError, match="learns from 'fake'"):
        settled(LossSettings(name=name), ("label",))
