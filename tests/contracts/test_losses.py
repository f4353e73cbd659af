"""What every loss keeps: a new file in ``losses`` is tested because it exists."""

import inspect

import pytest
import torch

from visus.losses import LOSSES, reads

B, K = 9, 4
FIRST_ARGUMENT = {"label": "logits", "labels": "logits", "numbers": "predictions"}


def answers_and_truth(column: str, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (B, K) answers and the column's truth, partly unknown."""
    generator = torch.Generator().manual_seed(5)
    answers = 3 * torch.randn(B, K, generator=generator, dtype=dtype)
    if column == "label":
        return answers, torch.tensor([0, 3, -1, 1, 2, 2, -1, 0, 1])
    unknown = torch.rand(B, K, generator=generator) < 0.3
    unknown[4] = True
    truth = torch.rand(B, K, generator=generator, dtype=dtype)
    truth = truth.round() if column == "labels" else 5 * truth
    return answers, truth.masked_fill(unknown, torch.nan)


@pytest.fixture(params=sorted(LOSSES))
def name(request: pytest.FixtureRequest) -> str:
    """Return every loss by name."""
    return str(request.param)


def test_a_loss_is_the_function_that_its_file_is_named_for(name):
    assert LOSSES[name].__name__ == name


def test_a_loss_reads_an_answer_and_a_column_of_the_data(name):
    assert next(iter(inspect.signature(LOSSES[name]).parameters)) == FIRST_ARGUMENT[reads(name)]


def test_a_loss_gives_one_finite_number_from_zero_upward_per_image(name):
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
    unknown = truth < 0 if reads(name) == "label" else truth.isnan().all(1)
    assert unknown.any()
    assert (values[unknown] == 0).all()
    pull = answers.grad[unknown] if reads(name) == "label" else answers.grad[truth.isnan()]
    assert (pull == 0).all()
    assert torch.isfinite(answers.grad).all()


def test_the_gradient_is_the_slope_of_the_value(name):
    answers, truth = answers_and_truth(reads(name))
    assert torch.autograd.gradcheck(lambda a: LOSSES[name](a, truth), answers.requires_grad_())


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
