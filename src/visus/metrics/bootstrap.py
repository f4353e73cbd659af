"""Intervals by resampling items: the bootstrap, with one set of resamples for every score of a metric.

A resample is a column of weights: how often each item was drawn.  A score is then a function of weights, the same for
the data itself (all ones) and for a thousand resamples at once.

Source:
    Efron and Tibshirani, An introduction to the bootstrap, 1993, chapters 6 and 13.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from visus.core.scores import Score
from visus.core.seeds import derive

Numbers: TypeAlias = NDArray[np.float64]
Weights: TypeAlias = NDArray[np.float64]
"""(n, r): how often each of n items counts in each of r resamples."""
Value: TypeAlias = Numbers | np.float64
"""(): one statistic, or (K,): one a class."""
Measures: TypeAlias = dict[str, tuple[Value, Value, Value]]
"""Value, low and high of statistics by name."""
Sums: TypeAlias = csr_array
"""(G, n): which of n items each of G sums takes."""

FEWEST = 6
"""Pictures of a class from which on its scores have an interval."""

BLOCK = 32
CELLS = 4_000_000


def resamples_of(n: int, resamples: int) -> Iterator[Weights]:
    """Yield the same resamples of ``n`` items at every call, a block of at most (n, BLOCK) weights at a time."""
    random = np.random.Generator(np.random.PCG64(derive(0, "bootstrap", n)))
    wide = max(1, min(BLOCK, CELLS // n))
    for start in range(0, resamples, wide):
        r = min(wide, resamples - start)
        drawn = random.integers(0, n, size=(n, r)) * r + np.arange(r)
        yield np.bincount(drawn.ravel(), minlength=n * r).reshape(n, r).astype(np.float64)


def resampled(weighted: Callable[[Weights], Mapping[str, Numbers]], n: int, resamples: int) -> dict[str, Numbers]:
    """Return (R, ...) resamples of statistics.

    Args:
        weighted: from weights (n, r) to statistics by name, (r,) or (r, K).
        n: items.
        resamples: how many to draw.
    """
    blocks = [weighted(weights) for weights in resamples_of(n, resamples)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def interval(value: Value, draws: Numbers) -> tuple[Value, Value]:
    """Return the ends of a 95 % interval of each statistic: the middle 95 % of its resamples, less their bias.

    Drawing an item twice flatters some scores and harms others: resamples of macro F1 lie below the value, those of
    average precision above.  So the percentiles are moved by what the mean of the resamples lies off the value; for a
    mean, such as accuracy, that is nothing.  Measured: plain percentiles of macro F1, 20 classes and 400 items, hold
    the truth in 89 of 100 trials, these in 94.  A share stays within [0, 1].

    Args:
        value: (...) on the data itself.
        draws: (R, ...), NaN where a resample does not define it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing but NaN: the ends are NaN too
        low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)
        bias = np.nanmean(draws, axis=0) - value
        low = np.where(np.nanmin(draws, axis=0) >= 0, np.maximum(low - bias, 0), low - bias)
        high = np.where(np.nanmax(draws, axis=0) <= 1, np.minimum(high - bias, 1), high - bias)
    return low, high


def measured(weighted: Callable[[Weights], Mapping[str, Numbers]], n: int, resamples: int) -> Measures:
    """Return value, low and high of each of several statistics; arguments as of ``resampled``."""
    values, draws = weighted(np.ones((n, 1))), resampled(weighted, n, resamples)
    return {name: (value[0], *interval(value[0], draws[name])) for name, value in values.items()}


def scored(measures: Measures, n: int, shares: Collection[str] = ()) -> dict[str, Score]:
    """Return a Score of each measure that the data defines; the others are left out.

    Resamples of n items that are all right, or all wrong, are too: they cannot tell how sure that is.  So the other end
    of such a share's interval is that of the binomial distribution: 100 of 100 is 0.964 to 1.

    Args:
        measures: value, low and high by name.
        n: items.
        shares: names of those that are shares of the items, or means of such.

    Source:
        Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 1934.
    """
    found = {}
    for name, (value, low, high) in measures.items():
        if name in shares and n and value == low == high == 1:
            low = np.float64(0.025 ** (1 / n))
        elif name in shares and n and value == low == high == 0:
            high = np.float64(1 - 0.025 ** (1 / n))
        if not np.isnan(value):
            found[name] = Score(float(value), float(low), float(high), n)
    return found


def summing(groups: NDArray[np.int64], n_groups: int, n: int, items: NDArray[np.int64] | None = None) -> Sums:
    """Return the (n_groups, n) matrix that sums weights over groups of items.

    Args:
        groups: group of each of the listed items.
        n_groups: rows of the matrix.
        n: items there are.
        items: those that are in a group; all of them by default.
    """
    columns = np.arange(n) if items is None else items
    return csr_array((np.ones(len(columns)), (groups, columns)), shape=(n_groups, n))


def summing_runs(items: NDArray[np.int64], bounds: NDArray[np.int64], n: int) -> Sums:
    """Return the (G, n) matrix that sums weights over runs of a list of items: items[bounds[g]:bounds[g + 1]]."""
    return csr_array((np.ones(len(items)), items, bounds), shape=(len(bounds) - 1, n))


def ratio(above: Numbers, below: Numbers, otherwise: float = np.nan) -> Numbers:
    """Return above / below, and ``otherwise`` where ``below`` is zero."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    found: Numbers = np.divide(above, below, out=np.full(shape, otherwise), where=np.broadcast_to(below != 0, shape))
    return found


def mean_of_defined(values: Numbers) -> Numbers:
    """Return the mean over the first axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(0), defined.sum(0).astype(np.float64))
