"""Judging generated pictures by the pictures they should look like: how two sets of features lie to each other.

N real and N generated pictures, D features.  All sums are float64 and go block by block, so that memory grows with N.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.figures import Figure, Table
from visus.core.seeds import derive
from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import Numbers, Weights, ratio
from visus.metrics.rows import RowMetric, ends

DISTANCES = ("fid", "kid")
NEIGHBOURLY = ("precision", "recall", "density", "coverage")
CLASS_COVERAGE = "class_coverage"
KINDS = (*DISTANCES, *NEIGHBOURLY, CLASS_COVERAGE)
"""Scores of features; each bears the name of what made these."""

SHARES = ("precision", "recall", "coverage", CLASS_COVERAGE)
"""Those that are shares of pictures."""

CLASS_ACCURACY = "class_accuracy"
CELLS = 4_000_000
"""Of one block of a matrix of all pairs."""
FEW = 1000
"""Pairs by which it is told how long the scores of many take."""

_RANGES = dict.fromkeys(SHARES, (0, 1)) | {
    "fid": (0, None), "kid": (None, None), "density": (0, None),
}  # fmt: skip
_EDGE = 1e-12  # of squared lengths: a picture on the edge of a ball, but for rounding, is inside


class Measured(NamedTuple):
    """A score of two sets, and (N,) by how much it changes with the weight of each real and each generated picture."""

    value: float
    real: Numbers
    generated: Numbers


class Neighbourhoods(NamedTuple):
    """How the pictures of two sets lie in the balls of the other.

    A ball has a picture at its centre, and the k-th nearest other picture of the same set on its edge.

    Attributes:
        precise: (M,) whether a generated picture is in the ball of some real one.
        density: (M,) real balls that it is in, divided by k.
        recalled: (N,) whether a real picture is in the ball of some generated one.
        covered: (N,) whether some generated picture is in its ball.
        distance: (M,) from each generated picture to the nearest real one.
        radii: (N,) and (M,) of the balls of real and of generated pictures.
    """

    precise: NDArray[np.bool_]
    density: Numbers
    recalled: NDArray[np.bool_]
    covered: NDArray[np.bool_]
    distance: Numbers
    radii: tuple[Numbers, Numbers]


class Nearest(NamedTuple):
    """The training pictures to which generated ones lie nearest.

    Attributes:
        rows: (M, k) of the training pictures, the nearest first; ``distances``: (M, k) to them.
        own: (M,) whether a generated picture is its own: it lies farther from the nearest training picture than that
            one lies from the training picture nearest to it.  Of a generator that has learned the distribution, and
            nothing by heart, about half of the pictures are.
    """

    rows: NDArray[np.int64]
    distances: Numbers
    own: NDArray[np.bool_]


class Generation(RowMetric["JudgedGeneration"]):
    """Scores of generated pictures against as many real ones, by what a network makes of both.

    ``fid``, the Frechet distance between two normal distributions with the means and covariances of both sets, which
    falls with more pictures also where nothing else changes; ``kid``, the unbiased squared maximum mean discrepancy
    under a cubic kernel, of all pairs; ``precision`` and ``recall``, the share of generated pictures among the real
    ones and of real ones among the generated; ``density`` and ``coverage``, how many real balls a generated picture is
    in, and the share of real balls that hold one; ``class_coverage``, the share of real balls that hold one which was
    asked to be of the class of the ball's centre.  ``class_accuracy`` is the share of pictures in which a classifier
    sees the class that was asked for.

    Every score but the last means something only together with the network that made the features, so it bears its
    name: ``fid (random convolutions, seed 0)``.

    Each generated picture is counted with the real picture of the same index, which are drawn together: an interval is
    a bootstrap's over such pairs.  ``fid`` and ``kid`` are resampled to first order, by their slopes; the balls of the
    other four are held fixed.  Where both sets show the very same distribution the slopes vanish, and intervals of
    ``fid`` and ``kid`` are too narrow.

    Args:
        classes: names, in the order of the labels; empty where no class is asked for.
        width: D.
        extractor: what made the features.
        neighbours: k, of precision, recall, density and coverage.
        score: a score that ``quick`` must hold beside the usual ones.
        resamples: of the bootstrap.

    Source:
        Heusel et al., GANs trained by a two time-scale update rule, NeurIPS 2017, eq. 6; Binkowski et al., Demystifying
        MMD GANs, ICLR 2018, section 4; Kynkaanniemi et al., Improved precision and recall metric, NeurIPS 2019, eq. 1
        and 2; Naeem et al., Reliable fidelity and diversity metrics, ICML 2020, eq. 3 and 4.
    """

    def __init__(
        self,
        classes: Sequence[str],
        width: int,
        extractor: str,
        *,
        neighbours: int = 3,
        score: str = "",
        resamples: int = 1000,
    ) -> None:
        self.classes, self.extractor, self.neighbours = tuple(classes), extractor, neighbours
        self.shares = {CLASS_ACCURACY, *(named(kind, extractor) for kind in SHARES)}
        none, features = torch.zeros(0, dtype=torch.int64), torch.zeros(0, width)
        empty = {"real": features, "generated": features, "label": none, "asked": none, "seen": none, "index": none}
        quick = filter(None, (named("fid", extractor), named("recall", extractor), score))
        super().__init__(empty, tuple(quick), resamples)

    def update(self, raw: Raw, batch: Batch) -> None:
        """Remember the features of a batch of real pictures, and of the picture that was generated beside each.

        Args:
            raw: ``real`` and ``generated``, (B, D); where a class was asked for, ``asked`` (B,); where a classifier
                looked, ``seen`` (B,), what it sees.
            batch: of the real pictures; their classes are its target ``label`` (B,), -1 where one is not known.
        """
        unknown = torch.full((len(batch),), -1)
        self.add(
            torch.ones(len(batch), dtype=torch.bool), real=raw["real"], generated=raw["generated"],
            label=batch.targets.get("label", unknown),
            asked=raw.get("asked", unknown), seen=raw.get("seen", unknown), index=batch.indices,
        )  # fmt: skip

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedGeneration:
        """Return what follows from the features."""
        return JudgedGeneration(rows, self.extractor, self.neighbours)

    def figures(self) -> Sequence[Figure]:
        """Return how each class that was asked for came out, where a classifier looked."""
        items = self.judged()
        known = (items.asked >= 0) & (items.seen >= 0)
        rows = []
        for k, name in enumerate(self.classes):
            mine = known & (items.asked == k)
            if mine.any():
                seen = np.bincount(items.seen[mine], minlength=len(self.classes))
                seen[k] = 0
                other = f"{self.classes[seen.argmax()]} ({seen.max() / mine.sum():.0%})" if seen.any() else ""
                rows.append((name, int(mine.sum()), float((items.seen[mine] == k).mean()), other))
        if not rows:
            return ()
        rows.sort(key=lambda row: row[2])
        columns = ("class", "generated", "seen as that class", "most often seen as another")
        return (Table("Classes of generated pictures", columns, rows, "By the classifier that was named."),)

    def seconds(self, n: int) -> float:
        """Return about how long the scores of ``n`` pairs take, in which each meets every other: timed on few."""
        few = min(n, FEW)
        if few <= self.neighbours:
            return 0.0
        sets = np.random.Generator(np.random.PCG64(derive(0, "seconds"))).normal(
            size=(2, few, len(self._empty["real"].T))
        )
        began = time.perf_counter()
        frechet(*sets)
        between = time.perf_counter()
        kernel_distance(*sets)
        neighbourhoods(sets[0], sets[1], self.neighbours)
        return (between - began) * n / few + (time.perf_counter() - between) * (n / few) ** 2

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the generated pictures that lie farthest from any real one and nearest to one."""
        items = self.judged()
        worst, best = ends(items.distance, n)
        return {"worst": items.indices[worst].tolist(), "best": items.indices[best].tolist()}

    def calibration(self) -> dict[str, float]:
        """Return nothing: a picture is shown as it was generated."""
        return {}


