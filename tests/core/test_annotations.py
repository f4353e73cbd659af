"""Labels move with the pixels: one matrix gives polygons, masks, boxes, points and class maps the same place."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from visus.core.annotations import (
    Boxes,
    ClassMap,
    Label,
    Labels,
    Masks,
    Numbers,
    Points,
    Stated,
    StatedMap,
    move_points,
    warp_polygon,
)

SIZE = (320, 400)
"""Of the new picture, (height, width)."""


def affine(angle: float, zoom: float, shear: float, x: float, y: float) -> torch.Tensor:
    """Turn, zoom and shear about the middle of a 320 x 400 picture, then move by x and y."""
    to_middle = np.array([[1, 0, -200], [0, 1, -160], [0, 0, 1.0]])
    turned = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    sheared = np.array([[zoom, zoom * shear, 0], [0, zoom, 0], [0, 0, 1]])
    back = np.array([[1, 0, 200 + x], [0, 1, 160 + y], [0, 0, 1.0]])
    return torch.from_numpy(back @ turned @ sheared @ to_middle)


def perspective(seed: int) -> torch.Tensor:
    corners = np.array([[0, 0], [400, 0], [400, 320], [0, 320]], np.float32)
    shifts = np.random.default_rng(seed).uniform(-0.25, 0.25, (4, 2)) * (400, 320)
    return torch.from_numpy(cv2.getPerspectiveTransform(corners, corners + shifts.astype(np.float32)))


def clover(seed: int) -> torch.Tensor:
    """Return the outline of a clover leaf in the middle of the picture, (60, 2)."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    phase, radius = np.random.default_rng(seed).uniform((0, 80), (2 * np.pi, 120))
    radii = radius * (1 + 0.25 * np.sin(3 * angles + phase))
    return torch.from_numpy(np.stack([200 + radii * np.cos(angles), 160 + radii * np.sin(angles)], 1)).float()


def raster(polygon: torch.Tensor, size: tuple[int, int] = SIZE, fine: int = 4) -> torch.Tensor:
    """Return the (H, W) mask of pixels whose centre lies in a polygon, drawn by Pillow on a finer raster."""
    picture = Image.new("L", (size[1] * fine, size[0] * fine))
    if len(polygon):
        ImageDraw.Draw(picture).polygon([(x * fine - 0.5, y * fine - 0.5) for x, y in polygon.tolist()], fill=1)
    return torch.from_numpy(np.array(picture)[fine // 2 :: fine, fine // 2 :: fine]).bool()


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a & b).sum() / (a | b).sum().clamp(min=1))


def motions() -> list[torch.Tensor]:
    generator = np.random.default_rng(7)
    turns = [affine(*generator.uniform((-3, 0.6, -0.4, -100, -80), (3, 1.6, 0.4, 100, 80))) for _ in range(12)]
    return turns + [perspective(seed) for seed in range(12)]


@pytest.mark.parametrize("seed, matrix", list(enumerate(motions())))
def test_a_warped_mask_is_the_mask_of_the_warped_polygon(seed, matrix):
    outline = clover(seed)
    masks = Masks(raster(outline)[None], torch.tensor([3])).warp(matrix, SIZE)
    assert overlap(masks.masks[0], raster(warp_polygon(outline, matrix, SIZE))) >= 0.98


@pytest.mark.parametrize("seed, matrix", list(enumerate(motions())))
def test_a_box_with_an_outline_is_the_tight_box_of_the_warped_mask_within_a_pixel(seed, matrix):
    outline = clover(seed)
    box = torch.cat([outline.amin(0), outline.amax(0)])[None]
    moved = Boxes(box, torch.tensor([3]), ((outline,),)).warp(matrix, SIZE)
    mask = Masks(raster(outline)[None], torch.tensor([3])).warp(matrix, SIZE).masks[0]
    y, x = mask.nonzero().unbind(1)
    tight = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1], dtype=torch.float32)
    enlarged = torch.stack(
        [move_points(outline + step, matrix) - move_points(outline, matrix) for step in torch.eye(2)]
    )
    assert (moved.xyxy[0] - tight).abs().max() <= max(1.0, enlarged.norm(dim=-1).max())  # of the larger pixel


@pytest.mark.parametrize("seed, matrix", list(enumerate(motions())))
def test_points_of_the_outline_move_as_opencv_moves_them(seed, matrix):
    points = clover(seed)
    moved = Points(points, torch.ones(60, dtype=torch.bool)).warp(matrix, SIZE)
    expected = cv2.perspectiveTransform(points.double().numpy()[None], matrix.numpy())[0]
    np.testing.assert_allclose(moved.xy.numpy(), expected, atol=1e-3)
    inside = (expected >= 0).all(1) & (expected < (400, 320)).all(1)
    assert moved.visible.tolist() == inside.tolist()


