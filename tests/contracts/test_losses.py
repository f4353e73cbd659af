"""What every loss keeps: a new file in ``losses`` is tested because it exists."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss

from visus.core.pixels import IGNORE
from visus.losses import LOSSES, reads

B, K, R = 9, 4, 6
FIRST_ARGUMENT = {
    "label": "logits", "labels": "logits", "numbers": "predictions",
    "boxes": "predictions", "quality": "logits", "distances": "logits", "classes": "logits",
}  # fmt: skip


def answers_and_truth(column: str, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return B rows of answers and of the truth that is read, partly unknown."""
    generator = torch.Generator().manual_seed(5)
    answers = 3 * torch.randn(B, K, generator=generator, dtype=dtype)
    if column == "label":
        return answers, torch.tensor([0, 3, -1, 1, 2, 2, -1, 0, 1])
    if column == "classes":
        classes = torch.randint(K, (B, 3, 3), generator=generator)
        classes[torch.rand(B, 3, 3, generator=generator) < 0.2] = IGNORE
        classes[[1, 4]] = IGNORE
        return 3 * torch.randn(B, K, 3, 3, generator=generator, dtype=dtype), classes
    unknown = torch.rand(B, K, generator=generator) < 0.3
    unknown[4] = True
    truth = torch.rand(B, K, generator=generator, dtype=dtype)
    if column == "boxes":
        answers, truth = boxes(answers[:, :2], truth[:, :2]), boxes(answers[:, :2] + truth[:, 2:] - 0.5, truth[:, 2:])
        unknown = unknown.all(1, keepdim=True)  # a box is known or not, as a whole
    elif column == "quality":
        truth = truth * (torch.rand(B, K, generator=generator) < 0.5)  # most classes are not there
    elif column == "distances":
        answers, truth = 3 * torch.randn(B, K, R, generator=generator, dtype=dtype), (R - 1) * truth
    else:
        truth = truth.round() if column == "labels" else 5 * truth
    return answers, truth.masked_fill(unknown, torch.nan)


def unknown_rows(column: str, truth: torch.Tensor) -> torch.Tensor:
    """Return which rows nothing is known of."""
    if column == "classes":
        return (truth == IGNORE).all((1, 2))
    return truth < 0 if column == "label" else truth.isnan().all(1)


def boxes(corners: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    return torch.cat([corners, corners + 0.5 + sizes], 1)


@pytest.fixture(params=sorted(name for name in LOSSES if reads(name) != "fake"))  # those: test_adversarial_losses.py
def name(request: pytest.FixtureRequest) -> str:
    """Return every loss by name."""
    return str(request.param)


def test_a_loss_is_the_function_that_its_file_is_named_for(name):
    assert LOSSES[name].__name__ == name


def test_a_loss_reads_an_answer_and_a_column_of_the_data(name):
    assert next(iter(inspect.signature(LOSSES[name]).parameters)) == FIRST_ARGUMENT[reads(name)]


def test_a_loss_gives_one_finite_number_from_zero_upward_per_row(name):
    values = LOSSES[name](*answers_and_truth(reads(name)))
    assert values.shape == (B,)
    assert torch.isfinite(values).all()
    assert (values >= 0).all()


@pytest.mark.parametrize("micro", [1, 2, 4, 8])
def test_splitting_a_batch_does_not_change_the_sum(name, micro):
    answers, truth = answers_and_truth(reads(name))
    parts = [LOSSES[name](a, t).sum() for a, t in zip(answers.split(micro), truth.split(micro), strict=True)]
    assert torch.stack(parts).sum().item() == pytest.approx(LOSSES[name](answers, truth).sum().item(), rel=1e-13)


def test_what_is_unknown_neither_costs_nor_pulls(name):
    answers, truth = answers_and_truth(reads(name))
    answers.requires_grad_()
    values = LOSSES[name](answers, truth)
    values.sum().backward()
    unknown = unknown_rows(reads(name), truth)
    assert unknown.any()
    assert (values[unknown] == 0).all()
    if reads(name) == "classes":
        pull = answers.grad.movedim(1, -1)[truth == IGNORE]
    else:  # of distances: (sides, R)
        pull = answers.grad[unknown] if reads(name) == "label" else answers.grad[truth.isnan()]
    assert (pull == 0).all()
    assert torch.isfinite(answers.grad).all()


def test_the_gradient_is_the_slope_of_the_value(name):
    answers, truth = answers_and_truth(reads(name))
    known = ~unknown_rows(reads(name), truth)
    answers, truth = answers[known].requires_grad_(), truth[known]
    value = MOMENTARY.get(name, lambda at, truth: lambda answers: LOSSES[name](answers, truth))(answers, truth)
    torch.testing.assert_close(LOSSES[name](answers, truth), value(answers))
    ours = torch.autograd.grad(LOSSES[name](answers, truth).sum(), answers)[0]
    torch.testing.assert_close(ours, slopes(value, answers.detach()), rtol=1e-6, atol=1e-6)


def slopes(value: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, step: float = 1e-6) -> torch.Tensor:
    """Return the central differences of the sum of values."""
    found = torch.zeros_like(at)
    for i in range(at.numel()):
        move = torch.zeros_like(at)
        move.view(-1)[i] = step
        found.view(-1)[i] = (value(at + move) - value(at - move)).sum() / (2 * step)
    return found


def complete(at: torch.Tensor, truth: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return torchvision's complete IoU loss with its trade-off held as it is ``at`` one point."""

    def proportions(a: torch.Tensor) -> torch.Tensor:
        slant = [torch.atan((b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1])) for b in (a, truth)]
        return 4 / torch.pi**2 * (slant[0] - slant[1]) ** 2

    extra = complete_box_iou_loss(at, truth, eps=0) - distance_box_iou_loss(at, truth, eps=0)
    trade = (extra / proportions(at)).detach()
    return lambda a: distance_box_iou_loss(a, truth, eps=0) + trade * proportions(a)


MOMENTARY = {"ciou": complete}
"""What is differentiated where a factor of the loss is, as the paper has it, a number of the moment."""


def test_half_precision_answers_are_judged_in_float32(name):
    answers, truth = answers_and_truth(reads(name), torch.float32)
    half = answers.bfloat16()
    assert LOSSES[name](half, truth).dtype == torch.float32
    torch.testing.assert_close(LOSSES[name](half, truth), LOSSES[name](half.float(), truth))


def test_float64_answers_are_judged_in_float64(name):
    assert LOSSES[name](*answers_and_truth(reads(name))).dtype == torch.float64


def test_answers_far_out_keep_values_and_slopes_finite(name):
    answers, truth = answers_and_truth(reads(name), torch.float32)
    far = (200 * answers).requires_grad_()
    values = LOSSES[name](far, truth)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(far.grad).all()
