import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco
from torchvision import ops

from visus.core.boxes import (
    OVERLAPS,
    areas,
    clip,
    cxcywh_to_xyxy,
    overlaps,
    pairwise_iou,
    xyxy_to_cxcywh,
)
from visus.core.catalog import UnknownName

LOWEST = {"iou": 0, "giou": -1, "diou": -1, "ciou": -1.5}
THEIRS = {
    "iou": ops.box_iou,
    "giou": ops.generalized_box_iou,
    "diou": partial(ops.distance_box_iou, eps=0),
    "ciou": partial(ops.complete_box_iou, eps=0),
}
THEIR_LOSSES = {
    "giou": ops.generalized_box_iou_loss,
    "diou": ops.distance_box_iou_loss,
    "ciou": ops.complete_box_iou_loss,
}

whole = st.integers(-50, 50)
any_box = st.tuples(whole, whole, whole, whole)  # also empty and inverted ones
real_box = st.tuples(whole, whole, st.integers(1, 60), st.integers(1, 60)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
kinds = pytest.mark.parametrize("kind", OVERLAPS)


def boxes(*rows, dtype=torch.float64):
    return torch.tensor(rows, dtype=dtype).reshape(-1, 4)


def chance(n, seed=0, dtype=torch.float64):
    """Return boxes of which about half overlap the next."""
    generator = torch.Generator().manual_seed(seed)
    corners = 60 * torch.rand(n, 2, generator=generator, dtype=dtype)
    return torch.cat([corners, corners + 1 + 60 * torch.rand(n, 2, generator=generator, dtype=dtype)], 1)


@kinds
def test_every_overlap_is_torchvisions(kind):
    a, b = chance(300, 1), chance(200, 2)
    torch.testing.assert_close(overlaps(a[:, None], b, kind), THEIRS[kind](a, b), rtol=1e-9, atol=1e-9)


@kinds
def test_box_by_box_is_the_diagonal_of_all_pairs(kind):
    a, b = chance(50, 1), chance(50, 2)
    assert torch.equal(overlaps(a, b, kind), overlaps(a[:, None], b, kind).diagonal())


@pytest.mark.parametrize("kind", THEIR_LOSSES)
def test_the_gradient_is_that_of_torchvisions_losses(kind):
    a, b = chance(300, 1).requires_grad_(), chance(300, 2)
    (ours,) = torch.autograd.grad((1 - overlaps(a, b, kind)).sum(), a)
    (theirs,) = torch.autograd.grad(THEIR_LOSSES[kind](a, b).sum(), a)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_an_overlap_by_hand():
    a, b = (
        boxes((0, 0, 2, 2)),
        boxes((1, 0, 3, 1)),
    )  # share 1 of 5 pixels; the enclosing 3 x 2 has 1 that neither covers
    assert overlaps(a, b).item() == pytest.approx(1 / 5)
    assert overlaps(a, b, "giou").item() == pytest.approx(1 / 5 - 1 / 6)
    assert overlaps(a, b, "diou").item() == pytest.approx(1 / 5 - (1 + 1 / 4) / 13)
    differ = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    ciou = 1 / 5 - (1 + 1 / 4) / 13 - differ**2 / (1 - 1 / 5 + differ)
    assert overlaps(a, b, "ciou").item() == pytest.approx(ciou)


@kinds
@given(a=any_box, b=any_box)
def test_the_order_of_two_boxes_does_not_matter(kind, a, b):
    assert torch.equal(overlaps(boxes(a), boxes(b), kind), overlaps(boxes(b), boxes(a), kind))


@kinds
@given(a=any_box, b=any_box)
def test_every_overlap_is_within_its_bounds_whatever_the_boxes(kind, a, b):
    assert LOWEST[kind] - 1e-12 <= overlaps(boxes(a), boxes(b), kind).item() <= 1


@given(a=any_box, b=any_box)
def test_each_kind_is_at_most_the_plain_overlap(a, b):
    found = {kind: overlaps(boxes(a), boxes(b), kind).item() for kind in OVERLAPS}
    assert found["giou"] <= found["iou"]
    assert found["ciou"] <= found["diou"] <= found["iou"]


@kinds
@given(a=real_box)
def test_only_a_box_that_is_not_empty_is_like_itself(kind, a):
    assert overlaps(boxes(a), boxes(a), kind).item() == 1
    point = boxes(a[:2] + a[:2])
    assert overlaps(point, point, kind).item() == 0


@kinds
@given(a=any_box, b=any_box, by=st.tuples(whole, whole))
def test_moving_both_boxes_changes_nothing(kind, a, b, by):
    by = torch.tensor([*by, *by], dtype=torch.float64)
    torch.testing.assert_close(overlaps(boxes(a) + by, boxes(b) + by, kind), overlaps(boxes(a), boxes(b), kind))


@kinds
@given(a=any_box, b=any_box, power=st.integers(-20, 20), odd=st.sampled_from([1.0, 3.7]))
def test_scaling_both_boxes_changes_nothing(kind, a, b, power, odd):
    scale = odd * 2.0**power
    found = overlaps(scale * boxes(a), scale * boxes(b), kind)
    torch.testing.assert_close(found, overlaps(boxes(a), boxes(b), kind))


@kinds
@given(a=any_box, b=any_box)
def test_turning_both_pictures_about_the_diagonal_changes_nothing(kind, a, b):
    turned = [boxes(box)[:, [1, 0, 3, 2]] for box in (a, b)]
    torch.testing.assert_close(overlaps(*turned, kind), overlaps(boxes(a), boxes(b), kind))


@kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    a=st.lists(st.sampled_from([-1e8, -1.0, 0.0, 1e-30, 1e-12, 1.0, 2.0, 1e8]), min_size=4, max_size=4),
    b=st.lists(st.sampled_from([-1e8, -1.0, 0.0, 1e-30, 1e-12, 1.0, 2.0, 1e8]), min_size=4, max_size=4),
)
def test_values_and_gradients_are_finite_whatever_the_boxes(kind, dtype, a, b):
    a, b = boxes(a, dtype=dtype).requires_grad_(), boxes(b, dtype=dtype).requires_grad_()
    value = overlaps(a, b, kind)
    assert value.isfinite().all()
    assert LOWEST[kind] - 1e-6 <= value.item() <= 1
    for slope in torch.autograd.grad(value.sum(), [a, b]):
        assert slope.isfinite().all()


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_a_step_along_the_gradient_brings_boxes_apart_nearer(kind):
    a, b = boxes((0, 0, 2, 2)).requires_grad_(), boxes((10, 10, 13, 14))
    before = overlaps(a, b, kind)
    (slope,) = torch.autograd.grad(before.sum(), a)
    assert overlaps(a + slope, b, kind) > before


