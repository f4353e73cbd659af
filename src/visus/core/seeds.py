"""Random numbers as pure functions: of a seed, the name of a stream and a position, never of what was drawn before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def derive(seed: int, stream: str, *position: int) -> int:
    """Return a 63-bit seed for one place of one stream.

    The parts are hashed, not packed: PyTorch's CPU generator reads only the low 32 bits of a seed, and every bit of a
    hash depends on every part.

    Args:
        seed: the run's seed.
        stream: what the numbers are for: ``"order"``, ``"dropout"``.
        position: step, epoch, sample, ... in a fixed order.
    """
    text = "\x1f".join([str(seed), stream, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def permutation(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """Return the order in which the ``n`` samples of a split are seen in ``epoch``."""
    return np.random.Generator(np.random.Philox(key=derive(seed, "order", epoch))).permutation(n)


@dataclass(frozen=True)
class Draws:
    """The random numbers of some samples in some epochs: each row depends on (seed, stream, epoch, sample) alone.

    So a sample is augmented the same way whichever batch, worker, rank or retry it meets.

    Args:
        seed: the run's seed.
        epochs: epoch of each row, (B,).
        samples: index of each row's sample in its data set, (B,).
    """

    seed: int
    epochs: NDArray[np.int64]
    samples: NDArray[np.int64]

    def uniform(self, stream: str, n: int = 1) -> NDArray[np.float64]:
        """Return (B, n) numbers in [0, 1)."""
        with np.errstate(over="ignore"):
            words = _mix(self.keys(stream)[:, None] + np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN)
        unit: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return unit

    def keys(self, stream: str) -> NDArray[np.uint64]:
        """Return (B,) words from which the numbers of each row follow."""
        key = np.uint64(derive(self.seed, stream))
        with np.errstate(over="ignore"):
            return _mix(_mix(key + self.epochs.astype(np.uint64) * _GOLDEN) ^ self.samples.astype(np.uint64))

    def normal(self, stream: str, n: int = 1) -> NDArray[np.float64]:
        """Return (B, n) numbers of a normal distribution of mean 0 and deviation 1, by Box and Muller 1958."""
        pairs = self.uniform(stream, 2 * n)
        lengths: NDArray[np.float64] = np.sqrt(-2 * np.log1p(-pairs[:, :n]))
        return lengths * np.cos(2 * np.pi * pairs[:, n:])

    def between(self, stream: str, low: float, high: float) -> NDArray[np.float64]:
        """Return (B,) numbers in [low, high)."""
        return low + (high - low) * self.uniform(stream)[:, 0]

    def chance(self, stream: str, probability: float) -> NDArray[np.bool_]:
        """Return (B,) coins that fall true with ``probability``."""
        return self.uniform(stream)[:, 0] < probability

    def rows(self, keep: NDArray[np.int64]) -> Draws:
        """Return the draws of some rows."""
        return Draws(self.seed, self.epochs[keep], self.samples[keep])

    def __len__(self) -> int:
        return len(self.samples)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the SplitMix64 finaliser of each word (Steele, Lea and Flood, OOPSLA 2014, fig. 14)."""
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
