"""The log of a run is read as it was written, whatever is missing from it."""

from __future__ import annotations

import numpy as np
import pytest

from visus.report.history import curves, marks, training, validation, validation_loss

NAN = float("nan")


def test_a_step_logged_twice_counts_by_its_last_word():
    log = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 2.0}]
    assert training(log, "loss").values == (3.0, 2.0)


def test_values_that_are_no_finite_numbers_are_left_out():
    log = [
        {"step": 1, "loss": NAN},
        {"step": 2, "loss": None},
        {"loss": 1.0},
        {"step": 4, "loss": "x"},
        {"step": 5, "loss": 1},
    ]
    assert training(log, "loss").steps == (5,)


def test_validations_are_told_from_training_rows():
    log = [{"step": 1, "loss": 1.0}, {"step": 1, "validation": {"accuracy": 0.5, "log_loss": 2.0}}]
    assert training(log, "accuracy").steps == ()
    assert validation(log, "accuracy").values == (0.5,)
    assert validation_loss(log).values == (2.0,)


def test_the_curves_of_a_real_run(digits):
    assert [curve.title for curve, _ in curves(digits.log, "accuracy")] == [
        "Loss", "Validation: accuracy", "Learning rate", "Gradient norm",
    ]  # fmt: skip


def test_players_and_loss_terms_have_lines_of_their_own():
    log = [{"step": i, "loss/one": 1.0, "loss/two": 2.0, "lr/one": 0.1, "lr/two": 0.2} for i in range(3)]
    lines = {curve.title: [line.name for line in curve.lines] for curve, _ in curves(log, "score")}
    assert lines == {"Terms of the loss": ["one", "two"], "Learning rate": ["one", "two"]}


def test_an_empty_log_draws_nothing():
    assert curves([], "accuracy") == [] and marks([], "accuracy", []) == []


def test_a_noisy_loss_is_drawn_as_means_within_its_extremes():
    noise = np.random.Generator(np.random.Philox(0)).random(10_000)
    (curve, _), *_ = curves([{"step": i, "loss": float(v)} for i, v in enumerate(noise)], "accuracy")
    (line,) = curve.lines
    assert len(line.x) == 200
    assert np.mean(line.y) == pytest.approx(noise.mean(), abs=1e-9)
    assert min(line.low) == noise.min() and max(line.high) == noise.max()


def test_a_loss_over_many_decades_is_drawn_by_its_logarithm():
    (_, log_scale), *_ = curves([{"step": i, "loss": 10.0 ** (-i / 20)} for i in range(100)], "accuracy")
    assert log_scale


def test_scores_of_another_unit_do_not_share_an_axis():
    log = [{"step": i, "validation": {"psnr": 20.0 + i, "ssim": 0.5}} for i in range(4)]
    (curve, _), *_ = curves(log, "psnr")
    assert len(curve.lines) == 1


def test_the_kept_step_is_the_first_best_one(digits):
    log = [{"step": s, "validation": {"accuracy": v}} for s, v in ((10, 0.5), (20, 0.9), (30, 0.9))]
    (mark,) = marks(log, "accuracy", [])
    assert (mark.x, mark.kind) == (20, "best")
