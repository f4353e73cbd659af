"""Objects are cut at the edges of their pictures, left out where nothing remains, and each time it is told."""

from __future__ import annotations

import numpy as np
import pytest

from visus.data.edges import on_picture
from visus.data.fitting import MOST_REMARKS, Remarks, fit_boxes, fit_outlines
from visus.data.objects import Outlines

EDGES = np.array([[48, 64]])
SQUARE = np.array([[1.0, 1], [5, 1], [5, 4], [1, 4]])


def fitted(box, edges=EDGES):
    told = []
    boxes, kept = fit_boxes(np.array([box], np.float64), edges, lambda *given: told.append(given[1:]))
    return boxes[0].tolist(), bool(kept[0]), told


@pytest.mark.parametrize("box", [[0, 0, 64, 48], [1.5, 2.25, 3, 4], [63.9, 0, 64, 0.1]])
def test_a_box_inside_is_left_as_it_is(box):
    assert fitted(box) == (box, True, [])


def test_a_box_past_an_edge_is_cut_there_and_told():
    box, kept, told = fitted([60, -3, 80, 20])
    assert (box, kept) == ([60, 0, 64, 20], True)
    assert told == [("clipped", "DATA-220", "bbox", "the box reaches 16 pixels beyond the picture (64 x 48)")]


def test_what_two_decimals_make_of_an_edge_is_cut_without_a_word():
    assert fitted([0, -0.01, 64.01, 48.02]) == ([0, 0, 64, 48], True, [])


@pytest.mark.parametrize(
    ("box", "code", "why"),
    [
        ([100, 100, 120, 120], "DATA-221", "the box lies outside the picture (64 x 48)"),
        ([-20, 5, 0, 20], "DATA-221", "the box lies outside the picture (64 x 48)"),
        ([5, 5, 5, 5], "DATA-222", "the box is 0 x 0 pixels"),
        ([5, 5, 5.01, 5.01], "DATA-222", "the box is 0.01 x 0.01 pixels"),
        ([9, 5, 5, 8], "DATA-222", "the box is -4 x 3 pixels"),
    ],
)
def test_a_box_of_which_nothing_is_left_is_left_out_and_told(box, code, why):
    _, kept, told = fitted(box)
    x0, y0, x1, y1 = box
    assert not kept and told == [("skipped", code, "bbox", f"{why}: ({x0}, {y0}) to ({x1}, {y1})")]


def test_many_boxes_at_once_are_cut_as_each_alone():
    random = np.random.default_rng(0)
    corner = random.integers(-40, 120, (2000, 2)) / 2
    boxes = np.concatenate([corner, corner + random.integers(-1, 40, (2000, 2)) / 2], 1)
    edges = np.array([[48, 64], [0, 0]])[random.integers(0, 2, 2000)]
    told: dict[int, tuple[str, str]] = {}
    cut, kept = fit_boxes(boxes, edges, lambda m, status, code, key, why: told.update({m: (status, why)}))
    for m, (box, edge) in enumerate(zip(boxes.tolist(), edges.tolist(), strict=True)):
        left, status, why = on_picture(tuple(box), tuple(edge))
        assert told.get(m, ("", "")) == (status, why)
        assert kept[m] == (left is not None)
        assert left is None or tuple(cut[m].tolist()) == left


def test_a_picture_of_unknown_size_has_edges_at_its_left_and_top_alone():
    assert fitted([-5, 3, 5000, 5], np.zeros((1, 2), np.int64))[0] == [0, 3, 5000, 5]


def outlined(objects, edges=EDGES):
    told = []
    found, kept = fit_outlines(
        Outlines.of(objects), np.repeat(edges, len(objects), 0), lambda *given: told.append(given[:3])
    )
    return [[part.tolist() for part in found[m]] for m in range(len(found))], kept.tolist(), told


def test_outlines_inside_are_left_as_they_are_and_an_object_may_have_none():
    objects = [[SQUARE], [], [SQUARE, SQUARE + 7]]
    assert outlined(objects) == ([[p.tolist() for p in parts] for parts in objects], [True] * 3, [])


def test_only_the_part_that_reaches_past_an_edge_is_cut():
    past = SQUARE + np.array([60, 0])
    parts, kept, told = outlined([[SQUARE], [SQUARE, past, SQUARE + 2]])
    assert parts[0] == [SQUARE.tolist()] and [parts[1][0], parts[1][2]] == [SQUARE.tolist(), (SQUARE + 2).tolist()]
    assert sorted(parts[1][1]) == [[61, 1], [61, 4], [64, 1], [64, 4]]
    assert kept == [True, True] and told == [(1, "clipped", "DATA-223")]


def test_a_part_outside_is_dropped_and_an_object_of_only_such_parts_left_out():
    parts, kept, told = outlined([[SQUARE, SQUARE + 100], [SQUARE - 50]])
    assert parts == [[SQUARE.tolist()], []] and kept == [True, False]
    assert told == [(0, "clipped", "DATA-223"), (1, "clipped", "DATA-223"), (1, "skipped", "DATA-224")]


def test_an_outline_that_crosses_itself_or_has_very_many_corners_is_told():
    bow_tie = np.array([[0.0, 0], [20, 20], [20, 0], [0, 20]])
    _, kept, told = outlined([[bow_tie], [np.full((10_001, 2), 3.0)]])
    assert kept == [True, True] and sorted(told) == [(0, "warned", "DATA-226"), (1, "warned", "DATA-225")]


def test_numbers_beyond_all_measure_are_cut_without_a_warning_of_numpys():
    parts, kept, _ = outlined([[np.array([[-1e300, 10], [1e300, 10], [1e300, 20]])]])
    assert kept == [True] and np.isfinite(parts[0]).all()


def test_no_more_remarks_of_a_kind_are_listed_than_anybody_reads_but_all_are_counted():
    remarks = Remarks()
    for i in range(MOST_REMARKS + 5):
        remarks.add("a.json", "warned", "DATA-226", str(i))
    remarks.add("b.json", "warned", "DATA-226", "another file")
    listed = remarks.all()
    assert len(listed) == MOST_REMARKS + 2 and listed[-2].why == "another file"
    assert (listed[-1].why, listed[-1].file) == ("5 more of this kind", "a.json")
