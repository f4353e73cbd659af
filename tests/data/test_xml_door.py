"""The door for XML: nothing is declared, expanded or fetched, and what is read comes back as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visus.core.errors import DataError
from visus.data.xml_door import Element, escaped, plain_values, read_xml, write_values


def read(tmp_path: Path, data: bytes | str) -> Element:
    (tmp_path / "a.xml").write_bytes(data.encode() if isinstance(data, str) else data)
    return read_xml(tmp_path / "a.xml")


def test_elements_bear_their_line_text_and_children(tmp_path: Path):
    root = read(tmp_path, "<a x='1'>\n<b> one </b>\n<b/><c><![CDATA[<two>]]></c></a>")
    assert root.attributes == {"x": "1"} and [child.name for child in root.children] == ["b", "b", "c"]
    assert root.children[0].line == 2 and root.children[0].stripped == "one"
    assert root.first("c").text == "<two>" and root.first("d") is None and len(list(root.all("b"))) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_text_is_read_in_the_encoding_that_is_declared(encoding: str, tmp_path: Path):
    declared = encoding.removesuffix("-sig").replace("cp", "windows-")
    data = f'<?xml version="1.0" encoding="{declared}"?><a>größe</a>'.encode(encoding)
    assert read(tmp_path, data).text == "größe"


@pytest.mark.parametrize(
    "declared",
    [
        "<!DOCTYPE a>", '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">',
        '<!DOCTYPE a [<!ENTITY x "y">]>', '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x">%p;]>',
    ],
)  # fmt: skip
def test_a_document_type_is_refused_before_anything_of_it_is_read(declared: str, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, f"<?xml version='1.0'?>\n{declared}<a>&x;</a>")
    assert caught.value.code == "DATA-232" and "a.xml" in caught.value.what and caught.value.where == "line 2"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", "is empty"), (" \n", "is empty"), ("<a>", "no element found"), ("<a></b>", "mismatched tag"),
        ("<a>&x;</a>", "undefined entity"), (b"<a>\xff</a>", "invalid token"), (b"<a>\0</a>", "invalid token"),
        ("<a/><b/>", "junk after document element"), ("<a " * 3, "not well-formed"),
        ("<?xml version='1.0' encoding='hex'?><a/>", "encoding"),
        ("<?xml version='1.0' encoding='big5'?><a/>", "encoding"),
        ("<a>" * 40, "more than 32 elements deep"), ("<a>" + "<b/>" * 100_001 + "</a>", "more than 100,000 elements"),
        (b"<a>" + b" " * (1 << 23) + b"</a>", "more than 8,388,608 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_small_well_formed_file_is_refused(data: bytes | str, told: str, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, data)
    assert caught.value.code == "DATA-231" and told in str(caught.value) and "a.xml" in caught.value.what


def test_long_text_in_many_pieces_is_read_at_once(tmp_path: Path):
    assert len(read(tmp_path, "<a>" + "&lt;x" * 500_000 + "</a>").text) == 1_000_000


names = st.sampled_from(["pose", "part", "difficult", "x-1", "y.z"])
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8).map(str.strip)
values = st.recursive(
    texts,
    lambda inner: st.dictionaries(names, inner | st.lists(inner, min_size=2, max_size=3), min_size=1, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(names, values, min_size=1))
def test_what_is_said_comes_back_from_xml_as_json_has_it(value: dict, tmp_path_factory: pytest.TempPathFactory):
    text = "<a>" + "".join(write_values(name, held) for name, held in value.items()) + "</a>"
    root = read(tmp_path_factory.mktemp("xml"), text)
    assert plain_values(root) == json.loads(json.dumps(value))


def test_attributes_and_text_beside_children_are_kept(tmp_path: Path):
    text = '<a><b k="v&quot;">one<c>two</c></b></a>'
    value = plain_values(read(tmp_path, text))
    assert value == {"b": {"@k": 'v"', "c": "two", "#text": "one"}}
    assert plain_values(read(tmp_path, f"<a>{write_values('b', value['b'])}</a>")) == value


def test_what_xml_cannot_hold_is_left_out():
    assert write_values("no name", "x") == "" and write_values("n", 3) == "" and write_values("n", None) == ""


@given(text=st.text())
def test_any_text_can_be_written(text: str):
    kept = ElementTree.fromstring(f"<a>{escaped(text)}</a>").text or ""
    assert len(kept) == len(text)
    assert all(a == b or b == "\ufffd" for a, b in zip(text, kept, strict=True))
    assert kept == text or not text.isprintable()