def test_a_point_behind_the_horizon_of_a_perspective_is_not_seen():
    tilt = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.02, 0, 1]])
    points = Points(torch.tensor([[10.0, 10], [-60, -10]]), torch.ones(2, dtype=torch.bool)).warp(tilt, (100, 1000))
    assert points.visible.tolist() == [True, False]  # (-60, -10) lies at depth -0.2, and would land at (300, 50)


def test_a_polygon_that_reaches_behind_the_horizon_is_cut_there():
    tilt = torch.tensor([[1.0, 0, 60], [0, 1, 60], [0.02, 0, 1]])  # everything left of x = -50 is behind
    polygon = torch.tensor([[-80.0, -20], [20, -20], [20, 20], [-80, 20]])
    behind = polygon - torch.tensor([120.0, 0])
    assert len(warp_polygon(behind, tilt, (200, 200))) == 0
    seen = warp_polygon(polygon, tilt, (200, 200))
    near = warp_polygon(torch.tensor([[-49.0, -20], [20, -20], [20, 20], [-49, 20]]), tilt, (200, 200))
    assert overlap(raster(seen, (200, 200)), raster(near, (200, 200))) > 0.99


def test_a_box_without_an_outline_becomes_the_tight_box_of_its_turned_corners():
    box = Boxes(torch.tensor([[180.0, 140, 220, 180]]), torch.tensor([1])).warp(affine(math.pi / 4, 1, 0, 0, 0), SIZE)
    half = 20 * math.sqrt(2)
    assert box.xyxy[0].tolist() == pytest.approx([200 - half, 160 - half, 200 + half, 160 + half], abs=1e-4)


def test_boxes_are_cut_at_the_frame_and_those_outside_are_dropped_with_their_labels():
    boxes = Boxes(torch.tensor([[-10.0, 5, 20, 15], [300, 5, 320, 15], [0, 0, 4, 4]]), torch.tensor([7, 8, 9]))
    moved = boxes.warp(torch.eye(3), (100, 100))
    assert moved.xyxy.tolist() == [[0, 5, 20, 15], [0, 0, 4, 4]]
    assert moved.labels.tolist() == [7, 9]


def test_no_boxes_stay_no_boxes():
    assert Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)).warp(torch.eye(3), SIZE).xyxy.shape == (0, 4)


def corners(box: torch.Tensor) -> torch.Tensor:
    return box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["turned", "straight", "tilted"]))
def test_all_boxes_at_once_become_what_each_ones_polygon_becomes(seed, kind):
    generator = np.random.default_rng(seed)
    low = generator.uniform(-100, 380, (20, 2))
    low[0], size = (-300, -300), generator.uniform(1, 200, (20, 2))  # the first one covers a corner, or everything
    size[0] = generator.uniform(300, 2000, 2)
    boxes = torch.from_numpy(np.concatenate([low, low + size], 1)).float()
    turn = generator.uniform((-3, 0.3, -0.4, -300, -300), (3, 2, 0.4, 300, 300)) * (kind == "turned", 1, 1, 1, 1)
    matrix = perspective(seed) if kind == "tilted" else affine(*turn)
    moved = Boxes(boxes, torch.arange(20)).warp(matrix, SIZE)
    polygons = {i: warp_polygon(corners(box).double(), matrix, SIZE) for i, box in enumerate(boxes)}
    tight = {i: torch.cat([p.amin(0), p.amax(0)]) for i, p in polygons.items() if len(p)}
    tight = {i: box for i, box in tight.items() if (box[2:] - box[:2]).min() > 1e-4}
    assert set(moved.labels.tolist()) >= set(tight)
    for i, box in zip(moved.labels.tolist(), moved.xyxy, strict=True):
        if i in tight:
            torch.testing.assert_close(box.double(), tight[i], atol=1e-3, rtol=0)
        else:
            assert (box[2:] - box[:2]).min() <= 1e-3


def test_a_box_around_the_whole_frame_stays_around_it():
    moved = Boxes(torch.tensor([[-500.0, -500, 900, 900]]), torch.tensor([1])).warp(affine(0.7, 1, 0, 3, 4), SIZE)
    assert moved.xyxy.tolist() == [[0, 0, 400, 320]]


