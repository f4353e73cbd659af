"""Objects in flat arrays: those of some records are what they would be one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from visus.data.objects import Mark, Objects, Outlines

SQUARE = np.array([[1.0, 1], [5, 1], [5, 4]])


def objects() -> Objects:
    return Objects.of(
        [
            [Mark((0, 0, 1, 1), 0, id=4, area=3.5), Mark((1, 0, 2, 1), 1, mask="a", more='{"x": 1}')],
            [],
            [Mark((2, 0, 3, 1), 1, polygons=[SQUARE, SQUARE + 1]), Mark((3, 0, 4, 1), 2, crowd=True, mask="bc")],
        ]
    )


def said(marks: list[Mark]) -> list[str]:
    return [str(replace(mark, polygons=[part.tolist() for part in mark.polygons])) for mark in marks]


@pytest.mark.parametrize("indices", [[], [0], [2, 1, 0], [1], [2, 2]])
def test_the_objects_of_some_records_are_theirs_one_by_one(indices):
    every = objects()
    some = every.take(np.array(indices, np.int64))
    assert [said(some[k]) for k in range(len(some))] == [said(every[i]) for i in indices]


def test_what_none_of_them_has_is_not_there():
    some = objects().take(np.array([1]))
    assert some.outlines is None and some.masks is None and some.more is None


def test_the_outlines_of_some_objects_are_theirs_one_by_one():
    outlines = Outlines.of([[SQUARE], [], [SQUARE + 1, SQUARE[::-1]]])
    some = outlines.take(np.array([2, 0, 1]))
    assert [[part.tolist() for part in some[k]] for k in range(3)] == [
        [part.tolist() for part in outlines[m]] for m in (2, 0, 1)
    ]
