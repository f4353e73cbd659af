"""Probabilities by models that did not learn from the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from tests.verbs.examples import TINY

from visus.checks.labels import contradictions
from visus.core.recipe import Choice, Recipe
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.verbs.choosing import resolve
from visus.verbs.out_of_fold import EPOCHS, FOLDS, LOOKS, NETWORKS, folds, judged_out_of_fold, of_length, out_of_fold


@pytest.fixture(scope="module")
def digits() -> tuple[Dataset, NDArray[np.float32]]:
    """Return 600 digits and their pixels as features."""
    bunch = load_digits()
    pixels, labels = bunch.images[:600].astype(np.uint8), bunch.target[:600]
    dataset = Dataset(
        "digits", Path(), "digits", "", Strings([str(i) for i in range(600)]), ArrayImages(pixels),
        {"label": labels.astype(np.int64)}, (np.arange(600) % 3).astype(np.uint8), tuple(map(str, range(10))),
    )  # fmt: skip
    return dataset, (pixels.reshape(600, -1) + 1).astype(np.float32)


def silent(line: str) -> None:
    """Hear nothing."""


def test_the_models_know_pictures_they_did_not_learn_from(digits):
    dataset, features = digits
    said = out_of_fold(dataset, Recipe(), silent, lambda: features)
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)
    assert (said.argmax(1) == dataset.columns["label"]).mean() > 0.9


def test_the_probabilities_are_calibrated(digits):
    dataset, features = digits
    said = out_of_fold(dataset, Recipe(), silent, lambda: features)
    right = said.argmax(1) == dataset.columns["label"]
    assert abs(said.max(1).mean() - right.mean()) < 0.03


def test_a_label_has_no_say_in_its_own_probabilities_beyond_their_common_temperature(digits):
    dataset, features = digits
    before = out_of_fold(dataset, Recipe(), silent, lambda: features)
    labels = dataset.columns["label"]
    fold = folds(labels, None, 0)

    def swapped(i: int) -> NDArray[np.int64]:
        order = np.arange(len(labels))
        order[[i, i + 1]] = i + 1, i
        return labels[order]

    pairs = (i for i in range(599) if labels[i] != labels[i + 1] and fold[i] == fold[i + 1])
    i = next(i for i in pairs if (folds(swapped(i), None, 0) == fold).all())
    after = out_of_fold(dataset.with_(columns={"label": swapped(i)}), Recipe(), silent, lambda: features)
    here = fold == fold[i]
    np.testing.assert_allclose(after[here], before[here], atol=0.01)
    assert np.abs(after[~here] - before[~here]).max() > 0.01


def test_planted_mistakes_are_among_the_first_tenth(digits):
    dataset, features = digits
    random = np.random.default_rng(0)
    moved = random.choice(600, 30, replace=False)
    labels = dataset.columns["label"].copy()
    labels[moved] = (labels[moved] + random.integers(1, 10, 30)) % 10
    said = out_of_fold(dataset.with_(columns={"label": labels}), None, silent, lambda: features)
    first = np.argsort(-contradictions(labels, said))[:60]
    assert np.isin(moved, first).mean() >= 0.9


def test_the_same_seed_gives_the_same_bits_and_another_other_folds(digits):
    dataset, features = digits
    a, b = (out_of_fold(dataset, Recipe(), silent, lambda: features) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert (a != out_of_fold(dataset, Recipe(seed=1), silent, lambda: features)).any()


def test_what_cannot_be_judged_is_not_a_number(digits):
    dataset, features = digits
    labels, features = dataset.columns["label"].copy(), features.copy()
    labels[0], features[1], labels[2:] = -1, 0, labels[2:] % 9
    labels[5] = 9  # the only one of its class
    said = out_of_fold(dataset.with_(columns={"label": labels}), None, silent, lambda: features)
    assert np.flatnonzero(np.isnan(said).any(1)).tolist() == [0, 1, 5]
    assert np.isnan(said[[0, 1, 5]]).all() and (said[2:5, 9] == 0).sum() >= 1


@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1], [-1, -1]])
def test_labels_of_which_nothing_can_be_learned_give_no_number_and_no_error(labels):
    n = len(labels)
    dataset = Dataset(
        "few", Path(), "folder", "", Strings([str(i) for i in range(n)]), ArrayImages(np.zeros((n, 4, 4), np.uint8)),
        {"label": np.array(labels)}, np.zeros(n, np.uint8), ("a", "b"),
    )  # fmt: skip
    assert np.isnan(out_of_fold(dataset, None, silent, lambda: np.ones((n, 3), np.float32))).all()


def test_two_classes_have_probabilities_too(digits):
    dataset, features = digits
    two = np.flatnonzero(dataset.columns["label"] < 2)
    only = Dataset(
        "two", Path(), "digits", "", Strings([str(i) for i in two]), ArrayImages(dataset.images.array[two]),
        {"label": dataset.columns["label"][two]}, np.zeros(len(two), np.uint8), ("0", "1"),
    )  # fmt: skip
    said = out_of_fold(only, None, silent, lambda: features[two])
    assert (said.argmax(1) == only.columns["label"]).mean() > 0.95


def test_folds_are_stratified():
    labels = np.repeat([0, 1, 2], [50, 25, 10])
    fold = folds(labels, None, 0)
    counts = np.array([np.bincount(fold[labels == k], minlength=FOLDS) for k in range(3)])
    assert counts.tolist() == [[10] * 5, [5] * 5, [2] * 5]


def test_groups_stay_in_one_fold():
    labels, groups = np.arange(120) % 3, np.arange(120) // 6
    fold = folds(labels, groups, 0)
    assert all(len(set(fold[groups == group])) == 1 for group in range(20)) and len(set(fold)) == FOLDS


def few(digits: tuple[Dataset, NDArray[np.float32]]) -> tuple[Dataset, Recipe]:
    """Return 90 digits, and how a small network learns them in a few steps."""
    whole = digits[0]
    dataset = whole.with_(
        ids=Strings(list(whole.ids)[:90]), images=ArrayImages(whole.images.array[:90]),
        columns={"label": whole.columns["label"][:90]}, split=np.zeros(90, np.uint8),
    )  # fmt: skip
    settings = {**TINY, "steps": 4, "device": "cpu", "threads": 1}
    return dataset, resolve(dataset, [Choice(key, value, "test") for key, value in settings.items()])


def answers(dataset: Dataset, recipe: Recipe, known: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what networks say of some records, in their order, by the metric of the task."""
    metric = judged_out_of_fold(dataset, recipe, known, lambda row: None, timed=True)
    assert metric.indices.tolist() == known.tolist()
    return metric.ordered()["logits"].numpy()


