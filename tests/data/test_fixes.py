"""Lists of fixes: what is written is read, and every fault in one is named with its item and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.examples import write_tree

from visus.core.errors import DataError, VisusError
from visus.core.recipe import DataSettings
from visus.data.dataset import Dataset
from visus.data.fixes import Fix, changes, read, write
from visus.data.reading import open_data


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    root = write_tree(tmp_path_factory.mktemp("data") / "photos", {"cat": 5, "dog": 5, "owl": 5})
    return open_data(root, DataSettings(), carve=False)


def document(dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Return a list of two fixes as it is written."""
    write(folder / "fixes.json", dataset, [Fix("cat/0.png", "cat", "dog", "why"), Fix("dog/1.png", "dog", None)])
    return json.loads((folder / "fixes.json").read_text())


def refused(path: Path, told: object, dataset: Dataset) -> DataError:
    path.write_text(json.dumps(told))
    with pytest.raises(DataError) as raised:
        changes(path, read(path), dataset)
    assert raised.value.done == "nothing was written" and raised.value.fix
    return raised.value


def test_what_was_written_is_read(dataset, tmp_path):
    items = (Fix("cat/0.png", "cat", "dog", "looks like it"), Fix("dog/1\udcff.png", "", None, "é", apply=False))
    write(tmp_path / "fixes.json", dataset, items)
    assert read(tmp_path / "fixes.json").items == items


def test_only_fixes_that_are_meant_become_changes(dataset, tmp_path):
    told = document(dataset, tmp_path)
    told["items"][1]["apply"] = False
    (tmp_path / "fixes.json").write_text(json.dumps(told))
    found = changes(tmp_path / "fixes.json", read(tmp_path / "fixes.json"), dataset)
    assert found == {list(dataset.ids).index("cat/0.png"): dataset.classes.index("dog")}


def test_null_takes_a_record_out(dataset, tmp_path):
    document(dataset, tmp_path)
    found = changes(tmp_path / "fixes.json", read(tmp_path / "fixes.json"), dataset)
    assert found[list(dataset.ids).index("dog/1.png")] == -1


def test_carved_splits_do_not_matter(dataset, tmp_path):
    carved = open_data(dataset.root, DataSettings(), seed=3)
    assert carved.carved and carved.fingerprint() != dataset.fingerprint()
    write(tmp_path / "fixes.json", carved, [Fix("cat/0.png", "cat", "dog")])
    assert changes(tmp_path / "fixes.json", read(tmp_path / "fixes.json"), dataset)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("file", "cat/9.png", "DATA-333"), ("file", "../cat/0.png", "DATA-333"), ("file", "/etc/passwd", "DATA-333"),
        ("file", "cat/0.png\0", "DATA-333"), ("file", "", "DATA-333"), ("file", "dog/1.png", "DATA-333"),
        ("file", 3, "DATA-331"), ("file", None, "DATA-331"), ("file", "\ud800", "DATA-331"),
        ("from", "dog", "DATA-334"), ("from", "", "DATA-334"), ("from", [], "DATA-331"), ("from", None, "DATA-331"),
        ("to", "horse", "DATA-334"), ("to", "", "DATA-334"), ("to", "DOG", "DATA-334"), ("to", 1, "DATA-331"),
        ("to", {"a": 1}, "DATA-331"), ("reason", None, "DATA-331"), ("reason", 0.5, "DATA-331"),
        ("apply", "true", "DATA-331"), ("apply", 1, "DATA-331"), ("apply", None, "DATA-331"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_its_item_and_key(dataset, tmp_path, key, value, code):
    told = document(dataset, tmp_path)
    told["items"].reverse()
    told["items"][1][key] = value
    error = refused(tmp_path / "fixes.json", told, dataset)
    assert error.code == code and f"items[1].{key}: " in error.what and len(str(error).splitlines()) <= 5


@pytest.mark.parametrize("key", ["file", "from", "to", "reason", "apply"])
def test_a_missing_key_is_named(dataset, tmp_path, key):
    told = document(dataset, tmp_path)
    del told["items"][0][key]
    error = refused(tmp_path / "fixes.json", told, dataset)
    assert error.code == "DATA-331" and f"items[0].{key}: the key is missing" in error.what


def test_a_misspelt_key_is_answered_with_the_nearest(dataset, tmp_path):
    told = document(dataset, tmp_path)
    told["items"][0]["aply"] = True
    assert refused(tmp_path / "fixes.json", told, dataset).fix == "did you mean 'apply'?"


@pytest.mark.parametrize(
    ("place", "value"),
    [("items", None), ("items", {}), ("items", "x"), ("items", [3]), ("items", [None]), ("data", None), ("data", []),
     ("data", {}), ("data", {"name": "a", "format": 3, "fingerprint": "x"})],
)  # fmt: skip
def test_a_bad_frame_is_named(dataset, tmp_path, place, value):
    told = document(dataset, tmp_path) | {place: value}
    error = refused(tmp_path / "fixes.json", told, dataset)
    assert error.code == "DATA-331" and f": {place}" in error.what


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xfe", b"[]", b"3", b"{", b"[" * 100_000, b"1" * 10_000, b'{"visus": "fixes"}',
     b'{"visus": "fixes", "version": 2}', b'{"visus": "fixes", "version": true}', b'{"visus": "other", "version": 1}',
     b'{"visus": "fixes", "visus": "fixes", "version": 1}', b"\0"],
)  # fmt: skip
def test_what_is_no_list_is_refused(tmp_path, text):
    (tmp_path / "fixes.json").write_bytes(text)
    with pytest.raises(DataError) as raised:
        read(tmp_path / "fixes.json")
    assert raised.value.code == "DATA-330"


def test_a_list_for_other_data_is_refused(dataset, tmp_path):
    told = document(dataset, tmp_path)
    told["data"]["fingerprint"] = "0" * 64
    assert refused(tmp_path / "fixes.json", told, dataset).code == "DATA-332"


def test_a_list_in_which_nothing_is_meant_is_refused(dataset, tmp_path):
    told = document(dataset, tmp_path)
    for item in told["items"]:
        item["apply"] = False
    assert refused(tmp_path / "fixes.json", told, dataset).code == "DATA-335"


def test_a_misspelt_class_is_answered_with_the_nearest(dataset, tmp_path):
    told = document(dataset, tmp_path)
    told["items"][0]["to"] = "dogs"
    assert refused(tmp_path / "fixes.json", told, dataset).fix == "did you mean 'dog'?"


@given(st.data())
def test_no_edit_of_a_list_makes_more_than_an_error_of_ours(dataset, tmp_path_factory, draw):
    folder = tmp_path_factory.mktemp("fixes")
    whole = json.dumps(document(dataset, folder)).encode()
    at = draw.draw(st.integers(0, len(whole)))
    text = whole[:at] + draw.draw(st.binary(max_size=4)) + whole[at + draw.draw(st.integers(0, 4)) :]
    (folder / "fixes.json").write_bytes(text)
    try:
        found = changes(folder / "fixes.json", read(folder / "fixes.json"), dataset)
    except VisusError as error:
        assert len(str(error).splitlines()) <= 5
        str(error).encode()
    else:
        assert all(0 <= i < len(dataset) and -1 <= to < 3 for i, to in found.items())
