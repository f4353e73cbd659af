import pytest
import torch
import torch.nn.functional as F

from visus.losses.absolute_error import absolute_error
from visus.losses.huber import huber
from visus.losses.mean_squared_error import mean_squared_error


def predictions_and_numbers(n=30, m=3):
    generator = torch.Generator().manual_seed(6)
    predictions = 3 * torch.randn(n, m, generator=generator, dtype=torch.float64)
    return predictions, 3 * torch.randn(n, m, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (mean_squared_error, F.mse_loss),
        (absolute_error, F.l1_loss),
        (lambda p, n: huber(p, n, delta=0.7), lambda p, n, reduction: F.huber_loss(p, n, reduction, delta=0.7)),
    ],
)
def test_they_are_the_sum_over_numbers_of_what_torch_says(ours, theirs):
    predictions, numbers = predictions_and_numbers()
    torch.testing.assert_close(ours(predictions, numbers), theirs(predictions, numbers, reduction="none").sum(1))


@pytest.mark.parametrize("loss", [mean_squared_error, absolute_error, huber])
def test_an_unknown_number_leaves_the_cost_of_the_others(loss):
    predictions, numbers = predictions_and_numbers()
    partly = numbers.clone()
    partly[:, 1] = torch.nan
    torch.testing.assert_close(loss(predictions, partly), loss(predictions[:, ::2], numbers[:, ::2]))
