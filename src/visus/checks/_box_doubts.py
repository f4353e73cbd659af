"""Which stated boxes detectors that never saw them contradict: another class, none drawn, one too many, badly placed.

Source:
    Tkachenko, Thyagarajan and Mueller, ObjectLab: automated diagnosis of mislabeled images in object detection data,
    arXiv 2309.00832, 2023, for asking detectors that did not learn from a picture about its swapped, overlooked and
    badly located boxes; how sure a detector must be follows from each class, as in Northcutt et al., Confident
    learning, JAIR 2021, eq. 2.  The rules and scores are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from visus.checks import Detections
from visus.core.boxes import pairwise_iou
from visus.data.objects import Objects

Kind = Literal["class", "missing", "extra", "place"]
KINDS: tuple[Kind, ...] = ("class", "missing", "extra", "place")
"""A box of another class; an object without a box; a box without an object; a box beside its object."""

ON, NEAR = 0.5, 0.1
"""IoU from which a detection is on a stated box, and from which it is near it."""

FREE = 0.3
"""IoU with every stated box up to which a detection is of an object of its own."""

LOOSE, DEVIATIONS = 0.6, 3.0
"""A box is badly placed where it fits worse than this, and by so many deviations worse than boxes of its class do."""

FAINT = 0.2
"""Share of a class's usual score below which the detections near a box, each by its overlap, have seen nothing."""

SEEN = 0.8
"""Share of a class's boxes that must be seen before one that is not says anything of its label."""

TRUSTED = 0.5
"""Share of a class's sure detections that must lie on its boxes before one that does not says anything."""

SUREST = 0.05
"""Detections, as a share of the boxes of their class, by which the share of mistakes is estimated."""

_ROUNDING = 1e-6  # by which a score may miss a threshold that it has set alone

Numbers: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Doubt:
    """One contradiction.

    Attributes:
        record: of the data set.
        object: of all objects of the data set; -1 for one that nobody drew.
        found: of all detections; -1 for an object that is not found.
        rank: by which doubts of a kind are ranked, from 0 to 1, the gravest highest.
        sure: score of the detection; of an object that is not found, the highest of any near it, times their overlap.
        overlap: IoU of stated box and detection; 0 where one of them is missing.
    """

    record: int
    object: int
    found: int
    rank: float
    sure: float
    overlap: float = 0.0


@dataclass(frozen=True)
class Doubts:
    """All contradictions.

    Attributes:
        of: by kind, the gravest first.
        asked: (M,) bool, the objects that were asked about.
        thresholds: (K,) how sure detectors usually are of each class where they are right; infinity where they never
            are, or where they are as sure of what is not there.
        unseen: other classes, so many of whose boxes are not found that a box that is not found says nothing.
        surest: how many detections the shares of mistakes are estimated from, and how many of them contradict, by kind.
    """

    of: Mapping[Kind, tuple[Doubt, ...]]
    asked: Flags
    thresholds: Numbers
    unseen: tuple[int, ...]
    surest: tuple[int, Mapping[Kind, int]]


def doubts(objects: Objects, said: Detections, classes: int) -> Doubts:
    """Return what detections contradict.

    A detection counts where it is as sure as detectors usually are of its class where they are right, and where what
    is as sure mostly is right: of a class that they do not know, detectors say nothing.  Then

    - ``class``: it is on a box of another class, on none of its own, and nothing as sure there says the box's class;
    - ``place``: it is the nearest of its class to a box, nothing surer is at the box itself, and the box fits it worse
      than boxes of this class usually do;
    - ``missing``: it is on no box of any class, and on no region of many.

    And ``extra`` is a box near which there is no detection of any class to speak of, in a class whose boxes are
    usually seen.  A box is doubted once; regions of many, objects of unknown class and boxes without area are not.

    Args:
        objects: as they are stated.
        said: detections after suppression, down to low scores.
        classes: how many there are.
    """
    known = _Known.of(objects, said, classes)
    swapped = _swapped(known)
    moved = _moved(known, swapped)
    missing = _missing(known, {doubt.found for doubt in (*swapped, *moved)})
    extra, unseen = _extra(known, {doubt.object for doubt in (*swapped, *moved)})
    every: dict[Kind, list[Doubt]] = {"class": swapped, "missing": missing, "extra": extra, "place": moved}
    ranked: dict[Kind, tuple[Doubt, ...]] = {
        kind: tuple(sorted(found, key=lambda doubt: -doubt.rank)) for kind, found in every.items()
    }
    return Doubts(ranked, known.asked, known.thresholds, unseen, _surest(known, ranked))


