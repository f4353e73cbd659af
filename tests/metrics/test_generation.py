"""Scores of generated pictures: equal to independent formulas, to programs of others, and to what hands can count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm, svdvals
from sklearn.neighbors import NearestNeighbors

from visus.core.task import Batch, Timed
from visus.metrics import generation
from visus.metrics.bootstrap import resamples_of
from visus.metrics.generation import (
    CLASS_ACCURACY,
    CLASS_COVERAGE,
    DISTANCES,
    NEIGHBOURLY,
    Generation,
    covered_within,
    frechet,
    kernel_distance,
    named,
    nearest,
    neighbourhoods,
)


def features(n, d, seed, shift=0.0, scale=1.0):
    drawn = np.random.default_rng(seed)
    mixed = drawn.normal(size=(n, d)) @ drawn.normal(size=(d, d)) / np.sqrt(d)
    return scale * mixed + shift


@pytest.fixture(params=[(300, 12), (90, 40), (25, 40)], ids=["many pictures", "fewer", "fewer than features"])
def sets(request):
    n, d = request.param
    return features(n, d, 0), features(n, d, 1, shift=0.3, scale=1.2)


@pytest.fixture(params=[10**9, 700], ids=["in one block", "in many"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(generation, "CELLS", request.param)


@pytest.mark.usefixtures("blocks")
def test_fid_is_the_formula_of_its_paper_by_the_root_of_a_matrix():
    real, generated = features(300, 12, 0), features(200, 12, 1, shift=0.3, scale=1.2)
    one, other = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    between = real.mean(0) - generated.mean(0)
    expected = between @ between + np.trace(one + other - 2 * sqrtm(one @ other).real)
    assert frechet(real, generated).value == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("blocks")
def test_fid_of_fewer_pictures_than_features_loses_no_digits():
    real, generated = features(25, 40, 0), features(20, 40, 1, shift=0.3)
    one, other = ((side - side.mean(0)) / np.sqrt(len(side) - 1) for side in (real, generated))
    between = real.mean(0) - generated.mean(0)
    expected = between @ between + (one**2).sum() + (other**2).sum() - 2 * svdvals(one @ other.T).sum()
    assert frechet(real, generated).value == pytest.approx(expected, abs=1e-9)


def test_fid_is_that_of_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    sides = features(300, 12, 0), features(200, 12, 1, shift=0.3)
    parts = [(torch.from_numpy(side.mean(0)), torch.from_numpy(np.cov(side, rowvar=False))) for side in sides]
    expected = fid._compute_fid(*parts[0], *parts[1])
    assert frechet(*sides).value == pytest.approx(float(expected), abs=1e-6)


def test_fid_of_pictures_along_one_line_is_what_hands_compute():
    real, generated = np.array([[0.0, 1], [2, 1], [4, 1]]), np.array([[1.0, 1], [2, 1], [3, 1]])
    assert frechet(real, generated).value == pytest.approx(1, abs=1e-12)  # (2 - 1) squared, deviations 2 and 1


def test_fid_of_a_set_with_itself_is_zero(sets):
    assert frechet(sets[0], sets[0][::-1]).value == pytest.approx(0, abs=1e-9)


@pytest.mark.usefixtures("blocks")
def test_kid_is_that_of_torchmetrics_over_all_pictures(sets):
    kid = pytest.importorskip("torchmetrics.image.kid")
    expected = kid.poly_mmd(*(torch.from_numpy(side) for side in sets))
    assert kernel_distance(*sets).value == pytest.approx(float(expected), abs=1e-6)


def test_kid_of_sets_of_unequal_size_is_its_double_sum():
    real, generated = features(7, 3, 0), features(5, 3, 1)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    within = [
        sum(k(x, y) for i, x in enumerate(side) for j, y in enumerate(side) if i != j) / (len(side) * (len(side) - 1))
        for side in (real, generated)
    ]
    expected = sum(within) - 2 * sum(k(x, y) for x in real for y in generated) / 35
    assert kernel_distance(real, generated).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbourhoods_are_those_of_a_search_for_neighbours(sets, k):
    real, generated = sets
    found = neighbourhoods(real, generated, k)
    radii = [NearestNeighbors(n_neighbors=k + 1).fit(side).kneighbors(side)[0][:, k] for side in sets]
    far = np.linalg.norm(real[:, None] - generated[None], axis=2)
    assert found.precise.tolist() == (far <= radii[0][:, None]).any(0).tolist()
    assert found.recalled.tolist() == (far <= radii[1]).any(1).tolist()
    assert found.density == pytest.approx((far <= radii[0][:, None]).sum(0) / k)
    assert found.covered.tolist() == (far.min(1) <= radii[0]).tolist()
    assert found.distance == pytest.approx(far.min(0), abs=1e-6)
    for mine, theirs in zip(found.radii, radii, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-6)


def test_copies_of_real_pictures_lie_on_the_edge_of_balls_and_are_inside():
    real = 1000 + features(50, 8, 0)
    near = neighbourhoods(real, real.copy(), 1)
    assert near.precise.all()
    assert near.density.mean() == 2  # the ball of which it is the centre, and that on whose edge it lies, on average
    assert near.covered.all()
    assert near.distance == pytest.approx(0, abs=1e-4)


def test_balls_on_a_line_are_what_hands_count():
    real, generated = np.array([[0.0], [1], [10], [11]]), np.array([[0.5], [2.5], [10.5], [12.5]])
    near = neighbourhoods(real, generated, 1)  # real radii 1, generated 2
    assert near.precise.tolist() == [True, False, True, False]
    assert near.density.tolist() == [2, 0, 2, 0]
    assert near.covered.tolist() == [True] * 4
    assert near.recalled.tolist() == [True] * 4


@pytest.mark.usefixtures("blocks")
def test_a_ball_is_covered_within_its_class_by_a_picture_that_was_asked_to_be_of_it(sets):
    real, generated = sets
    labels, asked = np.arange(len(real)) % 4 - 1, np.arange(len(generated)) // 3 % 3
    radii = neighbourhoods(real, generated, 3).radii[0]
    far = np.linalg.norm(real[:, None] - generated[None], axis=2)
    held = (far <= radii[:, None]) & (labels[:, None] == asked) & (labels >= 0)[:, None]
    assert covered_within(real, generated, radii, labels, asked).tolist() == held.any(1).tolist()


def test_a_generator_that_is_deaf_to_its_class_loses_to_one_that_makes_less_varied_pictures_of_it():
    drawn, labels = np.random.default_rng(0), torch.arange(600) % 6
    centres = 8 * drawn.normal(size=(6, 5))
    real, deaf, narrow = (torch.from_numpy(centres[labels.roll(by)] + scale * drawn.normal(size=(600, 5)))
                          for by, scale in ((0, 1), (1, 1), (0, 0.7)))  # fmt: skip
    covered = []
    for generated in (deaf, narrow):
        rows = {"real": real, "generated": generated, "asked": labels}
        found = told(Generation(tuple("abcdef"), 5, "x"), rows, torch.arange(600), label=labels).compute()
        covered.append((found["coverage (x)"].value, found[named(CLASS_COVERAGE, "x")].value))
    assert covered[0][0] > covered[1][0] > 0.5, "of all pictures the deaf one covers more"
    assert covered[0][1] < 0.05 and covered[1][1] == covered[1][0]


def test_pictures_of_which_no_class_is_known_are_left_out_of_coverage_within_classes():
    rows, index = judged(asked=torch.arange(60) % 3)
    labels = torch.where(torch.arange(60) < 30, torch.arange(60) % 3, -1)
    found = told(Generation(tuple("abc"), 5, "x"), rows, index, label=labels).judged()
    radii = found.near.radii[0]
    held = covered_within(rows["real"].double().numpy(), rows["generated"].double().numpy(), radii, *(
        each.numpy() for each in (labels, rows["asked"])))  # fmt: skip
    value = found.weighted(np.ones((60, 1)))[named(CLASS_COVERAGE, "x")]
    assert value == pytest.approx(held[:30].mean())


@pytest.mark.parametrize("score", [frechet, kernel_distance])
def test_slopes_are_what_a_picture_more_changes(score):
    real, generated = features(400, 6, 0), features(400, 6, 1, shift=0.5)
    found = score(real, generated)
    for side in (0, 1):
        for at in (3, 77):
            sets = [real, generated]
            sets[side] = np.concatenate([sets[side], sets[side][at : at + 1]])
            change = score(*sets).value - found.value
            assert change == pytest.approx(found[1 + side][at], abs=0.1 * np.abs(found[1 + side]).max())


@pytest.mark.parametrize("score", [frechet, kernel_distance])
def test_resampling_by_slopes_spreads_as_resampling_itself(score):
    real, generated = features(500, 10, 0), features(500, 10, 1, shift=0.3)
    found = score(real, generated)
    (weights,) = resamples_of(500, 32)
    exact = [
        score(np.repeat(real, w.astype(int), axis=0), np.repeat(generated, w.astype(int), axis=0)).value
        for w in weights.T
    ]
    linear = found.value + (found.real + found.generated) @ (weights - 1)
    assert np.corrcoef(exact, linear)[0, 1] > 0.95
    assert linear.std() == pytest.approx(np.std(exact), rel=0.25)


@pytest.mark.usefixtures("blocks")
def test_nearest_training_pictures_are_those_of_a_search_for_neighbours(sets):
    training, generated = sets
    found = nearest(training, generated, 4)
    distances, rows = NearestNeighbors(n_neighbors=4).fit(training).kneighbors(generated)
    among = NearestNeighbors(n_neighbors=2).fit(training).kneighbors(training)[0][:, 1]
    assert found.rows.tolist() == rows.tolist()
    assert found.distances == pytest.approx(distances, abs=1e-6)
    assert found.own.tolist() == (distances[:, 0] > among[rows[:, 0]]).tolist()


def test_copies_are_not_their_own_and_new_pictures_of_the_same_kind_are_by_half():
    pictures = features(4000, 6, 0)
    assert not nearest(pictures[:2000], pictures[:500] + 1e-9, 1).own.any()
    assert nearest(pictures[:2000], pictures[2000:], 1).own.mean() == pytest.approx(0.5, abs=0.06)


def judged(n=60, d=5, **more):
    torch.manual_seed(0)
    rows = {"real": torch.randn(n, d), "generated": torch.randn(n, d) + 0.2, **more}
    return rows, torch.arange(n) * 2


def told(metric, rows, index, **targets):
    n = len(index)
    metric.update(rows, Batch((), targets, ("",) * n, index, torch.eye(3).expand(n, 3, 3)))
    return metric


def test_scores_bear_the_name_of_what_made_the_features():
    rows, index = judged()
    found = told(Generation((), 5, "random convolutions, seed 0"), rows, index).compute()
    assert list(found) == [f"{kind} (random convolutions, seed 0)" for kind in (*DISTANCES, *NEIGHBOURLY)]


def test_scores_have_intervals_around_them_and_the_number_of_pairs():
    rows, index = judged()
    for score in told(Generation((), 5, "x"), rows, index).compute().values():
        assert score.low <= score.value <= score.high
        assert score.n == 60


def test_merging_the_parts_of_ranks_in_any_order_changes_nothing():
    rows, index = judged()
    whole = told(Generation((), 5, "x"), rows, index)
    parts = [
        told(Generation((), 5, "x"), {name: value[at] for name, value in rows.items()}, index[at])
        for at in (slice(40, 60), slice(0, 7), slice(7, 40))
    ]
    merged = Generation((), 5, "x")
    merged.load([*(part.state() for part in parts), Generation((), 5, "x").state()])
    assert merged.compute() == whole.compute()


def test_too_few_pictures_for_a_ball_have_no_scores_rather_than_wrong_ones():
    rows, index = judged(n=3)
    metric = told(Generation((), 5, "x"), rows, index)
    assert metric.compute() == {}
    assert np.isnan(metric.quick()["fid (x)"])


def test_the_time_that_scores_take_grows_as_pairs_meet_every_other(monkeypatch):
    """A clock that goes on by a second whenever it is asked: a second for FID, one for what compares all pairs."""
    clock = iter(range(100))
    monkeypatch.setattr(generation.time, "perf_counter", lambda: next(clock))
    metric = Generation((), 5, "x")
    assert [metric.seconds(n) for n in (3, 500, 1000, 5000)] == [0, 2, 2, 5 + 25]
    assert isinstance(metric, Timed)


def test_class_accuracy_is_the_share_in_which_the_asked_class_is_seen():
    asked = torch.arange(60) % 3
    seen = asked.clone()
    seen[:6] = (asked[:6] + 1) % 3
    rows, index = judged(asked=asked, seen=seen)
    metric = told(Generation(("a", "b", "c"), 5, "x"), rows, index)
    assert metric.compute()[CLASS_ACCURACY].value == pytest.approx(0.9)
    (table,) = metric.figures()
    assert table.rows[0] == ("a", 20, 0.9, "b (10%)")


def test_shares_of_none_and_of_all_are_not_sure():
    """Of 60 that were none: the share may be 6 % (Clopper and Pearson)."""
    rows, index = judged()
    far = told(Generation((), 5, "x"), {**rows, "generated": rows["generated"] + 1e3}, index).compute()
    same = told(Generation((), 5, "x"), {**rows, "generated": rows["real"]}, index).compute()
    for kind in ("precision", "recall", "coverage"):
        assert (far[f"{kind} (x)"].low, far[f"{kind} (x)"].high) == pytest.approx((0, 1 - 0.025 ** (1 / 60)))
        assert (same[f"{kind} (x)"].low, same[f"{kind} (x)"].high) == pytest.approx((0.025 ** (1 / 60), 1))


def test_what_a_validation_does_not_ask_for_is_not_computed(monkeypatch):
    rows, index = judged()
    metric = told(Generation((), 5, "x", score="coverage (x)"), rows, index)
    monkeypatch.delattr(generation, "kernel_distance")
    assert set(metric.quick()) == {"fid (x)", "recall (x)", "coverage (x)"}


def test_features_that_are_not_finite_lie_far_out():
    rows, index = judged()
    rows["generated"][0] = torch.nan
    found = told(Generation((), 5, "x"), rows, index).compute()
    assert all(np.isfinite(score.value) for score in found.values())
    assert named("fid", "x") in found
