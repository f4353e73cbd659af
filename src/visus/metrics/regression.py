"""Judging numbers read from a picture: how far off they are and how much of their spread they explain."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.figures import Curve, Figure, Line, Table
from visus.core.scores import Score
from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import Numbers, Weights, mean_of_defined, ratio, scored
from visus.metrics.rows import RowMetric, ends

SCORES = ("r2", "mae", "mse", "rmse", "median_absolute_error")
_MOST_POINTS = 1000


class Regression(RowMetric["JudgedNumbers"]):
    """Errors of predicted numbers, in the numbers' own units; what is unknown (NaN) is left out.

    ``r2``, the share of the spread of the true numbers that is explained (undefined where they are all equal); ``mae``
    and ``mse``, mean absolute and squared error; ``rmse``, its root; ``median_absolute_error``.  With several numbers,
    each score also stands for each of them, ``mae/width``, and the plain name is their mean (which means something for
    errors only where the units agree).

    A score that the data does not define is left out, never shown as 0.  A picture for which the network said NaN or
    infinity is taken to have said the largest float32 instead.  Intervals are a bootstrap's over pictures.

    Args:
        names: of the numbers.
        score: a score that ``quick`` must hold beside the usual ones.
        resamples: of the bootstrap.
    """

    @staticmethod
    def scores_of(names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the scores of these numbers."""
        each = [f"{kind}/{name}" for kind in SCORES for name in names] if len(names) > 1 else []
        return (*SCORES, *each)

    def __init__(self, names: Sequence[str], *, score: str = "r2", resamples: int = 1000) -> None:
        self.names = tuple(names)
        none = torch.zeros(0, len(names))
        empty = {"predictions": none, "numbers": none, "index": torch.zeros(0, dtype=torch.int64)}
        super().__init__(empty, ("r2", "mae", score), resamples)

    def update(self, raw: Raw, batch: Batch) -> None:
        """Remember the predictions for the pictures of a batch of which some number is known."""
        numbers = batch.targets["numbers"].cpu()
        known = ~numbers.isnan().all(1)
        self.add(known, predictions=raw["predictions"], numbers=numbers, index=batch.indices)

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedNumbers:
        """Return what follows from the predictions."""
        return JudgedNumbers(rows, self.names)

    def compute(self) -> dict[str, Score]:
        """Return every score that the data defines, with its interval and the number of pictures behind it."""
        items = self.judged()
        found = scored(self.measures(items), items.n) if items.n else {}
        counts = {
            f"{kind}/{name}": int(items.known[:, m].sum()) for kind in SCORES for m, name in enumerate(self.names)
        }
        if len(self.names) == 1:
            counts = dict.fromkeys(SCORES, int(items.known.sum()))
        return {
            name: Score(score.value, score.low, score.high, counts.get(name, score.n)) for name, score in found.items()
        }

    def figures(self) -> Sequence[Figure]:
        """Return the scores of each number, and predictions against truth."""
        items = self.judged()
        if not items.n:
            return ()
        scores = self.compute()
        one = len(self.names) == 1
        rows = [(name, *(scores.get(kind if one else f"{kind}/{name}") for kind in SCORES)) for name in self.names]
        table = Table("Numbers", ("number", *SCORES), rows, "Blank: not defined by this data.")
        return [table, *self._scatters(items)]

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the pictures of largest and smallest error, each number in units of its own mean error."""
        items = self.judged()
        worst, best = ends(items.badness, n)
        return {"worst": items.indices[worst].tolist(), "best": items.indices[best].tolist()}

    def calibration(self) -> dict[str, float]:
        """Return nothing: numbers are decoded as they are."""
        return {}

    def _scatters(self, items: JudgedNumbers) -> Iterator[Curve]:
        for m, name in enumerate(self.names):
            known = np.flatnonzero(items.known[:, m])
            if len(known):
                at = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), _MOST_POINTS)).astype(int))]
                line = Line(name, items.numbers[at, m].tolist(), items.predictions[at, m].tolist())
                note = "" if len(at) == len(known) else f"{len(at):,} of {len(known):,} pictures, evenly chosen."
                yield Curve(name, "truth", "prediction", [line], diagonal=True, points=True, note=note)


class JudgedNumbers:
    """What follows from the rows of N pictures and M numbers.

    Attributes:
        indices: (N,); predictions, numbers: (N, M), NaN where a number is unknown; known: (N, M) bool.
        badness: (N,) mean absolute error over the known numbers, each in units of its own mean.
    """

    def __init__(self, rows: Mapping[str, Tensor], names: Sequence[str]) -> None:
        self.indices: NDArray[np.int64] = rows["index"].numpy()
        self.numbers: Numbers = rows["numbers"].double().numpy()
        largest = torch.finfo(torch.float32).max
        said = rows["predictions"].nan_to_num(nan=largest, posinf=largest, neginf=-largest)
        self.predictions: Numbers = said.double().numpy()
        self.n, self.m = self.numbers.shape
        self.names = tuple(names)
        self.known: NDArray[np.bool_] = ~np.isnan(self.numbers)
        errors = np.where(self.known, np.abs(self.predictions - np.where(self.known, self.numbers, 0)), 0)
        typical = ratio(errors.sum(0), self.known.sum(0).astype(np.float64), 1.0)
        self.badness = ratio((errors / np.where(typical > 0, typical, 1)).sum(1), self.known.sum(1).astype(np.float64))
        self._errors = errors

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (N, r); only those named, if any are."""
        of_each = [self._of_number(m, weights) for m in range(self.m)]
        found = {kind: mean_of_defined(np.stack([one[kind] for one in of_each])) for kind in SCORES}
        if self.m > 1:
            found |= {
                f"{kind}/{name}": one[kind] for kind in SCORES for name, one in zip(self.names, of_each, strict=True)
            }
        return {name: value for name, value in found.items() if not names or name in names}

    def _of_number(self, m: int, weights: Weights) -> dict[str, Numbers]:
        known = np.flatnonzero(self.known[:, m])
        error, truth, w = self._errors[known, m], self.numbers[known, m], weights[known]
        total = w.sum(0)
        centred = truth - (truth.mean() if len(truth) else 0)  # against cancellation in the spread
        squares = error**2 @ w
        spread = centred**2 @ w - ratio((centred @ w) ** 2, total, 0.0)
        spread[spread <= 1e-12 * (centred**2).sum()] = 0  # all drawn numbers are equal
        mse = ratio(squares, total)
        return {
            "r2": 1 - ratio(squares, spread),
            "mae": ratio(error @ w, total),
            "mse": mse,
            "rmse": np.sqrt(mse),
            "median_absolute_error": _median(error, w),
        }


def _median(values: Numbers, weights: Weights) -> Numbers:
    """Return (r,) medians of values (n,) of which each counts ``weights`` (n, r) times."""
    if not len(values):
        return np.full(weights.shape[1], np.nan)
    order = np.argsort(values, kind="stable")
    rising, reached = values[order], np.cumsum(weights[order], axis=0)
    total = reached[-1]
    lower, upper = ((reached <= place).sum(0) for place in (np.floor((total - 1) / 2), np.floor(total / 2)))
    last = len(values) - 1
    return np.where(total > 0, (rising[np.minimum(lower, last)] + rising[np.minimum(upper, last)]) / 2, np.nan)