@dataclass(frozen=True)
class _Known:
    """Objects and detections, and what follows from the P pairs of them that are near each other.

    Attributes:
        pair: (P,) detection and (P,) object; ``overlap``: (P,) their IoU; ``same``: (P,) whether their class is.
        asked: (M,) bool; ``label``: (M,); ``area``: (M,).
        own: (M,) highest score of a detection of its class on it, 0 for none.
        home: (D,) the object it overlaps most, of any class, -1 for none; ``fit``: (D,) how far.
        own_home: (D,) the same among the objects of its class; ``own_fit``: (D,).
        sure: (D,) bool, as sure as its class usually is, and in no region of many.
        thresholds: (K,).
    """

    objects: Objects
    said: Detections
    pair: tuple[Indices, Indices]
    overlap: Numbers
    same: Flags
    asked: Flags
    label: Indices
    area: Numbers
    own: Numbers
    home: Indices
    fit: Numbers
    own_home: Indices
    own_fit: Numbers
    sure: Flags
    thresholds: Numbers

    @staticmethod
    def of(objects: Objects, said: Detections, classes: int) -> _Known:
        """Return what follows from objects and detections."""
        sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
        area = np.where((sides > 0).all(1), sides.prod(1), 0.0)
        counted = ~objects.crowd & (objects.labels >= 0)
        asked = counted & said.judged[objects.records] & (area > 0)
        found, at, overlap, hidden = _near(objects, said, counted)
        same = said.label[found] == objects.labels[at]
        on = same & (overlap >= ON)
        own = np.zeros(len(area))
        np.maximum.at(own, at[on], said.score[found[on]])
        right = asked & (own > 0)
        count = np.bincount(objects.labels[right], minlength=classes)
        total = np.bincount(objects.labels[right], own[right], minlength=classes)
        thresholds = np.where(count > 0, total / np.maximum(count, 1), np.inf)
        home, fit = _most(found, at, overlap, len(said.score))
        own_home, own_fit = _most(found[same], at[same], overlap[same], len(said.score))
        sure = (said.score >= thresholds[said.label] - _ROUNDING) & ~hidden
        of_class = np.bincount(said.label[sure], minlength=classes)
        trusted = np.bincount(said.label[sure & (own_fit >= ON)], minlength=classes) >= TRUSTED * of_class
        thresholds, sure = np.where(trusted, thresholds, np.inf), sure & trusted[said.label]
        return _Known(
            objects, said, (found, at), overlap, same, asked, objects.labels, area, own, home, fit, own_home, own_fit,
            sure, thresholds,
        )  # fmt: skip


