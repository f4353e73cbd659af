"""What is seen of boxes beside what covers them, on masks drawn by hand."""

from __future__ import annotations

import torch

from visus.core.annotations import Boxes
from visus.transforms.occlusion import seen


def one(*box: float, crowd: bool = False) -> Boxes:
    return Boxes(torch.tensor([box]), torch.tensor([3]), None, torch.tensor([crowd]))


def covered(*box: int) -> torch.Tensor:
    shown = torch.ones(40, 60, dtype=torch.bool)
    shown[box[1] : box[3], box[0] : box[2]] = False
    return shown


def test_a_box_beside_what_is_covered_stays_to_the_bit():
    box = one(5.25, 6.5, 20.75, 30.1)
    assert torch.equal(seen(box, covered(21, 0, 60, 40), 0.1).xyxy, box.xyxy)


def test_a_box_is_cut_where_one_side_is_covered():
    assert seen(one(5.5, 6.5, 20.5, 30.5), covered(0, 0, 10, 40), 0.1).xyxy.tolist() == [[10, 6.5, 20.5, 30.5]]


def test_a_box_stays_around_a_hole_and_around_a_covered_corner():
    for hole in ((10, 10, 15, 20), (0, 0, 12, 12)):
        assert seen(one(5, 6, 20, 30), covered(*hole), 0.1).xyxy.tolist() == [[5, 6, 20, 30]]


def test_a_sliver_on_the_far_side_does_not_count():
    shown = covered(6, 0, 18, 40)  # columns 5, and 18 to 30 are left
    assert seen(one(5, 10, 30, 20), shown, 0.1).xyxy.tolist() == [[18, 10, 30, 20]]
    assert seen(one(5, 10, 30, 20), shown, 0.0).xyxy.tolist() == [[5, 10, 30, 20]]


def test_what_is_covered_but_for_less_than_asked_is_dropped_and_a_region_of_many_is_cut():
    shown = covered(0, 0, 19, 40)
    assert len(seen(one(10, 10, 20, 20), shown, 0.2)) == 0
    assert seen(one(10, 10, 20, 20, crowd=True), shown, 0.2).xyxy.tolist() == [[19, 10, 20, 20]]
    assert len(seen(one(10, 10, 19, 20, crowd=True), shown, 0.2)) == 0


def test_no_boxes_stay_no_boxes():
    none = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert seen(none, covered(0, 0, 5, 5), 0.1).xyxy.shape == (0, 4)
