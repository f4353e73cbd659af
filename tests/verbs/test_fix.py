"""From a finding to a list, from a list to a copy, and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.data.examples import write_tree

import visus
from visus.checks import Finding, Item
from visus.core.errors import UsageError
from visus.core.recipe import DataSettings
from visus.data.reading import open_data
from visus.verbs.fix import free_list, write_fixes


@pytest.fixture
def photos(tmp_path):
    return write_tree(tmp_path / "photos", {"cat": 4, "dog": 4})


@pytest.fixture
def fixes(photos, tmp_path):
    """Return a list of two fixes, of which one is meant."""
    dataset = open_data(photos, DataSettings())
    items = [
        Item(dataset.ids[i], "warned", "looks like dog", index=i,
             more={"label": "cat", "suggested": "dog", "probabilities": {"dog": said}})
        for i, said in ((1, 0.99), (2, 0.3))
    ]  # fmt: skip
    finding = Finding(
        "CHECK-050", "warning", "", "", "", (*items, Item("x", "warned", "no class")), consequence="mislead"
    )
    write_fixes(dataset, [finding], tmp_path / "fixes.json")
    told = json.loads((tmp_path / "fixes.json").read_text())
    assert [item["apply"] for item in told["items"]] == [False, False]
    told["items"][0]["apply"] = True
    (tmp_path / "fixes.json").write_text(json.dumps(told))
    return tmp_path / "fixes.json"


def test_a_finding_becomes_a_list_in_which_none_is_meant_before_somebody_says_so(fixes):
    told = json.loads(fixes.read_text())
    assert (told["visus"], told["version"], told["data"]["name"]) == ("fixes", 1, "photos")
    assert told["items"] == [
        {"file": "cat/1.png", "from": "cat", "to": "dog", "reason": "looks like dog", "apply": True},
        {"file": "cat/2.png", "from": "cat", "to": "dog", "reason": "looks like dog", "apply": False},
    ]


def test_fixes_are_applied_to_a_copy_and_taken_back(photos, fixes, tmp_path):
    done = visus.fix(photos, fixes, out=tmp_path / "copy")
    assert (len(done.applied), done.listed, done.undone) == (1, 2, False)
    assert np.bincount(open_data(tmp_path / "copy", DataSettings()).columns["label"]).tolist() == [3, 5]
    back = visus.fix(undo=tmp_path / "copy")
    assert back.undone and back.applied == done.applied
    assert sorted(p.relative_to(tmp_path / "copy") for p in (tmp_path / "copy").rglob("*")) == sorted(
        p.relative_to(photos) for p in photos.rglob("*")
    )


def test_a_list_that_somebody_works_on_is_never_written_over(fixes, tmp_path):
    assert free_list(tmp_path / "new") == tmp_path / "new/fixes.json"
    assert free_list(tmp_path) == tmp_path / "fixes-2.json"  # one of its fixes is meant
    (tmp_path / "fixes-2.json").write_text('{"visus": "fixes", "ver')
    assert free_list(tmp_path) == tmp_path / "fixes-3.json"
    fixes.write_text(fixes.read_text().replace("true", "false"))
    assert free_list(tmp_path) == fixes


@pytest.mark.parametrize(
    "given",
    [
        {}, {"data": "x"}, {"fixes": "x"}, {"data": "x", "fixes": "y"}, {"out": "z"}, {"data": "x", "undo": "w"},
        {"data": "x", "fixes": "y", "out": "z", "undo": "w"},
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_together_are_refused(given):
    with pytest.raises(UsageError) as raised:
        visus.fix(**given)
    assert raised.value.code == "USE-049"


def test_data_that_lies_in_no_file_is_refused(fixes, tmp_path):
    told = json.loads(fixes.read_text()) | {"data": {"name": "digits", "format": "digits", "fingerprint": ""}}
    fixes.write_text(json.dumps(told))
    with pytest.raises(visus.VisusError) as raised:
        visus.fix("digits", fixes, out=tmp_path / "copy")
    assert raised.value.code == "DATA-336"
