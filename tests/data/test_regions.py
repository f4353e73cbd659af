"""Regions of class maps: their outlines and masks give the same map again, to the pixel, in COCO's own code too."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visus.core.run_lengths import decode, decompress, encode, encode_part, fill
from visus.data.regions import regions_of


def painted(marks, size):
    """Return the map of regions, 255 where there is none; no pixel is of two."""
    found, times = np.full(size, 255, np.uint8), np.zeros(size, int)
    for mark in marks:
        inside = decode(decompress(mark.mask), size) if mark.mask else fill(mark.polygons, size)
        found[inside] = mark.label
        times += inside
        assert mark.area == inside.sum()
        (y0, *_, y1), (x0, *_, x1) = (2 * [*np.flatnonzero(inside.any(axis))] for axis in (1, 0))
        assert mark.box == (x0, y0, x1 + 1, y1 + 1)
    assert times.max(initial=0) <= 1
    return found


def drawn(*rows):
    return np.array([[" #x".index(pixel) for pixel in row] for row in rows], np.uint8)


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2, 255])))
def test_any_map_is_painted_again_by_its_regions(classes):
    assert np.array_equal(painted(regions_of(classes, 3), classes.shape), classes)


def test_a_ring_is_a_mask_and_what_it_holds_a_polygon_of_its_own():
    ring = drawn("     ", " ### ", " # # ", " ### ", "     ")
    outside, inside, itself = regions_of(ring, 2)
    assert bool(outside.mask) and not inside.mask and len(inside.polygons[0]) == 4 and inside.box == (2, 2, 3, 3)
    assert itself.label == 1 and itself.mask and not itself.polygons and itself.area == 8


def test_one_pixel_is_a_square():
    (_, one) = regions_of(drawn("   ", " # ", "   "), 2)
    assert sorted(one.polygons[0].tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]] and one.area == 1


def test_parts_of_a_class_are_regions_of_their_own_and_so_is_what_touches_at_a_corner_alone():
    apart = drawn("## #", "## #", "  # ", "    ")
    regions = [mark for mark in regions_of(apart, 2) if mark.label == 1]
    assert sorted(mark.area for mark in regions) == [1, 2, 4]


def test_a_way_that_touches_itself_at_a_corner_is_one_polygon():
    """The pixel in the middle is joined to the outside at a corner alone, so nothing is a hole."""
    regions = [mark for mark in regions_of(drawn(" ##", "# #", "###"), 2) if mark.label == 1]
    assert [len(mark.polygons) for mark in regions] == [1] and not regions[0].mask
    assert np.array_equal(fill(regions[0].polygons, (3, 3)), drawn(" ##", "# #", "###") == 1)


def test_corners_are_told_and_no_points_between_them():
    (region,) = regions_of(np.zeros((40, 70), np.uint8), 1)
    assert sorted(region.polygons[0].tolist()) == [[0, 0], [0, 40], [70, 0], [70, 40]]


def test_cocos_own_code_fills_the_same_pixels(seed=0):
    coco = pytest.importorskip("pycocotools.mask")
    classes = np.random.default_rng(seed).integers(0, 3, (40, 50)).astype(np.uint8).repeat(2, 0)
    found = np.full(classes.shape, 255, np.uint8)
    for mark in regions_of(classes, 3):
        outline = [part.ravel().tolist() for part in mark.polygons]
        runs = coco.frPyObjects(outline, *classes.shape) if outline else [
            {"size": list(classes.shape), "counts": mark.mask.encode()}
        ]  # fmt: skip
        found[coco.decode(coco.merge(runs)).astype(bool)] = mark.label
        assert json.dumps(outline)
    assert np.array_equal(found, classes)


@given(arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 6))), st.integers(0, 3), st.integers(0, 3),
       st.integers(0, 3), st.integers(0, 3))  # fmt: skip
def test_the_runs_of_a_part_are_those_of_the_whole(part, top, left, below, right):
    whole = np.pad(part, ((top, below), (left, right)))
    assert encode_part(part, (top, left), whole.shape).tolist() == encode(whole).tolist()
