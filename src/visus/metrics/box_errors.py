"""What kind of mistake each detection is, and what each kind costs in average precision.

Source:
    Bolya et al., TIDE: a general toolbox for identifying object detection errors, ECCV 2020, sections 2.2 and 2.3.  A
    detection that fits two kinds is of the first that the authors' program asks for, which is the order of ``_kinds``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visus.metrics.average_precision import Ranked, objects_of
from visus.metrics.bootstrap import Sums
from visus.metrics.matching import Flags, Indices, Matches, Numbers, Truth, iou, pairs

KINDS = {
    "classification": "on an object, but of another class",
    "localisation": "on an object of its class, but loosely",
    "both": "loosely on an object of another class",
    "duplicate": "on an object that a surer detection found",
    "background": "on nothing",
    "missed": "objects with no detection on them",
}
"""Each kind of mistake, and what it is, in the order in which they are shown."""

FOREGROUND, BACKGROUND = 0.5, 0.1
"""IoU from which a detection is on an object, and up to which it is on nothing."""

_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)


@dataclass(frozen=True)
class Errors:
    """The mistakes among detections, matched at an IoU of 0.5 over all sizes.

    Attributes:
        kind: (D,) place in ``KINDS``; -1 of what is right or does not count.
        meant: (D,) the object on which a classification or localisation error is; -1 of all others.
        missed: (M,) bool, objects that were not found and that no such error is on.
    """

    kind: Indices
    meant: Indices
    missed: Flags

    def count(self) -> list[int]:
        """Return how many there are of each kind."""
        return [*(int((self.kind == k).sum()) for k in range(len(KINDS) - 1)), int(self.missed.sum())]


def errors(truth: Truth, matches: Matches, sure: Flags | None = None) -> Errors:
    """Return the kind of each mistake; of ``matches``, the first range of sizes and the first threshold are read.

    Args:
        truth: the objects.
        matches: which detection found which of them; what the surer ones found does not depend on the others.
        sure: (D,) detections that count; the others are as if they had not been said.  All by default.
    """
    found = matches.found
    sure = np.ones(len(found), np.bool_) if sure is None else sure
    wrong = np.flatnonzero(matches.counted(0, 0) & ~matches.right(0, 0) & sure)
    own, own_at, other, other_at = _nearest(truth, matches, wrong)
    kind, at = _kinds(own, other), np.full(len(found), -1)
    at[wrong] = np.select([kind == _LOCALISATION, kind == _CLASSIFICATION], [own_at, other_at], -1)
    kinds = np.full(len(found), -1)
    kinds[wrong] = kind
    missed = ~truth.crowd
    for on in (at, _objects(matches)[sure]):
        missed[on[on >= 0]] = False
    return Errors(kinds, at, missed)


def mended(truth: Truth, matches: Matches, found_errors: Errors, n_classes: int, n: int) -> list[Ranked]:
    """Return the detections with each kind of mistake mended in turn, in the order of ``KINDS``.

    A classification or localisation error becomes right; where another detection is right on that object, or becomes
    so, the surer one stays.  Errors of both kinds, duplicates and detections of background are left out.  Missed
    objects are no longer asked for.
    """
    found, right, counted = matches.found, matches.right(0, 0), matches.counted(0, 0)
    held = ~truth.crowd

    def objects(of: Flags) -> Sums:
        return objects_of(truth.label[of], truth.image[of], n_classes, n)

    def judged(label: Indices, image: Indices, right: Flags, asked: Sums) -> Ranked:
        return Ranked(label, image, right[:, None], np.ones((len(label), 1), np.bool_), asked)

    every = objects(held)
    ranked = []
    for kind in range(len(KINDS) - 1):
        wrong = found_errors.kind == kind
        if kind in {_CLASSIFICATION, _LOCALISATION}:
            rows, at = _surest(matches, wrong, right, found_errors.meant)
            kept, label, now = counted & ~wrong, found.label.copy(), right.copy()
            kept[right & np.isin(_objects(matches), at)] = False
            kept[rows], now[rows], label[rows] = True, True, truth.label[at]
            order = np.flatnonzero(kept)
            order = order[replace(found, label=label).take(order).order()]
            ranked.append(judged(label[order], found.image[order], now[order], every))
        else:
            kept = counted & ~wrong
            ranked.append(judged(found.label[kept], found.image[kept], right[kept], every))
    asked = objects(held & ~found_errors.missed)
    return [*ranked, judged(found.label[counted], found.image[counted], right[counted], asked)]


def _kinds(own: Numbers, other: Numbers) -> Indices:
    """Return the kind of mistakes that overlap an object of their own class, and one of another, at most so far."""
    loose = (own > BACKGROUND) & (own < FOREGROUND)
    tests = [
        (loose, _LOCALISATION),
        (other >= FOREGROUND, _CLASSIFICATION),
        (own >= FOREGROUND, _DUPLICATE),
        (other <= BACKGROUND, _BACKGROUND),
    ]
    return np.select([test for test, _ in tests], [kind for _, kind in tests], _BOTH)


def _nearest(truth: Truth, matches: Matches, wrong: Indices) -> tuple[Numbers, Indices, Numbers, Indices]:
    """Return how far each mistake overlaps objects of its own class at most, and which; then those of others."""
    best = np.zeros((2, len(wrong)))
    which = np.full((2, len(wrong)), -1)
    held = np.flatnonzero(~truth.crowd)
    found = matches.found
    for row, place in pairs(found.image[wrong], truth.image[held]):
        at = held[place]
        overlap = iou(found.box[wrong[row]], truth.box[at])
        same = found.label[wrong[row]] == truth.label[at]
        first = np.flatnonzero(np.diff(row, prepend=-1))
        for side, own in enumerate((same, ~same)):
            value = np.where(own, overlap, 0)
            most = np.maximum.reduceat(value, first)
            best[side, row[first]] = most
            top = np.flatnonzero((value > 0) & (value == np.repeat(most, np.diff(first, append=len(row)))))
            which[side, row[top[::-1]]] = at[top[::-1]]  # of equals the first
    return best[0], which[0], best[1], which[1]


def _objects(matches: Matches) -> Indices:
    """Return (D,) the object that each detection found; -1 for none."""
    at = np.full(len(matches.found), -1)
    at[matches.near] = matches.object[:, 0, 0]
    return at


def _surest(matches: Matches, wrong: Flags, right: Flags, meant: Indices) -> tuple[Indices, Indices]:
    """Return the surest detection on each object that a mistake is on, those that are right included, and the object.

    Of equally sure ones, that which is right stays.
    """
    rows = np.flatnonzero(wrong)
    known = np.flatnonzero(right & np.isin(_objects(matches), meant[rows]))
    every = np.concatenate([known, rows])
    at = np.concatenate([_objects(matches)[known], meant[rows]])
    order = np.lexsort((-matches.found.score[every], at))
    winners = order[np.flatnonzero(np.diff(at[order], prepend=-1))]
    return every[winners], at[winners]