class JudgedGeneration:
    """What follows from the features of N real pictures and the N generated beside them.

    Attributes:
        indices, asked, seen: (N,).
        labels: (N,) classes of the real pictures, -1 where one is not known.
    """

    def __init__(self, rows: Mapping[str, Tensor], extractor: str, neighbours: int) -> None:
        self.indices: NDArray[np.int64] = rows["index"].numpy()
        self.asked: NDArray[np.int64] = rows["asked"].numpy()
        self.seen: NDArray[np.int64] = rows["seen"].numpy()
        self.labels: NDArray[np.int64] = rows["label"].numpy()
        self.n = len(self.indices)
        self._rows = rows
        kinds = KINDS if (self.labels >= 0).any() and (self.asked >= 0).any() else (*DISTANCES, *NEIGHBOURLY)
        self._kinds = {named(kind, extractor): kind for kind in kinds} if self.n > neighbours else {}
        self._neighbours, self._scores = neighbours, dict[str, Measured]()

    @property
    def _sets(self) -> tuple[Numbers, Numbers]:
        return _finite(self._rows["real"]), _finite(self._rows["generated"])  # not kept: twice as large

    @cached_property
    def near(self) -> Neighbourhoods:
        """How the pictures of both sets lie to each other."""
        return neighbourhoods(*self._sets, self._neighbours)

    @property
    def distance(self) -> Numbers:
        """(N,) from each generated picture to the nearest real one; 0 where there are too few pictures."""
        return self.near.distance if self._kinds else np.zeros(self.n)

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (N, r) of the pairs; only those named, if any are: no other is computed."""
        found = {}
        for name, kind in self._kinds.items():
            if not names or name in names:
                score = self._scores[kind] = self._scores.get(kind) or self._measured(kind)
                found[name] = np.clip(score.value + (score.real + score.generated) @ (weights - 1), *_RANGES[kind])
        known = (self.asked >= 0) & (self.seen >= 0)
        if known.any():
            right = (self.asked == self.seen) & known
            found[CLASS_ACCURACY] = ratio(right @ weights, known @ weights)
        return {name: value for name, value in found.items() if not names or name in names}

    def _measured(self, kind: str) -> Measured:
        if kind in DISTANCES:
            return (frechet if kind == "fid" else kernel_distance)(*self._sets)
        if kind == CLASS_COVERAGE:
            known = self.labels >= 0
            held = covered_within(*self._sets, self.near.radii[0], self.labels, self.asked)
            share = held.sum() / known.sum()
            return Measured(float(share), (held - share * known) / known.sum(), np.zeros(self.n))
        values = {"precision": self.near.precise, "recall": self.near.recalled, "density": self.near.density,
                  "coverage": self.near.covered}[kind]  # fmt: skip
        slope, nothing = (values - values.mean()) / self.n, np.zeros(self.n)
        of_real = kind in ("recall", "coverage")
        return Measured(float(values.mean()), *((slope, nothing) if of_real else (nothing, slope)))


def named(kind: str, extractor: str) -> str:
    """Return the name of a score by the features of an extractor: ``fid (random convolutions, seed 0)``."""
    return f"{kind} ({extractor})"


def frechet(real: Numbers, generated: Numbers) -> Measured:
    """Return the squared Frechet distance of the normal distributions fitted to (N, D) and (M, D), and its slopes.

    The trace of the root of the product of two covariances A'A and B'B is the sum of the singular values of AB'.  With
    A and B the triangular factors of the centred features, no root is ever taken of an eigenvalue, so that covariances
    of less than full rank, of fewer pictures than features, lose no digits.

    The slopes are those of the value in the weight of each picture, whose sum is held fixed.

    Source:
        Heusel et al., 2017, eq. 6; Dowson and Landau, The Frechet distance between multivariate normal distributions,
        1982, eq. 4.
    """
    between = real.mean(0) - generated.mean(0)
    sides = [(side - side.mean(0)) / np.sqrt(max(1, len(side) - 1)) for side in (real, generated)]
    factors = [_triangle(side) for side in sides]
    u, s, vt = np.linalg.svd(factors[0] @ factors[1].T, full_matrices=False)
    value = between @ between + sum((factor**2).sum() for factor in factors) - 2 * s.sum()
    slopes = []
    for i, (side, turn) in enumerate(zip(sides, (u @ vt, vt.T @ u.T), strict=True)):
        moved = turn @ factors[1 - i]  # (K, D): where the orthogonal coordinates of a picture go in the other set
        inverse = np.linalg.pinv(factors[i], rcond=1e-10)
        along = 2 * (1 - 2 * i) / len(side) * np.sqrt(max(1, len(side) - 1)) * between
        slope = np.concatenate(
            [part @ along + (part * (part - part @ inverse @ moved)).sum(1) for part in _blocks(side, side.shape[1])]
        )
        slopes.append(slope - slope.mean())
    return Measured(max(0.0, float(value)), *slopes)


def kernel_distance(real: Numbers, generated: Numbers) -> Measured:
    """Return the unbiased squared maximum mean discrepancy under ``(x y / D + 1) ** 3``, and its slopes.

    All pairs are summed, where usual programs average over random subsets: the same mean, without their noise.

    Source:
        Binkowski et al., 2018, section 4 and eq. 4; Gretton et al., A kernel two-sample test, JMLR 2012, eq. 3.
    """
    n, m = len(real), len(generated)
    within_real, within = _kernel_sums(real, real, True)[0], _kernel_sums(generated, generated, True)[0]
    across_real, across = _kernel_sums(real, generated, False)
    a, b, c = within_real.sum() / (n * (n - 1)), within.sum() / (m * (m - 1)), across.sum() / (n * m)
    on_real = 2 * (within_real / (n - 1) - a) / n - 2 * (across_real / m - c) / n
    on_generated = 2 * (within / (m - 1) - b) / m - 2 * (across / n - c) / m
    return Measured(float(a + b - 2 * c), on_real, on_generated)


def neighbourhoods(real: Numbers, generated: Numbers, k: int) -> Neighbourhoods:
    """Return how (N, D) real and (M, D) generated pictures, more than ``k`` of each, lie in the balls of the other.

    A picture on the edge of a ball is inside: a copy of a picture lies exactly there.

    Source:
        Kynkaanniemi et al., 2019, eq. 1 and 2; Naeem et al., 2020, eq. 3 and 4.
    """
    centre = real.mean(0)  # against cancellation in squared distances
    real, generated = real - centre, generated - centre
    lengths, theirs = (1 - _EDGE) * (real**2).sum(1), (1 - _EDGE) * (generated**2).sum(1)
    of_real, of_generated = (_radii(side, k) for side in (real, generated))
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    inside, nearest = np.zeros(len(generated)), np.zeros(len(generated))
    start = 0
    for part in _blocks(generated, len(real)):
        rows = slice(start, start := start + len(part))
        squares = _squares(part, theirs[rows], real, lengths)
        held = squares <= of_real
        inside[rows], nearest[rows] = held.sum(1), squares.min(1)
        covered |= held.any(0)
        recalled |= (squares <= of_generated[rows, None]).any(0)
    return Neighbourhoods(
        inside > 0, inside / k, recalled, covered, np.sqrt(nearest), (np.sqrt(of_real), np.sqrt(of_generated))
    )


def covered_within(
    real: Numbers, generated: Numbers, radii: Numbers, labels: NDArray[np.int64], asked: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return (N,) whether a generated picture of the same class is in the ball of a real one.

    The ball is among pictures of all classes.  So a generator that is deaf to the class it is asked for covers hardly
    any, though what it makes may look like the real pictures as a whole.

    Args:
        real, generated: (N, D) and (M, D) features.
        radii: (N,) of the real balls.
        labels: (N,) classes of the real pictures; where one is negative, its ball holds nothing.
        asked: (M,) classes that the generated ones were asked to be of.
    """
    centre = real.mean(0)
    real, generated = real - centre, generated - centre
    held = np.zeros(len(real), bool)
    for label in np.unique(labels[labels >= 0]):
        mine, theirs = labels == label, generated[asked == label]
        lengths, others = (1 - _EDGE) * (real[mine] ** 2).sum(1), (1 - _EDGE) * (theirs**2).sum(1)
        found, start = np.zeros(len(lengths), bool), 0
        for part in _blocks(theirs, len(lengths)):
            rows = slice(start, start := start + len(part))
            found |= (_squares(part, others[rows], real[mine], lengths) <= radii[mine] ** 2).any(0)
        held[mine] = found
    return held


