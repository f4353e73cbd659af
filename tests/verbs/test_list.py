"""Listing what there is: every name that is listed can be used."""

from __future__ import annotations

import pytest

import visus
from visus.core.errors import UsageError
from visus.core.recipe import Recipe

KINDS = [
    "compressors", "explainers", "exporters", "formats", "losses", "models", "optimisers", "schedules", "settings",
    "suppressions", "tasks",
]  # fmt: skip


def test_without_a_word_the_lists_are_listed():
    assert [row[0] for row in visus.list().rows] == KINDS


@pytest.mark.parametrize("what", KINDS)
def test_every_list_has_rows_of_its_columns(what):
    table = visus.list(what)
    assert table.rows and all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize(
    "what", ["exporters", "formats", "losses", "optimisers", "schedules", "settings", "suppressions", "tasks"]
)
def test_every_name_says_what_it_is(what):
    said = [row[-1] for row in visus.list(what).rows]
    assert all(len(words) > 10 for words in said) and len(set(said)) == len(said)


def test_every_setting_is_listed_with_its_default():
    rows = {row[0]: row for row in visus.list("settings").rows}
    assert rows.keys() == Recipe().flat().keys()
    assert rows["batch"] == ("batch", "64", "images a step, over all ranks. Takes a whole number above 0.")


def test_optimisers_that_cannot_be_used_are_not_listed():
    listed = {row[0] for row in visus.list("optimisers", "*").rows}
    assert {"lion", "adamw"} <= listed and not {"bnbadam", "fusedadam", "adahessian"} & listed


def test_a_part_of_no_name_is_an_error():
    with pytest.raises(UsageError, match="no settings with 'zebra'"):
        visus.list("settings", "zebra")


def test_a_part_of_a_name_is_enough():
    assert [row[0] for row in visus.list("settings", "optim.l").rows] == ["optim.lr"]
    assert any(row[0] == "resnet18" for row in visus.list("models", "resnet18").rows)


def test_a_misspelt_list_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        visus.list("optimizers")
    assert caught.value.fix == "did you mean 'optimisers'?"
