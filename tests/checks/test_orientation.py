"""Which way up labels were drawn where EXIF turns pictures."""

from __future__ import annotations

import numpy as np
from tests.checks.examples import codes, dataset, only, seen, subject

from visus.checks.orientation import look
from visus.data.objects import Mark, Original

PORTRAIT = (600, 400)


def found(*boxes, orientation=6, stated=None):
    """Return the findings on portraits turned by EXIF, each with one box."""
    marks = [[Mark(box, 0)] if box else [] for box in boxes]
    original = Original(np.array([stated] * len(boxes), np.int64)) if stated else None
    turned = seen(len(boxes), size=dict.fromkeys(range(len(boxes)), PORTRAIT),
                  orientation=dict.fromkeys(range(len(boxes)), orientation))  # fmt: skip
    return list(look(subject(dataset(marks=marks, original=original), turned)))


UPRIGHT, LYING, EITHER = (10, 500, 300, 590), (500, 10, 590, 300), (10, 10, 300, 300)


def test_boxes_that_fit_the_upright_picture_alone_are_no_finding():
    assert found(UPRIGHT, None) == []


def test_boxes_that_fit_the_lying_picture_alone_are_an_error():
    finding = only(found(UPRIGHT, LYING), "CHECK-027")
    assert finding.level == "error" and [item.index for item in finding.items] == [1]
    assert "those of 1 more fit upright" in finding.why


def test_boxes_that_fit_both_ways_are_noted_and_doubted_where_others_were_drawn_lying():
    assert [(f.code, f.level) for f in found(EITHER)] == [("CHECK-028", "note")]
    assert {f.code: f.level for f in found(EITHER, LYING)} == {"CHECK-027": "error", "CHECK-028": "warning"}


def test_a_stated_upright_size_decides_what_boxes_leave_open():
    assert found(EITHER, stated=PORTRAIT) == []
    assert codes(found(EITHER, stated=PORTRAIT[::-1])) == ["CHECK-028"]


def test_a_half_turn_and_a_mirror_do_not_swap_the_sides():
    assert found(LYING, orientation=3) == [] and found(LYING, orientation=1) == []
