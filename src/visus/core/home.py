"""Scores of every pixel brought home: from the pixels that a network saw to those of the original picture."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

_NEAR = 1e-6  # pixels: what float64 matrices of real pictures may be off by
_BLOCK = 2**20  # scores that are looked at at once


def at_home(
    scores: Float[Tensor, "K H W"],
    frame: Float[Tensor, "3 3"],
    size: tuple[int, int],
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> Float[Tensor, "K R C"]:
    """Return scores at original pixels, bilinear between the centres of present ones.

    Only present pixels whose centre lies in the original picture speak, so what was padded is cut; beyond the outermost
    of them the nearest one does.  Where the whole picture was resized, that is ``F.interpolate`` with ``align_corners``
    off.

    Args:
        scores: of each class at each present pixel: logits or probabilities.
        frame: from present pixels to original ones; it may stretch, shift and mirror.
        size: (h, w) of the original picture.
        rows: which of its h rows are asked for; all of them by default.
        columns: which of its w columns.

    Raises:
        ValueError: the frame turns, shears or bends, which needs more than one row and one column of weights.
    """
    down, across = _ways(scores, frame, size)
    upper, lower, share = down.first[rows], down.second[rows], down.share[rows, None]
    if columns == slice(None) and across.resized:
        lines = scores.index_select(1, upper)
        if share.any():
            lines = _between(lines, scores.index_select(1, lower), share)
        return F.interpolate(lines[..., across.shown], size[1], mode="linear", align_corners=False)
    upper, lower, left, right = upper[:, None], lower[:, None], across.first[columns], across.second[columns]
    before = _between(scores[:, upper, left], scores[:, lower, left], share)
    after = _between(scores[:, upper, right], scores[:, lower, right], share)
    return _between(before, after, across.share[columns])


def classes_at_home(
    scores: Float[Tensor, "K H W"], frame: Float[Tensor, "3 3"], size: tuple[int, int]
) -> UInt8[Tensor, "h w"]:
    """Return the class of the highest score at every original pixel; K where scores are not finite.

    That is ``at_home(...).argmax(0)``, without K scores for every original pixel: where the four present pixels around
    one agree on a class, so does every mean of them, and scores are only interpolated where they do not.

    Args:
        scores: of at most 255 classes at each present pixel.
        frame: from present pixels to original ones, as of ``at_home``.
        size: (h, w) of the original picture.
    """
    down, across = _ways(scores, frame, size)
    (k, _, wide), w = scores.shape, size[1]
    flat = scores.flatten(1)
    best = _highest(flat).reshape(scores.shape[1:])
    found = best.index_select(1, across.first).index_select(0, down.first)
    if not (down.share.any() or across.share.any()):
        return found
    disputed = torch.zeros_like(best, dtype=torch.bool)  # the pixel and those right of it, below, and below right
    disputed[:-1] |= best[1:] != best[:-1]
    disputed[:, :-1] |= best[:, 1:] != best[:, :-1]
    disputed[:-1, :-1] |= best[1:, 1:] != best[:-1, :-1]
    places = disputed.index_select(1, across.first).index_select(0, down.first).flatten().nonzero()[:, 0]
    for part in torch.split(places, max(1, _BLOCK // k)):
        y, x = part // w, part % w
        upper, lower = down.first[y] * wide, down.second[y] * wide
        left, right, share = across.first[x], across.second[x], down.share[y]
        before = _between(flat.index_select(1, upper + left), flat.index_select(1, lower + left), share)
        after = _between(flat.index_select(1, upper + right), flat.index_select(1, lower + right), share)
        found.view(-1)[part] = _highest(_between(before, after, across.share[x]))
    return found


class _Way(NamedTuple):
    """Between which two present pixels each original one lies along one axis, and how far towards the second.

    ``shown``: the present pixels that speak; ``resized``: they are, as a whole, what all original ones were resized to.
    """

    first: Tensor
    second: Tensor
    share: Tensor
    shown: slice
    resized: bool


def _ways(scores: Tensor, frame: Tensor, size: tuple[int, int]) -> tuple[_Way, _Way]:
    """Return the ways down and across."""
    matrix = frame.double().cpu()
    bent = torch.stack([matrix[0, 1], matrix[1, 0], matrix[2, 0], matrix[2, 1], matrix[2, 2] - 1])
    if bent.abs().max() > _NEAR or matrix[0, 0] == 0 or matrix[1, 1] == 0:
        raise ValueError(f"a frame that does more than stretch, shift and mirror: {matrix.tolist()}")
    across = _way(float(matrix[0, 0]), float(matrix[0, 2]), scores.shape[2], size[1], scores)
    return _way(float(matrix[1, 1]), float(matrix[1, 2]), scores.shape[1], size[0], scores), across


def _way(stretch: float, shift: float, present: int, original: int, scores: Tensor) -> _Way:
    begin, end = sorted((-shift / stretch, (original - shift) / stretch))
    low = min(max(0, math.ceil(begin - 0.5 - _NEAR)), present - 1)  # the first pixel whose centre is inside
    high = min(max(low, math.floor(end - 0.5 + _NEAR)), present - 1)  # the last one
    at = (torch.arange(original, dtype=torch.float64) + 0.5 - shift) / stretch - 0.5
    at = at.clamp(low, high)
    at = torch.where((at - at.round()).abs() < _NEAR, at.round(), at)
    first = at.floor()
    second = (first + 1).clamp(max=high)
    resized = stretch > 0 and abs(begin - low) < _NEAR and abs(end - high - 1) < _NEAR
    return _Way(
        first.long().to(scores.device), second.long().to(scores.device), (at - first).to(scores.device, scores.dtype),
        slice(low, high + 1), resized,
    )  # fmt: skip


def _between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return what lies a share of the way from the first to the second."""
    return (second - first).mul_(share).add_(first)


def _highest(scores: Float[Tensor, "K N"]) -> UInt8[Tensor, "N"]:
    """Return the class of the highest of each column's scores; K where they are not finite."""
    best = scores.max(0).indices.to(torch.uint8)  # argmax finds the same, many times slower
    return best if scores.sum().isfinite() else best.where(scores.isfinite().all(0), len(scores))
