"""COCO's run lengths: a mask as the lengths of its runs, outside and inside in turn, down column after column.

The first run is outside and may be of no length.  Compressed, each length (from the fourth on its difference to the one
two before) is written in letters of six bits: five of the number, the lowest first, and one that says that more follow.

Source:
    cocodataset/cocoapi, common/maskApi.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError

Counts = NDArray[np.int64]


def decompress(text: str) -> Counts:
    """Return the run lengths that compressed ones stand for; whether they fit a picture is asked of ``fault_of``.

    Raises:
        DataError: DATA-210, letters that no run lengths are made of.
    """
    lengths, _, faults = _decompress([text])
    if faults:
        raise DataError("DATA-210", f"compressed run lengths: {faults[0]}")
    return lengths


def compress(lengths: Counts) -> str:
    """Return run lengths as COCO compresses them."""
    rest = np.array(lengths, np.int64)
    rest[3:] -= lengths[1:-2]
    letters, used = [], [np.ones(len(rest), np.bool_)]
    while used[-1].any():
        five = rest & 31
        rest >>= 5
        more = np.where(five & 16, rest != -1, rest != 0)
        letters.append(five + 32 * more + 48)
        used.append(used[-1] & more)
    written = np.stack(letters, 1)[np.stack(used[:-1], 1)] if letters else np.zeros(0)
    return written.astype(np.uint8).tobytes().decode("ascii")


def fault_of(lengths: Counts, pixels: int) -> str:
    """Return why run lengths are not a mask of so many pixels, in a phrase; an empty string where they are one."""
    if (lengths < 0).any():
        return "a run has a negative length"
    total = sum(lengths.tolist())  # Python's own numbers: no sum of theirs wraps round
    return "" if total == pixels else f"the runs add up to {total:,} pixels, the picture has {pixels:,}"


def first_fault(texts: Sequence[str], pixels: NDArray[np.int64]) -> tuple[int, str] | None:
    """Return the first compressed mask that is none of its picture's pixels, and why; None where all are well.

    Args:
        texts: M compressed run lengths.
        pixels: (M,) of their pictures.
    """
    for start, stop in _portions(texts):
        lengths, bounds, faults = _decompress(texts[start:stop])
        if faults:
            return start + min(faults), faults[min(faults)]
        total = np.add.reduceat(lengths, bounds[:-1]) if len(lengths) else np.zeros(stop - start, np.int64)
        wrong = total != pixels[start:stop]
        wrong[np.repeat(np.arange(stop - start), np.diff(bounds))[lengths < 0]] = True
        if wrong.any():
            m = int(wrong.argmax())
            return start + m, fault_of(lengths[bounds[m] : bounds[m + 1]], int(pixels[start + m]))
    return None


def decode(lengths: Counts, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of run lengths that ``fault_of`` finds no fault with."""
    height, width = size
    inside = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, lengths).reshape(width, height).T)


def encode(mask: NDArray[np.bool_]) -> Counts:
    """Return the run lengths of a mask (H, W)."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    begins = [0, 0] if len(flat) and flat[0] else [0]
    return np.diff(np.concatenate([begins, changes, [len(flat)]])).astype(np.int64)


def encode_part(mask: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, ...]) -> Counts:
    """Return the run lengths of a picture's mask of which only a part is given; nothing is inside beyond it.

    Args:
        mask: (h, w) of the part.
        corner: y, x at which it begins.
        size: (height, width) of the picture.
    """
    height, width = size
    steps = np.diff(np.pad(mask.T.astype(np.int8), ((0, 0), (1, 1))))  # down each column, from outside to outside
    (x0, y0), (x1, y1) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    first, last = (x0 + corner[1]) * height + y0 + corner[0], (x1 + corner[1]) * height + y1 + corner[0]
    apart = first[1:] != last[:-1]  # a run over the end of a column goes on in the next one
    begins, ends = np.append(first[:1], first[1:][apart]), np.append(last[:-1][apart], last[-1:])
    lengths = np.diff(np.concatenate([[0], np.stack([begins, ends], 1).ravel(), [height * width]]))
    return (lengths if lengths[-1] else lengths[:-1]).astype(np.int64)


def area(lengths: Counts) -> int:
    """Return how many pixels are inside."""
    return int(lengths[1::2].sum())


def box(lengths: Counts, height: int) -> tuple[int, int, int, int]:
    """Return the tight half-open box x0, y0, x1, y1; zeros where nothing is inside."""
    ends = np.cumsum(lengths)
    last = ends[1::2] - 1
    first = ends[1::2] - lengths[1::2]
    first, last = first[last >= first], last[last >= first]
    if not len(first):
        return 0, 0, 0, 0
    left, right = first // height, last // height
    over = left < right  # a run over the end of a column touches the bottom of one and the top of the next
    top, bottom = np.where(over, 0, first % height), np.where(over, height - 1, last % height)
    return int(left.min()), int(top.min()), int(right.max()) + 1, int(bottom.max()) + 1


def fill(polygons: Iterable[NDArray[np.float64]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (H, W) of an object's polygons, each (P, 2) x, y: the union of their ``trace``."""
    mask = np.zeros(size, np.bool_)
    for polygon in polygons:
        mask |= decode(trace(polygon, size), size)
    return mask


