"""Judging a class for every pixel: IoU and its kin, contours, calibration; each with an interval."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from visus.core.figures import Curve, Figure, Matrix, Table
from visus.core.home import at_home, classes_at_home
from visus.core.pixels import IGNORE
from visus.core.scores import Score
from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import FEWEST, Measures, Numbers, Sums, Weights, mean_of_defined, measured, ratio, scored
from visus.metrics.calibration import BINS, reliability_bins
from visus.metrics.contours import ContourScores, contour_scores
from visus.metrics.counts import Counts
from visus.metrics.curves import reliability_curve
from visus.metrics.rows import RowMetric, ends, of_classes

SCORES = ("miou", "iou", "dice", "pixel_accuracy", "mean_accuracy", "boundary_f", "calibration_error")
"""Names of scores, ``iou`` only before a slash: ``iou/road``, as ``dice/road`` beside ``dice``."""

MOST_CLASSES_OF_A_MATRIX = 30
MOST_MISTAKES = 15
MOST_PAIRS = 3
"""Pairs of confused classes of which pictures are shown."""
SURE = 0.8
"""Probability above which a mistake is a sure one."""

_SAMPLED = 2**14  # pixels of a picture of which certainty is looked at, at least, where it has as many
_OF_A_CLASS = ("IoU", "Dice", "accuracy", "precision", "contour F")


def confusion(truth: Tensor, said: Tensor, k: int) -> Tensor:
    """Return (K, K + 1) int64 counts of pixels by true class and by the class that was said.

    One count over all pixels of a number that is made of both.  The last column counts pixels without an answer.

    Args:
        truth: (H, W) uint8; what is no class, such as 255, is left out.
        said: (H, W) uint8; K where nothing is said.
        k: classes, 255 at most.
    """
    wide = k + 1
    kind = torch.uint8 if wide**2 <= 256 else torch.int16 if wide**2 <= 2**15 else torch.int32
    pairs = truth.clamp(max=k).to(kind).mul_(wide).add_(said.to(kind))
    return torch.bincount(pairs.flatten(), minlength=wide**2).reshape(wide, wide)[:k]


class Segmentation(RowMetric["JudgedPixels"]):
    """Scores of a class for every pixel, against what the data states, in original pixels.

    ``miou``, the mean over classes of the area that truth and answer share over the area that either covers; ``dice``,
    the same with twice what they share over the sum of both areas; ``pixel_accuracy``, the share of pixels that are
    right, and ``mean_accuracy``, that share of each class's pixels, mean of the classes shown.  Areas are summed over
    all pictures.  ``boundary_f``, how well contours lie on each other (see ``contour_scores``), mean of a picture's
    classes, then of pictures.  ``calibration_error``, the expected one over 15 equal bins of the top probability.
    ``iou/CLASS`` and ``dice/CLASS`` of one class.

    A class that is neither shown nor said is left out of means, and told in the table of classes.  Pixels of which
    nothing is stated are left out, pictures without any other too.  Where the network said NaN or infinity, it has said
    nothing: such a pixel is wrong.

    To count a picture is one ``bincount`` over its pixels, what contours cost, and the certainty of a grid of pixels
    (16,384 to four times as many of a large picture; all of a smaller one), by which calibration is judged.

    Intervals are a bootstrap's over pictures, see ``interval``: the pixels of a picture are no independent items.  A
    class on fewer than 6 pictures may be anything.

    Args:
        classes: names, in the order of the logits; 255 at most.
        score: a score that ``quick`` must hold beside the usual ones.
        resamples: of the bootstrap.
    """

    def __init__(self, classes: Sequence[str], *, score: str = "miou", resamples: int = 1000) -> None:
        self.classes = tuple(classes)
        self.shares = frozenset(self.scores_of(classes)) - {"calibration_error"}
        none, real = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
        empty = {
            "index": none, "bin_pixels": none.reshape(0, BINS), "bin_right": none.reshape(0, BINS),
            "bin_confidence": real.reshape(0, BINS),
            "pair_index": none, "pair": none, "pair_pixels": none,
            "contour_index": none, "contour_class": none, "contour_f": real,
        }  # fmt: skip
        super().__init__(empty, ("miou", "pixel_accuracy", score), resamples)

    @staticmethod
    def scores_of(classes: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the scores of these classes."""
        means = tuple(name for name in SCORES if name != "iou")
        return (*means, *(f"{kind}/{name}" for kind in ("iou", "dice") for name in classes))

    def update(self, raw: Raw, batch: Batch) -> None:
        """Count the pictures of a batch whose classes are stated.

        Args:
            raw: ``logits`` in present pixels; or what is at home already, ``classes`` and their ``scores``.
            batch: with ``stated``.
        """
        for i, stated in enumerate(batch.targets["stated"]):
            if stated is not None:
                height, width = stated.shape
                grid = certainty_grid(height, width)
                if "classes" in raw:  # decided at home already
                    said = raw["classes"][i, :height, :width].clamp(max=len(self.classes))
                    certain = raw["scores"][i, :height, :width][grid, grid].float()
                else:
                    logits, frame = raw["logits"][i].detach(), batch.frames[i]
                    certain = at_home(logits, frame, (height, width), grid, grid).softmax(0).amax(0)
                    said = classes_at_home(logits, frame, (height, width))
                self.remember(int(batch.indices[i]), stated.cpu(), said.cpu(), certain.cpu())

    def remember(self, index: int, truth: Tensor, said: Tensor, certain: Tensor | None = None) -> None:
        """Count one picture, unless nothing is known of it.

        Args:
            index: its place in the data set.
            truth: (H, W) uint8 classes, 255 where none is stated.
            said: (H, W) uint8 classes; as many as there are where nothing was said.
            certain: probability of what was said at the pixels by which calibration is judged; None for no judgement.
        """
        k = len(self.classes)
        counts = confusion(truth, said, k).flatten()
        pairs = counts.nonzero()[:, 0]
        if not len(pairs):
            return
        self.add(torch.ones(1, dtype=torch.bool), index=torch.tensor([index]), **_binned(truth, said, certain))
        self.add(
            torch.ones(len(pairs), dtype=torch.bool),
            pair_index=torch.full_like(pairs, index), pair=pairs, pair_pixels=counts[pairs],
        )  # fmt: skip
        shown, scores = map(torch.from_numpy, contour_scores(truth.numpy(), said.numpy(), k))
        self.add(
            torch.ones(len(shown), dtype=torch.bool),
            contour_index=torch.full_like(shown, index), contour_class=shown, contour_f=scores,
        )  # fmt: skip

    def index_of(self, column: str) -> str:
        """Return the column that says of which picture each row is: there are others for pairs and for contours."""
        part = column.partition("_")[0]
        return f"{part}_index" if part in ("pair", "contour") else "index"

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedPixels:
        """Return what follows from the counts."""
        return JudgedPixels(rows, self.classes, self.resamples)

    def measures(self, items: JudgedPixels) -> Measures:
        """Return value, low and high of every score."""
        found = {name: items.measures[name] for name in SCORES if name != "iou"}
        for kind, name in (("iou", "IoU"), ("dice", "Dice")):
            for k, of_class in enumerate(zip(*items.of_class(name), strict=True)):
                found[f"{kind}/{self.classes[k]}"] = of_class
        return found

    def compute(self) -> dict[str, Score]:
        """Return every score that the data defines, with its interval and the number of pictures behind it."""
        items = self.judged()
        if not items.n:
            return {}
        behind = dict.fromkeys(SCORES, items.n)
        for k, name in enumerate(self.classes):
            behind |= dict.fromkeys((f"iou/{name}", f"dice/{name}"), int(items.pictures[k]))
        found: dict[str, Score] = {}
        for name, measure in self.measures(items).items():
            found |= scored({name: measure}, behind[name], self.shares)
        return found

    def behind(self, name: str) -> Numbers:
        """Return how many pictures hold each class that a picture holds, of a mean over classes, or the class named."""
        items = self.judged()
        kind, _, of = name.partition("/")
        if of and kind in ("iou", "dice"):
            return np.array([[float(items.pictures[self.classes.index(of)])]])
        return of_classes(items.holding(name)) if name in ("miou", "dice", "mean_accuracy") else super().behind(name)

    def figures(self) -> Sequence[Figure]:
        """Return the classes, their confusions, and the reliability of probabilities."""
        items = self.judged()
        if not items.n:
            return ()
        figures: list[Figure] = [self._class_table(items)]
        counts = items.confusion()
        if len(self.classes) <= MOST_CLASSES_OF_A_MATRIX:
            figures.append(Matrix(
                "Confusion of pixels", self.classes, self.classes, counts[:, :-1], counted="pixel"
            ))  # fmt: skip
        figures.append(self._mistakes(counts))
        if items.bins["pixels"].any():
            figures.append(reliability(items.bins, items.measures["reliability"], "probability of the predicted class"))
        return figures

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the pictures of the surest mistakes, of the lowest and highest mean IoU, and of most confused pixels.

        The last are those of each of the most confused pairs of classes, those with most such pixels first.
        """
        items = self.judged()
        best, worst = ends(items.quality, n)
        wrong = ratio(items.surely_wrong, items.bins["pixels"].sum(1), 0.0)
        sure = np.argsort(-wrong, kind="stable")
        return {
            "most confident mistakes": items.indices[sure[wrong[sure] > 0][:n]].tolist(),
            "worst": items.indices[worst].tolist(),
            "best": items.indices[best].tolist(),
            **{
                f"{self.classes[true]} called {self._called[said]}": items.showing(true, said)[:n].tolist()
                for true, said, _ in self._confused(items.confusion(), MOST_PAIRS)
            },
        }

    def calibration(self) -> dict[str, float]:
        """Return nothing: what is most probable stays so at any temperature."""
        return {}

    def _class_table(self, items: JudgedPixels) -> Table:
        pixels = items.counts(np.ones((items.n, 1))).shown[:, 0]
        measures = {name: items.of_class(name) for name in _OF_A_CLASS}
        ranked = measures["IoU"][0]
        rows = []
        for k in np.argsort(np.where(np.isnan(ranked), np.inf, ranked), kind="stable"):
            of_class = {name: (value[k], low[k], high[k]) for name, (value, low, high) in measures.items()}
            scores = scored(of_class, int(items.pictures[k]), _OF_A_CLASS)
            share = float(pixels[k] / pixels.sum())
            rows.append((self.classes[k], int(items.pictures[k]), share, *map(scores.get, _OF_A_CLASS)))
        absent = [name for name, pictures in zip(self.classes, items.pictures, strict=True) if not pictures]
        note = (
            "The worst class first.  Pictures: those where it is shown or said.  Accuracy: the share of its pixels that"
            " were called so; precision: of those called so, the share that is."
        )
        if absent:
            note += f"  Neither shown nor said, and left out of every mean: {', '.join(absent)}."
        return Table("Classes", ("class", "pictures", "share of pixels", *_OF_A_CLASS), rows, note)

    def _mistakes(self, counts: NDArray[np.int64]) -> Table:
        pixels = counts.sum(1)
        rows = [
            (self.classes[true], self._called[said], many, float(many / pixels[true]))
            for true, said, many in self._confused(counts, MOST_MISTAKES)
        ]
        note = "" if rows else "There are none."
        return Table("Most frequent mistakes", ("truth", "prediction", "pixels", "share of the truth"), rows, note)

    @property
    def _called(self) -> tuple[str, ...]:
        return (*self.classes, "nothing")

    def _confused(self, counts: NDArray[np.int64], most: int) -> Iterator[tuple[int, int, int]]:
        """Yield true and said class of the most frequent mistakes, and how many pixels they are."""
        amiss = counts.copy()
        np.fill_diagonal(amiss, 0)
        for place in np.argsort(-amiss, axis=None, kind="stable")[:most].tolist():
            true, said = divmod(place, amiss.shape[1])
            if amiss[true, said]:
                yield true, said, int(amiss[true, said])


class JudgedPixels:
    """What follows from the counts of N pictures and K classes.

    Attributes:
        indices: (N,) of the pictures in the data set, rising.
        bins: (N, 15) ``pixels``, those of them that are ``right``, and their summed ``confidence``, by confidence.
        pictures: (K,) how many show a class or are said to.
    """

    def __init__(self, rows: Mapping[str, Tensor], classes: tuple[str, ...], resamples: int) -> None:
        columns = {name: column.numpy() for name, column in rows.items()}
        self.classes, self.k, self.resamples = classes, len(classes), resamples
        self.indices: NDArray[np.int64] = columns["index"]
        self.n = len(self.indices)
        self.bins: dict[str, Numbers] = {
            name: columns[f"bin_{name}"].astype(np.float64) for name in ("pixels", "right", "confidence")
        }
        self._image = np.searchsorted(self.indices, columns["pair_index"])
        self._truth, self._said = np.divmod(columns["pair"], self.k + 1)
        self._pixels: NDArray[np.int64] = columns["pair_pixels"]
        self._contours = ContourScores(columns, self.indices, self.k)
        self.pictures: NDArray[np.int64] = np.diff(self._union.indptr)

    @cached_property
    def measures(self) -> Measures:
        """Value, low and high of ``everything``."""
        return measured(self.everything, self.n, self.resamples)

    def of_class(self, name: str) -> tuple[Numbers, Numbers, Numbers]:
        """Return (K,) values, lows and highs of each class; of one on few pictures nothing is sure."""
        value, low, high = (np.asarray(part) for part in self.measures[name])
        scarce = self.pictures < FEWEST
        return value, np.where(scarce, 0.0, low), np.where(scarce, 1.0, high)

    def counts(self, weights: Weights) -> Counts:
        """Return the weighted pixels of each class."""
        right, named, shown = self._sums
        return Counts(right @ weights, named @ weights, shown @ weights)

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (N, r); only those named, if any are."""
        found = self.everything(weights)
        scores = {name: found[name] for name in SCORES if name != "iou"}
        for kind, of_class in (("iou", found["IoU"]), ("dice", found["Dice"])):
            scores |= {f"{kind}/{name}": of_class[:, k] for k, name in enumerate(self.classes)}
        return {name: value for name, value in scores.items() if not names or name in names}

    def everything(self, weights: Weights) -> dict[str, Numbers]:
        """Return (r,) scores, (r, K) those of each class, and (r, 15) the share that is right of each confidence."""
        counts = self.counts(weights)
        iou = ratio(counts.right, counts.named + counts.shown - counts.right)
        dice, accuracy = counts.f1(), counts.recall()
        pixels, right, confidence = (self.bins[name].T @ weights for name in ("pixels", "right", "confidence"))
        of_class = (iou, dice, accuracy, counts.precision(), self._contours.of_classes(weights))
        return {
            "miou": mean_of_defined(iou),
            "dice": mean_of_defined(dice),
            "pixel_accuracy": ratio(counts.right.sum(0), counts.shown.sum(0)),
            "mean_accuracy": mean_of_defined(accuracy),
            "boundary_f": self._contours.mean(weights),
            "calibration_error": ratio(np.abs(right - confidence).sum(0), pixels.sum(0)),
            **{name: value.T for name, value in zip(_OF_A_CLASS, of_class, strict=True)},
            "reliability": ratio(right, pixels).T,
        }

    def holding(self, name: str) -> NDArray[np.bool_]:
        """Return (N, K) which pictures show a class, or are said to; of ``mean_accuracy`` those that show it."""
        pixels = self._sums[2] if name == "mean_accuracy" else self._union
        return np.asarray(pixels.toarray().T > 0)

    def confusion(self) -> NDArray[np.int64]:
        """Return (K, K + 1) pixels by true class and by what they were called; the last column: nothing."""
        found = np.zeros((self.k, self.k + 1), np.int64)
        np.add.at(found, (self._truth, self._said), self._pixels)
        return found

    def showing(self, true: int, said: int) -> NDArray[np.int64]:
        """Return the pictures in which pixels of a class are called another one, those with most of them first."""
        which = np.flatnonzero((self._truth == true) & (self._said == said))
        order = which[np.argsort(-self._pixels[which], kind="stable")]
        return np.asarray(self.indices[self._image[order]])

    @cached_property
    def quality(self) -> Numbers:
        """(N,) each picture's own mean IoU, over the classes that it shows or is said to show."""
        inverse = self._union.copy()
        inverse.data = 1 / inverse.data
        classes = np.bincount(self._union.indices, minlength=self.n)
        return np.asarray((self._sums[0] * inverse).sum(0)) / classes

    @property
    def surely_wrong(self) -> Numbers:
        """(N,) pixels that were called wrong with a probability above 0.8."""
        first = int(reliability_bins(np.array([SURE]))[0]) + 1
        return np.asarray((self.bins["pixels"] - self.bins["right"])[:, first:].sum(1))

    @cached_property
    def _sums(self) -> tuple[Sums, Sums, Sums]:
        """(K, N) pixels that are rightly called a class, that are called so, and that are so."""
        right, answered = self._truth == self._said, self._said < self.k
        return (
            self._summed(self._truth, right),
            self._summed(self._said, answered),
            self._summed(self._truth, np.ones_like(right)),
        )

    @cached_property
    def _union(self) -> Sums:
        """(K, N) pixels that are of a class or called so."""
        right, named, shown = self._sums
        union = csr_array(named + shown - right)
        union.eliminate_zeros()
        return union

    def _summed(self, classes: NDArray[np.int64], which: NDArray[np.bool_]) -> Sums:
        pixels = self._pixels[which].astype(np.float64)
        return csr_array((pixels, (classes[which], self._image[which])), shape=(self.k, self.n))


