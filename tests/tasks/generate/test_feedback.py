"""What a run learns about itself: the same however its batches are split, and only decided once a step."""

from __future__ import annotations

import pytest
import torch

from visus.tasks.generate.feedback import EVERY, SHARE, Feedback


def steps(feedback, signs, target=0.6, change=0.01):
    """Do one step after another, each of the given logits in parts."""
    for step, parts in enumerate(signs):
        for part in parts:
            feedback.decide(step, target, change)
            feedback.judged(torch.tensor(part))
    return float(feedback.p)


def test_the_chance_rises_where_real_pictures_are_told_too_surely():
    """r_t = 1 in steps 0 to 3, so in step 4 the chance rises by what four steps may change."""
    assert steps(Feedback(), [[[1.0, 2.0, 3.0]]] * (EVERY + 1)) == pytest.approx(EVERY * 0.01)


def test_it_falls_to_zero_and_no_further():
    assert steps(Feedback(0.05), [[[1.0, -2.0]]] * 20) == 0


def test_a_sure_discriminator_of_half_the_pictures_is_below_the_target():
    """Three of four above zero: r_t = 0.5 < 0.6."""
    assert steps(Feedback(0.5), [[[1.0, 1.0, 1.0, -1.0]]] * (EVERY + 1)) == pytest.approx(0.5 - EVERY * 0.01)


def test_parts_of_unequal_size_decide_as_the_whole_does():
    whole, parts = [[[1.0, -1.0, 2.0, 3.0, 4.0]]], [[[1.0], [-1.0, 2.0, 3.0], [4.0]]]
    assert steps(Feedback(0.2), whole * 30) == steps(Feedback(0.2), parts * 30)


def test_the_first_length_is_the_mean_and_later_ones_move_it_a_little():
    feedback = Feedback()
    for step, lengths in ((0, [[2.0, 4.0], [6.0]]), (4, [[9.0], [9.0, 9.0]]), (8, [[1.0]])):
        for part in lengths:
            feedback.settle(step)
            feedback.measured(torch.tensor(part))
    assert float(feedback.length) == pytest.approx(4 + SHARE * (9 - 4))


def test_it_is_no_part_of_a_model_file():
    assert Feedback(0.3).state_dict() == {}
