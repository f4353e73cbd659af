"""Tiles of a picture that is too large to be looked at as a whole: what is their own, and what they see beside it."""

from __future__ import annotations

from dataclasses import dataclass

WHOLE = 2048 * 2048
"""Pixels up to which a picture is painted whole where nobody asks for tiles."""
TILE = 1024
"""Pixels of a tile's side where nobody says."""


@dataclass(frozen=True)
class Window:
    """One tile: rows and columns that are its own, and those that it sees."""

    own: tuple[slice, slice]
    seen: tuple[slice, slice]

    def inner(self, stride: int) -> tuple[slice, slice]:
        """Return what of its maps is its own, where a place stands for so many pixels a side.

        At the picture's edge that is all there is, for a side need not be a multiple of the stride.
        """
        down, across = (
            slice((own.start - seen.start) // stride,
                  None if own.stop == seen.stop else (own.stop - seen.start) // stride)
            for own, seen in zip(self.own, self.seen, strict=True)
        )  # fmt: skip
        return down, across


def windows(size: tuple[int, int], tile: int, reach: int, stride: int) -> list[Window]:
    """Return the tiles of a picture, which are about as large as each other.

    The sides of what they see leave the same remainder as the picture's own where they are divided by the stride, as
    networks ask that pad what they are given by its size.

    Args:
        size: (height, width).
        tile: pixels of a side of what is a tile's own at most, rounded up to the stride.
        reach: pixels that a tile sees of its neighbours, rounded up likewise.
        stride: pixels that a place of the coarsest map stands for; tiles begin at multiples of it.
    """
    largest, margin = (-(-pixels // stride) * stride for pixels in (tile, reach))

    def parts(side: int) -> list[slice]:
        step = -(-side // (-(-side // largest) * stride)) * stride
        return [slice(at, min(at + step, side)) for at in range(0, side, step)]

    def wider(own: slice, side: int) -> slice:
        return slice(max(0, own.start - margin), min(side, own.stop + margin + side % stride))

    return [Window((row, column), (wider(row, size[0]), wider(column, size[1])))
            for row in parts(size[0]) for column in parts(size[1])]  # fmt: skip
