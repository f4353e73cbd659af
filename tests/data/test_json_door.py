"""JSON of strangers: read as Python reads it, or refused with file and place, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visus.core.errors import DataError
from visus.data.json_door import members


def whole(path: Path, lists: tuple[str, ...] = ()) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, Iterator) else value for key, value in members(path, lists)}


def refused(path: Path, data: bytes | str) -> DataError:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(DataError) as caught:
        whole(path, ("images",))
    assert str(path) in caught.value.what
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.json"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text() | st.just("images"), VALUES, max_size=5), st.sampled_from([None, 1]))
def test_an_object_is_what_python_reads_whether_its_lists_come_piecewise_or_not(tmp_path_factory, document, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(document, indent=indent))
    assert whole(path) == whole(path, ("images",)) == document


def test_a_byte_order_mark_and_blanks_are_passed_over(path: Path):
    path.write_bytes(b'\xef\xbb\xbf \r\n\t{ "a" : [ ] , "images" :\n[ 1 , 2 ] }\n')
    assert whole(path, ("images",)) == {"a": [], "images": [1, 2]}


def test_a_list_comes_element_by_element(path: Path):
    path.write_text('{"images": [1, 2, nonsense')
    key, value = next(members(path, ("images",)))
    assert (key, next(value), next(value)) == ("images", 1, 2)


@pytest.mark.parametrize(
    ("text", "code", "told", "where"),
    [
        ("", "DATA-200", "the file is empty", ""),
        (" \n", "DATA-200", "the file is empty", ""),
        ("{", "DATA-200", "the file ends early", "line 1, column 2"),
        ('{"a": 1', "DATA-200", "the file ends early", ""),
        ('{"images": [1,\n 2', "DATA-200", "the file ends early", "line 2, column 3, in images[1]"),
        ('{"images": [1, {"b": }]}', "DATA-200", "expecting value", "in images[1]"),
        ('{"images": [1, 2,]}', "DATA-200", "a comma with nothing after it", "in images[1]"),
        ('{"images": [1 2]}', "DATA-200", "a comma is expected", "in images[0]"),
        ('{"a": 1,}', "DATA-200", "a comma with nothing after it", "line 1, column 9"),
        ('{"a" 1}', "DATA-200", "a colon is expected after 'a'", ""),
        ("{a: 1}", "DATA-200", "a key in quotation marks is expected", ""),
        ("{,}", "DATA-200", "a key in quotation marks is expected", ""),
        ('{"a": 1} x', "DATA-200", "more text after the end", "column 10"),
        ('{"a": "x\ny"}', "DATA-200", "invalid control character", "in a"),
        ('{"a": 1' + "0" * 5000 + "}", "DATA-200", "4300 digits", ""),
        ('{"images": [' + "[" * 100_000, "DATA-200", "nested without end", "line 1"),
        ('{"images": [{"a": ' + '{"a": ' * 100_000, "DATA-200", "nested without end", ""),
        ('{"a": 1, "a": 2}', "DATA-201", "'a' is there twice", "line 1"),
        ('{"images": [{"b": 1, "b": 2}]}', "DATA-201", "images[0]: the key 'b' is there twice", ""),
        ('{"images": [1, NaN]}', "DATA-202", "images[1]: NaN is no number", ""),
        ('{"images": [{"name": "Infinity", "width": NaN}]}', "DATA-202", "images[0].width: NaN is no number", ""),
        ('{"a": -Infinity}', "DATA-202", "-Infinity is no number", ""),
        ("[1]", "DATA-203", "it holds a list", ""),
        ("null", "DATA-203", "it holds null", ""),
        ("0", "DATA-203", "it holds a number or word", ""),
        ("<html>", "DATA-200", "it begins as no JSON does", ""),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(path: Path, text, code, told, where):
    error = refused(path, text)
    assert error.code == code and told in error.what and where in error.where


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"a": "caf\xe9"}', "the text is not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "UTF-16"),
        ('{"a": 1}'.encode("utf-32-be"), "UTF-16 or UTF-32"),
        (b"\0\0\0\0", "UTF-16 or UTF-32"),
        (b'{"a": "\0"}', "invalid control character"),
    ],
)
def test_other_encodings_are_refused(path: Path, data, told):
    error = refused(path, data)
    assert error.code == "DATA-200" and told in error.what


def test_a_file_of_more_bytes_than_are_read_is_refused_before_it_is_read(path: Path, monkeypatch):
    monkeypatch.setattr("visus.data.json_door.MOST_BYTES", 10)
    assert "more than the 10 bytes" in refused(path, '{"a": "0123456789"}').what


def test_half_a_character_in_a_key_is_told_as_text(path: Path):
    assert r"\ud800" in refused(path, r'{"\ud800": 1, "\ud800": 2}').what


@given(st.binary(max_size=60) | st.text('{}[]",:0123456789.eE+-truefalsn \\u', max_size=60).map(str.encode))
def test_any_bytes_are_an_object_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_bytes(data)
    try:
        found = whole(path, ("images",))
    except DataError:
        return
    assert found == json.loads(data)