def test_the_box_of_several_parts_is_that_of_all_their_pixels_inside_the_frame():
    parts = clover(1) * 0.4 + torch.tensor([-20.0, 60]), clover(2) * 0.4 + torch.tensor([200.0, 120])
    box = torch.cat([torch.cat(parts).amin(0), torch.cat(parts).amax(0)])[None]
    matrix = affine(0.6, 1, 0.1, 30, -20)
    moved = Boxes(box, torch.tensor([3]), (parts,)).warp(matrix, SIZE)
    drawn = sum(raster(warp_polygon(part, matrix, SIZE), fine=8).int() for part in parts)
    y, x = drawn.nonzero().unbind(1)
    expected = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1], dtype=torch.float32)
    assert (moved.xyxy[0] - expected).abs().max() <= 1
    assert len(moved.outlines[0]) == 2


def test_an_outline_that_winds_around_a_corner_outside_does_not_stretch_its_box_along_the_edge():
    outline = torch.tensor([[-20.0, 40], [10, 40], [10, 50], [-10, 50], [-10, 90], [60, 90], [60, 99], [-20, 99]])
    moved = Boxes(torch.tensor([[-20.0, 40, 60, 99]]), torch.tensor([1]), ((outline,),)).warp(torch.eye(3), (80, 80))
    assert moved.xyxy.tolist() == [[0, 40, 10, 50]]  # its lower arm lies below the frame


def test_an_object_without_an_outline_beside_one_that_has_one_moves_by_its_corners():
    square = torch.tensor([[180.0, 140], [220, 140], [220, 180], [180, 180]])
    box = torch.tensor([180.0, 140, 220, 180])
    moved = Boxes(torch.stack([box, box]), torch.tensor([1, 2]), ((square,), ())).warp(affine(0.5, 1.1, 0, 5, 5), SIZE)
    assert torch.equal(moved.xyxy[0], moved.xyxy[1])
    assert [len(parts) for parts in moved.outlines] == [1, 0]


def test_of_an_object_less_of_which_is_left_than_wanted_nothing_stays_but_regions_of_many():
    boxes = Boxes(torch.tensor([[-9.0, 0, 1, 10], [-8, 0, 2, 10], [-9, 0, 1, 10]]), torch.tensor([1, 2, 3]),
                  crowd=torch.tensor([False, False, True]))  # fmt: skip
    moved = boxes.warp(torch.eye(3), (100, 100), least=0.2)
    assert moved.labels.tolist() == [2, 3] and moved.crowd.tolist() == [False, True]
    assert boxes.warp(torch.eye(3), (100, 100)).labels.tolist() == [1, 2, 3]


def test_boxes_of_several_pictures_are_joined_and_picked_with_all_that_is_known_of_them():
    plain = Boxes(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([1]))
    outlined = Boxes(torch.tensor([[2.0, 2, 3, 3]]), torch.tensor([2]), ((clover(1),),), torch.tensor([True]))
    both = Boxes.joined([plain, outlined])
    assert len(both) == 2 and both.crowd.tolist() == [False, True] and [len(p) for p in both.outlines] == [0, 1]
    last = both.rows(torch.tensor([1]))
    assert last.labels.tolist() == [2] and last.crowd.tolist() == [True] and torch.equal(last.outlines[0][0], clover(1))


def test_what_is_stated_in_original_pixels_does_not_move():
    value = Stated(torch.zeros(1, 4).double(), torch.zeros(1).long(), torch.zeros(1).bool(), torch.ones(1).double())
    assert value.warp(affine(1, 2, 0, 5, 5), SIZE) is value


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_what_is_left_of_a_polygon_lies_inside_the_frame(seed, tilted):
    generator = np.random.default_rng(seed)
    polygon = torch.from_numpy(generator.uniform(-300, 300, (7, 2)))
    matrix = torch.from_numpy(generator.normal(size=(3, 3)) * (1, 1, 50) * np.array([[1], [1], [0.01]]))
    matrix[2] = matrix[2] if tilted else torch.tensor([0.0, 0, 1])
    kept = warp_polygon(polygon, matrix, SIZE)
    assert bool(torch.isfinite(kept).all())
    assert bool(((kept >= -1e-6) & (kept <= torch.tensor([400.0, 320]).double() + 1e-6)).all())


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=30)
def test_random_warps_of_mask_class_map_and_polygon_agree(seed, tilted):
    values = np.random.default_rng(seed).uniform((-3, 0.6, -0.4, -60, -50), (3, 1.6, 0.4, 60, 50))
    matrix = perspective(seed) if tilted else affine(*values)
    outline = clover(seed)
    mask = raster(outline)
    drawn = raster(warp_polygon(outline, matrix, SIZE))
    assume(int(drawn.sum()) >= 8000)  # of less, the pixels along the edge are too large a part
    moved = Masks(mask[None], torch.tensor([3])).warp(matrix, SIZE).masks[0]
    assert overlap(moved, drawn) >= 0.98
    assert torch.equal(ClassMap(mask.long(), ignore=0).warp(matrix, SIZE).classes == 1, moved)


