"""Shares are those of the pixels, and their distribution is the papers'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta as beta_distribution
from scipy.stats import kstest
from torch import Tensor

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms.mixing import beta, mix

N = 2000


def draws(n: int = N) -> Draws:
    return Draws(0, np.zeros(n, np.int64), np.arange(n))


def mixed(n: int = N, size: tuple[int, int] = (12, 16), **alphas: float) -> tuple[Tensor, Tensor]:
    """Mix pictures of ones with partners of zeros, so that the mean of a result is its own share."""
    return mix(torch.ones(n, 1, *size), torch.zeros(n, 1, *size), AugmentSettings(**alphas), draws(n))


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    assert kstest(beta(alpha, draws().uniform("any")[:, 0]), beta_distribution(alpha, alpha).cdf).pvalue > 1e-3


def test_mixup_adds_both_pictures_by_their_shares():
    own, other = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    images, share = mix(own.clone(), other.clone(), AugmentSettings(mixup=0.8), draws(5))
    weight = share[:, None, None, None]
    torch.testing.assert_close(images, own * weight + other * (1 - weight))
    assert kstest(mixed(mixup=0.8)[1].double().numpy(), beta_distribution(0.8, 0.8).cdf).pvalue > 1e-3


def test_the_share_of_cutmix_counts_the_pixels_that_were_kept():
    images, share = mixed(cutmix=1.0)
    assert set(images.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(share, images.mean((1, 2, 3)))


def test_cutmix_replaces_one_rectangle():
    for image in mixed(200, cutmix=1.0)[0][:, 0]:
        taken = image == 0
        rows, columns = taken.any(1), taken.any(0)
        assert torch.equal(taken, rows[:, None] & columns)
        assert taken[rows].shape[0] == 0 or (rows.nonzero().diff(dim=0) == 1).all()


def test_cutmix_takes_the_area_it_drew_where_the_rectangle_lies_inside():
    images, _ = mixed(size=(100, 100), cutmix=1.0)
    inside = (images[:, 0, [0, -1]] == 1).all(2).all(1) & (images[:, 0, :, [0, -1]] == 1).all(2).all(1)
    drawn = 1 - beta(1.0, draws().uniform("cutmix")[:, 0])
    taken = 1 - images.mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(taken[inside], drawn[inside], atol=0.02)
    assert inside.sum() > 200


def test_with_both_a_coin_chooses_for_each_picture():
    images, share = mixed(mixup=1.0, cutmix=1.0)
    cut = ((images == 0) | (images == 1)).flatten(1).all(1)
    assert cut.float().mean() == pytest.approx(0.5, abs=0.04)
    torch.testing.assert_close(share, images.mean((1, 2, 3)))


def test_a_picture_is_mixed_the_same_way_in_any_batch():
    own, other = torch.randn(30, 3, 9, 9), torch.randn(30, 3, 9, 9)
    augment = AugmentSettings(mixup=0.5, cutmix=1.0)
    images, share = mix(own.clone(), other, augment, draws(30))
    for i in range(30):
        alone, weight = mix(own[i : i + 1].clone(), other[i : i + 1], augment, draws(30).rows(np.array([i])))
        assert torch.equal(alone[0], images[i])
        assert weight[0] == share[i]
