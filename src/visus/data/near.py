"""Finds pictures that are nearly the same: saved again, mirrored, cut at the edges, made brighter or paler.

It looks at small grey pictures alone.  Some of them are changed in these ways by itself, and what such changes do, and
how different pictures differ, is learned from the data at hand: what all shirts have in common tells nothing among
shirts.  Each time, directions are sought in which different pictures lie far apart and changed ones close together
(Fisher's linear discriminant), and a radius that nearly all changed ones keep.

1. Pictures within the radius are found by products of blocks of matrices, in bounded memory; those stay whose
   brightness and contrast differ no more than changes make them.
2. Of these, pairs stay that are near but for a move and a scale along each side, to first order (tangent distance).
3. The nearest two of each picture are laid over it, moved and scaled until they fit best (Lucas and Kanade), and made
   as bright and as rich in contrast, white and black being the ends; what then remains different
   decides.  Where both are the same picture there may be more of them, and more are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh

from visus.core.seeds import derive
from visus.data.workers import Threads

Job = TypeVar("Job")
Result = TypeVar("Result")
Floats: TypeAlias = NDArray[np.float32]
_Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], Floats]  # pairs and their distances

MIRRORED = (0, 1)
"""A picture as it is, and with left and right exchanged."""

ALL_EIGHT = tuple(range(8))
"""Turned and mirrored in every way, for pictures without an up and a down."""

ALIKE = 0.9
"""Correlation of two pictures laid over each other below which they are never the same."""

FLAT = 4.0
"""Standard deviation in grey levels below which a picture shows too little to be compared."""

CUT = 0.05
"""Share of a side that may be missing at each edge."""

_SAMPLE, _COPIES = 3000, 4000  # pictures that are changed, and how often in all
_FOUND, _SLACK = 0.99, 1.15  # share of changed pictures that the first two steps keep, and the play beyond that radius
_NEAR = 0.97  # share that the second keeps where look-alikes are near
_SAME, _SURELY = 0.88, 0.99  # shares that the last one keeps, where look-alikes are near and where they are far
_DIRECTIONS, _FINE = 32, 48  # in which different pictures lie far apart, and in which the nearest ones do
_PLAY = 0.05  # how far pictures may be moved, and scaled, in half their side: the standard deviation
_ROWS, _COLUMNS = 2048, 8192  # of a block of products: 64 MiB
_MOST = 32  # pairs of one picture in one block that are looked at, where there are very many
_TIED = 16384  # pairs whose tangent distance is taken at once
_FIRST, _EACH = 2, 8  # pairs of one picture that are laid over each other: at first, and where all were the same
_HELD = 4_000_000  # pairs that are held at once
_TOGETHER = 1024  # pairs that are laid over each other at once
_ROUNDS = 5
_EMPTY = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Pairs:
    """P pairs of pictures that are nearly the same.

    Attributes:
        first, second: (P,) int64 their indices, the smaller one first, or the one that was asked about.
        likeness: (P,) float32 correlation of the two laid over each other, at most 1.
        symmetry: (P,) uint8 how the second was turned or mirrored, see ``turned``.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    likeness: Floats
    symmetry: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.first)


def near_pairs(
    small: NDArray[np.uint8], *, symmetries: Sequence[int] = MIRRORED, asked: NDArray[np.int64] | None = None
) -> Pairs:
    """Return pairs of pictures that show the same, up to saving, mirroring, cut edges, brightness and contrast.

    Flat pictures, which all look alike, are in no pair; nor should those be given that cannot be read.

    Args:
        small: (N, S, S) grey levels.
        symmetries: ways in which the second picture of a pair may be turned or mirrored, see ``turned``.
        asked: only pairs of one of these and one of the others are wanted, which takes less time.
    """
    blocks = range(0, len(small), _ROWS)
    spread = [small[start : start + _ROWS].std((1, 2), dtype=np.float32) for start in blocks]
    usable = np.flatnonzero(np.concatenate([np.zeros(0), *spread]) >= FLAT)
    if len(usable) < 2:
        return _joined([])
    ahead = 0
    if asked is not None:  # they come first
        behind = ~np.isin(usable, asked)
        usable, ahead = usable[np.argsort(behind, kind="stable")], int((~behind).sum())
        if ahead in (0, len(usable)):
            return _joined([])
    pictures = small[usable]
    rules = _Rules.learned(pictures, symmetries)
    return _joined([_same(pictures, rules, symmetry, usable, ahead) for symmetry in symmetries])


