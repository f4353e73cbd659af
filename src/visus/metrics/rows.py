"""What a metric remembers: columns with a row per judged item, which merge over batches, ranks and resumed sweeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.scores import Score
from visus.metrics.bootstrap import Measures, Numbers, Weights, measured, scored


@runtime_checkable
class Judged(Protocol):
    """What follows from the rows of ``n`` items."""

    n: int
    indices: NDArray[np.int64]

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (n, r) of the items; only those named, if any are."""
        ...


J = TypeVar("J", bound=Judged)
M = TypeVar("M", bound="RowMetric[Any]")  # typing.Self, which checks at run time do not know in a single function


class RowMetric(ABC, Generic[J]):
    """A metric that remembers rows and judges them when it is asked.

    Args:
        empty: each column with no rows.  One is ``index``, a row's place in the data set: rows are judged in its order,
            so that it does not matter in which order batches and ranks came.
        quick: names of the headline scores, the one that picks the best weights among them.
        resamples: of the bootstrap.
    """

    shares: Collection[str] = ()
    """Names of the scores that are shares of the items, or means of such."""

    def __init__(self, empty: Mapping[str, Tensor], quick: Sequence[str], resamples: int) -> None:
        self.resamples = resamples
        self._empty, self._quick = dict(empty), tuple(dict.fromkeys(quick))
        self._parts: dict[str, list[Tensor]] = {name: [] for name in empty}
        self._judged: J | None = None

    @abstractmethod
    def judge(self, rows: Mapping[str, Tensor]) -> J:
        """Return what follows from the rows."""

    def add(self, keep: Tensor, **columns: Tensor) -> None:
        """Append those rows of some columns that ``keep`` (B,) tells; what is already as wanted is kept, not copied."""
        whole = bool(keep.all())
        for name, column in columns.items():
            kept = column.detach().cpu() if whole else column.detach().cpu()[keep]
            self._parts[name].append(kept.to(self._empty[name].dtype))
        self._judged = None

    def index_of(self, column: str) -> str:
        """Return the column that says of which item each row of a column is; an item may have several rows in some."""
        return "index"

    def state(self) -> dict[str, Tensor]:
        """Return every column, in the order of its rows' arrival."""
        for name, parts in self._parts.items():
            self._parts[name] = [torch.cat([self._empty[name], *parts])] if len(parts) != 1 else parts
        return {name: parts[0] for name, parts in self._parts.items()}

    def load(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Replace the rows by those of several states."""
        self._parts = {name: [state[name] for state in states] for name in self._empty}
        self._judged = None

    def without(self: M, indices: Sequence[int]) -> M:
        """Return a metric of the same rows but those of some items, by their data set index."""
        columns, other = self.state(), copy(self)
        gone = torch.as_tensor(indices, dtype=torch.int64)
        keep = {by: ~torch.isin(columns[by], gone) for by in {*map(self.index_of, columns)}}
        other.load([{name: column[keep[self.index_of(name)]] for name, column in columns.items()}])
        return other

    def ordered(self) -> dict[str, Tensor]:
        """Return every column, in the order of the data set."""
        columns = self.state()
        if all((columns[by][1:] >= columns[by][:-1]).all() for by in {*map(self.index_of, columns)}):
            return columns
        order = {by: columns[by].argsort(stable=True) for by in {*map(self.index_of, columns)}}
        return {name: column.index_select(0, order[self.index_of(name)]) for name, column in columns.items()}

    def judged(self) -> J:
        """Return what follows from all rows so far."""
        if self._judged is None:
            self._judged = self.judge(self.ordered())
        return self._judged

    def right(self, name: str) -> NDArray[np.bool_] | None:
        """Return which of the items are right, (n,), where a score is the share of those; None of any other score."""
        return None

    def behind(self, name: str) -> Numbers:
        """Return how many items there are behind each of K parts that a score is the mean of, such as its classes.

        Returns:
            (kinds, K): a row for each kind of item, or for the rarest alone, infinity at parts that it has no say in.
            By default a score is of one part, and all items are behind it.
        """
        return np.array([[float(self.judged().n)]])

    @property
    def indices(self) -> NDArray[np.int64]:
        """(n,) data set indices of the judged items, rising."""
        return self.judged().indices

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (n, r) of the items; only those named, if any are."""
        return self.judged().weighted(weights, names)

    def quick(self) -> dict[str, float]:
        """Return the headline scores, NaN where this data does not define one."""
        items = self.judged()
        found = items.weighted(np.ones((items.n, 1)), self._quick) if items.n else {}
        return dict.fromkeys(self._quick, float("nan")) | {name: float(value[0]) for name, value in found.items()}

    def compute(self) -> dict[str, Score]:
        """Return every score that the data defines, with its interval."""
        items = self.judged()
        return scored(self.measures(items), items.n, self.shares) if items.n else {}

    def measures(self, items: J) -> Measures:
        """Return value, low and high of every score."""
        return measured(items.weighted, items.n, self.resamples)


def of_classes(shown: NDArray[np.bool_]) -> Numbers:
    """Return (n, K) how many items show each class that an item shows, infinity where it does not; see ``behind``.

    Args:
        shown: (n, C); the K classes that some item shows are those a mean is of.  Where none does, all are as one.
    """
    items = shown.sum(0)
    return np.where(shown, items, np.inf)[:, items > 0] if items.any() else np.array([[float(len(shown))]])


def ends(values: Numbers, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the n highest values, the highest first, and of the n lowest, the lowest first.

    None is among both: of fewer than 2 n values each has its half, the lowest the odd one.
    """
    order = np.argsort(values, kind="stable")
    half = len(order) // 2
    return order[::-1][: min(n, half)], order[: min(n, len(order) - half)]
