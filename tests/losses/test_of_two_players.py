"""Losses of a discriminator and a generator, reckoned by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from visus.losses.hinge import hinge
from visus.losses.non_saturating import non_saturating
from visus.losses.relativistic import relativistic
from visus.losses.wasserstein import wasserstein

REAL, FAKE = torch.tensor([2.0, -0.5], dtype=torch.float64), torch.tensor([-3.0, 0.5], dtype=torch.float64)


def softplus(x: float) -> float:
    return log(1 + exp(x))


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        (non_saturating, [softplus(-2) + softplus(-3), softplus(0.5) + softplus(0.5)], [softplus(3), softplus(-0.5)]),
        (hinge, [0 + 0, 1.5 + 1.5], [3, -0.5]),
        (wasserstein, [-5, 1], [3, -0.5]),
        (relativistic, [softplus(-5), softplus(1)], [softplus(5), softplus(-1)]),
    ],
)
def test_what_each_player_pays(loss, discriminator, generator):
    assert loss(REAL, FAKE, player="discriminator").tolist() == pytest.approx(discriminator)
    assert loss(REAL, FAKE, player="generator").tolist() == pytest.approx(generator)


def test_only_relativistic_pictures_are_judged_beside_each_other():
    for loss in (non_saturating, hinge, wasserstein):
        assert torch.equal(loss(REAL, FAKE, player="generator"), loss(REAL + 1, FAKE, player="generator"))
    assert not torch.equal(
        relativistic(REAL, FAKE, player="generator"), relativistic(REAL + 1, FAKE, player="generator")
    )
