"""Shares are those of the pixels, and their distribution is the papers'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import beta as beta_distribution
from scipy.stats import kstest
from torch import Tensor
from torchvision.transforms import v2

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms.mixing import beta, mix, rectangles

N = 2000


def draws(n: int = N) -> Draws:
    return Draws(0, np.zeros(n, np.int64), np.arange(n))


def mixed(n: int = N, size: tuple[int, int] = (12, 16), **alphas: float) -> tuple[Tensor, Tensor]:
    """Mix pictures of ones with partners of zeros, so that the mean of a result is its own share."""
    return mix(torch.ones(n, 1, *size), torch.zeros(n, 1, *size), AugmentSettings(**alphas), draws(n))


def as_torchvision(mixing: v2.Transform, images: Tensor, labels: Tensor, **drawn: object) -> tuple[Tensor, Tensor]:
    """Return pictures and shares of labels, each mixed with the one before it, for what ``mixing`` is to have drawn."""
    drawn |= {"labels": labels, "batch_size": len(labels)}
    return mixing.transform(images, drawn), mixing.transform(labels, drawn)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    assert kstest(beta(alpha, draws().uniform("any")[:, 0]), beta_distribution(alpha, alpha).cdf).pvalue > 1e-3


def test_mixup_adds_both_pictures_by_their_shares():
    own, other = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    images, share = mix(own.clone(), other.clone(), AugmentSettings(mixup=0.8), draws(5))
    weight = share[:, None, None, None]
    torch.testing.assert_close(images, own * weight + other * (1 - weight))
    assert kstest(mixed(mixup=0.8)[1].double().numpy(), beta_distribution(0.8, 0.8).cdf).pvalue > 1e-3


def test_at_the_same_share_mixup_gives_torchvisions_pictures_and_labels():
    images, labels = torch.randn(5, 3, 8, 9), torch.arange(5)
    ours, share = mix(images.clone(), images.roll(1, 0), AugmentSettings(mixup=0.8), draws(5))
    for i, lam in enumerate(share.tolist()):
        theirs, weights = as_torchvision(v2.MixUp(num_classes=5), images, labels, lam=lam)
        torch.testing.assert_close(ours[i], theirs[i])
        assert weights[i, labels[i]].item() == pytest.approx(lam)


def test_for_the_same_rectangle_cutmix_gives_torchvisions_pictures_and_labels():
    images, labels = torch.randn(5, 3, 8, 9), torch.arange(5)
    ours, share = mix(images.clone(), images.roll(1, 0), AugmentSettings(cutmix=1.0), draws(5))
    area = 1 - beta(1.0, draws(5).uniform("cutmix")[:, 0])
    for i, box in enumerate(rectangles((8, 9), area, draws(5).uniform("cutmix_place", 2)).tolist()):
        kept = 1 - (box[2] - box[0]) * (box[3] - box[1]) / (8 * 9)
        theirs, weights = as_torchvision(v2.CutMix(num_classes=5), images, labels, box=box, lam_adjusted=kept)
        assert torch.equal(ours[i], theirs[i])
        assert weights[i, labels[i]].item() == pytest.approx(share[i].item())


def test_a_rectangle_of_cutmix_is_torchvisions_but_for_the_part_of_a_pixel_that_it_cuts_off_each_half_side():
    cutmix, height, width = v2.CutMix(num_classes=2), 30, 41
    for seed in range(100):
        torch.manual_seed(seed)
        theirs = cutmix.make_params([torch.empty(1, height, width)])["box"]
        torch.manual_seed(seed)  # the same numbers once more: the share, then the middle
        lam, x, y = cutmix._dist.sample(()).item(), torch.randint(width, ()).item(), torch.randint(height, ()).item()
        (ours,) = rectangles((height, width), np.array([1 - lam]), np.array([[x / width, y / height]]))
        larger = np.array(theirs) - ours
        assert set(larger[:2].tolist()) <= {0, 1}
        assert set(larger[2:].tolist()) <= {0, -1}


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