def twins_of(order: NDArray[np.int64], digest: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first record of each kind of pixels, and (P, 2) every later one behind the first of its kind.

    Args:
        order: the records, the ones that come first first.
        digest: (N, 16) hashes of the pixels of all records.
    """
    keys = np.ascontiguousarray(digest[order]).view("V16").ravel()
    _, first, kind = np.unique(keys, return_index=True, return_inverse=True)
    later = np.flatnonzero(first[kind] != np.arange(len(order)))
    return order[np.sort(first)], np.stack([order[first[kind[later]]], order[later]], 1)


def turned(small: NDArray[np.uint8], symmetry: int) -> NDArray[np.uint8]:
    """Return (N, S, S) pictures turned or mirrored: 4 exchanges rows and columns, then 2 top and bottom, 1 sides."""
    if symmetry & 4:
        small = small.swapaxes(1, 2)
    if symmetry & 2:
        small = small[:, ::-1]
    return small[:, :, ::-1] if symmetry & 1 else small


def laid_over(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return how alike pairs of pictures are when each second one is moved and scaled until it fits best.

    The edges, which may be cut away in one of the two, are left out.  Brightness and contrast do not matter, nor what
    they made white or black: it is asked what either leaves unexplained of the other, and the less is taken.

    Args:
        first, second: (P, S, S) grey levels.

    Returns:
        (P,) correlations in [-1, 1], and (P, R) what remains different, in grey levels of the paler one, by means of
        2 x 2 pixels.
    """
    move, scale = _fitted(_smooth(first), _smooth(second))
    inner = _inner(first.shape[1])
    wide = slice(inner.start - 1, inner.stop + 1)  # blurred, it is the inner part
    one = first[:, wide, wide].astype(np.float32)
    other = _sampled(second.astype(np.float32), move, scale)[:, wide, wide]
    likeness = (_standard(_smooth(one)[:, 1:-1, 1:-1]) * _standard(_smooth(other)[:, 1:-1, 1:-1])).mean(1)
    rest, back = _unexplained(one, other), _unexplained(other, one)
    return likeness, np.where((_lengths(rest) < _lengths(back))[:, None], rest, back)


def _unexplained(one: Floats, other: Floats) -> Floats:
    """Return what differs when each first picture is given the brightness and contrast of the second, (P, R).

    What becomes brighter than white or darker than black by this is clipped, as it is in files.
    """
    gain = (_spread(other) / _spread(one))[:, None, None]
    shifted = (one - one.mean((1, 2), keepdims=True)) * gain + other.mean((1, 2), keepdims=True)
    rest = _smooth(shifted.clip(0, 255) - other)[:, 1:-1, 1:-1] / np.maximum(gain, 1)
    side = rest.shape[1] // 2
    unexplained: Floats = rest.reshape(-1, side, 2, side, 2).mean((2, 4)).reshape(len(rest), -1)
    return unexplained


def _fitted(still: Floats, moving: Floats) -> tuple[Floats, Floats]:
    """Return how far the second picture of each pair must be moved, in pixels, and scaled to fit best on the first.

    Returns:
        (P, 2) moves and (P, 2) scales, down and right.

    Source:
        Baker and Matthews, Lucas-Kanade 20 years on, IJCV 2004, section 3.2 (inverse compositional), with a move and a
        scale along each side as the warp, and correlation (Evangelidis and Psarakis, PAMI 2008) as what is compared.
    """
    pairs, side = still.shape[:2]
    inner, middle = _inner(side), (side - 1) / 2
    place = np.linspace(-1, 1, side, dtype=np.float32)[inner]
    template = _standard(still[:, inner, inner])
    down, right = (np.gradient(still, axis=axis)[:, inner, inner] for axis in (1, 2))
    slopes = np.stack([down, down * place[:, None], right, right * place], 1).reshape(pairs, 4, -1)
    slopes /= _spread(still[:, inner, inner])[:, None, None]
    slopes -= slopes.mean(2, keepdims=True)  # what a change of brightness or contrast could explain is taken out
    slopes -= (slopes @ template[:, :, None] / template.shape[1]) * template[:, None]
    curvature = _curvature(slopes)
    move, scale = np.zeros((pairs, 2), np.float32), np.ones((pairs, 2), np.float32)
    best, best_move, best_scale = np.full(pairs, -2, np.float32), move, scale
    for _ in range(_ROUNDS):
        seen = _standard(_sampled(moving, move, scale)[:, inner, inner])
        fit = (seen * template).mean(1)
        better = (fit > best)[:, None]
        best = np.maximum(fit, best)
        best_move, best_scale = np.where(better, move, best_move), np.where(better, scale, best_scale)
        step = np.linalg.solve(curvature, slopes @ (seen - template)[:, :, None])[:, :, 0]
        scale = np.clip(scale / (1 + step[:, 1::2] / middle), 1 - 2.5 * CUT, 1 + 2.5 * CUT)
        move = np.clip(move - scale * step[:, ::2], -CUT * side, CUT * side)
    return best_move, best_scale


def _inner(side: int) -> slice:
    """Return the rows, or columns, that both pictures show wherever their edges were cut."""
    edge = round(2 * CUT * side)
    return slice(edge, side - edge)


def _same(pictures: NDArray[np.uint8], rules: _Rules, symmetry: int, names: NDArray[np.int64], ahead: int) -> Pairs:
    """Return the pairs that are nearly the same where the second is turned in one way, under other indices."""
    first, second, distance = _candidates(pictures, rules, symmetry, ahead)

    def laid(at: NDArray[np.int64]) -> tuple[Floats, Floats]:
        return laid_over(pictures[first[at]], turned(pictures[second[at]], symmetry))

    ends = (first, second)
    ranks = [_ranks(end, distance) for end in ends]
    likeness = np.zeros(len(first), np.float32)
    same, seen = np.zeros(len(first), np.bool_), np.zeros(len(first), np.bool_)
    dense = np.ones(len(pictures), np.bool_)  # all that was compared with it is the same
    for deep in (_FIRST, _EACH):
        wanted = [(rank < deep) & dense[end] for rank, end in zip(ranks, ends, strict=True)]
        new = np.flatnonzero((wanted[0] | wanted[1]) & ~seen)
        parts = [new[start : start + _TOGETHER] for start in range(0, len(new), _TOGETHER)]
        for at, (alike, rest) in zip(parts, _computed(laid, parts), strict=True):
            likeness[at] = alike
            same[at] = (alike >= ALIKE) & (_lengths(_along(rest, rules.rest)) <= rules.same)
        seen[new] = True
        for asked, end in zip(wanted, ends, strict=True):
            dense[end[asked & ~same]] = False
    how = np.full(int(same.sum()), symmetry, np.uint8)
    return Pairs(names[first[same]], names[second[same]], likeness[same], how)


@dataclass(frozen=True)
class _Rules:
    """What was learned of the data.

    Directions are scaled so that a change moves a picture by about 1 along each; a radius is how far it stays.

    Attributes:
        mean: (F,) of the features.
        free: (F, D) for features as they are; ``found``: the radius.
        tied: (F, D) for features that were moved and scaled to fit; ``near``: the radius.
        tone: (2,) how far logarithms of brightness and of contrast may be apart, see ``_tones``.
        rest: (R, D) for what remains different when pictures lie over each other; ``same``: the radius.
    """

    mean: Floats
    free: Floats
    found: float
    tied: Floats
    near: float
    tone: Floats
    rest: Floats
    same: float

    @staticmethod
    def learned(pictures: NDArray[np.uint8], symmetries: Sequence[int]) -> _Rules:
        at = np.unique(np.linspace(0, len(pictures) - 1, _SAMPLE).astype(np.int64))
        sample = pictures[np.repeat(at, -(-_COPIES // len(at)))]
        changed = _changed(sample, np.random.Generator(np.random.PCG64(derive(0, "near"))))
        apart = np.concatenate([_features(turned(pictures[at], symmetry)) for symmetry in symmetries])
        features = _features(sample)
        moved, slopes = _features(changed) - features, _slopes(features)
        free = _discriminant(apart, moved[::2])  # one half to learn from, the other to measure the radius by
        found = _SLACK * _quantile(_lengths(_along(moved[1::2], free)), _FOUND)

        tied = _discriminant(apart, (moved - _explained(moved, slopes))[::2])
        kept = _tied_lengths(_along(moved[1::2], tied), _along(slopes[1::2], tied))
        upright = apart[: len(at)]
        alike = _nearest(_along(upright, tied))
        others = _tied_lengths(_along(upright[alike] - upright, tied), _along(_slopes(upright), tied))
        near = _between(others, 0.5, _quantile(kept, _NEAR), _SLACK * _quantile(kept, _FOUND))

        _, rest = laid_over(sample, changed)
        _, other = laid_over(pictures[at], pictures[at[alike]])
        last = _discriminant(other, rest[::2], _FINE, 0.1)
        kept = _lengths(_along(rest[1::2], last))
        same = _between(_lengths(_along(other, last)), 0.02, _quantile(kept, _SAME), _quantile(kept, _SURELY))
        tone = (_SLACK * np.quantile(np.abs(_tones(changed) - _tones(sample)), _FOUND, axis=0)).astype(np.float32)
        return _Rules(apart.mean(0), free, found, tied, near, tone, last, same)

    def codes(self, pictures: NDArray[np.uint8], directions: Floats) -> Floats:
        """Return (N, D) codes."""
        blocks = range(0, len(pictures), _ROWS)
        return np.concatenate([_along(_features(pictures[at : at + _ROWS]) - self.mean, directions) for at in blocks])

    def slopes(self, pictures: NDArray[np.uint8]) -> Floats:
        """Return (N, 4, D) how the codes of pictures change when these are moved and scaled."""
        blocks = range(0, len(pictures), _ROWS)
        return np.concatenate([_along(_slopes(_features(pictures[at : at + _ROWS])), self.tied) for at in blocks])


def _between(others: Floats, share: float, least: float, most: float) -> float:
    """Return a radius: half as far as look-alikes are, within bounds.

    Args:
        others: how far the nearest other picture of each is; some of these may be changed ones themselves.
        share: of these that may be nearer than twice the radius.
        least, most: radii that keep most of what was changed, and nearly all of it.
    """
    different = others[others > least]
    return float(np.clip(_quantile(different, share) / 2 if len(different) else least, least, most))


def _nearest(codes: Floats) -> NDArray[np.int64]:
    """Return which other one is nearest to each."""
    close = codes @ codes.T - (codes**2).sum(1) / 2
    np.fill_diagonal(close, -np.inf)
    nearest: NDArray[np.int64] = close.argmax(1)
    return nearest


def _discriminant(apart: Floats, together: Floats, count: int = _DIRECTIONS, least: float = 1e-3) -> Floats:
    """Return (F, D) directions along which ``together`` has variance 1 about 0, and ``apart`` as much as can be.

    Args:
        count: D, at most.
        least: share of the mean variance that is added to ``together`` in every direction, as unseen changes have some.

    Source:
        Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 1936.
    """
    within = together.T @ together / len(together)
    within += np.eye(len(within), dtype=np.float32) * (least * np.trace(within) / len(within))
    last = len(within) - 1
    _, directions = eigh(np.cov(apart.T), within, subset_by_index=[max(0, last + 1 - count), last])
    return np.ascontiguousarray(directions[:, ::-1], np.float32)


def _candidates(pictures: NDArray[np.uint8], rules: _Rules, symmetry: int, ahead: int = 0) -> _Found:
    """Return pairs i < j, with j turned, that are near but for a move and a scale, and their distances.

    Of the pairs of one picture in one block, as many are kept as will be laid over each other.

    Args:
        ahead: where above 0, only pairs of one of the first so many pictures and one of those behind are wanted.
    """
    one, other = pictures[: ahead or None], turned(pictures[ahead:], symmetry)
    codes, others = rules.codes(one, rules.free), rules.codes(other, rules.free)
    tied, tied_others = rules.codes(one, rules.tied), rules.codes(other, rules.tied)
    slopes, other_slopes = rules.slopes(one), rules.slopes(other)
    rows, columns = np.argsort(codes[:, 0], kind="stable"), np.argsort(others[:, 0], kind="stable")
    left, right, along = _lifted(codes[rows], 1), _lifted(others[columns], -1), others[columns, 0]
    tones = _tones(pictures)

    def near(start: int) -> _Found:
        """Return the pairs of one block of rows."""
        block = left[start : start + _ROWS]
        begin, end = np.searchsorted(along, (block[0, 0] - rules.found, block[-1, 0] + rules.found))
        found: list[_Found] = []
        for low in range(int(begin) if symmetry or ahead else start, int(end), _COLUMNS):
            high = min(low + _COLUMNS, int(end))
            close = (torch.from_numpy(block) @ torch.from_numpy(right[low:high]).T).numpy()  # - squared distance / 2
            i, j = _above(close, -(rules.found**2) / 2)
            a, b = rows[start + i], columns[low + j]
            kept = (np.abs(tones[a] - tones[ahead + b]) <= rules.tone).all(1)
            if not ahead:
                kept &= a < b if symmetry else start + i < low + j  # rows are columns where none is turned
            a, b = a[kept], b[kept]
            distance = np.zeros(len(a), np.float32)
            for at in range(0, len(a), _TIED):
                i, j = a[at : at + _TIED], b[at : at + _TIED]
                move = tied_others[j] - tied[i]
                sides = _tied_lengths(move, slopes[i]), _tied_lengths(move, other_slopes[j])
                distance[at : at + _TIED] = np.minimum(*sides)
            near = distance <= rules.near
            ends = np.sort(np.stack([a[near], ahead + b[near]]), axis=0)
            found.append(_nearest_pairs((ends[0], ends[1], distance[near])))
        return _all_of(found)

    found: list[_Found] = []
    for pairs in _computed(near, range(0, len(rows), _ROWS)):
        found.append(pairs)
        if sum(len(pairs[0]) for pairs in found) > _HELD:
            found = [_nearest_pairs(_all_of(found))]
    return _nearest_pairs(_all_of(found))


def _computed(work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Yield what a function gives for each job, in order, by as many threads as PyTorch computes with."""
    pool: Threads[int, Result] = Threads(lambda at, beat: work(jobs[at]), torch.get_num_threads())
    try:
        for at in range(len(jobs)):
            for ahead in range(at, min(at + 1 + pool.ahead, len(jobs))):
                pool.submit(ahead)
            yield pool.result(at)
    finally:
        pool.close()


def _above(close: Floats, bound: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of what is above a bound; where that is very much, of each row only the largest."""
    i, j = np.divmod(np.flatnonzero(close > bound), close.shape[1])
    if len(i) <= _MOST * len(close) or close.shape[1] <= _MOST:
        return i, j
    j = np.argpartition(close, -_MOST, axis=1)[:, -_MOST:].ravel()
    i = np.repeat(np.arange(len(close)), _MOST)
    good = close[i, j] > bound
    return i[good], j[good]


def _nearest_pairs(pairs: _Found) -> _Found:
    """Return the pairs that are among the nearest ones of either picture."""
    first, second, distance = pairs
    kept = np.minimum(_ranks(first, distance), _ranks(second, distance)) < _EACH
    return first[kept], second[kept], distance[kept]


def _all_of(parts: Sequence[_Found]) -> _Found:
    none = np.zeros(0, np.int64)
    first, second, distance = zip((none, none, _EMPTY), *parts, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(distance)


def _slopes(features: Floats) -> Floats:
    """Return (N, 4, F) how features change when a picture is moved down, scaled so, moved right, and scaled so.

    A step of 1 is half the side.
    """
    n, side = len(features), math.isqrt(features.shape[1])
    grid, place = features.reshape(n, side, side), np.linspace(-1, 1, side, dtype=np.float32)
    down, right = (np.asarray(np.gradient(grid, axis=axis)) * np.float32((side - 1) / 2) for axis in (1, 2))
    slopes = np.stack([down, down * place[:, None], right, right * place], 1).reshape(n, 4, -1)
    slopes -= slopes.mean(2, keepdims=True)  # features have the same brightness and contrast, moved or not
    along = slopes @ features[:, :, None] / features.shape[1]
    result: Floats = slopes - along * features[:, None]
    return result


def _explained(moved: Floats, slopes: Floats) -> Floats:
    """Return the part of each difference that a move and a scale explain, (N, F)."""
    step = np.linalg.solve(_curvature(slopes), slopes @ moved[:, :, None])
    explained: Floats = (slopes.swapaxes(1, 2) @ step)[:, :, 0]
    return explained


def _curvature(slopes: Floats) -> Floats:
    """Return (N, 4, 4) products of slopes, with a thousandth of their size added on the diagonal: they are regular."""
    curvature: Floats = slopes @ slopes.swapaxes(1, 2)
    size = np.trace(curvature, axis1=1, axis2=2).astype(np.float32)
    curvature += np.eye(4, dtype=np.float32) * (np.float32(1e-3) * size + np.float32(1e-6))[:, None, None]
    return curvature


def _tied_lengths(moved: Floats, slopes: Floats) -> Floats:
    """Return the lengths of differences of codes less what likely moves and scales explain: the tangent distance, (N,).

    Source:
        Simard, LeCun and Denker, Efficient pattern recognition using a new transformation distance, NIPS 1992, from
        one side, with a normal prior on the moves.
    """
    curvature = slopes @ slopes.swapaxes(1, 2) + np.eye(4, dtype=np.float32) / np.float32(_PLAY**2)
    along = slopes @ moved[:, :, None]
    square = (moved**2).sum(1) - (along * np.linalg.solve(curvature, along)).sum((1, 2))
    lengths: Floats = np.sqrt(np.maximum(square, 0))
    return lengths


def _along(vectors: Floats, directions: Floats) -> Floats:
    result: Floats = vectors @ directions
    return result


def _lengths(vectors: Floats) -> Floats:
    lengths: Floats = np.sqrt((vectors**2).sum(1))
    return lengths


def _quantile(values: Floats, share: float) -> float:
    return float(np.quantile(values, share))


def _ranks(pictures: NDArray[np.int64], distance: Floats) -> NDArray[np.int64]:
    """Return the place of each candidate among those of the same picture, the closest being 0."""
    order = np.lexsort((distance, pictures))
    starts = np.flatnonzero(np.diff(pictures[order], prepend=-1))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return ranks


def _lifted(codes: Floats, side: int) -> Floats:
    """Return codes with two columns more, so that the product of both sides is minus half the squared distance."""
    half, one = -(codes**2).sum(1, keepdims=True) / 2, np.ones((len(codes), 1), np.float32)
    return np.concatenate([codes, *((half, one) if side > 0 else (one, half))], 1)


def _features(pictures: NDArray[np.uint8]) -> Floats:
    """Return (N, F) means of 2 x 2 pixels, of the same brightness and contrast in every picture."""
    corners = [pictures[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    coarse = np.sum(corners, 0, np.float32).reshape(len(pictures), -1) / 4
    coarse -= coarse.mean(1, keepdims=True)
    result: Floats = coarse / np.maximum(coarse.std(1, keepdims=True), 1e-3)
    return result


def _tones(pictures: NDArray[np.uint8]) -> Floats:
    """Return (N, 2) logarithms of brightness, and of contrast beside it, where four grey levels more are black."""
    bright = np.log(pictures.mean((1, 2), dtype=np.float32) + 4)
    return np.stack([bright, np.log(pictures.std((1, 2), dtype=np.float32) + 1) - bright], 1)


def _changed(pictures: NDArray[np.uint8], numbers: np.random.Generator) -> NDArray[np.uint8]:
    """Return pictures cut at every edge, made brighter and paler, and with the noise of saving."""
    n, side, _ = pictures.shape
    cut = numbers.uniform(0, CUT, (n, 4)).astype(np.float32)  # top, left, bottom, right
    scale = 1 - cut[:, :2] - cut[:, 2:]
    move = (cut[:, :2] - cut[:, 2:]) * side / 2
    changed = _sampled(pictures.astype(np.float32), move, scale)
    contrast, brightness = numbers.uniform(0.7, 1.4, (n, 1, 1)), numbers.uniform(0.7, 1.3, (n, 1, 1))
    middle = changed.mean((1, 2), keepdims=True)
    changed = ((changed - middle) * contrast + middle).clip(0, 255) * brightness + numbers.normal(0, 4, changed.shape)
    clipped: NDArray[np.uint8] = np.rint(changed).clip(0, 255).astype(np.uint8)
    return clipped


def _sampled(pictures: Floats, move: Floats, scale: Floats) -> Floats:
    """Return pictures seen through a window that is moved by pixels and scaled, bilinearly; edges go on outside."""
    for axis in (0, 1):
        pictures = _sampled_rows(pictures, move[:, axis], scale[:, axis]).swapaxes(1, 2)
    return pictures


def _sampled_rows(pictures: Floats, move: Floats, scale: Floats) -> Floats:
    side = pictures.shape[1]
    place = np.linspace(-1, 1, side, dtype=np.float32) * ((side - 1) / 2)
    at = np.clip((side - 1) / 2 + place * scale[:, None] + move[:, None], 0, side - 1)  # (N, S)
    low = np.minimum(at.astype(np.int64), side - 2)
    share = (at - low).astype(np.float32)[:, :, None]
    pictures, picture = np.ascontiguousarray(pictures), np.arange(len(pictures))[:, None]
    above = pictures[picture, low]
    sampled: Floats = above + share * (pictures[picture, low + 1] - above)
    return sampled


def _smooth(pictures: NDArray[np.uint8] | Floats) -> Floats:
    """Return pictures blurred by the binomial (1, 2, 1) / 4 along both sides."""
    wide = np.pad(pictures.astype(np.float32, copy=False), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    smooth: Floats = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16
    return smooth


def _standard(pictures: Floats) -> Floats:
    """Return (P, M) pixels of mean 0 and standard deviation 1."""
    flat = pictures.reshape(len(pictures), -1)
    standard: Floats = (flat - flat.mean(1, keepdims=True)) / _spread(pictures)[:, None]
    return standard


def _spread(pictures: Floats) -> Floats:
    spread: Floats = np.maximum(pictures.reshape(len(pictures), -1).std(1), 1e-3)
    return spread


def _joined(parts: Sequence[Pairs]) -> Pairs:
    """Return all pairs in the order of their indices, each once, by its best likeness."""
    if not parts:
        none = np.zeros(0, np.int64)
        return Pairs(none, none, none.astype(np.float32), none.astype(np.uint8))
    first, second = np.concatenate([p.first for p in parts]), np.concatenate([p.second for p in parts])
    likeness, symmetry = np.concatenate([p.likeness for p in parts]), np.concatenate([p.symmetry for p in parts])
    order = np.lexsort((-likeness, second, first))
    first, second = first[order], second[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return Pairs(first[new], second[new], likeness[order][new], symmetry[order][new])
