import math

import pytest
import torch
import torch.nn.functional as F

from visus.losses._imitation import at_places, softened, softened_each


def randomly(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 7.5])
def test_the_softened_divergence_and_its_gradient_are_those_worked_out_by_hand(temperature):
    logits, teacher = randomly(5, 4).requires_grad_(), randomly(5, 4, seed=1)
    p, q = (teacher / temperature).softmax(1), (logits / temperature).softmax(1)
    said = softened(logits, teacher, temperature)
    (slope,) = torch.autograd.grad(said.sum(), logits)
    torch.testing.assert_close(said, temperature**2 * (p * (p / q).log()).sum(1))
    torch.testing.assert_close(slope, temperature * (q - p).detach())  # Hinton et al., equation 2, times T squared


def test_two_classes_by_hand():
    # teacher 3:1, student 1:1 at temperature 1: 0.75 ln 1.5 + 0.25 ln 0.5
    said = softened(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]))
    assert said.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)


@pytest.mark.parametrize("apart", [softened, softened_each])
def test_what_says_the_same_costs_nothing_and_anything_else_something(apart):
    logits = randomly(3, 4)
    assert apart(logits, logits, 3.0).abs().max() < 1e-12
    assert (apart(logits, randomly(3, 4, seed=1), 3.0) > 0).all()


@pytest.mark.parametrize("apart", [softened, softened_each])
def test_no_gradient_flows_into_the_teacher(apart):
    teacher = randomly(2, 3, seed=1).requires_grad_()
    apart(randomly(2, 3).requires_grad_(), teacher, 2.0).sum().backward()
    assert teacher.grad is None


def test_classes_each_on_their_own_are_softmaxes_of_two():
    logits, teacher = randomly(4, 3), randomly(4, 3, seed=1)
    pairs = [F.pad(each.reshape(-1, 1), (0, 1)) for each in (logits, teacher)]
    torch.testing.assert_close(softened_each(logits, teacher, 2.0), softened(*pairs, 2.0).reshape(4, 3).mean(1))


@pytest.mark.parametrize("apart", [softened, softened_each])
def test_extreme_logits_stay_finite(apart):
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    said = apart(logits, -logits.detach(), 1.0)
    said.sum().backward()
    assert said.isfinite().all() and logits.grad.isfinite().all()


def test_places_count_by_how_much_they_differ_worked_out_by_hand():
    scores, teacher = torch.tensor([[[0.5], [0.2]]]), torch.tensor([[[0.9], [0.2]]])
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 5, 5]]])
    theirs = torch.tensor([[[0.0, 0, 10, 5], [20, 20, 30, 30]]])  # giou 0.5 at the first place
    entropy = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    wanted = 0.4 * (math.log(2) - entropy) + 0.4 * (1 - 0.5)
    assert at_places(scores, boxes, teacher, theirs).item() == pytest.approx(wanted / 1.1, rel=1e-5)


def test_a_detector_that_says_what_its_teacher_says_costs_nothing():
    scores, boxes = torch.rand(2, 6, 3), torch.tensor([0.0, 0, 4, 4]).expand(2, 6, 4)
    assert at_places(scores, boxes, scores, boxes).abs().max() < 1e-6


def test_a_picture_of_detection_does_not_depend_on_the_others():
    parts = [torch.rand(3, 5, 2), torch.rand(3, 5, 4).cumsum(2), torch.rand(3, 5, 2), torch.rand(3, 5, 4).cumsum(2)]
    whole = at_places(*parts)
    each = torch.cat([at_places(*(part[i : i + 1] for part in parts)) for i in range(3)])
    torch.testing.assert_close(whole, each)
