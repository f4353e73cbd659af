"""Drawn objects: lines where the boxes are, names that are seen and do not hide each other."""

from __future__ import annotations

import numpy as np
import pytest

from visus.tasks._drawing import COLOURS, Drawn, drawn

GROUNDS = {"black": 0, "grey": 128, "white": 255}


def ground(level: int = 128, height: int = 200, width: int = 300) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def shows(pixels: np.ndarray, colour: int) -> np.ndarray:
    """Return which pixels have the colour of a class."""
    return (pixels == COLOURS[colour]).all(-1)


@pytest.mark.parametrize("level", GROUNDS.values(), ids=GROUNDS)
def test_a_box_is_a_line_of_its_colour_along_its_inside(level):
    mask = shows(drawn(ground(level), [Drawn((50, 60, 120, 160), colour=COLOURS[1])]), 1)
    y, x = mask.nonzero()
    assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (50, 60, 120, 160)
    assert mask[60, 50:120].all() and mask[60:160, 119].all() and not mask[100, 80]


def test_a_picture_is_brought_to_the_side_first_and_boxes_with_it():
    made = drawn(ground(height=20, width=30), [Drawn((5, 6, 12, 16), colour=COLOURS[2])], side=300)
    y, x = shows(made, 2).nonzero()
    assert made.shape == (200, 300, 3)
    assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (50, 60, 120, 160)


def test_a_name_stands_on_a_plate_of_its_colour_above_its_box_and_inside_the_picture_at_the_edge():
    above = shows(drawn(ground(), [Drawn((50, 60, 120, 160), "cat 0.93", COLOURS[0])]), 0)
    assert above[46:58, 52:60].mean() > 0.3
    assert shows(drawn(ground(), [Drawn((0, 0, 300, 200), "cat 0.93", COLOURS[0])]), 0)[2:10, 4:60].mean() > 0.3


def test_names_of_neighbours_do_not_lie_on_each_other():
    one, two = Drawn((50, 60, 120, 160), "first", COLOURS[0]), Drawn((54, 61, 124, 161), "second", COLOURS[1])
    both = drawn(ground(), [one, two])
    plates = {k: shows(both, k).sum() for k in (0, 1)}
    alone = {k: shows(drawn(ground(), [each]), k).sum() for k, each in enumerate((one, two))}
    assert plates[0] >= 0.8 * alone[0] and plates[1] >= 0.6 * alone[1]


def test_many_names_leave_most_of_the_picture_to_be_seen():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, (260, 160), (80, 2))
    objects = [Drawn((*at, *(at + 30)), "a long name 0.87", COLOURS[3]) for at in low]
    bare = [Drawn(one.box, "", COLOURS[3]) for one in objects]
    named, nameless = drawn(ground(), objects), drawn(ground(), bare)
    assert 0.02 < (named != nameless).any(-1).mean() < 0.2


def test_a_dashed_box_has_gaps():
    row = shows(drawn(ground(), [Drawn((50, 60, 120, 160), colour=COLOURS[4], dashed=True)]), 4)[60, 50:120]
    assert 0.3 < row.mean() < 0.8


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 0), (-50, -50, 10, 10), (290, 190, 400, 300), (5, 5, 5.5, 5.5), (20, 20, 10, 10)]
)
def test_odd_boxes_and_odd_names_are_no_trouble(box):
    for words in ("", "名前", "two\nlines", "\udcff", "x" * 500):
        for dashed in (False, True):
            assert drawn(ground(), [Drawn(box, words, COLOURS[7], dashed)]).shape == (200, 300, 3)


def test_outlines_are_drawn_beside_the_box():
    triangle = np.array([[60.0, 70], [110, 70], [60, 150]])
    plain, outlined = (drawn(ground(), [Drawn((50, 60, 120, 160), outline=parts)]) for parts in ((), (triangle,)))
    assert shows(outlined, 0)[70, 61:109].all() and not shows(plain, 0)[70, 61:109].any()
