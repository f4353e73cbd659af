import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from visus.metrics.calibration import COLDEST, HOTTEST, error_interval, fit_temperature


def answers(n, k, sharpness, seed=0):
    """Return logits that are ``sharpness`` times those which the labels were drawn from."""
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return sharpness * z, torch.multinomial(z.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("k", [2, 10])
def test_the_temperature_is_the_minimum_that_scipy_finds(sharpness, k):
    logits, labels = answers(500, k, sharpness)
    doubt = 1 / 502
    truth = torch.full((500, k), doubt / (k - 1), dtype=torch.float64)
    truth.scatter_(1, labels[:, None], 1 - doubt)
    loss = lambda t: torch.nn.functional.cross_entropy(logits / np.exp(t), truth).item()  # noqa: E731
    expected = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x)
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-6)


def test_sharpened_answers_are_brought_back_to_what_they_were_drawn_from():
    assert fit_temperature(*answers(20_000, 5, 2.5)) == pytest.approx(2.5, rel=0.05)


def test_unlabelled_items_do_not_move_it():
    logits, labels = answers(400, 4, 2.0)
    half = torch.where(torch.arange(400) % 2 == 0, labels, -1)
    assert fit_temperature(logits, half) == pytest.approx(fit_temperature(logits[::2], labels[::2]), rel=1e-9)


@pytest.mark.parametrize("n", [1, 3, 30, 150])
def test_a_few_items_without_a_mistake_do_not_make_answers_as_sharp_as_can_be(n):
    labels = torch.arange(n) % 3
    logits = 4.0 * torch.nn.functional.one_hot(labels, 3)
    temperature = fit_temperature(logits, labels)
    assert temperature > 5 * COLDEST
    assert (logits / temperature).softmax(1).amax(1).mean() == pytest.approx((n + 1) / (n + 2), rel=1e-6)


def test_nothing_labelled_teaches_nothing():
    assert fit_temperature(torch.randn(5, 3), torch.full((5,), -1)) == 1
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == 1


def test_answers_that_are_worse_than_none_are_cooled_to_the_bound():
    logits, labels = answers(200, 3, 1.0)
    assert fit_temperature(-logits, labels) == pytest.approx(HOTTEST)


def test_answers_that_are_far_too_timid_are_sharpened_to_the_bound():
    logits, labels = answers(200, 3, 1e-3)
    assert fit_temperature(logits, labels) == pytest.approx(COLDEST)


@pytest.mark.parametrize(("honesty", "least"), [(1.0, 0.95), (0.9, 0.93)])
def test_the_interval_of_the_calibration_error_holds_the_truth(honesty, least):
    """Plain percentiles hold it in none of the trials where the network is calibrated (honesty 1)."""
    random = np.random.default_rng(2)
    truth = 0.65 * (1 - honesty)
    held = 0
    for _ in range(150):
        confidence = random.uniform(0.3, 1, 500)
        low, high = error_interval(confidence, random.random(500) < honesty * confidence, 100)
        held += low <= truth <= high
    assert held / 150 >= least