def reliability(bins: Mapping[str, Numbers], measured: Sequence[Numbers | float], said: str) -> Curve:
    """Return how often what was said of pixels is right, by how sure it was.

    Args:
        bins: (N, 15) ``pixels`` of each picture and their summed ``confidence``.
        measured: (15,) the share that is right, and the ends of its interval.
        said: what the confidence is.
    """
    pixels = bins["pixels"].sum(0)
    held = pixels > 0
    middle = bins["confidence"].sum(0)[held] / pixels[held]
    right, low, high = (np.asarray(part)[held] for part in measured)
    return reliability_curve("as the network says", middle, right, low, high, pixels[held], said, counted="pixel")


def certainty_grid(height: int, width: int) -> slice:
    """Return which rows and columns of a picture hold the pixels whose certainty is looked at."""
    step = max(1, math.isqrt(height * width // _SAMPLED))
    return slice(step // 2, None, step)


def _binned(truth: Tensor, said: Tensor, certain: Tensor | None) -> dict[str, Tensor]:
    """Return the sums of one picture by confidence, (1, 15) each; a pixel stands for all around it."""
    grid = certainty_grid(*truth.shape)
    true, called = truth[grid, grid], said[grid, grid]
    known = (true != IGNORE) & (torch.zeros_like(true) > 0 if certain is None else certain.isfinite())
    confidence = np.zeros(0) if certain is None else certain[known].double().numpy()
    return binned(confidence, (true == called)[known].numpy(), grid.step**2)


def binned(confidence: Numbers, right: NDArray[np.bool_], each: int) -> dict[str, Tensor]:
    """Return the sums of one picture by confidence, (1, 15) each.

    Args:
        confidence: (P,) of answers, in [0, 1].
        right: (P,) whether they are.
        each: pixels that one of them stands for.
    """
    bins = reliability_bins(confidence)
    sums = {
        "bin_pixels": np.bincount(bins, minlength=BINS),
        "bin_right": np.bincount(bins[right], minlength=BINS),
        "bin_confidence": np.bincount(bins, confidence, BINS),
    }
    return {name: torch.from_numpy(column * each)[None] for name, column in sums.items()}
