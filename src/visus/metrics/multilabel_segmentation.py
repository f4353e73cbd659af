"""Judging any number of classes for every pixel, each on its own: IoU and its kin, with intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.figures import Figure, Table
from visus.core.home import at_home
from visus.core.scores import Score
from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import FEWEST, Measures, Numbers, Weights, mean_of_defined, measured, ratio, scored
from visus.metrics.counts import Counts
from visus.metrics.rows import RowMetric

SCORES = ("miou", "iou", "dice", "pixel_accuracy")
"""Names of scores, ``iou`` only before a slash: ``iou/road``, as ``dice/road`` beside ``dice``."""

BLOCK = 2**22
"""Scores that are brought home at once: as many lines of the original as they are enough for."""

_OF_A_CLASS = ("IoU", "Dice", "precision", "recall")


class MultilabelSegmentation(RowMetric["JudgedSets"]):
    """Scores of the classes that are said of every pixel, against those that the data states, in original pixels.

    A class is said where its probability is above one half.  ``miou``, the mean over classes of the area that truth and
    answer share over the area that either covers; ``dice``, the same with twice what they share over the sum of both
    areas; ``pixel_accuracy``, the share of all answers, one a pixel and class, that are right.  Areas are summed over
    all pictures.  ``iou/CLASS`` and ``dice/CLASS`` of one class.

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
        self.shares = frozenset(self.scores_of(classes))
        none = torch.zeros(0, dtype=torch.int64)
        of_classes = none.reshape(0, len(classes))
        empty = {"index": none, "known": none, "right": of_classes, "named": of_classes, "shown": of_classes}
        super().__init__(empty, ("miou", "dice", score), resamples)

    @staticmethod
    def scores_of(classes: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the scores of these classes."""
        means = tuple(name for name in SCORES if name != "iou")
        return (*means, *(f"{kind}/{name}" for kind in ("iou", "dice") for name in classes))

    def update(self, raw: Raw, batch: Batch) -> None:
        """Count the pictures of a batch whose classes are stated."""
        for i, stated in enumerate(batch.targets["stated"]):
            if stated is None or not bool((stated >= 0).any()):
                continue
            height, width = stated.shape
            logits, frame = raw["logits"][i].detach(), batch.frames[i]
            lines = max(1, BLOCK // (len(logits) * width))
            sums = torch.zeros(3, len(logits), dtype=torch.int64)
            for first in range(0, height, lines):
                rows = slice(first, first + lines)
                sums += counted(at_home(logits, frame, (height, width), rows).cpu(), stated[rows].cpu())
            right, named, shown = sums
            self.add(
                torch.ones(1, dtype=torch.bool), index=batch.indices[i : i + 1], known=(stated >= 0).sum()[None],
                right=right[None], named=named[None], shown=shown[None],
            )  # fmt: skip

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

    def figures(self) -> Sequence[Figure]:
        """Return a table of the classes, the worst first."""
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
        return (Table("Classes", ("class", "pictures", "share of pixels", *_OF_A_CLASS), rows, note),)

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the pictures of the lowest and the highest mean IoU of their own."""
        items = self.judged()
        order = np.argsort(items.quality, kind="stable")
        return {"worst": items.indices[order[:n]].tolist(), "best": items.indices[order[::-1][:n]].tolist()}

    def calibration(self) -> dict[str, float]:
        """Return nothing: what is more probable than not stays so at any temperature."""
        return {}


def counted(logits: Tensor, stated: Tensor) -> Tensor:
    """Return (3, K) int64, in how many pixels each class is rightly said, is said, and is shown.

    Args:
        logits: (K, H, W), above 0 where a class is said.
        stated: (H, W) int64 whose bits are the classes; -1 where nothing is stated.
    """
    known = stated >= 0
    bits = torch.arange(len(logits))[:, None, None]
    shown = ((stated >> bits & 1) == 1) & known
    said = torch.where(logits.isfinite(), logits > 0, ~shown) & known
    return torch.stack([part.sum((1, 2)) for part in (said & shown, said, shown)])


class JudgedSets:
    """What follows from the counts of N pictures and K classes.

    Attributes:
        indices: (N,) of the pictures in the data set, rising.
        known: (N,) pixels of which something is stated.
        pictures: (K,) how many show a class or are said to.
    """

    def __init__(self, rows: Mapping[str, Tensor], classes: tuple[str, ...], resamples: int) -> None:
        self.indices: NDArray[np.int64] = rows["index"].numpy()
        self.n, self.classes, self.resamples = len(self.indices), classes, resamples
        self.known: Numbers = rows["known"].double().numpy()
        self._right, self._named, self._shown = (
            np.ascontiguousarray(rows[name].double().numpy().T) for name in ("right", "named", "shown")
        )
        self.pictures: NDArray[np.int64] = ((self._named + self._shown) > 0).sum(1)

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
        """Return (r,) scores, and (r, K) those of each class."""
        counts = self.counts(weights)
        iou, dice = ratio(counts.right, counts.named + counts.shown - counts.right), counts.f1()
        answers = len(self.classes) * (self.known @ weights)
        wrong = (counts.named + counts.shown - 2 * counts.right).sum(0)
        of_class = (iou, dice, counts.precision(), counts.recall())
        return {
            "miou": mean_of_defined(iou),
            "dice": mean_of_defined(dice),
            "pixel_accuracy": ratio(answers - wrong, answers),
            **{name: value.T for name, value in zip(_OF_A_CLASS, of_class, strict=True)},
        }

    @cached_property
    def quality(self) -> Numbers:
        """(N,) each picture's own mean IoU, over the classes that it shows or is said to; 1 where there is none."""
        own = mean_of_defined(ratio(self._right, self._named + self._shown - self._right))
        return np.where(np.isnan(own), 1.0, own)
