"""The sizes and widths of maps that double from a small one up to a picture."""

from __future__ import annotations

from collections.abc import Sequence

from visus.core.errors import UsageError

SMALLEST = 4
"""Pixels of the shorter side of the first map, at least; less than twice as many at most."""


def sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (height, width) of the maps of each level, the smallest first, the picture's own last.

    Raises:
        UsageError: a side cannot be halved down to a map of 4 to 7 pixels.
    """
    levels = [size]
    while not (levels[0][0] % 2 or levels[0][1] % 2) and min(levels[0]) >= 2 * SMALLEST:
        levels.insert(0, (levels[0][0] // 2, levels[0][1] // 2))
    if not 2 * SMALLEST > min(levels[0]) >= SMALLEST or len(levels) == 1:
        raise UsageError(
            "MODEL-031", f"pictures of {size[0]} x {size[1]} cannot be halved down to 4 to 7 pixels",
            fix=f"--set input.size={_near(size[0], size)}x{_near(size[1], size)}",
        )  # fmt: skip
    return levels


def widths_of(maps: Sequence[tuple[int, int]], width: int, widest: int, total: int) -> list[int]:
    """Return the channels of each level: ``width`` at the last, doubled at each half of its size, ``widest`` at most.

    Args:
        maps: of each level, the smallest first.
        width: 0 for ``total`` over the shorter side of the last.
        widest: of any.
        total: channels times pixels of the shorter side, as a paper has them.
    """
    last = width or max(1, total // min(maps[-1]))
    return [min(widest, last << i) for i in reversed(range(len(maps)))]


def slender(side: int) -> dict[str, int]:
    """Return options of networks that a processor trains: 1,024 channels over the side of the pictures, 256 at most.

    So each size costs about as many products as any other, whatever the side.
    """
    return {"width": max(8, 1024 // side), "widest": 256}


def _near(side: int, size: tuple[int, int]) -> int:
    """Return the multiple of the shorter side's lower power of two over 4 that is next to a side."""
    step = max(2, 1 << (min(size).bit_length() - 3)) if min(size) >= 2 * SMALLEST else 2
    return max(2 * SMALLEST, round(side / step) * step)
