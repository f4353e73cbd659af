"""Shapes are drawn where they are looked at, as maps of classes move; soft masks are pasted and compared as by COCO."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from visus.core.annotations import Boxes, ClassMap
from visus.core.run_lengths import area, compress, decode, encode
from visus.core.shapes import Shape, SoftMasks, overlaps, pasted

RING = np.zeros((40, 60), np.bool_)
RING[8:32, 10:50] = True
RING[14:26, 20:40] = False  # a hole
RUNS = Shape((40, 60), runs=compress(encode(RING)))
FRAME = (0.0, 0.0, 60.0, 40.0)
MATRICES = {
    "flip": [[-1, 0, 60], [0, 1, 0], [0, 0, 1]],
    "half": [[0.5, 0, 3], [0, 0.5, 2], [0, 0, 1]],
    "turn": [[0.8, -0.6, 20], [0.6, 0.8, -4], [0, 0, 1]],
    "perspective": [[1, 0, 0], [0, 1, 0], [0.004, 0.002, 1]],
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_mask_with_a_hole_moves_as_a_map_of_classes_does(name):
    matrix = np.array(MATRICES[name], np.float64)
    moved = ClassMap(torch.from_numpy(RING.astype(np.uint8))).warp(torch.from_numpy(matrix), (40, 60)).classes == 1
    assert (RUNS.moved(matrix).drawn(FRAME, (40, 60)) == moved.numpy()).mean() > 0.999


@pytest.mark.parametrize("name", MATRICES)
def test_outlines_in_parts_cover_the_pixels_that_their_mask_does_after_every_move(name):
    parts = tuple(np.array(p, np.float64) for p in ([[4, 4], [20, 4], [20, 30]], [[30, 10], [55, 12], [40, 36]]))
    outline = Shape((40, 60), parts)
    mask = Shape((40, 60), runs=compress(outline.lengths()))
    matrix = np.array(MATRICES[name], np.float64)
    one, other = (shape.moved(matrix).drawn(FRAME, (40, 60)) for shape in (outline, mask))
    assert one.any() and (one & other).sum() > 0.9 * (one | other).sum()


def test_a_grid_over_a_box_shows_what_lies_in_the_box():
    assert RUNS.drawn((10, 8, 50, 32), (24, 40)).sum() == RING.sum()
    assert not RUNS.drawn((20, 14, 40, 26), (12, 20)).any()


def test_what_covers_an_object_and_what_lies_outside_its_part_of_a_mosaic_is_not_its():
    shown = np.ones((40, 60), np.bool_)
    shown[:, 30:] = False
    quarter = np.array([[0, 0], [60, 0], [60, 20], [0, 20]], np.float64)
    seen = RUNS.moved(np.eye(3), quarter).under(shown).drawn(FRAME, (40, 60))
    assert np.array_equal(seen, RING & shown & (np.arange(40) < 20)[:, None])


def test_boxes_keep_the_shapes_of_their_objects_and_drop_them_with_these():
    boxes = Boxes(torch.tensor([[10.0, 8, 50, 32], [0, 0, 5, 5]]), torch.tensor([1, 0]), shapes=(RUNS, None))
    matrix = torch.tensor([[1.0, 0, -20], [0, 1, 0], [0, 0, 1]])
    moved = boxes.warp(matrix, (40, 60))
    assert len(moved) == 1 and len(moved.shapes) == 1
    assert np.array_equal(moved.shapes[0].drawn(FRAME, (40, 60))[:, :40], RING[:, 20:])
    plain = Boxes(torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([2]))
    assert Boxes.joined([plain, moved]).shapes == (None, moved.shapes[0])
    assert Boxes.joined([plain, plain]).shapes is None


def test_run_lengths_of_polygons_are_those_of_pycocotools():
    parts = tuple(np.array(p, np.float64) for p in ([[4.3, 4], [20, 4.8], [20, 30]], [[15, 10], [55.5, 12], [40, 36]]))
    theirs = coco.merge(coco.frPyObjects([part.ravel().tolist() for part in parts], 40, 60))
    assert compress(Shape((40, 60), parts).lengths()) == theirs["counts"].decode()


def test_a_full_mask_is_pasted_onto_the_pixels_of_its_box():
    box = np.array([10.0, 5, 30, 25])
    mask = decode(pasted(np.ones((28, 28), np.float32), box, (40, 60)), (40, 60))
    assert mask.sum() == 400 and mask[5:25, 10:30].all()


def test_a_pasted_mask_ends_at_the_picture():
    lengths = pasted(np.ones((28, 28), np.float32), np.array([-10.0, 30, 20, 60]), (40, 60))
    assert lengths.sum() == 40 * 60 and area(lengths) == 20 * 10
    assert area(pasted(np.ones((28, 28), np.float32), np.array([70.0, 5, 90, 25]), (40, 60))) == 0
    last = pasted(np.ones((28, 28), np.float32), np.array([50.0, 30, 60, 40]), (40, 60))
    assert last.sum() == 40 * 60 and area(last) == 100


def test_a_soft_mask_is_read_between_its_places_as_grid_sample_does():
    random = np.random.default_rng(0)
    values = random.random((28, 28)).astype(np.float32)
    box = np.array([3.3, 2.2, 41.7, 35.1])
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(60) + 0.5, indexing="ij")
    grid = torch.stack([2 * (x - box[0]) / (box[2] - box[0]) - 1, 2 * (y - box[1]) / (box[3] - box[1]) - 1], -1)
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(values)[None, None].double(), grid[None].double(), align_corners=False
    )[0, 0] >= 0.5  # fmt: skip
    found = decode(SoftMasks(values[None], (40, 60)).lengths(box[None])[0], (40, 60))
    inside = np.zeros((40, 60), np.bool_)
    inside[2:36, 3:42] = True
    assert np.array_equal(found, expected.numpy() & inside)


def test_masks_overlap_as_pycocotools_says_to_the_last_digit():
    random = np.random.default_rng(1)
    masks = [np.kron(random.random((5, 6)) < 0.4, np.ones((8, 10), np.bool_)) for _ in range(9)]
    masks += [np.zeros((40, 60), np.bool_), np.ones((40, 60), np.bool_)]
    lengths, crowd = [encode(mask) for mask in masks], np.arange(len(masks)) % 3 == 0
    theirs = [{"size": [40, 60], "counts": compress(each).encode()} for each in lengths]
    expected, found = coco.iou(theirs, theirs, crowd.astype(np.uint8)), np.zeros((len(masks),) * 2)
    rows, at, overlap = overlaps(lengths, lengths, crowd)
    found[rows, at] = overlap
    assert np.array_equal(found, expected)
