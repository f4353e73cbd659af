"""Which places learn an object: within it, the best by score and overlap together, each place one object."""

from __future__ import annotations

import pytest
import torch

from visus.models.detectors.anchor_free import places
from visus.tasks.detect.assignment import Objects, task_aligned

POINTS, STRIDES = places((64, 64))


def objects(*boxes, labels=None, pictures=None):
    n = len(boxes)
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * n), torch.tensor(pictures or [0] * n),
    )  # fmt: skip


def said(pictures=1, classes=2, seed=0):
    """Return random scores, and boxes of four strides about their places."""
    numbers = torch.Generator().manual_seed(seed)
    scores = torch.rand(pictures, len(POINTS), classes, generator=numbers)
    reach = 2 * STRIDES[:, None] * (0.5 + torch.rand(pictures, len(POINTS), 1, generator=numbers))
    return scores, torch.cat([POINTS - reach, POINTS + reach], -1)


def test_every_object_is_learned_by_places_within_it():
    there = objects((4, 4, 40, 40), (30, 20, 60, 62))
    found = task_aligned(*said(), POINTS, there)
    x, y = POINTS[found.places].T
    box = there.boxes[found.objects]
    assert set(found.objects.tolist()) == {0, 1}
    assert ((x > box[:, 0]) & (x < box[:, 2]) & (y > box[:, 1]) & (y < box[:, 3])).all()


def test_an_object_that_no_place_lies_in_is_learned_by_the_nearest():
    found = task_aligned(*said(), POINTS, objects((9.5, 9.5, 11.5, 11.5)))
    assert POINTS[found.places].tolist() == [[12.0, 12.0]]


def test_a_place_learns_one_object():
    found = task_aligned(*said(), POINTS, objects((0, 0, 50, 50), (2, 2, 52, 52), (1, 1, 49, 49)))
    assert len(set(found.places.tolist())) == len(found.places)


def test_at_most_so_many_places_learn_an_object():
    assert len(task_aligned(*said(), POINTS, objects((0, 0, 64, 64)), most=5).places) == 5


def test_the_measure_and_the_quality_are_the_papers():
    scores, boxes = said()
    there = objects((0, 0, 64, 64), labels=[1])
    found = task_aligned(scores, boxes, POINTS, there, most=4, alpha=0.5, beta=2.0)
    low, high = boxes[0, :, :2].clamp(min=0), boxes[0, :, 2:].clamp(max=64)
    common, areas = (high - low).prod(1), (boxes[0, :, 2:] - boxes[0, :, :2]).prod(1)
    overlap = common / (areas + 64 * 64 - common)
    measure = scores[0, :, 1] ** 0.5 * overlap**2
    best = measure.topk(4)
    assert set(found.places.tolist()) == set(best.indices.tolist())
    expected = measure[found.places] / measure[found.places].max() * overlap[found.places].max()
    torch.testing.assert_close(found.quality, expected)


def test_pictures_do_not_depend_on_each_other():
    scores, boxes = said(pictures=2)
    both = objects((4, 4, 40, 40), (10, 20, 60, 62), pictures=[0, 1])
    together = task_aligned(scores, boxes, POINTS, both)
    for row, box in enumerate(both.boxes.tolist()):
        alone = task_aligned(scores[row : row + 1], boxes[row : row + 1], POINTS, objects(box))
        mine = together.pictures == row
        assert torch.equal(together.places[mine], alone.places)
        torch.testing.assert_close(together.quality[mine], alone.quality)


def test_a_batch_without_objects_has_no_places_that_learn_one():
    assert len(task_aligned(*said(), POINTS, objects()).places) == 0


@pytest.mark.parametrize("box", [(10, 10, 10, 40), (40, 40, 10, 10)])
def test_boxes_without_area_and_padding_are_no_objects(box):
    boxes = torch.tensor([[box, (0, 0, 20, 20), (0, 0, 0, 0), (5, 5, 9, 9)]], dtype=torch.float32)
    kept = Objects.of(boxes, torch.tensor([[0, 1, -1, -2]]))
    assert kept.labels.tolist() == [1]
