"""The door for YAML: texts, lists and mappings, as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from visus.core.errors import DataError
from visus.data.yaml_door import Tree, read_yaml


def read(tmp_path: Path, data: bytes | str) -> Tree:
    (tmp_path / "data.yaml").write_bytes(data.encode() if isinstance(data, str) else data)
    return read_yaml(tmp_path / "data.yaml")


def test_every_scalar_is_the_text_that_was_written(tmp_path: Path):
    assert read(tmp_path, "names: [no, 1e3, 007, ~, 2020-01-01, 'a: b']\n2: {x: }") == {
        "names": ["no", "1e3", "007", "~", "2020-01-01", "a: b"], "2": {"x": ""},
    }  # fmt: skip


@pytest.mark.parametrize("data", ["", "# nothing", "\ufeff", "---\n"])
def test_an_empty_file_is_an_empty_text(data: str, tmp_path: Path):
    assert read(tmp_path, data) == ""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("!!python/object/apply:os.system [touch x]", "line 1: the tag"), ("a: !!int 3", "the tag"),
        ("a: !x 3", "the tag"),
        ("a: &a [x]\nb: *a", "line 2: *a stands for"), ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice"),
        ("path: .\n\ttrain: x", "line 2 is indented by a tab"), ("a: 1\n---\nb: 2", "a second document"),
        ("? [a]\n: b", "a key is no text"), ("[" * 40, "levels deep"), ("a: [1, 2", "is no YAML"),
        ("a: b: c", "is no YAML"),
        (b"a: \xff", "line 1 is not UTF-8"), (b"a: \0", "no YAML"), ("x" * 2_000_000, "more than 1,048,576 bytes"),
    ],
)  # fmt: skip
def test_what_could_mean_more_than_plain_values_is_refused(data: bytes | str, told: str, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, data)
    assert caught.value.code == "DATA-233" and told in caught.value.what and "data.yaml" in caught.value.what


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x85\ufeff\ufffe\uffff"), max_size=8)
trees = st.recursive(
    texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@given(tree=st.dictionaries(texts, trees))
def test_what_pyyaml_writes_comes_back(tree: dict, tmp_path_factory: pytest.TempPathFactory):
    text = yaml.safe_dump(tree, allow_unicode=True, width=10_000)
    assert read(tmp_path_factory.mktemp("yaml"), text) == tree


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory):
    try:
        read(tmp_path_factory.mktemp("yaml"), data)
    except DataError as error:
        assert error.code == "DATA-233"
