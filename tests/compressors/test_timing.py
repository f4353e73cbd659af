"""Which of two files is faster: what they take in turns, and how sure that is."""

from __future__ import annotations

import itertools
from math import comb, inf

import numpy as np
import pytest
import torch

from visus.compressors import _timing


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that moves only when it is told to."""

    class Clock:
        now = 0.0

        def takes(self, *seconds):
            turns = itertools.cycle(seconds)

            def run(picture):
                self.now += next(turns)

            return run

    clock = Clock()
    monkeypatch.setattr(_timing.time, "perf_counter", lambda: clock.now)
    return clock


PICTURES = [torch.zeros(1, 4, 4, 3)]


def test_the_ratio_is_that_of_the_medians_of_even_files(clock):
    found = _timing.in_turns(clock.takes(0.04), clock.takes(0.01), PICTURES)
    assert found.ratio == pytest.approx(0.25)
    assert (found.one, found.other) == (pytest.approx(0.04), pytest.approx(0.01))
    assert found.low == pytest.approx(found.high)


def test_the_interval_holds_the_ratio_and_leaves_out_the_few_rounds_that_were_disturbed(clock):
    found = _timing.in_turns(clock.takes(0.04), clock.takes(*[0.02] * 9, 0.5), PICTURES)
    assert found.low == pytest.approx(0.5)
    assert found.high < 1


def test_each_picture_is_asked_of_either_file_first():
    order = []
    pictures = [torch.full((1, 1, 1, 3), i) for i in range(2)]
    _timing.in_turns(lambda shown: order.append((0, int(shown[0, 0, 0, 0]))),
                     lambda shown: order.append((1, int(shown[0, 0, 0, 0]))), pictures)  # fmt: skip
    first = order[2 * len(pictures) :: 2]
    assert set(first) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_there_are_enough_rounds_however_slow_the_files_are(clock):
    assert _timing.in_turns(clock.takes(9.0), clock.takes(9.0), PICTURES).rounds == _timing.FEWEST


@pytest.mark.parametrize("chance", [0.05, 0.025, 0.004, 1e-4])
@pytest.mark.parametrize("rounds", [1, 5, 6, 15, 16, 40, 101])
def test_the_interval_of_a_median_misses_it_by_no_larger_chance_than_it_may_and_is_no_wider_than_that(rounds, chance):
    numbers = np.arange(1.0, rounds + 1)  # each its own rank
    low, high = _timing.around_the_median(numbers, chance)
    fewer = list(itertools.accumulate(comb(rounds, below) / 2**rounds for below in range(rounds)))
    if (low, high) == (0, inf):
        assert 2 * fewer[0] > chance
    else:
        assert (high, 2 * fewer[int(low) - 1] <= chance) == (rounds + 1 - low, True)
        assert low == (rounds + 1) // 2 or 2 * fewer[int(low)] > chance


def test_too_few_rounds_for_a_rare_miss_tell_no_interval(clock):
    found = _timing.in_turns(clock.takes(9.0), clock.takes(4.5), PICTURES, chance=1e-6)
    assert (found.ratio, found.low, found.high) == (0.5, 0, inf)
