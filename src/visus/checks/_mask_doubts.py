"""Which labels of pixels networks that never saw them contradict: regions, borders, and whole maps.

Source:
    Northcutt, Jiang and Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 2021, eq. 2, for how
    sure networks must be of a class; asked of each connected region, for which the rules and ranks are ours.
    Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 1960, for whether
    they learned anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from visus.core.run_lengths import compress, encode

Kind = Literal["class", "missing", "extra", "moved", "border", "swapped"]
KINDS: tuple[Kind, ...] = ("class", "missing", "extra", "moved", "border", "swapped")
"""A region of another class; a region that is not labelled; a label on nothing; a map beside its picture; a sloppy
contour; two classes exchanged on a whole picture."""

LONGEST = 512
"""Rows or columns of a picture at which it is asked about, at most: of a larger one, every so many."""

LEAST = 0.002
"""Share of the picture below which a region is not asked about."""

THIN = 0.0075
"""Width, in diagonals of the picture, up to which a strip along a contour is no region: so far contours may differ."""

MOST = 20
"""Regions of a picture that are kept, the largest."""

FAINT = 0.5
"""Mean probability up to which networks are not sure of a region, whatever its class."""

LEARNED = 0.4
"""Agreement with the labels beyond chance from which on networks are heard ("moderate": Landis and Koch, 1977)."""

TRUSTED = 0.5
"""Share of the pixels called a class that must be of it before being called so says anything."""

SEEN = 0.5
"""Share of the pixels of a class that must be called so before a region that is not called so says anything."""

COARSE, FURTHEST = 128, 16
"""Rows or columns on which a map is moved over its picture, and how many of them at most."""

STEPS, GAIN = 2, 0.02
"""Rows or columns that a moved map is away at least, and by how much more of it must agree where it belongs than
moves usually gain."""

EXCHANGED = 0.5
"""Share of each of two classes that must look like the other."""

OUTLYING = 3.5
"""Robust deviations above the usual from which a border is sloppy, or a map moved (Iglewicz and Hoaglin, How to detect
and handle outliers, 1993)."""

STEADY = 0.02
"""Deviation of borders that is taken for the usual one where it is smaller."""

ENOUGH = 20
"""Pictures from which there is a usual border, or a usual gain of a move."""

_NEAR = 1e-6

Classes: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.floating]
Flags: TypeAlias = NDArray[np.bool_]


class Mask(NamedTuple):
    """Which pixels of a picture, on a grid of it.

    Attributes:
        size: rows and columns of the grid.
        counts: compressed run lengths, as COCO has them.
        box: x0, y0, x1, y1 of all of them, in pixels of the picture.
        share: of the picture.
    """

    size: tuple[int, int]
    counts: str
    box: tuple[int, int, int, int]
    share: float


@dataclass(frozen=True)
class Doubt:
    """One contradiction.

    Attributes:
        record: of the data set.
        rank: by which doubts of a kind are ranked, the gravest highest.
        label: stated class; -1 where none is, or where it is about the whole map.
        seen: class that it looks like; -1 where it is about the whole map.
        sure: mean probability of that class; of a moved map how much of it agrees where it belongs; of a border how
            much of what lies along it looks otherwise; of an exchange the smaller share that looks like the other.
        stated: mean probability of the label; of a moved map how much agrees where it is; of a border what is usual.
        move: pixels by which the map should move, right and down.
        mask: the pixels it is about; None where it is all.
    """

    record: int
    rank: float
    label: int = -1
    seen: int = -1
    sure: float = 0.0
    stated: float = 0.0
    move: tuple[int, int] = (0, 0)
    mask: Mask | None = None


@dataclass(frozen=True)
class Doubts:
    """All contradictions.

    Attributes:
        of: by kind, the gravest first.
        judged: records that networks were asked about.
        thresholds: (K,) how sure networks are of each class, on average, where it is stated; infinity where it never
            is, or where what they call so mostly is something else.
        asked: (K,) bool, classes that are stated anywhere.
        seen: (K,) bool, those of which networks see enough for their labels to be doubted.
        agreement: of networks and labels beyond chance, pixel by pixel: Cohen's kappa, 1 where they always agree, 0
            where no more often than answers of the same shares drawn blindly.  Below ``LEARNED`` nothing is doubted.
    """

    of: Mapping[Kind, tuple[Doubt, ...]]
    judged: tuple[int, ...]
    thresholds: NDArray[np.float64]
    asked: Flags
    seen: Flags
    agreement: float


class Evidence:
    """What networks say of labelled pixels, one picture after the other: sums, and the regions that may be doubted.

    Of a picture a few hundred numbers and the run lengths of some regions are kept, however large it is.

    Args:
        classes: how many there are.
        background: the class that says there is nothing; -1 for none.
    """

    def __init__(self, classes: int, background: int = -1) -> None:
        self.classes, self.background = classes, background
        self._stated, self._own, self._called, self._right = (np.zeros(classes) for _ in range(4))
        self._pictures: list[_Picture] = []

    def add(self, record: int, stated: Classes, probability: Numbers, size: tuple[int, int]) -> None:
        """Count one picture.

        Args:
            record: of the data set.
            stated: (H, W) class of each pixel of a grid, ``classes`` or more where none is stated.
            probability: (K, H, W) that networks give each class there.
            size: height and width of the picture itself.
        """
        k = self.classes
        probability = np.nan_to_num(probability)
        stated = np.minimum(stated, k).astype(np.uint8)
        said, known = probability.argmax(0).astype(np.uint8), stated < k
        own = np.take_along_axis(probability, np.where(known, stated, 0)[None].astype(np.int64), 0)[0] * known
        self._stated += np.bincount(stated[known], minlength=k)
        self._own += np.bincount(stated[known], own[known], k)
        self._called += np.bincount(said[known], minlength=k)
        self._right += np.bincount(said[known & (said == stated)], minlength=k)
        if known.any():
            asked = _Asked(record, stated, said, own, probability.max(0), size, k)
            self._pictures.append(_Picture(record, *_regions(asked), _exchanges(asked), _moved(asked, probability)))

    def doubts(self) -> Doubts:
        """Return what is contradicted.

        Networks are *sure* of a region where the mean probability of what it looks like is at least what that class has
        on average where it is stated; a class of which less than half of what is called so is so says nothing, and
        labels of one of which less than half is called so are not doubted.  A region where two classes are exchanged is
        not doubted once more, nor is any border of a map that should move.
        """
        usual = np.divide(self._own, self._stated, out=np.full(self.classes, np.inf), where=self._stated > 0)
        trusted = self._right >= TRUSTED * np.maximum(self._called, 1)
        thresholds = np.where(trusted, np.maximum(usual, FAINT), np.inf)
        seen, agreement = self._right >= SEEN * self._stated, self._agreement()
        found: dict[Kind, list[Doubt]] = {kind: [] for kind in KINDS}
        if agreement >= LEARNED:
            self._gather(found, thresholds - _NEAR, np.append(seen, True))
        ranked = {kind: tuple(sorted(of, key=lambda doubt: -doubt.rank)) for kind, of in found.items()}
        judged = tuple(picture.record for picture in self._pictures)
        return Doubts(ranked, judged, thresholds, self._stated > 0, seen, agreement)

    def _agreement(self) -> float:
        """Return Cohen's kappa of what is stated and what it is called; 1 where there is one class and no other."""
        pixels = max(1.0, float(self._stated.sum()))
        agreed, chance = float(self._right.sum()) / pixels, float(self._stated @ self._called) / pixels**2
        return (agreed - chance) / (1 - chance) if chance < 1 else 1.0

    def _gather(self, found: Mapping[Kind, list[Doubt]], least: NDArray[np.float64], seen: Flags) -> None:
        """List the doubts; ``least``: how sure of each class at least; ``seen``: of each label, the last of none."""
        for picture in self._pictures:
            swaps = [each for each in picture.exchanges if (np.array(each.sure) >= least[[*each.pair]]).all()]
            done = {pair for each in swaps for pair in (each.pair, each.pair[::-1])}
            found["swapped"].extend(each.doubt for each in swaps)
            for doubt in picture.regions:
                if doubt.sure >= least[doubt.seen] and seen[doubt.label] and (doubt.label, doubt.seen) not in done:
                    found[self._kind(doubt)].append(doubt)
        moves = [picture.moved for picture in self._pictures]
        usual, deviation = _usual([doubt.rank for doubt in moves])
        found["moved"].extend(doubt for doubt in moves if doubt.rank - usual > max(GAIN, OUTLYING * deviation))
        elsewhere = {doubt.record for doubt in (*found["moved"], *found["swapped"])}
        borders = [picture.border for picture in self._pictures if picture.border is not None]
        usual, deviation = _usual([border.sure for border in borders])
        deviation = max(STEADY, deviation)
        found["border"].extend(
            replace(border, rank=(border.sure - usual) / deviation, stated=usual)
            for border in borders
            if border.record not in elsewhere and border.sure > usual + OUTLYING * deviation
        )

    def _kind(self, doubt: Doubt) -> Kind:
        """Return what a region is: ``missing`` where its label says nothing, ``extra`` where only its label speaks."""
        if doubt.label in (-1, self.background):
            return "missing"
        return "extra" if doubt.seen == self.background else "class"


