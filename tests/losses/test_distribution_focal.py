import pytest
import torch
import torch.nn.functional as F

from visus.losses.distribution_focal import distribution_focal


def logits_and_distances(n=30, sides=4, r=8):
    generator = torch.Generator().manual_seed(4)
    logits = 2 * torch.randn(n, sides, r, generator=generator, dtype=torch.float64)
    return logits, (r - 1) * torch.rand(n, sides, generator=generator, dtype=torch.float64)


def test_a_whole_distance_costs_its_cross_entropy():
    logits, distances = logits_and_distances()
    whole = distances.round()
    theirs = F.cross_entropy(logits.movedim(2, 1), whole.long(), reduction="none").mean(1)
    torch.testing.assert_close(distribution_focal(logits, whole), theirs)


def test_a_distance_costs_its_shares_of_the_two_whole_ones_beside_it():
    logits, distances = logits_and_distances()
    below = distances.floor()
    share = F.one_hot(below.long(), 8) * (below + 1 - distances)[..., None]
    share += F.one_hot(below.long() + 1, 8) * (distances - below)[..., None]
    theirs = F.cross_entropy(logits.movedim(2, 1), share.movedim(2, 1), reduction="none").mean(1)
    torch.testing.assert_close(distribution_focal(logits, distances), theirs)


def test_the_mean_of_the_best_distribution_is_the_distance():
    best = torch.tensor([[[1e-9, 1e-9, 0.7, 0.3, 1e-9]]], dtype=torch.float64)
    logits = best.log().requires_grad_()
    (slope,) = torch.autograd.grad(distribution_focal(logits, torch.tensor([[2.3]])).sum(), logits)
    assert slope.abs().max() < 1e-6
    assert (best * torch.arange(5)).sum().item() == pytest.approx(2.3)


@pytest.mark.parametrize(("outside", "end"), [(-3.0, 0.0), (7.4, 7.0), (100.0, 7.0)])
def test_a_distance_beyond_the_distribution_counts_as_its_end(outside, end):
    logits, distances = logits_and_distances()
    given, meant = distribution_focal(logits, distances.fill_(outside)), distances.clone().fill_(end)
    assert torch.equal(given, distribution_focal(logits, meant))


def test_a_side_that_is_unknown_is_left_out_of_the_mean():
    logits, distances = logits_and_distances()
    without = distribution_focal(logits[:, 1:], distances[:, 1:])
    distances[:, 0] = torch.nan
    torch.testing.assert_close(distribution_focal(logits, distances), without)