def nearest(training: Numbers, generated: Numbers, k: int) -> Nearest:
    """Return the nearest of (N, D) training pictures, more than ``k``, to each of (M, D) generated ones.

    Source:
        Alaa et al., How faithful is your synthetic data?, ICML 2022, section 3.3 (authenticity).
    """
    centre = training.mean(0)
    training, generated = training - centre, generated - centre
    rows, distances = _nearest(generated, training, k)
    among = _nearest(training[rows[:, 0]], training, 2, rows[:, 0])[1][:, 1]  # the first is itself
    return Nearest(rows, distances, distances[:, 0] > among * (1 + 1e-9))


def _nearest(
    rows: Numbers, others: Numbers, k: int, themselves: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], Numbers]:
    """Return places of, and distances to, the ``k`` nearest others of each row; before all others, itself."""
    theirs, start = (others**2).sum(1), 0
    places, distances = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k))
    for part in _blocks(rows, len(others)):
        mine = slice(start, start := start + len(part))
        squares = _squares(part, (part**2).sum(1), others, theirs)
        if themselves is not None:
            squares[np.arange(len(part)), themselves[mine]] = -1
        few = np.argpartition(squares, k - 1, axis=1)[:, :k]
        order = np.take_along_axis(few, np.take_along_axis(squares, few, 1).argsort(1, kind="stable"), 1)
        places[mine], distances[mine] = order, np.sqrt(np.maximum(np.take_along_axis(squares, order, 1), 0))
    return places, distances


