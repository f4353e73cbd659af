"""Boxes that cannot be right, on hand-made ones."""

from __future__ import annotations

import numpy as np
import pytest
from tests.checks.examples import codes, dataset, only, seen, subject

from visus.checks.boxes import _overlap, look
from visus.data.objects import Mark

GOOD = (10.0, 10.0, 50.0, 40.0)


def found(*marks, trained=64, size=(64, 64), **more):
    """Return the findings on one picture with these marks."""
    return list(look(subject(dataset(marks=[list(marks)], **more), seen(1, size={0: size}), size=trained)))


def test_good_boxes_are_no_finding():
    assert found(Mark(GOOD, 0), Mark((0, 0, 64, 64), 1)) == []


def test_data_without_boxes_is_no_finding():
    assert list(look(subject(dataset([0, 1])))) == [] and found() == []


@pytest.mark.parametrize("box", [(5, 5, 5, 20), (5, 5, 20, 5), (20, 5, 5, 20), (np.nan, 0, 5, 5)])
def test_a_box_without_area_is_skipped(box):
    finding = only(found(Mark(GOOD, 0), Mark(box, 0)), "CHECK-022")
    assert [(item.where, item.status, item.index) for item in finding.items] == [("box 2", "skipped", 0)]


def test_a_box_that_reaches_out_is_clipped_and_one_pixel_is_rounding():
    assert found(Mark((0, 0, 65, 64), 0)) == []
    finding = only(found(Mark((-4, 0, 30, 70), 0)), "CHECK-021")
    assert finding.items[0].status == "clipped" and finding.items[0].why.startswith("6 pixels beyond its 64 x 64")


def test_a_picture_that_cannot_be_read_has_no_outside():
    data = dataset(marks=[[Mark(GOOD, 0)]])
    assert list(look(subject(data, seen(1, reasons={0: "damaged"})))) == []


def test_the_same_object_drawn_twice_is_found_by_class_and_place():
    near = (10.0, 10.0, 50.0, 40.5)
    finding = only(found(Mark(GOOD, 0), Mark((0, 0, 20, 20), 0), Mark(near, 0)), "CHECK-023")
    assert [(item.where, item.why) for item in finding.items] == [("box 3", "nearly box 1 again, of the same class")]
    assert found(Mark(GOOD, 0), Mark(near, 1)) == []
    assert found(Mark(GOOD, 0), Mark(near, 0, crowd=True)) == []


def test_among_thousands_of_boxes_each_later_one_is_told_beside_its_first():
    side = np.arange(3000) % 60, np.arange(3000) // 60
    marks = [Mark((8.0 * x, 8.0 * y, 8.0 * x + 6, 8.0 * y + 6), 0) for x, y in zip(*side, strict=True)]
    marks[2000], marks[2999] = marks[5], marks[5]
    finding = only(found(*marks, size=(480, 480), trained=480), "CHECK-023")
    told = [(item.where, item.why.removesuffix(" again, of the same class")) for item in finding.items]
    assert told == [("box 2001", "nearly box 6"), ("box 3000", "nearly box 6")]


def test_the_same_box_in_two_pictures_is_two_objects():
    assert list(look(subject(dataset(marks=[[Mark(GOOD, 0)], [Mark(GOOD, 0)]])))) == []


def test_overlap_is_that_of_torchvision():
    from torch import from_numpy
    from torchvision.ops import box_iou

    boxes = np.random.Generator(np.random.Philox(0)).uniform(0, 50, (30, 4))
    boxes[:, 2:] += boxes[:, :2]
    assert np.allclose(_overlap(boxes, boxes), box_iou(from_numpy(boxes), from_numpy(boxes)).numpy(), atol=1e-9)


def test_an_object_of_less_than_eight_pixels_at_the_training_size_is_tiny():
    assert found(Mark((0, 0, 26, 26), 0), size=(200, 200)) == []
    finding = only(found(Mark((0, 0, 24, 24), 0), size=(200, 200)), "CHECK-024")
    assert finding.items[0].why == "24 pixels a side, 7.7 at 64" and finding.fix.startswith("--size 96 ")


def test_objects_tiny_in_large_pictures_ask_for_tiles_and_in_small_ones_for_more_pixels():
    large = only(found(Mark((0, 0, 10, 10), 0), size=(3000, 3000), trained=640), "CHECK-024")
    assert large.fix.startswith("--tiles 800 ")  # 10 of 800 pixels are 8 of the 640 that the network reads
    small = only(found(Mark((0, 0, 4, 4), 0), size=(100, 100)), "CHECK-024")
    assert small.fix.startswith("pictures of more pixels")


def test_where_hardly_an_object_is_tiny_the_remedy_may_not_be_worth_it():
    tiny, large = Mark((0, 0, 24, 24), 0), [Mark((0, 0, 100 + k, 100), 0) for k in range(0, 100, 10)]
    assert only(found(tiny, *large, size=(200, 200)), "CHECK-024").fix.endswith("may not be worth the time")
    assert "worth" not in only(found(tiny, *large[:9], size=(200, 200)), "CHECK-024").fix


def test_pictures_without_an_object_are_noted_and_stay_what_they_are():
    finding = only(list(look(subject(dataset(marks=[[Mark(GOOD, 0)], [], []])))), "CHECK-036")
    assert finding.level == "note" and [(item.file, item.status) for item in finding.items] == [
        ("1.png", "ok"), ("2.png", "ok")]  # fmt: skip


def test_a_crowd_is_never_tiny():
    assert codes(found(Mark((0, 0, 2, 2), 0, crowd=True))) == []
