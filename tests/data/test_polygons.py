"""Polygons, many at once: areas, boxes, turns, and cut at an edge, against the code that moves pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visus.core.annotations import warp_polygon
from visus.data import polygons
from visus.data.objects import Outlines

SQUARE = np.array([[1.0, 1], [5, 1], [5, 4], [1, 4]])
BOW_TIE = np.array([[0.0, 0], [20, 20], [20, 0], [0, 20]])
SPIKE = np.array([[0.0, 0], [10, 0], [10, 10], [15, 15], [10, 10], [0, 10]])
STAR = np.array([[np.cos(4 * np.pi * k / 5), np.sin(4 * np.pi * k / 5)] for k in range(5)])


def test_an_object_has_the_area_of_its_parts():
    outlines = Outlines.of([[SQUARE], [], [SQUARE, SQUARE[::-1] + 10], [SQUARE[:3]]])
    assert polygons.areas(outlines).tolist() == [12, 0, 24, 6]


def test_an_object_has_the_box_round_all_its_parts():
    outlines = Outlines.of([[SQUARE], [SQUARE + 3, SQUARE - 1]])
    assert polygons.boxes(outlines).tolist() == [[1, 1, 5, 4], [0, 0, 8, 7]]
    assert polygons.boxes(Outlines.of([])).shape == (0, 4)


def test_a_polygon_turns_once_unless_it_crosses_itself():
    shapes = [SQUARE, SQUARE[::-1], BOW_TIE, STAR, SPIKE, np.repeat(SQUARE, 3, 0), np.full((9, 2), 2.0), SQUARE[:2]]
    assert polygons.turns(Outlines.of([[shape] for shape in shapes])).tolist() == [1, 1, 0, 2, 1, 1, 1, 1]
    assert polygons.turns(Outlines.of([])).tolist() == []


def test_many_polygons_are_taken_in_portions(monkeypatch):
    random = np.random.default_rng(0)
    shapes = [[random.random((n, 2))] for n in random.integers(3, 9, 50)]
    whole = [function(Outlines.of(shapes)).tolist() for function in (polygons.areas, polygons.turns)]
    monkeypatch.setattr("visus.data.polygons._PORTION", 7)
    assert [function(Outlines.of(shapes)).tolist() for function in (polygons.areas, polygons.turns)] == whole


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_polygon_is_the_one_that_stays_in_the_frame_of_a_moved_picture(seed):
    polygon = np.random.default_rng(seed).uniform(-20, 50, (6, 2))
    ours = polygons.cut(polygon, (24, 32))
    theirs = warp_polygon(torch.from_numpy(polygon), torch.eye(3, dtype=torch.float64), (24, 32)).numpy()
    np.testing.assert_allclose(
        polygons.areas(Outlines.of([[ours]])), polygons.areas(Outlines.of([[theirs]])), atol=1e-4
    )
    assert len(ours) == 0 or (ours.min() >= 0 and (ours <= (32, 24)).all())


def test_nothing_is_left_of_a_polygon_outside_and_all_of_one_inside():
    assert polygons.cut(SQUARE - 9, (24, 32)).shape == (0, 2)
    assert polygons.cut(SQUARE, (24, 32)).tolist() == SQUARE.tolist()
