"""Lists of the classes of pixels: what a file says, and what it must not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visus.core.errors import DataError
from visus.data.pixel_classes import PixelClasses, read_pixel_classes, write_pixel_classes


def read(folder: Path, name: str, text: str | bytes) -> PixelClasses | None:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_pixel_classes(folder)


@pytest.mark.parametrize("name", ["classes.txt", "labels.txt", "class_names.txt", "names.txt", "codes.txt"])
def test_a_text_names_a_class_a_line(name: str, tmp_path: Path):
    assert read(tmp_path, name, "\ufeffsky\r\n the road \n\n") == PixelClasses(name, ("sky", "the road"))


@pytest.mark.parametrize("between", [" ", ": ", "\t", ",", " = "])
def test_lines_may_begin_with_the_value(between: str, tmp_path: Path):
    found = read(tmp_path, "classes.txt", f"0{between}sky\n7{between}the road\n")
    assert found == PixelClasses("classes.txt", ("sky", "the road"), (0, 7))


def test_numbers_that_do_not_rise_are_parts_of_names(tmp_path: Path):
    assert read(tmp_path, "classes.txt", "2 euro\n1 euro\n").names == ("2 euro", "1 euro")


def test_labelmes_ignored_class_is_none(tmp_path: Path):
    assert read(tmp_path, "labels.txt", "__ignore__\n_background_\ncat\n").names == ("_background_", "cat")


@pytest.mark.parametrize("classes", [
    ["sky", "road"],
    {"classes": ["sky", "road"]},
    {"names": [{"name": "sky"}, {"label": "road"}]},
])  # fmt: skip
def test_json_without_values_gives_names_in_their_order(classes: object, tmp_path: Path):
    found = read(tmp_path, "classes.json", json.dumps(classes))
    assert (found.names, found.values, found.ignore) == (("sky", "road"), None, None)


@pytest.mark.parametrize("classes", [
    {"7": "road", "3": "sky"},
    {"sky": 3, "road": 7},
    {"labels": {"sky": 3, "road": 7}},
    [{"name": "sky", "value": 3}, {"name": "road", "id": 7}],
])  # fmt: skip
def test_json_may_give_values(classes: object, tmp_path: Path):
    found = read(tmp_path, "classes.json", json.dumps(classes))
    assert (found.names, found.values) == (("sky", "road"), (3, 7))


def test_ignored_values_and_colours_are_read(tmp_path: Path):
    entries = [{"name": "sky", "value": 0, "color": [1, 2, 3]}, {"name": "road", "value": 1, "color": [4, 5, 6]}]
    found = read(tmp_path, "classes.json", json.dumps({"classes": entries, "ignore": [9, 255]}))
    assert found.ignore == (9, 255) and found.palette.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert read(tmp_path, "classes.json", '{"classes": ["a"], "ignore_index": 0}').ignore == (0,)


def test_yaml_says_the_same(tmp_path: Path):
    found = read(tmp_path, "info.yaml", "name: my streets\nclasses:\n  0: no\n  1: road\nignore: 255\n")
    assert (found.names, found.values, found.ignore) == (("no", "road"), (0, 1), (255,))


def test_an_info_file_that_names_no_classes_is_passed_over(tmp_path: Path):
    assert read(tmp_path, "info.yaml", "name: my streets\n") is None
    assert read(tmp_path, "classes.txt", "sky\n").names == ("sky",)


def test_without_a_file_nothing_is_known(tmp_path: Path):
    assert read_pixel_classes(tmp_path) is None


@pytest.mark.parametrize(("name", "text", "told"), [
    ("classes.txt", "sky\n\nroad\n", "line 2 is empty"),
    ("classes.txt", "sky\nroad\nsky\n", "the class 'sky' is there twice, as 0 and 2"),
    ("classes.txt", b"sky\nr\xf6ad\n", "line 2 is not UTF-8"),
    ("classes.txt", "", "it names no classes"),
    ("classes.txt", "\n".join(map(str, range(256))), "it names 256 classes; pixels can have 255"),
    ("classes.json", "[", "line 1, column 2"),
    ("classes.json", '{"a": 1, "a": 2}', "the key 'a' is there twice"),
    ("classes.json", "[" * 100_000, "recursion"),
    ("classes.json", '{"a": ' + "1" * 5000 + "}", "integer string conversion"),
    ("classes.json", "3", "it names no classes"),
    ("classes.json", '{"1": "a", "01": null}', "class 1 has no name: null"),
    ("classes.json", '["sky", 3]', "class 1 has no name: 3"),
    ("classes.json", '[{"name": "a", "value": 1.5}]', r"\[0\].value: 1.5 is no value of a pixel"),
    ("classes.json", '[{"name": "a", "value": 1}, {"name": "b", "value": 1}]', "the value 1 cannot stand for one"),
    ("classes.json", '[{"name": "a", "value": 1}, {"name": "b"}]', "1 of 2 classes have a value"),
    ("classes.json", '[{"name": "a", "color": [1, 2, 256]}]', "a colour is three numbers"),
    ("classes.json", '{"classes": {"0": "a"}, "ignore": [0]}', "the value 0 cannot stand for one class"),
    ("classes.json", '{"classes": ["a"], "ignore": "all"}', "ignore: \"all\" is no value of a pixel"),
    ("classes.json", '{"classes": {"99999": "a"}}', "the value 99999"),
])  # fmt: skip
def test_a_list_that_is_none_is_refused_with_file_and_place(name: str, text: str | bytes, told: str, tmp_path: Path):
    with pytest.raises(DataError, match=told) as caught:
        read(tmp_path, name, text)
    assert caught.value.code == "DATA-274" and name in caught.value.what


NAMES = st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1).filter(str.strip), min_size=1, max_size=5,
                 unique=True)  # fmt: skip


@given(NAMES, st.data())
def test_what_is_written_is_read_back(tmp_path_factory, names: list[str], data: st.DataObject):
    folder = tmp_path_factory.mktemp("written")
    numbers = data.draw(st.lists(st.integers(0, 65535), min_size=len(names), max_size=len(names), unique=True))
    values = data.draw(st.sampled_from([numbers, list(range(len(names)))]))
    ignore = tuple(data.draw(st.sampled_from([(255,), (), (254, 65535)])))
    ignore = tuple(value for value in ignore if value not in values)
    palette = data.draw(st.sampled_from([None, np.arange(3 * len(names), dtype=np.uint8).reshape(-1, 3)]))
    write_pixel_classes(folder, names, values, ignore, palette)
    found = read_pixel_classes(folder)
    assert found.names == tuple(names)
    assert list(found.values or range(len(names))) == list(values)
    assert (found.ignore if found.ignore is not None else (255,)) == ignore
    if palette is not None and found.file == "classes.json":
        np.testing.assert_array_equal(found.palette, palette)