def _near(objects: Objects, said: Detections, counted: Flags) -> tuple[Indices, Indices, Numbers, Flags]:
    """Return the pairs that are near each other: (P,) detections, objects, IoU; and (D,) which lie in what is not told.

    What is not told are regions of many, and objects of unknown class: a detection half in one may be right.
    """
    order = np.argsort(said.record, kind="stable")
    starts = np.searchsorted(said.record[order], np.arange(len(objects) + 1))
    hidden = np.zeros(len(said.record), np.bool_)
    kept: list[tuple[Indices, Indices, Numbers]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for record in np.unique(said.record).tolist():
        rows = order[starts[record] : starts[record + 1]]
        at = np.arange(objects.starts[record], objects.starts[record + 1])
        if not len(at):
            continue
        found, stated = (torch.from_numpy(np.asarray(some, np.float64)) for some in (said.box[rows], objects.boxes[at]))
        overlap = pairwise_iou(found, stated, torch.from_numpy(~counted[at])).numpy()
        hidden[rows] = (overlap[:, ~counted[at]] >= ON).any(1)
        d, m = np.nonzero((overlap >= NEAR) & counted[at])
        kept.append((rows[d], at[m], overlap[d, m]))
    found_rows, object_rows, overlaps = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return found_rows, object_rows, overlaps, hidden


def _most(rows: Indices, at: Indices, values: Numbers, count: int) -> tuple[Indices, Numbers]:
    """Return for each of ``count`` rows the place of its largest value, -1 where it has none, and that value."""
    best, most = np.full(count, -1), np.zeros(count)
    order = np.lexsort((-at, values, rows))  # of equal values the first place
    last = order[np.flatnonzero(np.diff(rows[order], append=-1))]
    best[rows[last]], most[rows[last]] = at[last], values[last]
    return best, most


def _swapped(known: _Known) -> list[Doubt]:
    """Return the boxes that a sure detection of another class is on, where nothing as sure says their own.

    As in confident learning, it is the likeliest class that counts, also where both are as sure as they usually are.
    """
    said, at = known.said, known.home
    rows = np.flatnonzero(known.sure & (at >= 0) & (known.fit >= ON) & (known.own_fit < ON))
    rows = rows[known.asked[at[rows]] & (said.score[rows] > known.own[at[rows]])]
    best, score = _most(at[rows], rows, said.score[rows], len(known.area))
    return [
        Doubt(_record(known, m), m, int(best[m]), float(score[m] * (1 - known.own[m])), float(score[m]),
              float(known.fit[best[m]]))
        for m in np.flatnonzero(best >= 0).tolist()
    ]  # fmt: skip


def _moved(known: _Known, swapped: Sequence[Doubt]) -> list[Doubt]:
    """Return the boxes that a sure detection of their class overlaps less than boxes of it usually are overlapped."""
    said = known.said
    doubted, used = ({getattr(doubt, part) for doubt in swapped} for part in ("object", "found"))
    rows = np.flatnonzero(known.sure & (known.own_home >= 0) & ~np.isin(np.arange(len(said.score)), list(used)))
    best, fit = _most(known.own_home[rows], rows, known.own_fit[rows], len(known.area))
    bound = _usual_fit(known, fit)[known.label]
    found, at = known.pair
    there = known.same & (known.overlap >= bound[at])
    score_there = np.zeros(len(fit))  # of what says that the box is where it should be
    np.maximum.at(score_there, at[there], said.score[found[there]])
    faint = FAINT * known.thresholds[known.label]
    doubts = []
    for m in np.flatnonzero(known.asked & (best >= 0) & (fit < bound)).tolist():
        sure = float(said.score[best[m]])
        if m in doubted or score_there[m] >= (sure if fit[m] >= FREE else faint[m]):
            continue
        rank = (sure - score_there[m]) * (1 - fit[m])
        doubts.append(Doubt(_record(known, m), m, int(best[m]), float(rank), sure, float(fit[m])))
    return doubts


def _usual_fit(known: _Known, fit: Numbers) -> Numbers:
    """Return (K,) the IoU below which a box of each class fits worse than others of it do, at most ``LOOSE``.

    Three deviations below the median, where the deviation is 1.4826 times the median absolute one, as for a normal
    distribution (Hampel, The influence curve, JASA 1974): boxes that are badly placed hardly move it.
    """
    bounds = np.full(len(known.thresholds), LOOSE)
    fitting = known.asked & (fit >= ON)
    for k in np.unique(known.label[fitting]).tolist():
        of_class = fit[fitting & (known.label == k)]
        middle = float(np.median(of_class))
        bounds[k] = min(LOOSE, middle - DEVIATIONS * 1.4826 * float(np.median(np.abs(of_class - middle))))
    return bounds


def _missing(known: _Known, used: set[int]) -> list[Doubt]:
    """Return sure detections that lie on no box and show no object that another doubt is of, the surest of each."""
    said = known.said
    rows = np.flatnonzero(known.sure & (known.fit < FREE))
    rows = rows[np.lexsort((rows, -said.score[rows]))]
    shown: dict[int, list[int]] = {}
    for d in used:
        shown.setdefault(int(said.record[d]), []).append(d)
    doubts = []
    for d in rows.tolist():
        others = shown.setdefault(int(said.record[d]), [])
        if d in used or (others and _overlaps(said.box[d], said.box[others]).max() >= ON):
            continue
        others.append(d)
        score = float(said.score[d])
        doubts.append(Doubt(int(said.record[d]), -1, d, float(score * (1 - known.fit[d])), score))
    return doubts


def _extra(known: _Known, doubted: set[int]) -> tuple[list[Doubt], tuple[int, ...]]:
    """Return the boxes near which nothing was found, and the classes for which that would say nothing.

    A detection speaks for a box as far as it overlaps it: that of a neighbour, which overlaps it a little, hardly does.
    """
    found, at = known.pair
    seen = np.zeros(len(known.area))
    np.maximum.at(seen, at, known.said.score[found] * known.overlap)
    usual = known.thresholds[known.label]  # infinite for a class that is never found
    visible = known.asked & (seen >= FAINT * usual)
    of_class = np.bincount(known.label[known.asked], minlength=len(known.thresholds))
    share = np.bincount(known.label[visible], minlength=len(of_class)) / np.maximum(of_class, 1)
    unseen = (of_class > 0) & (share < SEEN) & np.isfinite(known.thresholds)
    rows = np.flatnonzero(known.asked & ~visible & np.isfinite(usual) & ~unseen[known.label])
    rows = rows[np.argsort(-known.area[rows], kind="stable")]  # of equal ranks the largest first: it is hard to miss
    doubts = [
        Doubt(_record(known, m), m, -1, float(1 - seen[m] / usual[m]), float(seen[m]))
        for m in rows.tolist()
        if m not in doubted
    ]
    return doubts, tuple(np.flatnonzero(unseen).tolist())


def _surest(known: _Known, ranked: Mapping[Kind, tuple[Doubt, ...]]) -> tuple[int, Mapping[Kind, int]]:
    """Return how many detections are the surest of their class, and how many of them contradict, by kind."""
    said = known.said
    of_class = np.bincount(known.label[known.asked], minlength=len(known.thresholds))
    order = np.lexsort((-said.score, said.label))
    order = order[known.sure[order]]
    place = np.arange(len(order)) - np.searchsorted(said.label[order], said.label[order])
    surest = set(order[place < np.ceil(SUREST * of_class)[said.label[order]]].tolist())
    return len(surest), {kind: sum(doubt.found in surest for doubt in found) for kind, found in ranked.items()}


def _overlaps(box: Numbers, others: Numbers) -> Numbers:
    iou: Numbers = pairwise_iou(torch.from_numpy(box[None]), torch.from_numpy(others)).numpy()[0]
    return iou


def _record(known: _Known, m: int) -> int:
    return int(np.searchsorted(known.objects.starts, m, "right")) - 1