def test_a_mirrored_class_map_is_the_map_read_backwards():
    classes = torch.randint(0, 5, (7, 9))
    moved = ClassMap(classes).warp(torch.tensor([[-1.0, 0, 9], [0, 1, 0], [0, 0, 1]]), (7, 9))
    assert torch.equal(moved.classes, classes.flip(-1))


def test_a_quarter_turn_of_a_class_map_moves_every_pixel_exactly():
    classes = torch.randint(0, 5, (7, 9))
    moved = ClassMap(classes).warp(torch.tensor([[0.0, -1, 7], [1, 0, 0], [0, 0, 1]]), (9, 7))
    assert torch.equal(moved.classes, classes.rot90(-1))


def test_what_comes_from_outside_a_class_map_is_ignored():
    moved = ClassMap(torch.ones(4, 4, dtype=torch.int64), ignore=99).warp(
        torch.tensor([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]]), (4, 4)
    )
    assert moved.classes.tolist() == [[99, 99, 1, 1]] * 4


@given(st.integers(0, 2**32 - 1), st.sampled_from(["straight", "turned", "tilted"]))
def test_each_pixel_of_a_moved_class_map_is_the_old_one_in_which_its_centre_lies(seed, kind):
    generator = np.random.default_rng(seed)
    x, y, left, top = generator.uniform((0.3, 0.3, -9, -9), (2, 2, 9, 9))
    matrix = torch.tensor([[x, 0, left], [0, -y, 20 + top], [0, 0, 1]], dtype=torch.float64)
    if kind != "straight":
        matrix = affine(*generator.uniform((-3, 0.6, -0.4, -9, -9), (3, 1.6, 0.4, 9, 9))).double()
    if kind == "tilted":
        matrix[2, :2] = torch.from_numpy(generator.uniform(-0.02, 0.02, 2))
    classes = torch.randint(0, 200, (19, 23), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    moved = ClassMap(classes).warp(matrix, (21, 26)).classes
    assert moved.dtype == torch.uint8
    inverse = torch.linalg.inv(matrix).numpy()
    for row, column in generator.integers(0, (21, 26), (40, 2)).tolist():
        at = inverse @ (column + 0.5, row + 0.5, 1.0)
        old_x, old_y = at[:2] / at[2]
        if min(abs(old_x - round(old_x)), abs(old_y - round(old_y))) < 1e-4:
            continue  # on an edge between two
        inside = at[2] > 0 and 0 <= old_x < 23 and 0 <= old_y < 19
        assert moved[row, column] == (classes[int(old_y), int(old_x)] if inside else 255)


def test_a_stated_map_does_not_move():
    value = StatedMap(torch.zeros(3, 4, dtype=torch.uint8))
    assert value.warp(affine(1, 2, 0, 5, 5), SIZE) is value


def test_halving_a_class_map_takes_the_same_pixel_of_every_four():
    classes = torch.arange(64 * 64).reshape(64, 64)
    moved = ClassMap(classes).warp(torch.diag(torch.tensor([0.5, 0.5, 1])), (32, 32))
    assert torch.equal(moved.classes, classes[1::2, 1::2])


def test_enlarging_a_class_map_agrees_with_nearest_exact_interpolation():
    classes = torch.randint(0, 9, (13, 17))
    matrix = torch.diag(torch.tensor([40 / 17, 30 / 13, 1], dtype=torch.float64))
    expected = torch.nn.functional.interpolate(classes[None, None].double(), (30, 40), mode="nearest-exact")[0, 0]
    assert torch.equal(ClassMap(classes).warp(matrix, (30, 40)).classes, expected.long())


def test_masks_that_leave_the_frame_are_dropped_with_their_labels_and_crowd_marks():
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, :2, :2] = masks[1, 5:, 5:] = True
    moved = Masks(masks, torch.tensor([4, 5]), torch.tensor([True, False])).warp(
        torch.tensor([[1.0, 0, -4], [0, 1, -4], [0, 0, 1]]), (4, 4)
    )
    assert moved.labels.tolist() == [5]
    assert moved.crowd.tolist() == [False]
    assert torch.equal(moved.masks[0], masks[1, 4:, 4:])


def test_no_masks_stay_no_masks():
    empty = Masks(torch.zeros(0, 8, 8, dtype=torch.bool), torch.zeros(0, dtype=torch.int64))
    assert empty.warp(torch.eye(3), (4, 6)).masks.shape == (0, 4, 6)


@pytest.mark.parametrize("value", [Label(3), Labels(torch.tensor([0, 1])), Numbers(torch.tensor([0.5]))])
def test_what_is_said_of_the_whole_picture_does_not_move(value):
    assert value.warp(affine(1, 2, 0, 5, 5), SIZE) is value