class _Exchange(NamedTuple):
    """Two classes, most pixels of each of which look like the other; ``sure``: mean probability of either there."""

    pair: tuple[int, int]
    sure: tuple[float, float]
    doubt: Doubt


class _Picture(NamedTuple):
    """What may be doubted of one picture."""

    record: int
    regions: tuple[Doubt, ...]
    border: Doubt | None
    exchanges: tuple[_Exchange, ...]
    moved: Doubt


class _Asked(NamedTuple):
    """One picture: stated and likeliest class of each pixel of a grid, K where none is stated, and how likely."""

    record: int
    stated: Classes
    said: Classes
    own: Numbers
    sure: Numbers
    size: tuple[int, int]
    k: int

    @property
    def least(self) -> float:
        """Pixels that a region must have."""
        return LEAST * self.stated.size

    @property
    def reach(self) -> int:
        """Pixels on each side of a contour in which it may lie otherwise."""
        return max(1, round(THIN * math.hypot(*self.stated.shape) / 2))

    def mask(self, where: Flags, corner: tuple[int, int] = (0, 0)) -> Mask:
        """Return a mask of which a part, the rest being empty, begins at a row and a column."""
        height, width = (int(side) for side in self.stated.shape)
        whole: Flags = np.zeros((height, width), np.bool_)
        whole[corner[0] : corner[0] + where.shape[0], corner[1] : corner[1] + where.shape[1]] = where
        rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
        down, across = self.size[0] / height, self.size[1] / width
        box = (columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)
        x0, y0, x1, y1 = (round(float(side)) for side in box)
        return Mask((height, width), compress(encode(whole)), (x0, y0, x1, y1), float(whole.mean()))


