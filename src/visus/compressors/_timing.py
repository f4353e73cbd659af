"""How fast two files answer on the same machine: they take turns, so that what else runs there slows both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr
from torch import Tensor

SECONDS, FEWEST, MOST = 3.0, 15, 101
"""About how long a comparison takes, and how many rounds it has at least and at most."""

Runtime = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Turns:
    """What two files took, picture by picture.

    Attributes:
        one, other: median seconds a picture of each.
        ratio: median of other / one over rounds; low, high: the ends of its interval, 0 and infinity where there were
            too few rounds for one.
        rounds: how many there were.
    """

    one: float
    other: float
    ratio: float
    low: float
    high: float
    rounds: int


def in_turns(
    one: Runtime, other: Runtime, pictures: Sequence[Tensor], seconds: float = SECONDS, chance: float = 0.05
) -> Turns:
    """Time two files on the same pictures, one at a time: each round asks both.

    Which of them is first changes from picture to picture, and from one sweep over the pictures to the next.

    Args:
        one, other: pictures (1, H, W, C) -> anything.
        pictures: one or more, of which each round takes the next.
        seconds: about how long it may take.
        chance: by which the interval may miss the ratio at most.
    """
    began = time.perf_counter()
    for picture in pictures:  # a file's first answers are slow
        one(picture), other(picture)
    began, warm = time.perf_counter(), time.perf_counter() - began
    taken: list[tuple[float, float]] = []
    while len(taken) < FEWEST or (time.perf_counter() - began + warm < seconds and len(taken) < MOST):
        sweep, place = divmod(len(taken), len(pictures))
        picture, turn = pictures[place], (sweep + place) % 2
        first, second = (other, one) if turn else (one, other)
        times = _seconds(first, picture), _seconds(second, picture)
        taken.append((times[1], times[0]) if turn else times)
    found = np.array(taken)
    ratios = np.sort(found[:, 1] / found[:, 0])
    low, high = around_the_median(ratios, chance)
    middle = np.median(found, 0)
    return Turns(float(middle[0]), float(middle[1]), float(np.median(ratios)), low, high, len(ratios))


def around_the_median(numbers: NDArray[np.float64], chance: float) -> tuple[float, float]:
    """Return the ends of an interval of the median of what positive numbers are drawn from.

    Of n numbers, binomially many lie below it.  So it lies below the r-th smallest by the chance that fewer than r do,
    and r is the largest rank of which that is half of ``chance`` at most.  Not even the smallest may be sure enough:
    then the ends are 0 and infinity.

    Args:
        numbers: (n,) rising.
        chance: by which it may miss the median at most.

    Source:
        David and Nagaraja, Order statistics, 2003, section 7.1.
    """
    n = len(numbers)
    ranks = np.arange(1, n // 2 + 1)
    sure = int((bdtr(ranks - 1.0, n, 0.5) <= chance / 2).sum())
    return (float(numbers[sure - 1]), float(numbers[-sure])) if sure else (0.0, float("inf"))


def _seconds(runtime: Runtime, picture: Tensor) -> float:
    began = time.perf_counter()
    runtime(picture)
    return time.perf_counter() - began