def trace(polygon: NDArray[np.float64], size: tuple[int, int]) -> Counts:
    """Return the run lengths of a filled polygon (P, 2), to the pixel those of COCO's ``frPyObjects``.

    Its boundary is walked in fifths of a pixel; where it crosses the middle of a column, inside and outside change.

    Raises:
        DataError: DATA-210, a boundary of more than two million pixels, or far outside any picture.

    Source:
        ``rleFrPoly`` of maskApi.c.
    """
    height, width = size
    far = np.abs(polygon).max(initial=0)
    steps = _FINE * np.abs(polygon - np.roll(polygon, -1, 0)).max(1, initial=0).sum() if far < _FAR else np.inf
    if not steps < _LONGEST:
        raise DataError("DATA-210", f"a polygon that reaches {far:,.0f} pixels far cannot be filled")
    u, v = _boundary(np.trunc(_FINE * polygon + 0.5).astype(np.int64))
    turn = np.flatnonzero(u[1:] != u[:-1]) + 1
    x = (np.where(u[turn] < u[turn - 1], u[turn], u[turn] - 1) + 0.5) / _FINE - 0.5
    y = (np.minimum(v[turn], v[turn - 1]) + 0.5) / _FINE - 0.5
    keep = (np.floor(x) == x) & (x >= 0) & (x <= width - 1)
    places = x[keep].astype(np.int64) * height + np.ceil(np.clip(y[keep], 0, height)).astype(np.int64)
    changes, times = np.unique(places, return_counts=True)
    changes = changes[(times % 2 == 1) & (changes < height * width)]
    return np.diff(np.concatenate([[0], changes, [height * width]])).astype(np.int64)


_FINE = 5
_FAR = 1e9
_LONGEST = 1e7  # steps of about 80 bytes
_LETTERS = 7  # of one number: 35 bits, more than any picture has pixels
_PORTION = 1 << 21


def _boundary(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return x and y of every step from corner to corner and back to the first, each edge with both its ends."""
    after = np.roll(corners, -1, 0)
    reach = np.abs(after - corners)
    steep = reach[:, 0] < reach[:, 1]
    along = np.where(steep, 1, 0)[:, None]  # the axis an edge is longer in

    def part(points: NDArray[np.int64], axis: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.take_along_axis(points, axis, 1)[:, 0]

    flip = part(corners, along) > part(after, along)
    low, high = np.where(flip[:, None], after, corners), np.where(flip[:, None], corners, after)
    length = part(reach, along)
    slope = (part(high, 1 - along) - part(low, 1 - along)) / np.maximum(length, 1)
    edge = np.repeat(np.arange(len(corners)), length + 1)
    begins = np.cumsum(length + 1) - (length + 1)
    step = np.arange(len(edge)) - begins[edge]
    step = np.where(flip[edge], length[edge] - step, step)
    major = part(low, along)[edge] + step
    minor = np.trunc(part(low, 1 - along)[edge] + slope[edge] * step + 0.5).astype(np.int64)
    return np.where(steep[edge], minor, major), np.where(steep[edge], major, minor)


def _portions(texts: Sequence[str]) -> Iterable[tuple[int, int]]:
    """Yield ranges of texts that together have a few million letters, so that checking them takes little memory."""
    start = letters = 0
    for m, text in enumerate(texts):
        letters += len(text)
        if letters > _PORTION:
            yield start, m + 1
            start, letters = m + 1, 0
    if start < len(texts):
        yield start, len(texts)


def _decompress(texts: Sequence[str]) -> tuple[Counts, NDArray[np.int64], dict[int, str]]:
    """Return the run lengths of all texts, (M + 1,) where those of each begin, and what is wrong with which text.

    Where anything is wrong the run lengths are empty.
    """
    sizes = np.array([len(text) for text in texts], np.int64)
    owner = np.repeat(np.arange(len(texts)), sizes)
    letters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64) - 48
    ends = np.cumsum(sizes)
    last = (letters & 32) == 0
    faults = {}
    if len(empty := np.flatnonzero(sizes == 0)):
        faults[int(empty[0])] = "there are none"
    unfinished = np.flatnonzero(~last[np.maximum(ends - 1, 0)] & (sizes > 0)) if len(letters) else empty[:0]
    if len(unfinished):
        faults[int(unfinished[0])] = "they end early"
    if len(strange := np.flatnonzero((letters < 0) | (letters > 63))):
        at = int(strange[0])
        letter = chr(int(letters[at]) + 48)
        faults[int(owner[at])] = f"{letter!a} is no letter of them"
    if faults:
        return letters[:0], np.zeros(len(texts) + 1, np.int64), faults
    first = np.flatnonzero(np.concatenate([[True], last[:-1]])) if len(letters) else letters[:0]
    spans = np.diff(np.concatenate([first, [len(letters)]]))
    if len(spans) and spans.max() > _LETTERS:
        at = int(owner[first[int(spans.argmax())]])
        return letters[:0], np.zeros(len(texts) + 1, np.int64), {at: "a number is larger than any picture"}
    place = np.arange(len(letters)) - np.repeat(first, spans)
    values = np.add.reduceat((letters & 31) << (5 * place), first) if len(first) else letters[:0]
    values -= np.where(letters[first + spans - 1] & 16, 1 << (5 * spans), 0)
    bounds = np.searchsorted(first, np.concatenate([[0], ends]))
    rank = np.arange(len(values)) - np.repeat(bounds[:-1], np.diff(bounds))
    for chain in (rank % 2 == 1, (rank % 2 == 0) & (rank > 0)):  # each adds to the one two before it
        of = np.flatnonzero(chain)
        if len(of):
            total = np.cumsum(values[of])
            heads = np.flatnonzero(rank[of] <= 2)
            before = total[heads] - values[of[heads]]
            values[of] = total - np.repeat(before, np.diff(np.concatenate([heads, [len(of)]])))
    return values, bounds, faults
