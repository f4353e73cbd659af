"""Listing what there is: every name that is listed can be used."""

from __future__ import annotations

import pytest

import visus
from visus.core.errors import UsageError
from visus.core.recipe import Recipe

KINDS = ["formats", "losses", "models", "optimisers", "schedules", "settings", "tasks"]


def test_without_a_word_the_lists_are_listed():
    assert [row[0] for row in visus.list().rows] == KINDS


@pytest.mark.parametrize("what", KINDS)
def test_every_list_has_rows_of_its_columns(what):
    table = visus.list(what)
    assert table.rows and all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize("what", ["formats", "losses", "tasks"])
def test_every_name_says_what_it_is(what):
    assert all(len(row[-1]) > 10 for row in visus.list(what).rows)


def test_every_setting_is_listed_with_its_default():
    rows = dict(visus.list("settings").rows)
    assert rows.keys() == Recipe().flat().keys() and rows["batch"] == "64"


def test_a_part_of_a_name_is_enough():
    assert [row[0] for row in visus.list("settings", "optim.l").rows] == ["optim.lr"]
    assert any(row[0] == "resnet18" for row in visus.list("models", "resnet18").rows)


def test_a_misspelt_list_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        visus.list("optimizers")
    assert caught.value.fix == "did you mean 'optimisers'?"
