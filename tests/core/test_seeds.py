import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from visus.core.seeds import Draws, derive, permutation

SEED = st.integers(0, 2**63)
STREAM = st.text(max_size=12)


def draws(seed=0, n=100, epoch=0):
    return Draws(seed, np.full(n, epoch), np.arange(n))


def test_derived_seeds_are_the_same_on_every_machine_and_in_every_release():
    assert derive(0, "order", 0) == 1370560536841482319
    assert derive(0, "order", 1) == 3818025765772773313
    assert derive(1, "dropout", 3, 4) == 5260601689815263793


def test_draws_are_the_same_on_every_machine_and_in_every_release():
    numbers = Draws(7, np.array([0, 3]), np.array([5, 1])).uniform("crop", 2)
    assert numbers.tolist() == [
        [0.8767971695687078, 0.2278783864290458],
        [0.7311411398182932, 0.7081698124148451],
    ]


@given(SEED, st.integers(0, 2**40), st.integers(0, 2**40))
def test_draws_are_split_mix_64_in_plain_arithmetic(seed, epoch, sample):
    """The same, in Python's unbounded integers instead of numpy's wrapping ones."""
    word = 2**64
    golden = 0x9E3779B97F4A7C15

    def mix(z):
        z = (z + golden) % word
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % word
        z = (z ^ z >> 27) * 0x94D049BB133111EB % word
        return z ^ z >> 31

    row = mix(mix(derive(seed, "s") + epoch * golden) ^ sample)
    expected = [(mix(row + column * golden) >> 11) / 2**53 for column in (1, 2, 3)]
    assert Draws(seed, np.array([epoch]), np.array([sample])).uniform("s", 3).tolist() == [expected]


@given(SEED, STREAM, st.lists(st.integers(0, 10**9), max_size=3))
def test_a_derived_seed_is_one_that_torch_and_numpy_accept(seed, stream, position):
    value = derive(seed, stream, *position)
    assert 0 <= value < 2**63
    torch.Generator().manual_seed(value)


def test_parts_are_kept_apart():
    """(1, 23) and (12, 3), a number in the name and one in the position: none may meet."""
    values = [derive(0, "a", 1, 23), derive(0, "a", 12, 3), derive(0, "a1", 23), derive(0, "a", 123), derive(0, "a123")]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("stride", [1, 2**32, 2**40, 2**62])
def test_the_low_32_bits_differ_however_far_apart_the_seeds_are(stride):
    """PyTorch's CPU generator reads only those: seeds that differ in high bits alone would give one stream."""
    low = {derive(i * stride, "dropout", 0) & 0xFFFFFFFF for i in range(1000)}
    assert len(low) == 1000


def test_torch_streams_of_neighbouring_steps_are_unlike():
    rows = [torch.rand(2000, generator=torch.Generator().manual_seed(derive(0, "s", i))).numpy() for i in range(8)]
    off_diagonal = np.corrcoef(rows)[~np.eye(8, dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.1


@given(SEED, st.integers(0, 1000), st.integers(1, 500))
def test_an_epoch_shows_every_sample_once(seed, epoch, n):
    assert sorted(permutation(seed, epoch, n)) == list(range(n))


def test_two_epochs_and_two_seeds_have_different_orders():
    orders = [tuple(permutation(seed, epoch, 50)) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16


def test_every_place_of_the_order_is_equally_likely_for_every_sample():
    places = np.array([np.argsort(permutation(0, epoch, 8)) for epoch in range(4000)])
    p = [stats.chisquare(np.bincount(places[:, sample], minlength=8)).pvalue for sample in range(8)]
    assert min(p) > 1e-4


def test_draws_are_uniform_over_samples_and_over_epochs():
    over_samples = draws(n=100_000).uniform("flip")[:, 0]
    over_epochs = Draws(0, np.arange(100_000), np.zeros(100_000, dtype=int)).uniform("flip")[:, 0]
    for numbers in (over_samples, over_epochs):
        assert stats.chisquare(np.histogram(numbers, bins=100, range=(0, 1))[0]).pvalue > 1e-4
        assert stats.kstest(numbers, "uniform").pvalue > 1e-4


def test_the_columns_of_a_draw_are_uncorrelated():
    columns = draws(n=50_000).uniform("colour", 6)
    assert np.abs(np.corrcoef(columns.T)[~np.eye(6, dtype=bool)]).max() < 0.02


def test_neighbouring_samples_and_epochs_are_uncorrelated():
    table = np.stack([draws(n=20_000, epoch=epoch).uniform("x")[:, 0] for epoch in range(4)])
    assert np.abs(np.corrcoef(table)[~np.eye(4, dtype=bool)]).max() < 0.03
    assert abs(np.corrcoef(table[0, 1:], table[0, :-1])[0, 1]) < 0.03


def test_streams_of_other_names_and_seeds_are_uncorrelated():
    columns = [draws(seed, 20_000).uniform(name)[:, 0] for seed in (0, 1) for name in ("flip", "crop", "crop2")]
    assert np.abs(np.corrcoef(columns)[~np.eye(6, dtype=bool)]).max() < 0.03


@given(SEED, STREAM, st.permutations(range(12)))
def test_a_sample_draws_the_same_whatever_batch_it_is_in(seed, stream, order):
    whole = draws(seed, 12, epoch=3)
    keep = np.array(order)
    assert np.array_equal(whole.rows(keep).uniform(stream, 3), whole.uniform(stream, 3)[keep])
    assert np.array_equal(whole.rows(keep[:1]).uniform(stream), whole.uniform(stream)[keep[:1]])


def test_asking_for_more_numbers_does_not_change_the_first_ones():
    assert np.array_equal(draws().uniform("a", 5)[:, :2], draws().uniform("a", 2))


def test_between_stays_between():
    numbers = draws(n=10_000).between("scale", 0.8, 1.2)
    assert numbers.shape == (10_000,)
    assert 0.8 <= numbers.min() < 0.801
    assert 1.199 < numbers.max() < 1.2


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_coin_falls_true_as_often_as_it_should(probability):
    share = draws(n=100_000).chance("flip", probability).mean()
    assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 100_000) ** 0.5)


def test_there_are_as_many_rows_as_samples():
    assert len(draws(n=7)) == 7


def test_normal_numbers_have_mean_0_and_deviation_1_and_belong_to_their_row():
    draws = Draws(3, np.zeros(400, np.int64), np.arange(400))
    numbers = draws.normal("latents", 50)
    assert numbers.shape == (400, 50) and np.isfinite(numbers).all()
    assert abs(numbers.mean()) < 4 / 20_000**0.5 and abs(numbers.std() - 1) < 4 / 40_000**0.5
    assert abs((np.abs(numbers) < 1).mean() - 0.6827) < 4 * (0.6827 * 0.3173 / 20_000) ** 0.5
    assert np.array_equal(draws.rows(np.array([7])).normal("latents", 50)[0], numbers[7])