def _finite(features: Tensor) -> Numbers:
    """Return features in float64; what is no finite number is taken to lie far out."""
    far = 1e6
    array: Numbers = features.double().nan_to_num(nan=far, posinf=far, neginf=-far).numpy()
    return array


def _blocks(rows: Numbers, wide: int) -> Iterator[Numbers]:
    """Yield parts of rows of which each meets ``wide`` others, ``CELLS`` pairs at a time."""
    step = max(1, CELLS // max(1, wide))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _triangle(rows: Numbers) -> Numbers:
    """Return R (K, D) with R'R equal to that of the (N, D) rows, K at most D: a QR factorisation block by block.

    Source:
        Demmel et al., Communication-optimal parallel and sequential QR, SIAM J. Sci. Comput. 2012, section 3.
    """
    found = rows[:0]
    for part in _blocks(rows, rows.shape[1]):
        found = np.asarray(np.linalg.qr(np.concatenate([found, part]), mode="r"))
    return found


def _kernel_sums(rows: Numbers, others: Numbers, same: bool) -> tuple[Numbers, Numbers]:
    """Return sums of the kernel over the others for each row, and over the rows for each other; none with itself."""
    by_row, by_other = [], np.zeros(len(others))
    start = 0
    for part in _blocks(rows, len(others)):
        base = part @ others.T / rows.shape[1] + 1
        kernel = base * base * base  # a general power costs ten times as much
        if same:
            at = np.arange(len(part))
            kernel[at, start + at] = 0
        start += len(part)
        by_row.append(kernel.sum(1))
        by_other += kernel.sum(0)
    return np.concatenate(by_row), by_other


def _squares(part: Numbers, lengths: Numbers, others: Numbers, theirs: Numbers) -> Numbers:
    """Return (B, N) squared distances, given squared lengths."""
    found: Numbers = part @ others.T
    found *= -2
    found += lengths[:, None]
    found += theirs
    return np.maximum(found, 0, out=found)


def _radii(rows: Numbers, k: int) -> Numbers:
    """Return the squared distance of each row to its k-th nearest other row."""
    lengths, found, start = (rows**2).sum(1), np.zeros(len(rows)), 0
    for part in _blocks(rows, len(rows)):
        mine = slice(start, start := start + len(part))
        squares = _squares(part, lengths[mine], rows, lengths)
        squares[np.arange(len(part)), np.arange(mine.start, mine.stop)] = -1  # itself, before all others
        found[mine] = np.partition(squares, k, axis=1)[:, k]
    return found