@kinds
def test_no_boxes_have_no_overlaps_and_a_gradient(kind):
    none = torch.zeros(0, 4, requires_grad=True)
    value = overlaps(none, torch.zeros(0, 4), kind)
    value.sum().backward()
    assert value.shape == (0,)
    assert none.grad.shape == (0, 4)
    assert overlaps(none[:, None], torch.zeros(3, 4), kind).shape == (0, 3)


@kinds
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(kind, half):
    a, b = chance(20, 1).to(half) + 30000, chance(20, 2).to(half) + 30000  # areas that half precision cannot hold
    assert overlaps(a, b, kind).dtype == torch.float32
    assert torch.equal(overlaps(a, b, kind), overlaps(a.float(), b.float(), kind))


def test_the_wider_of_two_types_is_computed_in():
    single, double, integer = chance(3).float(), chance(3), chance(3).long()
    assert overlaps(single, double).dtype == pairwise_iou(single, double).dtype == torch.float64
    assert overlaps(integer, integer).dtype == areas(integer).dtype == torch.float32


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="no overlap named 'gious'") as caught:
        overlaps(chance(1), chance(1), "gious")
    assert "giou" in caught.value.fix


def test_all_pairs_are_those_of_pycocotools_crowds_too():
    a, b = chance(80, 1), chance(60, 2)
    crowd = torch.arange(60) % 3 == 0
    xywh = [ops.box_convert(x, "xyxy", "xywh").numpy() for x in (a, b)]
    theirs = coco.iou(*xywh, crowd.numpy().astype(np.uint8).tolist())
    np.testing.assert_allclose(pairwise_iou(a, b, crowd).numpy(), theirs, rtol=1e-12, atol=1e-15)


def test_an_empty_box_shares_nothing_with_a_crowd():
    assert pairwise_iou(boxes((3, 3, 3, 9)), boxes((0, 0, 9, 9)), torch.tensor([True])).item() == 0


def test_all_pairs_of_no_boxes_are_an_empty_table():
    assert pairwise_iou(chance(3), torch.zeros(0, 4)).shape == (3, 0)
    assert pairwise_iou(torch.zeros(0, 4), chance(3), torch.ones(3, dtype=torch.bool)).shape == (0, 3)


@given(a=any_box)
def test_an_area_is_the_number_of_pixels_in_a_half_open_box(a):
    x0, y0, x1, y1 = a
    assert areas(boxes(a)).item() == len(range(x0, x1)) * len(range(y0, y1))


def test_centres_and_sizes_are_torchvisions_and_lead_back():
    a = chance(50)
    torch.testing.assert_close(xyxy_to_cxcywh(a), ops.box_convert(a, "xyxy", "cxcywh"))
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(a)), a)


def test_centres_of_half_precision_are_computed_in_float32():
    a = torch.tensor([[60000.0, 0, 60032.0, 8]], dtype=torch.float16)  # their sum is beyond float16
    assert xyxy_to_cxcywh(a).tolist() == [[60016.0, 4, 32, 8]]


@given(a=any_box)
def test_clipping_is_torchvisions_and_twice_is_once(a):
    once = clip(boxes(a), (20, 30))
    assert torch.equal(once, ops.clip_boxes_to_image(boxes(a), (20, 30)))
    assert torch.equal(clip(once, (20, 30)), once)
