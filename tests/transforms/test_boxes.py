"""Boxes move with the pixels: painted objects are found where the boxes say, whatever a picture went through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.transforms.painted import COLOURS, found, held, large, overlap, painted, run
from tests.transforms.painted import draws as draws_of
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as torchvision

from visus.core.annotations import Boxes, Stated
from visus.core.recipe import AugmentSettings, InputSettings
from visus.transforms import geometry
from visus.transforms.pipeline import Pipeline, build

STRAIGHT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "flips": {"flip": 0.5, "flip_vertical": 0.5},
    "crop": {"crop": (0.3, 1.0)},
    "zoom": {"scale": (0.6, 1.8)},
    "erasing": {"erase": 0.8},
    "mosaic": {"mosaic": 1.0},
    "mosaic, zoom, flips": {"mosaic": 0.7, "scale": (0.5, 1.5), "flip": 0.5, "flip_vertical": 0.3},
    "mosaic, crop, erasing": {"mosaic": 1.0, "scale": (0.7, 1.2), "crop": (0.4, 1.0), "erase": 0.5},
    "copy-paste": {"copy_paste": 1.0},
    "copy-paste, zoom, flips": {"copy_paste": 0.7, "scale": (0.7, 1.5), "flip": 0.5},
    "all": {"mosaic": 0.6, "copy_paste": 0.6, "scale": (0.6, 1.4), "crop": (0.5, 1.0), "flip": 0.5, "erase": 0.4},
}
TURNED: dict[str, dict[str, Any]] = {
    "rotate": {"rotate": 0.5},
    "shear, zoom": {"shear": 0.3, "scale": (0.8, 1.3)},
    "perspective": {"perspective": 0.2},
    "randaugment's moves": {"policy": "randaugment", "magnitude": 6.0},
    "mosaic, rotate": {"mosaic": 1.0, "rotate": 0.3, "scale": (0.6, 1.2)},
    "mosaic, perspective": {"mosaic": 1.0, "perspective": 0.15},
}
FITS = ("squash", "crop", "pad")


def transform(augment: dict[str, Any] | None = None, size: tuple[int, int] = (200, 260), **input: Any) -> Pipeline:
    settings = InputSettings(size=size, mean=(0.0,), std=(1.0,), **input)
    return build(settings, None if augment is None else AugmentSettings(**augment))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("name", STRAIGHT)
def test_every_object_is_found_where_its_box_says(name, fit):
    ready = run(transform(STRAIGHT[name], fit=fit))
    overlaps = []
    for image, boxes in zip(ready.images, ready.columns["boxes"], strict=True):
        for box, label in zip(boxes.xyxy.tolist(), boxes.labels.tolist(), strict=True):
            if large(box) and boxes.labels.tolist().count(label) == 1:
                overlaps.append(overlap(box, found(image, label)[1]))
                assert held(image, label, box) >= 0.8
    covering = {"erase", "copy_paste"} & STRAIGHT[name].keys()  # what hides a part may leave slivers of it
    assert len(overlaps) >= 30
    assert np.quantile(overlaps, 0.3 if covering else 0.0) >= 0.9


@pytest.mark.parametrize("name", [name for name in TURNED if "randaugment" not in name])
def test_the_box_of_a_turned_object_is_tight_around_its_pixels(name):
    ready = run(transform(TURNED[name]))
    seen = 0
    for image, boxes in zip(ready.images, ready.columns["boxes"], strict=True):
        for box, label in zip(boxes.xyxy.tolist(), boxes.labels.tolist(), strict=True):
            if large(box, 25):
                assert overlap(box, found(image, label)[1]) >= 0.85
                seen += 1
    assert seen >= 30


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_policies_move_boxes_to_where_the_frame_says(policy):
    of = painted(20, 0)
    ready = transform({"policy": policy, "visible": 0.0})(of, draws_of(of))
    moved = 0
    for before, after, frame in zip(of.columns["boxes"], ready.columns["boxes"], ready.frames, strict=True):
        expected = before.warp(torch.linalg.inv(frame), (200, 260))
        torch.testing.assert_close(after.xyxy, expected.xyxy, atol=1e-3, rtol=0)
        moved += len(after)
    assert moved >= 60


@pytest.mark.parametrize("name", STRAIGHT)
def test_no_object_that_is_seen_is_without_a_box(name):
    settings = STRAIGHT[name]
    ready = run(transform(settings))
    largest = 51 * 71 * 1.25**2 * settings.get("scale", (1, 1))[1] ** 2 / settings.get("crop", (1, 1))[0]
    for image, boxes in zip(ready.images, ready.columns["boxes"], strict=True):
        for label in set(range(len(COLOURS))) - set(boxes.labels.tolist()):
            assert found(image, label)[0] < 0.12 * largest  # a tenth, and half pixels around it


@pytest.mark.parametrize("name", {**STRAIGHT, **TURNED})
def test_boxes_lie_inside_the_picture_and_have_an_area(name):
    for boxes in run(transform({**STRAIGHT, **TURNED}[name])).columns["boxes"]:
        assert (boxes.xyxy >= 0).all() and (boxes.xyxy <= torch.tensor([260, 200, 260, 200])).all()
        assert (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all()
        assert len(boxes.labels) == len(boxes.xyxy) == len(boxes.crowd)


@pytest.mark.parametrize("name", {**STRAIGHT, **TURNED})
def test_the_boxes_of_a_sample_are_the_same_alone_and_in_any_batch(name):
    move = transform({**STRAIGHT, **TURNED}[name])
    of = painted(9, 0)
    partners = [painted(9, 7 * (1 + k % 3), seed=k) for k in range(move.partners)]
    together = move(of, draws_of(of), [(other, draws_of(other)) for other in partners])
    for rows in ([4], [7, 0, 3]):
        some = [other.rows(rows) for other in partners]
        alone = move(of.rows(rows), draws_of(of.rows(rows)), [(other, draws_of(other)) for other in some])
        assert torch.equal(alone.images, together.images[rows]) and torch.equal(alone.frames, together.frames[rows])
        for boxes, row in zip(alone.columns["boxes"], rows, strict=True):
            assert torch.equal(boxes.xyxy, together.columns["boxes"][row].xyxy)
            assert torch.equal(boxes.labels, together.columns["boxes"][row].labels)


def test_pictures_without_any_object_go_through_everything():
    move = transform({**STRAIGHT["all"], "mixup": 1.0, "rotate": 0.2})
    of = painted(6, 0).rows([0, 0, 5])
    assert all(not len(boxes) for boxes in of.columns["boxes"])
    ready = move(of, draws_of(of), [(of, draws_of(of))] * move.partners)
    assert [len(boxes) for boxes in ready.columns["boxes"]] == [0, 0, 0]
    assert ready.columns["boxes"][0].xyxy.shape == (0, 4)


def test_what_is_stated_and_the_original_size_stay_those_of_the_own_picture():
    of = painted(4, 0)
    stated = [Stated(b.xyxy.double(), b.labels, b.crowd, torch.ones(len(b)).double()) for b in of.columns["boxes"]]
    of = replace(of, columns={**of.columns, "stated": stated}, originals=torch.tensor([[160, 240]] * 4))
    move = transform({"mosaic": 1.0, "mixup": 1.0, "copy_paste": 1.0, "scale": (0.5, 1.5)})
    ready = move(of, draws_of(of), [(of, draws_of(of))] * move.partners)
    assert all(a is b for a, b in zip(ready.columns["stated"], stated, strict=True))
    assert torch.equal(ready.originals, of.originals)


def test_objects_of_both_pictures_of_mixup_stay_and_those_of_a_faint_one_go():
    move = transform({"mixup": 0.5, "visible": 0.3}, size=(160, 240), fit="squash")
    of, other = painted(40, 0), painted(40, 7)
    ready = move(of, draws_of(of), [(other, draws_of(other))])
    plain = transform({}, size=(160, 240), fit="squash")(of, draws_of(of)).images
    kinds = set()
    for i, boxes in enumerate(ready.columns["boxes"]):
        mixed = (ready.images[i] - other.images[i] / 255).flatten() @ (plain[i] - other.images[i] / 255).flatten()
        share = float(mixed / (plain[i] - other.images[i] / 255).square().sum()) if i % 5 else None
        if share is not None:
            expected = [*(range(7) if share >= 0.3 else ()), *(range(7, 14) if 1 - share >= 0.3 else ())]
            assert boxes.labels.tolist() == expected
            kinds.add(len(expected))
            assert min(abs(share - 0.3), abs(share - 0.7)) > 1e-4
    assert kinds == {7, 14}
    assert "share" not in ready.columns and "partner_boxes" not in ready.columns


def test_of_an_object_less_than_a_tenth_of_which_is_left_nothing_stays_but_regions_of_many():
    boxes = Boxes(torch.tensor([[0.0, 0, 40, 10], [35, 0, 45, 10], [0, 0, 40, 10]]), torch.tensor([1, 2, 3]),
                  crowd=torch.tensor([False, False, True]))  # fmt: skip
    of = painted(1, 0, height=100, width=140).rows([0])
    of = replace(of, columns={"boxes": [boxes]})
    keep = transform({"scale": (1.0, 1.0)}, size=(100, 68), fit="crop")  # the middle: columns 36 to 104
    assert keep(of, draws_of(of)).columns["boxes"][0].labels.tolist() == [1, 2, 3]
    strict = transform({"visible": 0.2}, size=(100, 68), fit="crop")
    assert strict(of, draws_of(of)).columns["boxes"][0].labels.tolist() == [2, 3]
    assert transform(size=(100, 68), fit="crop")(of, draws_of(of)).columns["boxes"][0].labels.tolist() == [1, 2, 3]


# against torchvision


def tv(boxes: Boxes, size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(boxes.xyxy.clone(), format="XYXY", canvas_size=size)


def assert_as_torchvision(mine: Boxes, theirs: tv_tensors.BoundingBoxes) -> None:
    left = torchvision.clamp_bounding_boxes(theirs).as_subclass(torch.Tensor)
    left = left[(left[:, 2:] > left[:, :2]).all(1)]
    torch.testing.assert_close(mine.xyxy, left, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name, op", [("flip", "horizontal_flip"), ("flip_vertical", "vertical_flip")])
def test_flipped_boxes_are_torchvisions(name, op):
    of = painted(5, 0)
    ready = transform({name: 1.0}, size=(160, 240))(of, draws_of(of))
    for mine, before in zip(ready.columns["boxes"], of.columns["boxes"], strict=True):
        assert_as_torchvision(mine, getattr(torchvision, op)(tv(before, (160, 240))))


def test_letterboxed_boxes_are_torchvisions_resized_and_padded():
    of = painted(5, 0)
    ready = transform(size=(120, 120), fit="pad")(of, draws_of(of))  # 240 x 160 becomes 120 x 80
    for mine, before in zip(ready.columns["boxes"], of.columns["boxes"], strict=True):
        assert_as_torchvision(mine, torchvision.pad(torchvision.resize(tv(before, (160, 240)), [80, 120]), [0, 20]))


def test_boxes_of_random_crops_are_torchvisions():
    of, augment = painted(20, 0), AugmentSettings(crop=(0.2, 1.0), visible=0.0)
    input = InputSettings(size=(96, 128))
    ready = build(input, augment)(of, draws_of(of))
    crops = geometry.kept_boxes(np.array([[160, 240]] * 20), input, augment, draws_of(of)).tolist()
    for mine, before, (x0, y0, x1, y1) in zip(ready.columns["boxes"], of.columns["boxes"], crops, strict=True):
        assert_as_torchvision(
            mine, torchvision.resized_crop(tv(before, (160, 240)), y0, x0, y1 - y0, x1 - x0, [96, 128])
        )


def test_boxes_of_turned_zoomed_and_tilted_pictures_are_torchvisions():
    of = painted(20, 0)
    augment = {"rotate": 0.6, "shear": 0.2, "scale": (0.7, 1.3), "perspective": 0.1, "visible": 0.0}
    ready = transform(augment, size=(160, 240))(of, draws_of(of))
    corners = torch.tensor([[0.0, 0, 1], [240, 0, 1], [240, 160, 1], [0, 160, 1]], dtype=torch.float64)
    for mine, before, frame in zip(ready.columns["boxes"], of.columns["boxes"], ready.frames, strict=True):
        moved = corners @ torch.linalg.inv(frame).T
        ends = (moved[:, :2] / moved[:, 2:]).tolist()
        tilted = torchvision.perspective(tv(before, (160, 240)), corners[:, :2].tolist(), ends)
        whole = tilted.as_subclass(torch.Tensor)
        inside = ((whole > 0) & (whole < torch.tensor([240, 160, 240, 160]))).all(1)  # clamped where outside
        mine_inside = Boxes(mine.xyxy, mine.labels).rows(
            torch.tensor([i for i, label in enumerate(mine.labels.tolist()) if inside[label]], dtype=torch.int64)
        )
        torch.testing.assert_close(mine_inside.xyxy, whole[inside], atol=2e-2, rtol=0)
