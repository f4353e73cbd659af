"""Confident learning, against cleanlab where it is installed, and what the check says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from visus.checks import CHECKS, Finding, Subject
from visus.checks.labels import are_issues, confident, contradictions, noise_rate, thresholds
from visus.data.dataset import ArrayImages, Dataset, Strings

CASES = given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 7), n=st.integers(30, 200))


def case(seed: int, k: int, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels, some of them wrong, and probabilities that know more or less of the truth."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, k, n)
    labels = np.where(random.random(n) < 0.15, random.integers(0, k, n), truth)
    labels[:k] = np.arange(k)
    logits = random.normal(size=(n, k)) + random.uniform(0.5, 4) * np.eye(k)[truth]
    said = np.exp(logits)
    return labels, said / said.sum(1, keepdims=True)


def decided_otherwise(labels: NDArray[np.int64], said: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the records for which cleanlab departs from the paper.

    Where several classes reach their thresholds it takes the likeliest of all, even one that does not reach its own.
    """
    reached = said >= thresholds(labels, said) - 1e-6
    return (reached.sum(1) > 1) & ~reached[np.arange(len(said)), said.argmax(1)]


@CASES
def test_thresholds_are_cleanlabs(seed, k, n):
    cleanlab = pytest.importorskip("cleanlab", reason="the oracle is not installed")
    labels, said = case(seed, k, n)
    from cleanlab.count import get_confident_thresholds

    assert cleanlab
    np.testing.assert_allclose(thresholds(labels, said), get_confident_thresholds(labels, said), atol=1e-12)


@CASES
def test_the_ranking_is_cleanlabs(seed, k, n):
    pytest.importorskip("cleanlab", reason="the oracle is not installed")
    from cleanlab.rank import get_label_quality_scores

    labels, said = case(seed, k, n)
    theirs = get_label_quality_scores(labels, said, method="self_confidence")
    np.testing.assert_allclose(contradictions(labels, said), 1 - theirs, atol=1e-12)


@CASES
def test_issues_are_cleanlabs_where_it_follows_the_paper(seed, k, n):
    pytest.importorskip("cleanlab", reason="the oracle is not installed")
    from cleanlab.filter import find_label_issues

    labels, said = case(seed, k, n)
    theirs = find_label_issues(labels, said, filter_by="confident_learning", n_jobs=1)
    same = ~decided_otherwise(labels, said)
    np.testing.assert_array_equal(are_issues(labels, said)[same], theirs[same])


@CASES
def test_the_count_of_issues_is_cleanlabs_where_it_follows_the_paper(seed, k, n):
    pytest.importorskip("cleanlab", reason="the oracle is not installed")
    from cleanlab.count import num_label_issues

    labels, said = case(seed, k, n)
    if not decided_otherwise(labels, said).any():
        assert are_issues(labels, said).sum() == num_label_issues(labels, said, estimation_method="off_diagonal")


def test_a_case_counted_by_hand():
    labels = np.array([0, 0, 0, 1, 1])
    said = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.5, 0.5]])
    np.testing.assert_allclose(thresholds(labels, said), [0.6, 0.6])
    assert confident(labels, said).tolist() == [0, 0, 1, 1, -1]
    assert are_issues(labels, said).tolist() == [False, False, True, False, False]
    np.testing.assert_allclose(contradictions(labels, said), [0.1, 0.2, 0.9, 0.3, 0.5])


@CASES
def test_the_interval_holds_the_estimate_and_is_no_share_beyond_one(seed, k, n):
    rate, low, high = noise_rate(*case(seed, k, n))
    assert 0 <= low <= rate + 1e-9 and rate - 1e-9 <= high <= 1


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.2])
def test_the_estimate_is_near_what_was_planted_although_models_err(share):
    random = np.random.default_rng(0)
    truth = random.integers(0, 5, 40_000)
    logits = random.normal(size=(40_000, 5)) + random.uniform(0, 6, (40_000, 1)) * np.eye(5)[truth]
    said = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert (said.argmax(1) == truth).mean() < 0.85
    labels = np.where(random.random(40_000) < share, (truth + random.integers(1, 5, 40_000)) % 5, truth)
    rate, low, high = noise_rate(labels, said)
    assert low - 0.003 < share < high and rate == pytest.approx(share, abs=0.02)


def subject(
    labels: NDArray[np.generic], said: Callable[[], NDArray[np.floating]] | None, column: str = "label"
) -> Subject:
    dataset = Dataset(
        "set", Path(), "folder", "", Strings([f"{i}.png" for i in range(len(labels))]),
        ArrayImages(np.zeros((len(labels), 2, 2), np.uint8)), {column: labels}, np.zeros(len(labels), np.uint8),
        ("cat", "dog", "owl"),
    )  # fmt: skip
    return Subject(dataset, None, None, lambda: np.zeros((len(labels), 1), np.float32), said, lambda line: None)


def looked(labels: NDArray[np.int64], said: NDArray[np.floating] | None) -> list[Finding]:
    return list(CHECKS["labels"].look(subject(labels, None if said is None else lambda: said)))


def test_nothing_is_said_where_labels_are_not_to_be_examined():
    assert looked(np.arange(9) % 3, None) == []


def test_contradicted_labels_are_ranked_with_what_they_seem_to_be():
    labels, said = np.arange(30) % 3, np.eye(3)[np.arange(30) % 3] * 0.9 + 1 / 30
    said[4], said[7] = [0.96, 0.01, 0.03], [0.02, 0.0, 0.98]  # both labelled dog
    (found,) = looked(labels, said)
    assert (found.code, found.level) == ("CHECK-050", "warning")
    assert found.title.startswith("small models disagree with 2 of 30 labels: too few pictures to estimate")
    assert [item.file for item in found.items] == ["7.png", "4.png"]
    assert found.items[0].why == "labelled dog, looks like owl (98% against 0%)"
    told = found.json()["items"][1]
    assert (told["label"], told["suggested"]) == ("dog", "cat")
    assert told["probabilities"] == {"cat": 0.96, "dog": 0.01}


def test_a_share_of_wrong_labels_is_estimated_where_enough_pictures_are_sure():
    labels, said = np.arange(3000) % 3, np.eye(3)[np.arange(3000) % 3] * 0.9 + 1 / 30
    said[4] = [0.96, 0.01, 0.03]
    assert "; by estimate 0.7% of all labels are wrong (0.1% to 3.7%)" in looked(labels, said)[0].title


def test_labels_that_nothing_contradicts_give_no_finding():
    labels = np.arange(30) % 3
    assert looked(labels, np.eye(3)[labels] * 0.9 + 1 / 30) == []


def test_records_without_a_label_or_an_answer_are_left_out_and_the_latter_counted():
    labels, said = np.arange(30) % 3, np.eye(3)[np.arange(30) % 3] * 0.9 + 1 / 30
    labels[0], said[0], said[1] = -1, np.nan, np.nan
    (found,) = looked(labels, said)
    assert (found.code, found.level) == ("CHECK-052", "note") and found.title.startswith("1 label could not")


def test_data_with_several_classes_a_picture_is_told_to_come_later():
    (found,) = CHECKS["labels"].look(subject(np.zeros((9, 3), np.uint8), lambda: np.zeros((9, 3)), "labels"))
    assert (found.code, found.level) == ("CHECK-051", "note")
