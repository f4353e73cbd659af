"""Judging any number of classes for every pixel, each on its own: IoU and its kin, contours, calibration."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.figures import Figure, Table
from visus.core.home import at_home
from visus.core.pixels import IGNORE
from visus.core.scores import Score
from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import FEWEST, Measures, Numbers, Weights, mean_of_defined, measured, ratio, scored
from visus.metrics.calibration import BINS
from visus.metrics.contours import ContourScores, contour_scores
from visus.metrics.counts import Counts
from visus.metrics.rows import RowMetric, ends, of_classes
from visus.metrics.segmentation import binned, certainty_grid, reliability

SCORES = ("miou", "iou", "dice", "pixel_accuracy", "boundary_f", "calibration_error")
"""Names of scores, ``iou`` only before a slash: ``iou/road``, as ``dice/road`` beside ``dice``."""

BLOCK = 2**22
"""Scores that are brought home at once: as many lines of the original as they are enough for."""

_OF_A_CLASS = ("IoU", "Dice", "precision", "recall", "contour F")


class MultilabelSegmentation(RowMetric["JudgedSets"]):
    """Scores of the classes that are said of every pixel, against those that the data states, in original pixels.

    A class is said where its probability is above one half.  ``miou``, the mean over classes of the area that truth and
    answer share over the area that either covers; ``dice``, the same with twice what they share over the sum of both
    areas; ``pixel_accuracy``, the share of all answers, one a pixel and class, that are right.  Areas are summed over
    all pictures.  ``boundary_f``, how well the contours of each class's area lie on each other (see
    ``contour_scores``), mean of a picture's classes, then of pictures.  ``calibration_error``, the expected one over 15
    equal bins of the probability of what is answered, yes or no, on a grid of pixels as in ``Segmentation``.
    ``iou/CLASS`` and ``dice/CLASS`` of one class.

    A class that is neither shown nor said is left out of means.  Pixels of which nothing is stated are left out,
    pictures without any other too.  Where the network said NaN or infinity, it is mistaken.  Intervals are a
    bootstrap's over pictures; a class on fewer than 6 pictures may be anything.

    Args:
        classes: names, in the order of the logits; 63 at most.
        score: a score that ``quick`` must hold beside the usual ones.
        resamples: of the bootstrap.
    """

    def __init__(self, classes: Sequence[str], *, score: str = "miou", resamples: int = 1000) -> None:
        self.classes = tuple(classes)
        self.shares = frozenset(self.scores_of(classes)) - {"calibration_error"}
        none, real = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
        of_classes, of_bins = none.reshape(0, len(classes)), none.reshape(0, BINS)
        empty = {
            "index": none, "known": none, "right": of_classes, "named": of_classes, "shown": of_classes,
            "bin_pixels": of_bins, "bin_right": of_bins, "bin_confidence": real.reshape(0, BINS),
            "contour_index": none, "contour_class": none, "contour_f": real,
        }  # fmt: skip
        super().__init__(empty, ("miou", "dice", score), resamples)

    @staticmethod
    def scores_of(classes: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the scores of these classes."""
        means = tuple(name for name in SCORES if name != "iou")
        return (*means, *(f"{kind}/{name}" for kind in ("iou", "dice") for name in classes))

    def update(self, raw: Raw, batch: Batch) -> None:
        """Count the pictures of a batch whose classes are stated.

        Args:
            raw: ``logits`` in present pixels; or what is at home already, ``bits``, of which no certainty is known.
            batch: with ``stated``.
        """
        for i, stated in enumerate(batch.targets["stated"]):
            if stated is None or not bool((stated >= 0).any()):
                continue
            height, width = stated.shape
            if "bits" in raw:
                stated, bits = stated.cpu(), raw["bits"][i, :height, :width].cpu()
                bits = bits.where(bits >= 0, ~stated)  # where nothing is said, it is mistaken
                shown, said = (_planes(each, len(self.classes)) & (stated >= 0) for each in (stated, bits))
                unsure = binned(np.zeros(0), np.zeros(0, np.bool_), 1)
                self._remember(batch.indices[i : i + 1], stated, bits, _counts(shown, said), unsure)
                continue
            logits, frame = raw["logits"][i].detach(), batch.frames[i]
            stated, lines = stated.cpu(), max(1, BLOCK // (len(logits) * width))
            sums, bits = torch.zeros(3, len(logits), dtype=torch.int64), torch.zeros_like(stated)
            for first in range(0, height, lines):
                rows = slice(first, first + lines)
                shown, said = answers(at_home(logits, frame, (height, width), rows).cpu(), stated[rows])
                sums += _counts(shown, said)
                for k, layer in enumerate(said):
                    bits[rows] |= layer.long() << k
            grid = certainty_grid(height, width)
            sure = at_home(logits, frame, (height, width), grid, grid).sigmoid().cpu()
            self._remember(batch.indices[i : i + 1], stated, bits, sums, _binned(sure, stated[grid, grid], grid.step))

    def index_of(self, column: str) -> str:
        """Return the column that says of which picture each row is: there are others for contours."""
        return "contour_index" if column.startswith("contour_") else "index"

    def _remember(self, index: Tensor, stated: Tensor, bits: Tensor, sums: Tensor, bins: Mapping[str, Tensor]) -> None:
        """Add the rows of one picture."""
        right, named, shown = sums
        self.add(
            torch.ones(1, dtype=torch.bool), index=index, known=(stated >= 0).sum()[None],
            right=right[None], named=named[None], shown=shown[None], **bins,
        )  # fmt: skip
        for k in (named + shown).nonzero()[:, 0].tolist():
            truth, said = (each.bitwise_right_shift(k).bitwise_and(1).to(torch.uint8) for each in (stated, bits))
            of, scores = contour_scores(truth.where(stated >= 0, IGNORE).numpy(), said.numpy(), 2)
            inside = torch.from_numpy(scores[of == 1])
            one = torch.ones(len(inside), dtype=torch.int64)
            self.add(one > 0, contour_index=one * index, contour_class=one * k, contour_f=inside)

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedSets:
        """Return what follows from the counts."""
        return JudgedSets(rows, self.classes, self.resamples)

    def measures(self, items: JudgedSets) -> Measures:
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
        return of_classes(items.holding) if name in ("miou", "dice") else super().behind(name)

    def figures(self) -> Sequence[Figure]:
        """Return a table of the classes, the worst first, and the reliability of probabilities."""
        items = self.judged()
        if not items.n:
            return ()
        measures = {name: items.of_class(name) for name in _OF_A_CLASS}
        ranked = measures["IoU"][0]
        pixels = items.counts(np.ones((items.n, 1))).shown[:, 0]
        rows = []
        for k in np.argsort(np.where(np.isnan(ranked), np.inf, ranked), kind="stable").tolist():
            of_class = {name: (value[k], low[k], high[k]) for name, (value, low, high) in measures.items()}
            scores = scored(of_class, int(items.pictures[k]), _OF_A_CLASS)
            share = float(pixels[k] / items.known.sum())
            rows.append((self.classes[k], int(items.pictures[k]), share, *map(scores.get, _OF_A_CLASS)))
        note = (
            "The worst class first.  Pictures: those where it is shown or said.  Precision: the share that is right of"
            " the pixels that were called so; recall: the share of its pixels that were called so."
        )
        table = Table("Classes", ("class", "pictures", "share of pixels", *_OF_A_CLASS), rows, note)
        if not items.bins["pixels"].any():
            return (table,)
        said = "probability of what is answered of a class, yes or no"
        return table, reliability(items.bins, items.measures["reliability"], said)

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the pictures of the lowest and the highest mean IoU of their own."""
        items = self.judged()
        best, worst = ends(items.quality, n)
        return {"worst": items.indices[worst].tolist(), "best": items.indices[best].tolist()}

    def calibration(self) -> dict[str, float]:
        """Return nothing: what is more probable than not stays so at any temperature."""
        return {}


def counted(logits: Tensor, stated: Tensor) -> Tensor:
    """Return (3, K) int64, in how many pixels each class is rightly said, is said, and is shown; see ``answers``."""
    return _counts(*answers(logits, stated))


def answers(logits: Tensor, stated: Tensor) -> tuple[Tensor, Tensor]:
    """Return (K, H, W) bool where each class is shown, and where it is said; nowhere where nothing is stated.

    Args:
        logits: (K, H, W), above 0 where a class is said.
        stated: (H, W) int64 whose bits are the classes; -1 where nothing is stated.
    """
    known = stated >= 0
    shown = _planes(stated, len(logits)) & known
    return shown, torch.where(logits.isfinite(), logits > 0, ~shown) & known


def _planes(bits: Tensor, k: int) -> Tensor:
    """Return (K, H, W) bool, the bits of numbers (H, W)."""
    return (bits >> torch.arange(k)[:, None, None] & 1) == 1


def _counts(shown: Tensor, said: Tensor) -> Tensor:
    return torch.stack([part.sum((1, 2)) for part in (said & shown, said, shown)])


def _binned(sure: Tensor, stated: Tensor, step: int) -> dict[str, Tensor]:
    """Return the sums of one picture by confidence, over all classes of those of its pixels that are looked at.

    Args:
        sure: (K, r, c) probabilities of the classes.
        stated: (r, c) int64 whose bits are the classes; -1 where nothing is stated.
        step: between these pixels.
    """
    known = (stated >= 0) & sure.isfinite()
    right = (sure > 0.5) == _planes(stated, len(sure))
    return binned(torch.maximum(sure, 1 - sure)[known].double().numpy(), right[known].numpy(), step**2)


class JudgedSets:
    """What follows from the counts of N pictures and K classes.

    Attributes:
        indices: (N,) of the pictures in the data set, rising.
        known: (N,) pixels of which something is stated.
        bins: (N, 15) ``pixels``, those of them that are ``right``, and their summed ``confidence``, by confidence; a
            pixel counts once for each class.
        holding: (N, K) which pictures show a class or are said to; pictures: (K,) how many do.
    """

    def __init__(self, rows: Mapping[str, Tensor], classes: tuple[str, ...], resamples: int) -> None:
        self.indices: NDArray[np.int64] = rows["index"].numpy()
        self.n, self.classes, self.resamples = len(self.indices), classes, resamples
        self.known: Numbers = rows["known"].double().numpy()
        self._right, self._named, self._shown = (
            np.ascontiguousarray(rows[name].double().numpy().T) for name in ("right", "named", "shown")
        )
        self.bins = {name: rows[f"bin_{name}"].double().numpy() for name in ("pixels", "right", "confidence")}
        contours = {name: column.numpy() for name, column in rows.items() if name.startswith("contour_")}
        self._contours = ContourScores(contours, self.indices, len(classes))
        self.holding: NDArray[np.bool_] = (self._named + self._shown > 0).T
        self.pictures: NDArray[np.int64] = self.holding.sum(0)

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
        return Counts(self._right @ weights, self._named @ weights, self._shown @ weights)

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
        iou, dice = ratio(counts.right, counts.named + counts.shown - counts.right), counts.f1()
        asked = len(self.classes) * (self.known @ weights)
        wrong = (counts.named + counts.shown - 2 * counts.right).sum(0)
        pixels, right, confidence = (self.bins[name].T @ weights for name in ("pixels", "right", "confidence"))
        of_class = (iou, dice, counts.precision(), counts.recall(), self._contours.of_classes(weights))
        return {
            "miou": mean_of_defined(iou),
            "dice": mean_of_defined(dice),
            "pixel_accuracy": ratio(asked - wrong, asked),
            "boundary_f": self._contours.mean(weights),
            "calibration_error": ratio(np.abs(right - confidence).sum(0), pixels.sum(0)),
            "reliability": ratio(right, pixels).T,
            **{name: value.T for name, value in zip(_OF_A_CLASS, of_class, strict=True)},
        }

    @cached_property
    def quality(self) -> Numbers:
        """(N,) each picture's own mean IoU, over the classes that it shows or is said to; 1 where there is none."""
        own = mean_of_defined(ratio(self._right, self._named + self._shown - self._right))
        return np.where(np.isnan(own), 1.0, own)
