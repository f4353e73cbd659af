"""Each finding is said when its numbers say it, and not otherwise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from visus.core.figures import Matrix
from visus.core.recipe import Recipe
from visus.core.scores import Score
from visus.report import findings as rules
from visus.report.findings import findings, guess, waited
from visus.report.story import Story


def _judged(value: float, low: float, high: float, n: int, *, share: float = 0.5, **more: object) -> Story:
    first = round(n * share)
    counts = {"test": {"a": first, "b": n - first}, "train": {"a": 50, "b": 50}, "val": {"a": 200, "b": 200}}
    items = {split: sum(numbers.values()) for split, numbers in counts.items()}
    data = {"counts": counts, "items": items} | more.pop("data", {})  # type: ignore[operator, arg-type]
    scores = {"accuracy": Score(value, low, high, n)}
    return Story("t", score="accuracy", scores=scores, data=data, **more)  # type: ignore[arg-type]


def _validated(*values: float, key: str = "accuracy") -> list[dict[str, object]]:
    return [{"step": 10 * (i + 1), "validation": {key: value}} for i, value in enumerate(values)]


def test_a_good_large_judgement_has_nothing_but_good_said_of_it():
    assert [finding.level for finding in findings(_judged(0.95, 0.94, 0.96, 3000))] == ["good"]


def test_the_gravest_comes_first():
    order = ["problem", "caution", "note", "good"]
    story = _judged(0.6, 0.5, 0.7, 60, events=[{"step": 1, "kind": "skipped"}], log=_validated(0.5))
    levels = [order.index(finding.level) for finding in findings(story)]
    assert levels == sorted(levels) and len(set(levels)) > 1


def test_nothing_measured_is_a_problem():
    assert findings(Story("t"))[0].level == "problem"


def test_an_unfinished_run_is_a_problem_and_not_called_unmeasured():
    (finding,) = findings(Story("t", unfinished="stopped by SIGINT"))
    assert finding.level == "problem" and "stopped by SIGINT" in finding.text


def test_guessing_is_the_share_of_the_commonest_class():
    assert guess(_judged(0.9, 0.8, 1.0, 300, share=2 / 3)) == ("a", pytest.approx(2 / 3))


def test_guessing_has_no_meaning_where_a_picture_shows_several_classes():
    assert guess(_judged(0.9, 0.8, 1.0, 300, data={"items": {"test": 100}})) is None


@pytest.mark.parametrize(("low", "said"), [(0.60, True), (0.70, False)])
def test_a_model_is_compared_with_always_answering_the_commonest_class(low, said):
    assert bool(rules.no_better_than_guessing(_judged(0.75, low, 0.8, 300, share=2 / 3))) is said


@pytest.mark.parametrize(("width", "said"), [(0.14, True), (0.03, False)])
def test_a_wide_interval_is_said_with_the_items_that_would_narrow_it(width, said):
    finding = rules.wide_interval(_judged(0.9, 0.9 - width / 2, 0.9 + width / 2, 61))
    assert bool(finding) is said
    if finding:
        assert "61 items" in finding.text and "14 points" in finding.text and "3,000" in finding.text


@pytest.mark.parametrize(
    ("split", "rule"),
    [("train", rules.missing_in_training), ("val", rules.missing_in_judging), ("test", rules.missing_in_judging)],
)
def test_a_class_that_is_missing_in_a_part_is_named(split, rule):
    counts = {part: {"cat": 20, "dog": 20} for part in ("train", "val", "test")}
    assert rule(Story("t", data={"counts": counts})) is None
    finding = rule(Story("t", data={"counts": {**counts, split: {"cat": 20, "dog": 0}}}))
    assert finding and "“dog”" in finding.text and "cat" not in finding.text


def test_a_part_that_is_not_there_lacks_no_class():
    counts = {"train": {"cat": 20, "dog": 20}, "val": {"cat": 0, "dog": 0}, "test": {"cat": 2, "dog": 2}}
    assert rules.missing_in_judging(Story("t", data={"counts": counts})) is None


def test_rare_classes_are_named_with_their_numbers():
    finding = rules.rare_classes(Story("t", data={"counts": {"train": {"lynx": 4, "cat": 400}}}))
    assert finding and "“lynx” 4" in finding.text and "cat" not in finding.text


def test_of_few_pictures_of_a_class_no_task_is_told_what_harms_it():
    told = {task: rules.rare_classes(Story("t", data={"counts": {"train": {"lynx": 4}}}, task=task)).fix
            for task in ("classify", "detect", "generate")}  # fmt: skip
    assert "trivialaugment" in told["classify"] and told["detect"] == "collect more"
    assert "generate.augment=ada" in told["generate"] and "trivialaugment" not in told["generate"]


def test_few_pictures_are_those_of_the_part_and_not_those_it_was_compared_with():
    scores = {"coverage": Score(0.5, 0.1, 0.9, 4), "authenticity": Score(0.9, 0.8, 1.0, 18)}
    finding = rules.few_judged(Story("t", task="generate", score="coverage", scores=scores))
    assert finding.text.startswith("4 pictures")


@pytest.mark.parametrize(("split", "said"), [("val", True), ("train", True), ("test", False)])
def test_scores_from_where_choices_were_made_are_said_to_flatter(split, said):
    assert bool(rules.not_held_out(replace(_judged(0.9, 0.89, 0.91, 3000), split=split))) is said


def test_left_out_files_are_counted_and_one_is_shown():
    finding = rules.bad_files(Story("t", data={"bad": [("a.png", "it ends early"), ("b.png", "it is empty")]}))
    assert finding and "2 files" in finding.text and "a.png: it ends early" in finding.text


def test_a_rising_validation_loss_under_a_falling_training_loss_is_overfitting():
    falling = [{"step": s, "loss": 1 / s} for s in range(1, 71)]
    assert rules.overfitting(Story("t", log=falling + _validated(1, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, key="log_loss")))


@pytest.mark.parametrize("losses", [(1, 0.8, 0.6, 0.5, 0.45), (1, 0.5, 0.51, 0.52, 0.52), (1, 0.9, 0.8, 0.5, 0.7)])
def test_a_validation_loss_that_falls_or_wavers_is_not_overfitting(losses):
    falling = [{"step": s, "loss": 1 / s} for s in range(1, 71)]
    assert rules.overfitting(Story("t", log=falling + _validated(*losses, key="log_loss"))) is None


def test_a_score_that_still_rises_asks_for_twice_the_time():
    story = Story("t", score="accuracy", log=_validated(0.5, 0.6, 0.7, 0.8), recipe=Recipe(minutes=3))
    finding = rules.still_rising(story)
    assert finding and "10.0 points" in finding.text and finding.fix.endswith("--minutes 6")


def test_a_score_that_has_settled_asks_for_nothing():
    assert rules.still_rising(Story("t", score="accuracy", log=_validated(0.5, 0.8, 0.801, 0.799))) is None


def test_one_mistake_that_makes_up_most_of_them_is_named():
    names = ("shirt", "coat", "bag")
    matrix = Matrix("m", names, names, np.array([[50, 30, 1], [2, 80, 0], [1, 1, 90]]))
    finding = rules.one_confusion(Story("t", figures=[matrix]))
    assert finding and "“shirt” taken for “coat” (30 of 35)" in finding.text


@pytest.mark.parametrize(
    ("at", "said"), [((0, 2), "“shirt” not found (30 of 35)"), ((2, 1), "“coat” found where none is stated (30 of 35)")]
)
def test_a_mistake_with_nothing_is_told_as_what_it_is(at, said):
    names, values = ("shirt", "coat", "background"), np.array([[90, 5, 0], [0, 80, 0], [0, 0, 0]])
    values[at] = 30
    finding = rules.one_confusion(Story("t", figures=[Matrix("m", names, names, values, background=True)]))
    assert finding and said in finding.text and finding.fix.endswith("?")


def test_a_class_that_is_never_answered_is_named():
    matrix = Matrix("m", ("a", "b", "c"), ("a", "b", "c"), np.array([[9, 0, 1], [3, 0, 0], [0, 0, 5]]))
    finding = rules.never_answered(Story("t", figures=[matrix]))
    assert finding and "“b”" in finding.text


def test_nothing_found_is_no_class_that_is_never_answered():
    matrix = Matrix("m", ("a", "b", "background"), ("a", "b", "background"), np.diag([9, 3, 0]), background=True)
    matrix.values[2, 0] = 4  # found on nothing
    assert rules.never_answered(Story("t", figures=[matrix])) is None


@pytest.mark.parametrize(("low", "said"), [(0.05, True), (0.01, False)])
def test_probabilities_that_do_not_hold_are_said(low, said):
    assert bool(rules.overconfident(Story("t", scores={"calibration_error": Score(0.06, low, 0.07, 500)}))) is said


def test_a_larger_validation_part_is_advised_only_where_a_temperature_is_fitted(digits):
    off = {"calibration_error": Score(0.06, 0.05, 0.07, 500)}
    finding = rules.overconfident(replace(digits, scores=off))
    assert finding and "fits the temperature better" in finding.fix
    finding = rules.overconfident(replace(digits, scores=off, card=digits.card.model_copy(update={"calibration": {}})))
    assert finding and not finding.fix and finding.text.endswith("Trust their order, not their size.")


def test_waiting_is_counted_beside_training_or_inside_it():
    assert waited({"training": 60.0, "waiting for data": 40.0}) == (40.0, 100.0)
    assert waited({"training/forward": 60.0, "training/waiting for data": 40.0}) == (40.0, 100.0)


@pytest.mark.parametrize(("seconds", "said"), [(40.0, True), (3.0, False)])
def test_waiting_for_data_is_said_when_it_costs(seconds, said):
    assert bool(rules.waiting(Story("t", seconds={"training": 60.0, "waiting for data": seconds}))) is said


def test_healing_is_counted_by_kind():
    events = [{"step": 1, "kind": "skipped"}, {"step": 2, "kind": "skipped"}, {"step": 3, "kind": "rolled_back"}]
    finding = rules.healed(Story("t", events=events))
    assert finding and "3 faults: skipped (2 times) and rolled back" in finding.text


def test_a_score_that_is_not_defined_is_no_healing():
    events = [{"step": 5, "kind": "undefined_score"}]
    assert rules.healed(Story("t", events=events)) is None
    finding = rules.healed(Story("t", events=[*events, {"step": 6, "kind": "skipped"}]))
    assert finding and "1 fault: skipped" in finding.text


def test_one_picture_is_said_to_be_too_few_and_nothing_else_is_made_of_it():
    counts = {"test": {"a": 1}, "train": {"a": 50}, "val": {"a": 200}}
    (finding,) = findings(_judged(1.0, 0.025, 1.0, 1, data={"counts": counts, "items": {"test": 1, "val": 200}}))
    assert finding.level == "caution" and finding.text.startswith("1 picture in the test part: too few")


def test_one_picture_that_defines_no_score_is_told_once_and_its_interval_is_not_spoken_of():
    items = {"train": 9, "val": 1, "test": 1}
    log = _validated(math.nan, key="r2")
    events = [{"step": 10, "kind": "undefined_score"}]
    scores = {"mae": Score(0.5, 0.5, 0.5, 1)}
    test, validation = findings(Story("t", score="r2", scores=scores, data={"items": items}, log=log, events=events))
    assert test.level == "problem" and "is not defined by the 1 item of the test part" in test.text
    assert validation.level == "caution" and "The 1 validation item does not define" in validation.text


def test_few_validation_items_are_said():
    log = _validated(0.5)
    assert rules.small_validation(Story("t", data={"items": {"val": 50}}, log=log))
    assert rules.small_validation(Story("t", data={"items": {"val": 5000}}, log=log)) is None


@pytest.mark.parametrize(("carved", "share", "advice"), [
    (("val",), 0.1, "--set data.validation=0.2"), (("val",), 0.25, "visus split"), ((), 0.1, "visus split"),
])  # fmt: skip
def test_a_larger_share_is_advised_only_where_visus_carved_a_small_one(carved, share, advice):
    recipe = Recipe.model_validate({"data": {"validation": share}})
    finding = rules.small_validation(
        Story("t", data={"items": {"val": 50}, "carved": carved}, log=_validated(0.5), recipe=recipe)
    )
    assert finding is not None and advice in finding.fix


def test_an_item_is_a_share_only_of_scores_that_are_shares():
    def said(score):
        found = rules.small_validation(Story("t", score=score, data={"items": {"val": 50}}, log=_validated(0.5)))
        assert found is not None
        return found.text

    assert "one item is 2.0" in said("accuracy") and "one item" not in said("map")


def test_uneven_classes_are_said():
    finding = rules.uneven_classes(_judged(0.95, 0.94, 0.96, 3000, share=0.8))
    assert finding and "“a” would already be right in 80.0" in finding.text


def test_waiting_of_less_than_a_second_is_not_worth_a_word():
    assert rules.waiting(Story("t", seconds={"training": 0.5, "waiting for data": 0.9})) is None
