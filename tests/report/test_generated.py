"""What a report says of a generator: only what its numbers show, and nothing of other runs."""

from __future__ import annotations

import pytest

from visus.core.scores import Score
from visus.report.findings import findings
from visus.report.generated import copying, curves, mode_collapse, overfit, rival_overfits
from visus.report.story import Story

JUDGE = "random convolutions, seed 0"


def told(log=(), **values):
    scores = {f"{kind} ({JUDGE})": Score(v, max(0, v - 0.02), min(1, v + 0.02), 5000) for kind, v in values.items()}
    return Story("a run", task="generate", scores=scores, log=log)


def logged(learned, made, new, steps=200, zero=0.0):
    rows = [{"step": i, "told/real": learned, "told/fake": made} for i in range(1, steps + 1)]
    return [*rows, {"step": steps, "validation": {"real_logits": new + zero, "fake_logits": made + zero}}]


def test_good_pictures_of_few_kinds_are_called_mode_collapse_with_their_numbers():
    finding = mode_collapse(told(precision=0.7, recall=0.05, coverage=0.1))
    assert finding.level == "problem"
    assert finding.text.startswith("Mode collapse")
    assert "5.0" in finding.text and "70.0" in finding.text


@pytest.mark.parametrize("precision", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("recall", [0.0, 0.01])
def test_pictures_like_nothing_real_are_not_called_a_collapse(precision, recall):
    finding = mode_collapse(told(precision=precision, recall=recall, coverage=0.0))
    assert finding.level == "problem"
    assert "Mode collapse" not in finding.text


@pytest.mark.parametrize(("recall", "coverage"), [(0.5, 0.1), (0.1, 0.4)])
def test_what_is_reached_by_recall_or_coverage_is_no_collapse(recall, coverage):
    assert mode_collapse(told(precision=0.9, recall=recall, coverage=coverage)) is None


@pytest.mark.parametrize(("own", "level"), [(0.05, "problem"), (0.31, "caution"), (0.5, None)])
def test_copies_are_named_as_surely_as_their_interval_allows(own, level):
    finding = copying(told(authenticity=own))
    assert (finding and finding.level) == level


@pytest.mark.parametrize(("new", "share"), [(2.0, 0.0), (0.0, 0.5), (-2.0, 1.0)])
def test_the_overfit_of_a_discriminator_is_how_far_new_pictures_lie_towards_generated_ones(new, share):
    assert overfit(logged(2.0, -2.0, new)) == pytest.approx(share)


def test_it_does_not_matter_where_the_zero_of_the_averaged_discriminator_lies():
    assert overfit(logged(2.0, -2.0, 0.0, zero=7.0)) == pytest.approx(0.5)


def test_a_discriminator_that_knows_its_pictures_by_heart_is_named():
    assert rival_overfits(told(logged(2.0, -2.0, -1.5))).level == "caution"
    assert rival_overfits(told(logged(2.0, -2.0, 1.5))) is None


@pytest.mark.parametrize("log", [(), [{"step": 1, "loss": 2.0}], logged(1.0, 1.0, 0.0), logged(1, 0, 0.5)[:-1]])
def test_nothing_is_said_of_a_discriminator_that_is_not_there_or_tells_nothing_apart(log):
    assert overfit(log) is None


def test_only_what_was_logged_is_drawn():
    assert curves([{"step": 1, "loss": 2.0}]) == []
    assert [curve.title for curve in curves(logged(1, 0, 0.5))] == ["What the discriminator says"]
    ada = [{"step": i, "told/p": i / 10} for i in range(5)]
    assert [curve.title for curve in curves(ada)] == ["Chance of augmentation"]


def test_the_findings_of_a_run_hold_those_of_its_generator():
    story = told(logged(2.0, -2.0, -1.5), precision=0.7, recall=0.05, coverage=0.1, authenticity=0.05)
    said = " ".join(finding.text for finding in findings(story))
    assert "Mode collapse" in said and "copy training pictures" in said and "by heart" in said