def _usual(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the robust deviation of what pictures have; infinity where they are too few."""
    if len(values) < ENOUGH:
        return math.inf, math.inf
    usual = float(np.median(values))
    return usual, 1.4826 * float(np.median(np.abs(np.array(values) - usual)))


def _regions(asked: _Asked) -> tuple[tuple[Doubt, ...], Doubt | None]:
    """Return the largest connected regions of one stated class, or none, that look like one other class; and contours.

    Strips are taken off by a morphological opening: they are where contours differ, not regions.
    """
    thick = np.zeros(asked.stated.shape, np.bool_)
    pairs = np.where(asked.stated == asked.said, 0, 1 + asked.stated.astype(np.int32) * asked.k + asked.said)
    wide = 2 * asked.reach + 1
    found = []
    for pair in np.flatnonzero(np.bincount(pairs.ravel())[1:] >= asked.least).tolist():
        label, seen = divmod(pair, asked.k)
        label = label if label < asked.k else -1
        here = (pairs == pair + 1).astype(np.uint8)
        core = ndimage.minimum_filter(here, wide, mode="constant", cval=1)
        opened = ndimage.maximum_filter(core, wide, mode="constant") & here
        thick |= opened > 0
        parts, _ = ndimage.label(opened)
        for number, place in enumerate(ndimage.find_objects(parts)):
            region = parts[place] == number + 1
            sure = float(asked.sure[place][region].mean())
            if region.sum() >= asked.least and sure >= FAINT:
                stated = float(asked.own[place][region].mean())
                mask = asked.mask(region, (place[0].start, place[1].start))
                found.append(Doubt(asked.record, sure - stated, label, seen, sure, stated, mask=mask))
    found.sort(key=lambda doubt: -doubt.mask.share if doubt.mask else 0)
    return tuple(found[:MOST]), _border(asked, thick)


def _exchanges(asked: _Asked) -> tuple[_Exchange, ...]:
    """Return the pairs of classes of which each mostly looks like the other."""
    known = asked.stated < asked.k
    pair = asked.stated[known].astype(np.int64) * asked.k + asked.said[known]
    counts = np.bincount(pair, minlength=asked.k**2).reshape(asked.k, asked.k)
    stated = counts.sum(1)
    share = counts / np.maximum(stated, 1)[:, None]
    both = (np.minimum(share, share.T) >= EXCHANGED) & (np.minimum.outer(stated, stated) >= asked.least)
    found = []
    for a, b in np.argwhere(np.triu(both, 1)).tolist():
        ways = [(asked.stated == one) & (asked.said == other) for one, other in ((b, a), (a, b))]
        first, second = (float(asked.sure[way].mean()) for way in ways)
        less = float(min(share[a, b], share[b, a]))
        doubt = Doubt(asked.record, less * min(first, second), a, b, less, mask=asked.mask(ways[0] | ways[1]))
        found.append(_Exchange((a, b), (first, second), doubt))
    return tuple(found)


def _moved(asked: _Asked, probability: Numbers) -> Doubt:
    """Return by how much the map should move to agree best with what is seen, ranked by what it gains.

    Where it lies well, it gains 0.  How much of it agrees is the mean probability of the stated classes; of every move
    at once by the convolution theorem, on a coarse grid.  Pixels that would leave the picture gain nothing and
    lose nothing.
    """
    step = max(1, max(asked.stated.shape) // COARSE)
    stated, seen = asked.stated[::step, ::step], probability[:, ::step, ::step]
    most = [min(FURTHEST, side // 4) for side in stated.shape]
    shape = tuple(fft.next_fast_len(side + far, real=True) for side, far in zip(stated.shape, most, strict=True))
    shown = np.flatnonzero(np.bincount(stated.ravel(), minlength=asked.k + 1)[: asked.k])
    agreed = sum((_correlated(seen[k], stated == k, shape) for k in shown), np.zeros(shape))
    own = asked.own[::step, ::step]
    kept = _correlated(np.ones(stated.shape), own, shape)
    pixels = max(1, int((stated < asked.k).sum()))
    rows, columns = (np.arange(-far, far + 1) for far in most)
    gains = ((agreed - kept) / pixels)[np.ix_(rows, columns)]
    at = np.unravel_index(gains.argmax(), gains.shape)
    down, right, now = int(rows[at[0]]), int(columns[at[1]]), float(own.sum()) / pixels
    gain = float(gains[at]) if math.hypot(down, right) >= STEPS else 0.0
    scale = asked.size[0] / len(asked.stated) * step
    move = round(right * scale), round(down * scale)
    return Doubt(asked.record, gain, sure=now + gain, stated=now, move=move)


def _correlated(seen: Numbers, stated: Numbers | Flags, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the sum over pixels of what is seen where each one of a map comes to lie, by its move down and right."""
    product = fft.rfft2(seen.astype(np.float64), shape) * np.conj(fft.rfft2(stated.astype(np.float64), shape))
    moved: NDArray[np.float64] = fft.irfft2(product, shape)
    return moved


def _border(asked: _Asked, thick: Flags) -> Doubt | None:
    """Return how much of what lies along the stated contours looks otherwise; None where there are hardly any.

    Args:
        asked: the picture.
        thick: (H, W) what belongs to regions that look otherwise, which say nothing of contours.
    """
    wide = 2 * asked.reach + 1
    low, high = ndimage.minimum_filter(asked.stated, wide), ndimage.maximum_filter(asked.stated, wide)
    along = (low != high) & (high < asked.k)
    if along.sum() < asked.least:
        return None
    otherwise = along & (asked.said != asked.stated) & ~thick
    mask = asked.mask(otherwise) if otherwise.any() else None
    return Doubt(asked.record, 0.0, sure=float(otherwise.sum() / along.sum()), mask=mask)
