import pytest
import torch
from torchvision import ops

from visus.losses import LOSSES, reads

OF_BOXES = [name for name in LOSSES if reads(name) == "boxes"]
THEIRS = {
    "giou": ops.generalized_box_iou_loss, "diou": ops.distance_box_iou_loss, "ciou": ops.complete_box_iou_loss,
    "iou": lambda a, b: 1 - ops.box_iou(a, b).diagonal(),
}  # fmt: skip


def predictions_and_boxes(n=200):
    generator = torch.Generator().manual_seed(3)
    both = 60 * torch.rand(2, n, 4, generator=generator, dtype=torch.float64)
    both[..., 2:] += both[..., :2] + 1
    return both[0], both[1]


@pytest.mark.parametrize("name", OF_BOXES)
def test_the_losses_of_boxes_are_torchvisions(name):
    predictions, boxes = predictions_and_boxes()
    torch.testing.assert_close(LOSSES[name](predictions, boxes), THEIRS[name](predictions, boxes), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", OF_BOXES)
def test_a_box_that_is_hit_costs_nothing(name):
    _, boxes = predictions_and_boxes()
    assert (LOSSES[name](boxes, boxes) == 0).all()


@pytest.mark.parametrize("name", OF_BOXES)
def test_boxes_that_are_empty_inverted_or_far_away_have_finite_losses_and_slopes(name):
    odd = torch.tensor([[5, 5, 5, 5], [5, 5, 9, 5], [9, 9, 5, 5], [9, 5, 5, 9], [1e8, 1e8, 2e8, 2e8], [5, 5, 8, 8.0]])
    predictions = odd.repeat_interleave(6, 0).requires_grad_()
    values = LOSSES[name](predictions, odd.repeat(6, 1))
    values.sum().backward()
    assert values.isfinite().all()
    assert predictions.grad.isfinite().all()


@pytest.mark.parametrize("name", OF_BOXES)
def test_no_boxes_cost_nothing(name):
    predictions = torch.zeros(0, 4, requires_grad=True)
    LOSSES[name](predictions, torch.zeros(0, 4)).sum().backward()
    assert predictions.grad.shape == (0, 4)
