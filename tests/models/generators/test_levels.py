"""Sizes and widths of maps that double up to a picture."""

from __future__ import annotations

from itertools import pairwise

import pytest

from visus.core.errors import UsageError
from visus.models.generators._levels import sizes, widths_of


@pytest.mark.parametrize("side", [16, 32, 64, 128, 256, 512, 1024])
def test_a_square_begins_at_four_pixels(side: int) -> None:
    maps = sizes((side, side))
    assert maps[0] == (4, 4) and maps[-1] == (side, side)
    assert all(above == (2 * below[0], 2 * below[1]) for below, above in pairwise(maps))


@pytest.mark.parametrize(
    ("size", "first"),
    [((64, 32), (8, 4)), ((28, 28), (7, 7)), ((64, 96), (4, 6)), ((48, 80), (6, 10)), ((8, 8), (4, 4))],
)
def test_other_shapes_begin_with_the_smallest_map_of_their_own_shape(
    size: tuple[int, int], first: tuple[int, int]
) -> None:
    assert sizes(size)[0] == first


@pytest.mark.parametrize("size", [(33, 32), (30, 30), (100, 100), (7, 7), (4, 4)])
def test_a_size_that_cannot_be_halved_so_far_is_refused_with_one_that_can(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="cannot be halved") as caught:
        sizes(size)
    height, width = caught.value.fix.rpartition("=")[2].split("x")
    assert sizes((int(height), int(width)))


def test_widths_are_those_of_the_papers_configuration() -> None:
    assert widths_of(sizes((1024, 1024)), 0, 512, 32768) == [512, 512, 512, 512, 512, 256, 128, 64, 32]


def test_widths_double_from_the_last_one_up_to_the_widest() -> None:
    assert widths_of(sizes((32, 32)), 16, 48, 32768) == [48, 48, 32, 16]
