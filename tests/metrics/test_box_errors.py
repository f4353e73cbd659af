import numpy as np
import pytest
from tests.metrics.boxes import judged

from visus.metrics.box_errors import KINDS

A, B, C = (0, 0, 100, 100), (200, 0, 300, 100), (400, 0, 500, 100)
LOOSE = (0, 0, 100, 40)  # IoU 0.4 with A
FAR = (600, 600, 700, 700)


def measured(found, truth, n_classes=2):
    """Return how many mistakes of each kind there are, and what each kind costs in AP50."""
    items = judged([(found, truth)], n_classes).judged()
    cost = items.everything(np.ones((items.n, 1)))["cost"][0]
    return dict(zip(KINDS, items.errors.count(), strict=True)), dict(zip(KINDS, cost, strict=True))


def only(**counts):
    return dict.fromkeys(KINDS, 0) | counts


def test_what_is_right_is_no_mistake_and_costs_nothing():
    count, cost = measured([(A, 0.9, 0), (B, 0.8, 1)], [(A, 0), (B, 1)])
    assert count == only()
    assert all(value == 0 for value in cost.values())


def test_another_class_on_an_object_is_a_classification_error():
    count, cost = measured([(A, 0.9, 1), (B, 0.8, 1)], [(A, 0), (B, 1)])
    assert count == only(classification=1)
    # Class 0 found nothing, and would find all; class 1 had one right after one wrong.
    assert cost["classification"] == pytest.approx((1 - 0) / 2 + (1 - 0.5) / 2, abs=1e-12)


def test_a_loose_box_of_the_right_class_is_a_localisation_error():
    count, cost = measured([(LOOSE, 0.9, 0)], [(A, 0)])
    assert count == only(localisation=1)
    assert cost["localisation"] == 1
    assert cost["missed"] == 0


def test_a_loose_box_of_another_class_is_both():
    count, cost = measured([(LOOSE, 0.9, 1), (B, 0.8, 1)], [(A, 0), (B, 1)])
    assert count == only(both=1, missed=1)
    assert cost["both"] == pytest.approx((1 - 0.5) / 2)


def test_a_second_box_on_a_found_object_is_a_duplicate():
    count, cost = measured([(A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0)], [(A, 0), (B, 0)])
    assert count == only(duplicate=1)
    # Up to half the objects precision is 1, beyond it 2 of 3; 51 of the 101 places lie in the first half.
    assert cost["duplicate"] == pytest.approx(1 - (51 + 50 * 2 / 3) / 101)


def test_a_box_on_nothing_is_background():
    count, cost = measured([(FAR, 0.9, 0), (A, 0.8, 0)], [(A, 0)])
    assert count == only(background=1)
    assert cost["background"] == pytest.approx(0.5)


def test_an_object_without_any_box_is_missed():
    count, cost = measured([(A, 0.9, 0)], [(A, 0), (B, 0)])
    assert count == only(missed=1)
    assert cost["missed"] == pytest.approx(1 - 51 / 101)


def test_of_two_errors_on_one_object_the_surer_is_mended_and_the_other_left_out():
    count, cost = measured([(LOOSE, 0.9, 0), (LOOSE, 0.8, 0)], [(A, 0)])
    assert count == only(localisation=2)
    assert cost["localisation"] == 1


def test_a_mended_error_gives_way_to_a_surer_detection_of_the_object():
    _, cost = measured([(A, 0.9, 0), (LOOSE, 0.8, 0), (B, 0.7, 0)], [(A, 0), (B, 0)])
    assert cost["localisation"] == pytest.approx(1 - (51 + 50 * 2 / 3) / 101)


def test_a_mended_error_that_is_surer_takes_the_place_of_the_detection_of_the_object():
    _, cost = measured([(LOOSE, 0.9, 0), (FAR, 0.85, 0), (A, 0.8, 0)], [(A, 0)])
    assert cost["localisation"] == pytest.approx(1 - 1 / 3)


def test_what_lies_in_a_crowd_is_no_mistake():
    count, _ = measured([(LOOSE, 0.9, 0)], [(A, 0, True, 10_000.0), (B, 0)])
    assert count == only(missed=1)


def test_a_loose_box_of_its_class_on_another_object_is_a_localisation_error_first():
    near = (0, 0, 100, 40)
    count, _ = measured([(near, 0.9, 0)], [(A, 0), (near, 1)])
    assert count == only(localisation=1, missed=1)


def unsure():
    """Return judged boxes whose best F1 is at 0.8; below lie four on nothing, and one that is right after all."""
    sure, shaky = [(A, 0.9, 0), (LOOSE, 0.85, 0), (B, 0.8, 1)], [(FAR, 0.7 - i / 10, 0) for i in range(4)]
    return judged([([*sure, *shaky, (C, 0.1, 1)], [(A, 0), (B, 1), (C, 1)])], 2)


def test_the_mistakes_of_a_score_are_those_of_the_detections_that_are_as_sure():
    items = unsure().judged()
    assert items.threshold == 0.8
    assert dict(zip(KINDS, items.errors.count(), strict=True)) == only(localisation=1, background=4)
    assert items.mistakes == only(localisation=1, missed=1)


def test_the_table_counts_at_the_threshold_and_says_so_and_its_costs_are_of_all_detections():
    metric = unsure()
    (table,) = (figure for figure in metric.figures() if figure.title == "Kinds of mistakes")
    assert {row[0]: row[1] for row in table.rows} == only(localisation=1, missed=1)
    assert "has its best F1" in table.note and "of all detections" in table.note
    cost = metric.judged().everything(np.ones((1, 1)))["cost"][0]
    assert [row[2].value for row in table.rows] == pytest.approx(cost.tolist())


def test_an_object_that_only_an_unsure_mistake_is_on_is_missed_at_the_threshold():
    items = judged([([(A, 0.9, 0), (B, 0.2, 0)], [(A, 0), (B, 1)])], 2).judged()
    assert items.mistakes == only(missed=1)
    assert items.errors.count() == list(only(classification=1).values())
