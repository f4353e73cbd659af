"""Tiles: one scale in training and in judging, nothing uncovered, and every small object whole where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visus.core.annotations import Boxes, Stated
from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.transforms import geometry
from visus.transforms.pipeline import build
from visus.transforms.tiles import Tiling

SIZE = (48, 64)


def pictures(*sizes, boxes=()):
    draw = np.random.default_rng(0)
    images = [torch.from_numpy(draw.integers(0, 256, (3, *size), dtype=np.uint8)) for size in sizes]
    marked = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.zeros(len(boxes), dtype=torch.int64))
    stated = Stated(marked.xyxy.double(), marked.labels, marked.crowd, torch.ones(len(boxes)))
    n = len(sizes)
    return Samples(
        tuple(map(str, range(n))), torch.arange(n), images, {"boxes": [marked] * n, "stated": [stated] * n},
        torch.eye(3, dtype=torch.float64).repeat(n, 1, 1), torch.tensor(sizes),
    )  # fmt: skip


def draws(n, epoch=0):
    return Draws(3, np.full(n, epoch), np.arange(n))


@given(
    frame=st.tuples(st.integers(48, 500), st.integers(64, 500)), seam=st.floats(0.05, 0.5),
    middle=st.tuples(st.floats(0, 1), st.floats(0, 1)), sides=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
)  # fmt: skip
def test_an_object_no_larger_than_the_seam_is_whole_in_every_tile_that_answers_for_it(frame, seam, middle, sides):
    """The part of a tile reaches beyond the middle of the seam by an eighth, which the object has to leave free."""
    tiling = Tiling(SIZE, 64, seam)
    tall, wide = (0.75 * share * (side * seam - 1) for share, side in zip(sides, SIZE, strict=True))
    y, x = middle[0] * frame[0], middle[1] * frame[1]
    box = max(0, x - wide / 2), max(0, y - tall / 2), min(frame[1], x + wide / 2), min(frame[0], y + tall / 2)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    mine = [t for t in tiling.cover(frame) if t.own[0] <= x < t.own[2] and t.own[1] <= y < t.own[3]]
    assert mine
    for tile in mine:
        assert tile.x <= box[0] and box[2] <= tile.x + SIZE[1]
        assert tile.y <= box[1] and box[3] <= tile.y + SIZE[0]


@pytest.mark.parametrize("frame", [(48, 64), (49, 64), (48, 65), (200, 333), (500, 64)])
def test_tiles_lie_within_the_picture_and_cover_all_of_it(frame):
    seen = np.zeros(frame, np.int64)
    for tile in Tiling(SIZE, 64, 0.25).cover(frame):
        part = seen[tile.y : tile.y + SIZE[0], tile.x : tile.x + SIZE[1]]
        assert part.shape == SIZE
        part += 1
    assert seen.min() == 1 if frame == SIZE else seen.min() >= 1


@pytest.mark.parametrize("across", [64, 128, 100, 40])
def test_training_and_judging_have_one_scale(across):
    tiling, sizes = Tiling(SIZE, across, 0.25), np.array([[300, 400], [20, 30]])
    trained = geometry.onto(tiling.drawn(sizes, draws(2), np.full((2, 2), np.nan)), SIZE, keep_shape=True)
    judged, _ = tiling.whole(sizes)
    np.testing.assert_array_equal(trained[:, [0, 1], [0, 1]], judged[:, [0, 1], [0, 1]])


def test_a_training_tile_is_what_judging_sees_there():
    input, tiling = InputSettings(size=SIZE, fit="pad"), Tiling(SIZE, 64, 0.25)
    shown = pictures((300, 400))
    trained = build(input, AugmentSettings(), tiling)(shown, draws(1))
    judged = build(input, None, tiling)(shown, draws(1))
    x, y = trained.frames[0, :2, 2].long().tolist()
    assert (x, y) != (0, 0)
    assert torch.equal(trained.images[0], judged.images[0][:, y : y + SIZE[0], x : x + SIZE[1]])


def test_at_another_scale_they_differ_by_rounding_at_most():
    input, tiling = InputSettings(size=SIZE, fit="pad"), Tiling(SIZE, 128, 0.25)
    smooth = pictures((300, 400))
    ramp = torch.arange(300)[:, None] * 0.4 + torch.arange(400) * 0.3
    smooth.images[0] = ramp.byte().expand(3, -1, -1).contiguous()
    trained = build(input, AugmentSettings(), tiling)(smooth, draws(1))
    judged = build(input, None, tiling)(smooth, draws(1))
    x, y = trained.frames[0, :2, 2].tolist()
    assert (x / 2).is_integer() or (y / 2).is_integer()
    at = int(y // 2), int(x // 2)
    there = judged.images[0][:, at[0] : at[0] + SIZE[0], at[1] : at[1] + SIZE[1]]
    assert (trained.images[0] - there).abs().max() < 3 / 255 / 0.5


def test_whole_pictures_keep_their_boxes_and_know_the_way_home():
    input, tiling = InputSettings(size=SIZE, fit="pad"), Tiling(SIZE, 128, 0.25)
    judged = build(input, None, tiling)(pictures((300, 400), (20, 30), boxes=[(4, 8, 20, 16)]), draws(2))
    assert [tuple(image.shape) for image in judged.images] == [(3, 150, 200), (3, 48, 64)]
    large, small = (boxes.xyxy for boxes in judged.columns["boxes"])
    assert large.tolist() == [[2, 4, 10, 8]]
    assert small.tolist() == [[2 + 24, 4 + 19, 10 + 24, 8 + 19]]  # a picture of 10 x 15 in the middle of a tile
    for boxes, frame in zip((large, small), judged.frames, strict=True):
        corners = torch.cat([boxes.reshape(2, 2).double(), torch.ones(2, 1)], 1) @ frame.T
        assert corners[:, :2].flatten().tolist() == [4, 8, 20, 16]


def test_tiles_are_drawn_by_sample_and_epoch_alone():
    tiling, sizes, nowhere = Tiling(SIZE, 64, 0.25), np.tile([[500, 600]], (8, 1)), np.full((8, 2), np.nan)
    first = tiling.drawn(sizes, draws(8), nowhere)
    np.testing.assert_array_equal(first[3:5], tiling.drawn(sizes[:2], draws(8).rows(np.array([3, 4])), nowhere[:2]))
    assert (first != tiling.drawn(sizes, draws(8, epoch=1), nowhere)).any(1).all()
    assert (first >= 0).all() and (first[:, 2] <= 600).all() and (first[:, 3] <= 500).all()


def test_a_tile_that_is_aimed_holds_the_point():
    tiling, n = Tiling(SIZE, 64, 0.25), 200
    sizes, aims = np.tile([[500, 600]], (n, 1)), draws(n).uniform("where", 2) * (600, 500)
    boxes = tiling.drawn(sizes, draws(n), aims)
    assert (boxes[:, :2] <= aims).all() and (aims <= boxes[:, 2:]).all()
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (600, 500)).all()


def test_more_tiles_show_an_object_than_chance_would():
    input, tiling, n = InputSettings(size=SIZE, fit="pad"), Tiling(SIZE, 64, 0.25), 40
    shown = pictures(*[(400, 600)] * n, boxes=[(300, 200, 306, 206)])
    ready = build(input, AugmentSettings(), tiling)(shown, draws(n))
    assert 10 <= sum(len(boxes) for boxes in ready.columns["boxes"]) <= 30
    mixed = build(input, AugmentSettings(mosaic=1.0), tiling)
    assert mixed(shown, draws(n), [(shown, draws(n, epoch=k)) for k in (1, 2, 3)]).images.shape == (n, 3, *SIZE)
