"""Judging boxes and masks: COCO's and VOC's average precision, the best threshold, confusions, costs of mistakes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core import run_lengths
from visus.core.boxes import moved
from visus.core.figures import Figure, Matrix, Table
from visus.core.run_lengths import Counts as Lengths
from visus.core.shapes import SoftMasks, overlaps
from visus.core.task import Batch, Raw
from visus.metrics import voc
from visus.metrics.average_precision import VOC, VOC07, Ranked, objects_of, reached
from visus.metrics.bootstrap import (
    FEWEST,
    Measures,
    Numbers,
    Sums,
    Weights,
    mean_of_defined,
    measured,
    scored,
    summing,
)
from visus.metrics.box_errors import KINDS, Errors, errors, mended
from visus.metrics.counts import Counts
from visus.metrics.curves import precision_recall_curves
from visus.metrics.matching import SIZES, THRESHOLDS, Flags, Found, Indices, Matches, Overlaps, Truth, match
from visus.metrics.rows import RowMetric, of_classes


class Detected(NamedTuple):
    """What was found in one picture, the highest score first.

    Attributes:
        boxes: (N, 4) in present pixels.
        scores: (N,).
        labels: (N,) classes.
        masks: of each in the original picture, where the network says them.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: SoftMasks | None = None


Boxes: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Of one picture: (N, 4) boxes in original pixels, (N,) scores, (N,) labels."""

Masks: TypeAlias = tuple[Sequence[Lengths], Sequence[Lengths | None]]
"""Of one picture: run lengths of what was found, and of its objects, None of one whose mask is not known."""

MOST_CLASSES_OF_A_MATRIX = 1000
_OF_ALL = {"map": slice(0, 10), "map50": slice(0, 1), "map75": slice(5, 6)}
_OF_SIZE = {"map_small": 1, "map_medium": 2, "map_large": 3}
_RECALLS = {
    "mar_1": (0, 1), "mar_10": (0, 10), "mar_100": (0, 100),
    "mar_small": (1, 100), "mar_medium": (2, 100), "mar_large": (3, 100),
}  # fmt: skip
_OF_VOC = {"voc_map50": VOC, "voc07_map50": VOC07}
_OF_COUNTS = ("precision", "recall", "f1")
SCORES = (*_OF_ALL, *_OF_SIZE, *_RECALLS, *_OF_VOC, *_OF_COUNTS)
OF_MASKS = {f"mask_{name}": name for name in (*_OF_ALL, *_OF_SIZE, *_RECALLS)}
"""Scores of masks, and what each is called of boxes."""
_OF_A_CLASS = ("AP", "AP50", "AP75", "precision of a class", "recall of a class", "F1 of a class")
_LESS = 1 - 1e-5  # more than float32 rounds a score to, and less than two of them are apart
_COST = "cost"
_SHOWN = "from the score on at which their class has its best F1"


def as_they_stand(raw: Raw) -> list[Detected]:
    """Return the candidates of each picture, without suppression: those whose score is at least 0."""
    rows = zip(raw["boxes"], raw["scores"], raw["labels"], strict=True)
    return [Detected(boxes[scores >= 0], scores[scores >= 0], labels[scores >= 0]) for boxes, scores, labels in rows]


class Detection(RowMetric["JudgedDetections"]):
    """Scores of boxes against the objects that the data states, in original pixels.

    COCO's: ``map``, the mean of average precision over the classes that are shown and the IoU thresholds 0.50 to 0.95;
    ``map50`` and ``map75`` at one of them; ``map_small``, ``map_medium`` and ``map_large`` of objects up to 32 x 32
    pixels, up to 96 x 96, and above; ``mar_1``, ``mar_10``, ``mar_100``, the recall that so many detections of each
    class a picture reach, and ``mar_small``, ``mar_medium``, ``mar_large``.  VOC's, by its own matching: ``voc_map50``,
    the area below the whole curve, and ``voc07_map50`` at eleven points.  ``precision``, ``recall`` and ``f1`` of all
    classes together, at IoU 0.5 and the threshold of the best F1 on these pictures, which intervals hold fixed.

    Where masks are said and stated, ``mask_map`` and so on are the same of masks: two overlap by the pixels they share,
    and the size of a detection is that of its mask.  An object without a mask counts there neither for nor against.

    A picture whose objects are not known is left out, an object of unknown class too.  A score that the data does not
    define is left out, never shown as 0.  Detections that are not finite are as if they had not been said.

    Intervals are a bootstrap's over pictures, see ``interval``: matching does not depend on the resample, so each
    resamples matched detections.

    Args:
        classes: names, in the order of the labels.
        score: a score that ``quick`` must hold beside the usual ones.
        resamples: of the bootstrap.
        finish: from what a network says to the detections of each picture: the task's suppression.
    """

    SCORES = (*SCORES, *OF_MASKS)
    shares = frozenset(SCORES)

    def __init__(
        self,
        classes: Sequence[str],
        *,
        score: str = "map",
        resamples: int = 1000,
        finish: Callable[[Raw], Sequence[Detected]] = as_they_stand,
    ) -> None:
        self.classes, self.finish = tuple(classes), finish
        number, flag = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
        real = torch.zeros(0, dtype=torch.float64)
        box = real.reshape(0, 4)
        empty = {
            "index": number,
            "found_index": number, "found_label": number, "found_score": real, "found_box": box,
            "truth_index": number, "truth_label": number, "truth_box": box, "truth_crowd": flag, "truth_area": real,
            "found_area": real, "truth_masked": flag,
            # of pictures with masks, and those pairs of them that share pixels, by their places in their picture
            "masked_index": number, "pair_index": number, "pair_found": number, "pair_truth": number,
            "pair_overlap": real,
        }  # fmt: skip
        super().__init__(empty, ("map", "map50", "map75", score), resamples)

    def update(self, raw: Raw, batch: Batch) -> None:
        """Remember the detections and the objects of the pictures of a batch whose objects are known."""
        for i, (found, stated) in enumerate(zip(self.finish(raw), batch.targets["stated"], strict=True)):
            if stated is None:
                continue
            boxes = moved(found.boxes.detach().double().cpu(), batch.frames[i].double().cpu())
            masks = None
            if found.masks is not None and stated.shapes is not None:
                masks = found.masks.lengths(boxes.numpy()), [shape and shape.lengths() for shape in stated.shapes]
            self.remember(
                int(batch.indices[i]),
                found=(boxes, found.scores.detach(), found.labels),
                truth=(stated.boxes, stated.labels, stated.crowd, stated.area),
                masks=masks,
            )

    def remember(
        self, index: int, found: Boxes, truth: tuple[Tensor, Tensor, Tensor, Tensor], masks: Masks | None = None
    ) -> None:
        """Add one picture.

        Args:
            index: its place in the data set.
            found: boxes in original pixels, scores, labels.
            truth: boxes in original pixels, labels, crowd, area.
            masks: run lengths of what was found and of the objects, if they are to be judged.
        """
        boxes, scores, labels = (column.cpu() for column in found)
        known = scores.isfinite() & boxes.isfinite().all(1)
        area = torch.full((len(labels),), float("nan"), dtype=torch.float64)
        if masks is not None:
            area = torch.tensor([run_lengths.area(each) for each in masks[0]], dtype=torch.float64)
        self.add(torch.ones(1, dtype=torch.bool), index=torch.tensor([index]))
        at = torch.full((len(labels),), index)
        self.add(known, found_index=at, found_label=labels, found_score=scores, found_box=boxes, found_area=area)
        boxes, labels, crowd, stated_area = (column.cpu() for column in truth)
        at, held = torch.full((len(labels),), index), labels >= 0
        masked = torch.zeros(len(labels), dtype=torch.bool)
        if masks is not None:
            masked = torch.tensor([each is not None for each in masks[1]], dtype=torch.bool)
            self._remember_masks(index, masks, known.numpy(), held.numpy(), crowd.numpy())
        self.add(
            held, truth_index=at, truth_label=labels, truth_box=boxes, truth_crowd=crowd, truth_area=stated_area,
            truth_masked=masked,
        )  # fmt: skip

    def _remember_masks(self, index: int, masks: Masks, known: Flags, held: Flags, crowd: Flags) -> None:
        """Add what the masks of a picture share, of those detections and objects that are remembered."""
        found = [masks[0][d] for d in np.flatnonzero(known).tolist()]
        places, objects, regions = [], [], []
        for place, m in enumerate(np.flatnonzero(held).tolist()):
            if (mask := masks[1][m]) is not None:
                places.append(place)
                objects.append(mask)
                regions.append(crowd[m])
        rows, at, overlap = overlaps(found, objects, np.array(regions, np.bool_))
        which = np.array(places, np.int64)[at]
        self.add(torch.ones(1, dtype=torch.bool), masked_index=torch.tensor([index]))
        every = torch.ones(len(rows), dtype=torch.bool)
        self.add(
            every, pair_index=torch.full((len(rows),), index), pair_found=torch.from_numpy(rows),
            pair_truth=torch.from_numpy(which), pair_overlap=torch.from_numpy(overlap),
        )  # fmt: skip

    def index_of(self, column: str) -> str:
        """Return the column that says of which picture each row is: there are others for detections and objects."""
        return column if column == "index" else f"{column.partition('_')[0]}_index"

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedDetections:
        """Return what follows from the boxes."""
        return JudgedDetections(rows, len(self.classes), self.resamples)

    def measures(self, items: JudgedDetections) -> Measures:
        """Return value, low and high of every score."""
        return {name: items.measures[name] for name in self.SCORES if name in items.measures}

    def behind(self, name: str) -> Numbers:
        """Return how many pictures show each class that a picture shows, of a mean over classes, in its sizes."""
        items, of = self.judged(), OF_MASKS.get(name, name)
        if name in OF_MASKS and items.masks is not None:
            items = items.masks
        if of in _OF_COUNTS:
            return super().behind(name)
        a = _OF_SIZE.get(of, _RECALLS.get(of, (0, 0))[0])
        return of_classes(np.asarray(items.objects(a).toarray().T > 0))

    def figures(self) -> Sequence[Figure]:
        """Return the classes, precision against recall, the confusions, and what each kind of mistake costs."""
        items = self.judged()
        if not items.n:
            return ()
        figures: list[Figure] = [self._class_table(items)]
        areas = np.asarray(items.measures["AP50"][0])
        if not np.isnan(areas).all():
            figures.append(precision_recall_curves(self.classes, items.curve, areas, "Precision and recall at IoU 0.5"))
        if len(self.classes) <= MOST_CLASSES_OF_A_MATRIX:
            names = (*self.classes, "background")
            note = f"Detections {_SHOWN}, on objects by half or more."
            figures.append(Matrix("Confusion matrix", names, names, items.confusion(), note=note, background=True))
        return [*figures, self._mistakes(items)]

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the pictures of the surest mistakes, and of the most and fewest, at the threshold of the best F1."""
        items = self.judged()
        right, amiss = items.by_picture
        worst = np.lexsort((right, -amiss))[: min(n, int((amiss > 0).sum()), -(-len(amiss) // 2))]
        best = np.lexsort((-right, amiss))
        best = best[(right[best] > 0) & ~np.isin(best, worst)][:n]  # of few pictures none is among both
        sure = items.surest_mistakes[:n]
        titles = {"most confident mistakes": sure, "worst": worst, "best": best}
        return {title: items.indices[at].tolist() for title, at in titles.items()}

    def calibration(self) -> dict[str, float]:
        """Return the score of the best F1 of all classes together, and of each that has another; nothing for none.

        It is that of a detection, less rounding: the detection is shown by other arithmetic, too.
        """
        items = self.judged()
        if not items.n or not np.isfinite(items.threshold):
            return {}
        own = zip(self.classes, items.thresholds.tolist(), strict=True)
        apart = {f"threshold/{name}": score * _LESS for name, score in own if score != items.threshold}
        return {"threshold": items.threshold * _LESS, **apart}

    def _class_table(self, items: JudgedDetections) -> Table:
        shown = items.objects(0).sum(1)
        measures = {name: items.measures[name] for name in _OF_A_CLASS}
        ranked = np.asarray(measures["AP"][0])
        rows = []
        for k in np.argsort(np.where(np.isnan(ranked), np.inf, ranked), kind="stable"):
            of_class = {name: tuple(np.asarray(part)[k] for part in parts) for name, parts in measures.items()}
            if items.scarce[k]:
                of_class = {name: (value, np.float64(0), np.float64(1)) for name, (value, *_) in of_class.items()}
            scores = scored(of_class, int(shown[k]), _OF_A_CLASS)
            least = f"{items.thresholds[k]:.3f}" if np.isfinite(items.thresholds[k]) else ""
            rows.append((self.classes[k], int(shown[k]), *map(scores.get, _OF_A_CLASS), least))
        columns = ("class", "objects", *(name.removesuffix(" of a class") for name in _OF_A_CLASS), "from score")
        note = (
            "The worst class first.  Precision, recall and F1 at IoU 0.5, of detections from the score on at which the "
            f"class has its best F1.  A class on fewer than {FEWEST} pictures may be anything, and has that of all."
        )
        return Table("Classes", columns, rows, note)

    def _mistakes(self, items: JudgedDetections) -> Table:
        value, low, high = (np.asarray(part) for part in items.measures[_COST])
        costs = [scored({kind: (value[i], low[i], high[i])}, items.n).get(kind) for i, kind in enumerate(KINDS)]
        rows = [
            (kind, items.mistakes[kind], cost, what) for (kind, what), cost in zip(KINDS.items(), costs, strict=True)
        ]
        note = (
            f"Counted are detections {_SHOWN}.  The cost is what AP50 would gain, were all mistakes of one kind mended"
            " (TIDE), of all detections, also those that are too unsure to be shown; gains do not add up."
        )
        return Table("Kinds of mistakes", ("kind", "count", "cost in AP50", "what it is"), rows, note)


def differences(a: Detection, b: Detection) -> Measures:
    """Return how far B lies above A on the same pictures, each with the interval of the paired bootstrap.

    Returns:
        By the name of each score; ``AP``, ``AP50`` and ``AP75`` (K,) by class; ``cost`` by kind of mistake.
    """
    of_a, of_b = a.judged(), b.judged()

    def gains(weights: Weights) -> dict[str, Numbers]:
        before = of_a.everything(weights)
        return {name: value - before[name] for name, value in of_b.everything(weights).items()}

    return measured(gains, of_a.n, a.resamples)


class JudgedDetections:
    """What follows from the boxes of N pictures and K classes.

    Attributes:
        indices: (N,) of the pictures in the data set, rising.
        truth, found: objects and detections, whose ``image`` is a place in ``indices``.

    Args:
        rows: what a metric remembers, in the order of the data set.
        n_classes: K.
        resamples: of the bootstrap.
        by_masks: judge masks rather than boxes.
    """

    def __init__(self, rows: Mapping[str, Tensor], n_classes: int, resamples: int, *, by_masks: bool = False) -> None:
        self.k, self.resamples, self._rows = n_classes, resamples, rows
        columns = {name: column.numpy() for name, column in rows.items()}
        self.indices: Indices = columns["index"]
        self.n = len(self.indices)
        image = {of: np.searchsorted(self.indices, columns[f"{of}_index"]) for of in ("truth", "found", "pair")}
        self.truth = Truth(
            image["truth"], columns["truth_label"], columns["truth_box"],
            columns["truth_crowd"] | ~columns["truth_masked"] if by_masks else columns["truth_crowd"],
            columns["truth_area"],
        )  # fmt: skip
        self.found = Found(
            image["found"], columns["found_label"], columns["found_score"], columns["found_box"],
            columns["found_area"] if by_masks else None,
        )  # fmt: skip
        self._overlaps = Overlaps(
            np.searchsorted(image["found"], image["pair"]) + columns["pair_found"],
            np.searchsorted(image["truth"], image["pair"]) + columns["pair_truth"], columns["pair_overlap"],
        ) if by_masks else None  # fmt: skip
        self._masked = not by_masks and len(columns["masked_index"]) > 0
        self._ranked: dict[int, Ranked] = {}

    @cached_property
    def masks(self) -> JudgedDetections | None:
        """The same of masks, where there are some: two overlap by the pixels they share."""
        return JudgedDetections(self._rows, self.k, self.resamples, by_masks=True) if self._masked else None

    @cached_property
    def matches(self) -> Matches:
        """Which detection found which object."""
        return match(self.truth, self.found, overlaps=self._overlaps)

    @cached_property
    def errors(self) -> Errors:
        """The kind of each mistake, of all detections."""
        return errors(self.truth, self.matches)

    @cached_property
    def mistakes(self) -> dict[str, int]:
        """How many mistakes of each kind there are at the threshold."""
        return dict(zip(KINDS, errors(self.truth, self.matches, self._shown).count(), strict=True))

    @cached_property
    def measures(self) -> Measures:
        """Value, low and high of ``everything``."""
        return measured(self.everything, self.n, self.resamples)

    @cached_property
    def threshold(self) -> float:
        """The score at and above which detections have the best F1 at IoU 0.5; infinity where none is right."""
        return self._best(np.ones(len(self.matches.found), np.bool_), int((~self.truth.crowd).sum()))

    @cached_property
    def thresholds(self) -> Numbers:
        """(K,) the same of each class alone; that of all where it is on few pictures, or none is right."""
        asked = np.bincount(self.truth.label[~self.truth.crowd], minlength=self.k)
        alone = np.array([self._best(self.matches.found.label == k, int(asked[k])) for k in range(self.k)])
        return np.where(self.scarce | np.isinf(alone), self.threshold, alone)

    def _best(self, of: NDArray[np.bool_], asked: int) -> float:
        """Return the score from which on some detections, of ``asked`` objects, have the best F1."""
        counted = of & self.matches.counted(0, 0)
        score, right = self.matches.found.score[counted], self.matches.right(0, 0)[counted]
        order = np.argsort(-score, kind="stable")
        score, right = score[order], np.cumsum(right[order])
        last = np.append(score[1:] != score[:-1], True)[: len(score)]
        f1 = np.where(last, 2 * right / (np.arange(1, len(score) + 1) + asked), 0)
        return float(score[f1.argmax()]) if f1.any() else np.inf

    @cached_property
    def _shown(self) -> NDArray[np.bool_]:
        """(D,) detections of their class's threshold or surer."""
        found = self.matches.found
        shown: NDArray[np.bool_] = found.score >= self.thresholds[found.label]
        return shown

    def objects(self, a: int) -> Sums:
        """Return the (K, N) matrix that counts the objects of one range of sizes."""
        held = ~self.matches.ignored[:, a]
        return objects_of(self.truth.label[held], self.truth.image[held], self.k, self.n)

    @cached_property
    def scarce(self) -> NDArray[np.bool_]:
        """(K,) classes shown on so few pictures that nothing sure follows from these, whatever resamples of them say.

        Where two detectors are alike, n pictures all speak for the same one in one of 2^(n - 1) cases: below six
        pictures in more than 5 %.
        """
        scarce: NDArray[np.bool_] = np.diff(self.objects(0).indptr) < FEWEST
        return scarce

    def ranked(self, a: int) -> Ranked:
        """Return the detections as they count for one range of sizes, at all thresholds."""
        if a not in self._ranked:
            steps, found = range(len(THRESHOLDS)), self.matches.found
            right = np.stack([self.matches.right(a, t) for t in steps], 1)
            counted = np.stack([self.matches.counted(a, t) for t in steps], 1)
            self._ranked[a] = Ranked(found.label, found.image, right, counted, self.objects(a))
        return self._ranked[a]

    def curve(self, k: int) -> tuple[Numbers, Numbers]:
        """Return recall and precision of a class at IoU 0.5."""
        return self.ranked(0).curve(k)

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (N, r); only those named, if any are."""
        wanted = set(names or (*SCORES, *OF_MASKS))
        found = {name: mean_of_defined(value) for name, value in self._by_class(weights, wanted).items()}
        if wanted.intersection(_OF_COUNTS):
            found |= {name: value for name, value in self._pooled(weights).items() if name in wanted}
        return found | self._of_masks(weights, wanted)

    def everything(self, weights: Weights) -> dict[str, Numbers]:
        """Return (r,) scores, (r, K) those of each class, and (r, 6) the cost of each kind of mistake, in AP50."""
        by_class, counts = self._by_class(weights, set(SCORES)), self.counts(weights)
        found = {name: mean_of_defined(value) for name, value in by_class.items()} | self._pooled(weights)
        of_class = (
            by_class["map"], by_class["map50"], by_class["map75"], counts.precision(), counts.recall(), counts.f1(),
        )  # fmt: skip
        costs = [mean_of_defined(ranked.areas(weights)[0]) - found["map50"] for ranked in self._mended]
        return {
            **found,
            **self._of_masks(weights, set(OF_MASKS)),
            **{name: value.T for name, value in zip(_OF_A_CLASS, of_class, strict=True)},
            _COST: np.stack(costs, 1),
        }

    def counts(self, weights: Weights) -> Counts:
        """Return the weighted counts of each class at the threshold and IoU 0.5."""
        right, named, shown = self._sums
        return Counts(right @ weights, named @ weights, shown @ weights)

    def confusion(self) -> NDArray[np.int64]:
        """Return (K + 1, K + 1) counts of objects by the class they are, and that they were called.

        What is judged right stands on the diagonal.  Of the rest, from the surest on, each detection meets the object
        that it overlaps most, if by half; what meets nothing stands in the last row, an object that nothing meets in
        the last column.
        """
        found, (right, wrong, free) = self.matches.found, self._at_threshold
        rows, at = np.flatnonzero(wrong), np.flatnonzero(free)
        truth = self.truth
        any_class = Found(found.image[rows], np.zeros_like(rows), found.score[rows], found.box[rows])
        met = match(
            Truth(truth.image[at], np.zeros_like(at), truth.box[at], truth.crowd[at], truth.area[at]), any_class,
            thresholds=THRESHOLDS[:1], sizes=SIZES[:1], most=len(rows) + 1,
        )  # fmt: skip
        which = met.object[:, 0, 0]
        met_rows, met_at = rows[any_class.order()][met.near[which >= 0]], at[which[which >= 0]]
        said, shown = found.label[np.setdiff1d(rows, met_rows)], truth.label[np.setdiff1d(at, met_at)]
        wide = self.k + 1
        pairs = [
            found.label[right] * (wide + 1), truth.label[met_at] * wide + found.label[met_rows],
            self.k * wide + said, shown * wide + self.k,
        ]  # fmt: skip
        return np.bincount(np.concatenate(pairs), minlength=wide**2).reshape(wide, wide)

    @cached_property
    def by_picture(self) -> tuple[Indices, Indices]:
        """(N,) how many detections are right, and how many are wrong or missing, at the threshold and IoU 0.5."""
        right, wrong, free = self._at_threshold
        image = self.matches.found.image
        amiss = np.bincount(image[wrong], minlength=self.n) + np.bincount(self.truth.image[free], minlength=self.n)
        return np.bincount(image[right], minlength=self.n), amiss

    @cached_property
    def surest_mistakes(self) -> Indices:
        """Pictures that show a mistake at the threshold, the surest first."""
        wrong = np.flatnonzero(self._shown & self.matches.counted(0, 0) & ~self.matches.right(0, 0))
        image = self.matches.found.image[wrong[np.argsort(-self.matches.found.score[wrong], kind="stable")]]
        pictures, first = np.unique(image, return_index=True)
        return pictures[np.argsort(first)]

    def _by_class(self, weights: Weights, wanted: Collection[str]) -> dict[str, Numbers]:
        """Return (K, r) of each class, of those scores that are means over the classes."""
        found: dict[str, Numbers] = {}
        if set(_OF_ALL) & set(wanted):
            areas = self.ranked(0).areas(weights)
            found |= {name: areas[steps].mean(0) for name, steps in _OF_ALL.items() if name in wanted}
        for name, a in _OF_SIZE.items():
            if name in wanted:
                found[name] = self.ranked(a).areas(weights).mean(0)
        for name, sums in self._recalls.items():
            if name in wanted:
                found[name] = reached(*sums, weights) / len(THRESHOLDS)
        for name, axis in _OF_VOC.items():
            if name in wanted:
                found[name] = self._voc.areas(weights, axis)[0]
        return found

    def _of_masks(self, weights: Weights, wanted: Collection[str]) -> dict[str, Numbers]:
        """Return (r,) of those scores that are of masks; none where there are no masks."""
        names = {name: of for name, of in OF_MASKS.items() if name in wanted}
        if not names or self.masks is None:
            return {}
        found = self.masks.weighted(weights, {*names.values()})
        return {name: found[of] for name, of in names.items()}

    def _pooled(self, weights: Weights) -> dict[str, Numbers]:
        """Return (r,) precision, recall and F1 of all classes together."""
        micro = self.counts(weights).scores()
        return {name: micro[f"{name}_micro"] for name in _OF_COUNTS}

    @cached_property
    def _recalls(self) -> dict[str, tuple[Sums, Sums]]:
        """By score, the (K, N) matrices of what was found, over all thresholds, and of what is there."""
        found, sums = self.matches.found, {}
        for name, (a, most) in _RECALLS.items():
            rows = np.concatenate(
                [np.flatnonzero(self.matches.right(a, t) & (self.matches.rank < most)) for t in range(10)]
            )
            sums[name] = summing(found.label[rows], self.k, self.n, found.image[rows]), self.objects(a)
        return sums

    @cached_property
    def _voc(self) -> Ranked:
        return voc.ranked(self.truth, self.found, self.k, self.n)

    @cached_property
    def _mended(self) -> list[Ranked]:
        return mended(self.truth, self.matches, self.errors, self.k, self.n)

    @cached_property
    def _sums(self) -> tuple[Sums, Sums, Sums]:
        right, wrong, _ = self._at_threshold
        found = self.matches.found
        named = np.flatnonzero(right | wrong)
        return (
            summing(found.label[right], self.k, self.n, found.image[right]),
            summing(found.label[named], self.k, self.n, found.image[named]),
            self.objects(0),
        )

    @cached_property
    def _at_threshold(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
        """(D,) detections of the threshold or surer that are right, those that are wrong; (M,) objects not found."""
        matches = self.matches
        right = matches.right(0, 0) & self._shown
        free = ~self.truth.crowd
        free[matches.object[:, 0, 0][right[matches.near]]] = False
        return right, matches.counted(0, 0) & self._shown & ~right, free
