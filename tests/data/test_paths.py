"""The path door: nothing a file says leads out of its folder."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visus.core.errors import DataError
from visus.data.paths import fault_of, inside, missing, read_regular, shown


@pytest.mark.parametrize(
    "path", ["a.jpg", "train/cat/1.jpg", "a b/ü.png", "..a/b..", "a/./b", "...", "x:y", os.fsdecode(b"\xff.png")]
)
def test_a_path_below_the_root_passes(path: str, tmp_path: Path):
    assert inside(tmp_path, path) == tmp_path / path


def test_no_more_memory_is_asked_for_than_a_file_needs(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"0123456789")
    tracemalloc.start()
    try:
        assert read_regular(tmp_path / "a", 1 << 40) == b"0123456789" and read_regular(tmp_path / "a", 3) == b"0123"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", [
    "", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "\\x", "C:\\x", "C:/x", "a\\..\\..\\x", "a\0b", "file:///etc/passwd",
    "https://example.org/x.png", "\\\\server\\share",
])  # fmt: skip
def test_a_path_that_could_lead_elsewhere_is_refused_with_its_place(path: str, tmp_path: Path):
    with pytest.raises(DataError) as caught:
        inside(tmp_path, path, where="labels.csv, row 3")
    assert caught.value.code == "DATA-110" and caught.value.where == "labels.csv, row 3"


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_not(tmp_path: Path):
    root = tmp_path / "data"
    (root / "real").mkdir(parents=True)
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "real")
    assert inside(root, "in/x.png") == root / "in/x.png"
    with pytest.raises(DataError, match="leads out"):
        inside(root, "out/x.png")


def test_a_sibling_whose_name_begins_alike_is_outside(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data2").mkdir()
    (tmp_path / "data/link").symlink_to(tmp_path / "data2")
    with pytest.raises(DataError):
        inside(tmp_path / "data", "link")


def test_a_root_that_is_a_link_itself_is_fine(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a.png") == tmp_path / "link/a.png"


@given(st.text(max_size=20))
def test_what_passes_stays_below_the_root_by_the_rules_of_both_systems(path: str):
    if not fault_of(path):
        assert os.path.normpath(f"/root/{path}").startswith("/root")
        assert ".." not in path.replace("\\", "/").split("/")


def test_a_name_is_shown_on_one_line_of_plain_text():
    assert shown("träin/a b.jpg") == "träin/a b.jpg"
    assert shown(os.fsdecode(b"caf\xe9\n\x1b[31m")) == r"caf\xe9\x0a\x1b[31m"


def test_missing_files_are_told_by_position(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").touch()
    (tmp_path / "2.png").touch()
    assert missing(tmp_path, ["a/1.png", "2.png", "a", "a/2.png", "b/1.png"]) == [2, 3, 4]


def test_a_file_that_is_a_link_out_counts_as_missing(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "data/link").symlink_to(tmp_path / "secret")
    (tmp_path / "data/folder").symlink_to(tmp_path)
    assert missing(tmp_path / "data", ["link", "folder/secret"]) == [0, 1]
