"""Noise for whole maps, drawn where it is needed: pure functions of a few words, on a processor or a graphics card."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from visus.core.seeds import Draws

_GOLDEN, _FIRST, _SECOND = (
    word - (1 << 64) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)  # fmt: skip
_BITS = 24  # that a float32 holds


def fields(draws: Draws, stream: str, n: int, like: Tensor) -> Float[Tensor, "B n"]:
    """Return numbers of a normal distribution: each row depends on what ``draws`` says of it alone.

    A word gives two of them, by Box and Muller 1958; none lies farther than 5.9 from zero.

    Args:
        draws: of B rows.
        stream: what the numbers are for.
        n: numbers of each row.
        like: their device and type.
    """
    keys = torch.from_numpy(draws.keys(stream).view(np.int64)).to(like.device)
    pairs = -(-n // 2)
    words = _mixed(keys[:, None] + torch.arange(1, pairs + 1, device=like.device) * _GOLDEN)
    lengths = (-2 * ((_bits(words, 64 - _BITS) + 0.5) * 2.0**-_BITS).log()).sqrt()
    angles = _bits(words, 0) * (2 * math.pi * 2.0**-_BITS)
    return torch.cat([lengths * angles.cos(), lengths * angles.sin()], 1)[:, :n].to(like.dtype)


def _bits(words: Int64[Tensor, "B n"], first: int) -> Float[Tensor, "B n"]:
    """Return as many bits as a float32 holds, from one on, as a number."""
    return (words >> first & (1 << _BITS) - 1).float()


def _mixed(words: Int64[Tensor, "B n"]) -> Int64[Tensor, "B n"]:
    """Return the SplitMix64 finaliser of each word (Steele, Lea and Flood, OOPSLA 2014, fig. 14); overflow is meant."""
    words = words + _GOLDEN
    words = (words ^ _shifted(words, 30)) * _FIRST
    words = (words ^ _shifted(words, 27)) * _SECOND
    return words ^ _shifted(words, 31)


def _shifted(words: Int64[Tensor, "B n"], by: int) -> Int64[Tensor, "B n"]:
    """Return words shifted to the right with zeros, as if they had no sign."""
    return words >> by & (1 << 64 - by) - 1
