"""Pasted objects: whose, where, inside which shape, and what becomes of those below."""

from __future__ import annotations

import numpy as np
import torch

from visus.core.annotations import Boxes
from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms.copy_paste import paste

N = 400


def boxes(*xyxy: tuple[float, ...], crowd: bool = False, outlines: tuple[tuple[torch.Tensor, ...], ...] | None = None):
    rows = torch.tensor(xyxy, dtype=torch.float32).reshape(-1, 4)
    return Boxes(rows, torch.arange(len(rows)) + 10, outlines, torch.full((len(rows),), crowd))


def pasted(own: Boxes, donor: Boxes, n: int = N, **augment: float):
    images, donors = torch.zeros(n, 1, 30, 40), torch.ones(n, 1, 30, 40)
    draws = Draws(0, np.zeros(n, np.int64), np.arange(n))
    return paste(images, [own] * n, donors, [donor] * n, AugmentSettings(**{"copy_paste": 1.0, **augment}), draws)


def test_each_object_is_taken_half_the_time_and_pictures_as_often_as_asked():
    images, after = pasted(boxes(), boxes((0, 0, 5, 5), (20, 20, 30, 25)), copy_paste=0.6)
    taken = np.array([[10 in b.labels, 11 in b.labels] for b in after])
    assert np.abs(taken.mean(0) - 0.3).max() < 0.07
    assert abs((taken.all(1)).mean() - 0.15) < 0.05
    area = torch.from_numpy(taken).float() @ torch.tensor([25.0, 50.0])
    assert torch.equal(images.sum((1, 2, 3)), area)


def test_an_object_comes_inside_its_outline_and_else_inside_its_box():
    corner = torch.tensor([[10.0, 10], [20, 10], [10, 20]])
    images, after = pasted(boxes(), boxes((10, 10, 20, 20), outlines=((corner,),)))
    shown = next(image for image, b in zip(images, after, strict=True) if len(b))[0]
    assert shown[11, 11] == 1 and shown[18, 18] == 0 and 45 <= shown.sum() <= 70


def test_what_lies_below_is_cut_or_dropped():
    _, after = pasted(boxes((0, 0, 10, 10), (8, 0, 24, 10)), boxes((5, 0, 20, 10)))
    some = next(b for b in after if len(b) == 3 and b.xyxy[0, 2] == 5)
    assert some.xyxy.tolist() == [[0, 0, 5, 10], [20, 0, 24, 10], [5, 0, 20, 10]]
    _, after = pasted(boxes((6, 1, 19, 9)), boxes((5, 0, 20, 10)))
    assert {tuple(b.labels.tolist()) for b in after} == {(10,)} and {len(b) for b in after} == {1}


def test_other_objects_of_the_donor_count_as_far_as_the_pasted_box_shows_them():
    _, after = pasted(boxes(), boxes((0, 0, 20, 10), (10, 5, 30, 10)))
    alone = [b for b in after if len(b) and b.xyxy[0].tolist() == [0, 0, 20, 10] and b.xyxy[-1, 2] == 20]
    assert alone and all(b.xyxy.tolist() == [[0, 0, 20, 10], [10, 5, 20, 10]] for b in alone)


def test_regions_of_many_are_not_taken_and_a_donor_without_objects_gives_nothing():
    for donor in (boxes((0, 0, 20, 10), crowd=True), boxes()):
        images, after = pasted(boxes((1, 1, 5, 5)), donor)
        assert not images.any() and all(b.xyxy.tolist() == [[1, 1, 5, 5]] for b in after)