def test_networks_of_any_task_are_asked_only_about_what_they_did_not_learn_from(digits):
    dataset, recipe = few(digits)
    known, labels = np.setdiff1d(np.arange(90), [3, 50]), dataset.columns["label"]
    fold = folds(labels[known] + 1, None, recipe.seed, NETWORKS)
    before = answers(dataset, recipe, known)

    def swapped(i: int, j: int) -> NDArray[np.int64]:
        order = np.arange(90)
        order[known[[i, j]]] = known[[j, i]]
        return labels[order]

    pairs = ((i, j) for i in range(40) for j in range(i + 1, 60)
             if fold[i] == fold[j] and labels[known[i]] != labels[known[j]])  # fmt: skip
    i, j = next(
        (i, j) for i, j in pairs if (folds(swapped(i, j)[known] + 1, None, recipe.seed, NETWORKS) == fold).all()
    )
    after = answers(dataset.with_(columns={"label": swapped(i, j)}), recipe, known)
    np.testing.assert_array_equal(after[fold == fold[i]], before[fold == fold[i]])
    assert all((after[fold == other] != before[fold == other]).any() for other in {*range(NETWORKS)} - {fold[i]})


def test_pictures_of_a_single_group_are_asked_of_no_network(digits):
    dataset, recipe = few(digits)
    whole = dataset.with_(groups=np.zeros(90, np.int64))
    assert len(judged_out_of_fold(whole, recipe, np.arange(90), lambda row: None, timed=True).indices) == 0


def test_the_length_that_was_asked_for_stands_and_minutes_are_those_of_all_networks():
    assert of_length(Recipe(epochs=7), 50, 3, True).epochs == 7
    assert of_length(Recipe(minutes=12), 50, 3, True).minutes == 4
    assert of_length(Recipe(steps=9, batch=64), 50, 3, True).batch == 50


@pytest.mark.parametrize(("pictures", "epochs"), [(100, EPOCHS), (LOOKS // 10, 10.0), (10 * LOOKS, 0.1)])
def test_without_a_length_each_network_is_shown_a_bounded_number_of_pictures(pictures, epochs):
    recipe = of_length(Recipe(steps=9), pictures, 3, False)
    assert (recipe.epochs, recipe.steps, recipe.minutes) == (epochs, None, None)
