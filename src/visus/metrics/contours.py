"""Contours of class maps: where they run, and how well those of an answer lie on those of the truth."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt, UInt8
from numpy import ndarray as Array
from numpy.typing import NDArray
from scipy.sparse import csr_array

from visus.core.pixels import IGNORE
from visus.metrics.bootstrap import Numbers, Weights, ratio

TOLERANCE = 0.0075
"""How near contours must lie to each other, in diagonals of the picture."""

_BLOCK = 2**19  # bytes that are spread at once


def contour_scores(
    truth: UInt8[Array, "H W"], said: UInt8[Array, "H W"], k: int
) -> tuple[Int64[Array, "S"], Float64[Array, "S"]]:
    """Return which classes have a contour in the truth or the answer, and the F-score of each one's.

    Precision is the share of the contour that is said which lies nearer than 0.75 % of the picture's diagonal to the
    true one of the same class, recall the share of the true one that lies so near to what is said; the score is their
    harmonic mean, 0 where there is one contour without the other.  Pixels whose class is not known are on none.

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


class ContourScores:
    """The scores of the contours of N pictures and K classes, as they were counted.

    Args:
        columns: ``contour_index``, the picture of each, ``contour_class`` and ``contour_f``.
        indices: (N,) of the pictures, rising.
        k: classes.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], indices: NDArray[np.int64], k: int) -> None:
        at, of = np.searchsorted(indices, columns["contour_index"]), columns["contour_class"]
        self._scores = csr_array((columns["contour_f"], (of, at)), shape=(k, len(indices)))
        self._drawn = csr_array((np.ones(len(of)), (of, at)), shape=(k, len(indices)))
        number = np.asarray(self._drawn.sum(0))
        self._of_pictures = ratio(np.asarray(self._scores.sum(0)), number, 0.0)
        self._any = (number > 0).astype(np.float64)

    def of_classes(self, weights: Weights) -> Numbers:
        """Return (K, r) means over the pictures where a class has a contour, under weights (N, r)."""
        return ratio(self._scores @ weights, self._drawn @ weights)

    def mean(self, weights: Weights) -> Numbers:
        """Return (r,) means of pictures, of each the mean of its classes; one without any contour is left out."""
        return ratio(self._of_pictures @ weights, self._any @ weights)


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

    Every class is a bit, so that all classes are spread at once.
    """
    own, drawn = classes[contour], others[other_contour]
    met = np.zeros(len(own), np.bool_)
    shown = np.flatnonzero(np.bincount(drawn))
    for group in np.split(shown, range(64, len(shown), 64)):
        kind = np.min_scalar_type(2 ** len(group) - 1)
        bit = np.zeros(256, kind)
        bit[group] = kind.type(1) << np.arange(len(group), dtype=kind)
        bits = np.zeros(classes.shape, kind)
        bits[other_contour] = bit[drawn]
        met |= (_spread(bits, reach)[contour] & bit[own]) != 0
    return own, met


def _spread(bits: UInt[Array, "H W"], reach: float) -> UInt[Array, "H W"]:
    """Return at every pixel the bits of all pixels nearer than ``reach``, from centre to centre."""
    furthest = math.ceil(reach) - 1
    rows = max(1, _BLOCK // bits[:1].nbytes)
    found = np.zeros_like(bits)
    for top in range(0, len(bits), rows):  # in strips that the processor's cache holds
        first = max(0, top - furthest)
        wide = bits[first : top + rows + furthest].copy()
        narrow, half, strip = wide.copy(), 0, np.zeros_like(wide)
        for down in range(furthest, -1, -1):  # the further the row, the fewer of its pixels are near enough
            while (half + 1) ** 2 + down**2 < reach**2:
                half += 1
                wide[:, half:] |= narrow[:, :-half]
                wide[:, :-half] |= narrow[:, half:]
            strip[down:] |= wide[: len(wide) - down]
            strip[: len(wide) - down] |= wide[down:]
        found[top : top + rows] = strip[top - first : top - first + rows]
    return found
