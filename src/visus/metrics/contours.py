"""Contours of class maps: where they run, and how well those of an answer lie on those of the truth."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from numpy import ndarray as Array

from visus.core.annotations import IGNORE
from visus.metrics.bootstrap import ratio

TOLERANCE = 0.0075
"""How near contours must lie to each other, in diagonals of the picture."""


def contour_scores(
    truth: UInt8[Array, "H W"], said: UInt8[Array, "H W"], k: int
) -> tuple[Int64[Array, "S"], Float64[Array, "S"]]:
    """Return which classes have a contour in the truth or the answer, and the F-score of each one's.

    Precision is the share of the contour that is said which lies nearer than 0.75 % of the picture's diagonal to the
    true one of the same class, recall the share of the true one that lies so near to what is said; the score is their
    harmonic mean, 0 where there is one contour without the other.  Pixels whose class is not known are on none.

    What it costs follows the length of the contours, not the area of the picture, and how far apart they lie.

    Args:
        truth: class of each pixel, 255 where it is not known.
        said: class that was said.
        k: classes there are; what is said beyond them is on no contour of theirs.

    Source:
        Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013, section 3.
    """
    reach = TOLERANCE * math.hypot(*truth.shape)
    said = np.where(truth == IGNORE, np.uint8(IGNORE), said)
    true_contour, said_contour = contours(truth), contours(said)
    true, found = _met(truth, true_contour, said, said_contour, reach)
    named, right = _met(said, said_contour, truth, true_contour, reach)
    in_truth, in_answer, reached, rightly = (
        np.bincount(of, minlength=k)[:k].astype(np.float64) for of in (true, named, true[found], named[right])
    )
    precision, recall = ratio(rightly, in_answer, 0.0), ratio(reached, in_truth, 0.0)
    shown = np.flatnonzero(in_truth + in_answer)
    return shown, ratio(2 * precision * recall, precision + recall, 0.0)[shown]


def contours(classes: UInt8[Array, "H W"]) -> Bool[Array, "H W"]:
    """Return which pixels touch, along a side, one of another class; what is not known touches nothing."""
    known = classes != IGNORE
    down = (classes[1:] != classes[:-1]) & known[1:] & known[:-1]
    across = (classes[:, 1:] != classes[:, :-1]) & known[:, 1:] & known[:, :-1]
    found = np.zeros(classes.shape, np.bool_)
    found[1:] |= down
    found[:-1] |= down
    found[:, 1:] |= across
    found[:, :-1] |= across
    return found


def _met(
    classes: UInt8[Array, "H W"],
    contour: Bool[Array, "H W"],
    others: UInt8[Array, "H W"],
    other_contour: Bool[Array, "H W"],
    reach: float,
) -> tuple[UInt8[Array, "N"], Bool[Array, "N"]]:
    """Return the class of each pixel of a contour, and whether the other one of that class is nearer than ``reach``.

    Places around are looked at from the nearest one outwards, and only for what has met nothing so far.
    """
    margin = math.ceil(reach)
    around = np.full([side + 2 * margin for side in classes.shape], IGNORE, np.uint8)
    around[margin:-margin, margin:-margin][other_contour] = others[other_contour]
    flat, wide = around.ravel(), around.shape[1]
    rows, columns = np.nonzero(contour)
    at, own = (rows + margin) * wide + columns + margin, classes[contour]
    met, left = np.zeros(len(own), np.bool_), np.arange(len(own))
    for steps in _steps(reach, wide):
        hit = (flat[at[left, None] + steps] == own[left, None]).any(1)
        met[left[hit]] = True
        left = left[~hit]
    return own, met


@lru_cache(maxsize=8)
def _steps(reach: float, wide: int) -> list[Int64[Array, "_"]]:
    """Return the ways from a place to those nearer than ``reach`` in rows of ``wide`` pixels, in rings outwards."""
    margin = math.ceil(reach)
    down, across = np.mgrid[-margin : margin + 1, -margin : margin + 1].reshape(2, -1)
    far = down**2 + across**2
    order = np.argsort(far, kind="stable")[: int((far < reach**2).sum())]
    return np.split((down * wide + across)[order], 2 ** np.arange(1 + int(math.log2(max(1, len(order))))))
