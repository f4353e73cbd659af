"""Finding pictures below a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.examples import write_picture, write_tree

from visus.core.errors import DataError
from visus.data.listing import AGAIN, CIRCLE, files_of, folders_of, has_picture, list_pictures, natural, notes_of


def test_names_with_numbers_stand_as_people_count():
    names = ["s10", "s2", "a", "10", "9", "s2b", "s02", "9" * 5000]
    assert sorted(names, key=natural) == ["9", "10", "9" * 5000, "a", "s02", "s2", "s2b", "s10"]


@given(st.lists(st.text(max_size=6), max_size=6))
def test_any_names_can_be_sorted(names: list[str]):
    backwards = names[::-1]
    assert sorted(names, key=natural) == sorted(backwards, key=natural)


def test_a_listing_holds_every_file_once(tmp_path: Path):
    write_tree(tmp_path, {"a": 2, "a/b": 1, "c": 0})
    (tmp_path / "a/words.txt").touch()
    (tmp_path / ".hidden").touch()
    listing = list_pictures(tmp_path)
    assert listing.pictures == ["a/0.png", "a/1.png", "a/b/0.png"] and listing.others == ["a/words.txt"]
    assert listing.ignored == 1 and listing.deep in {"a/", "a/b/"}


def test_folders_that_link_to_each_other_twice_are_each_listed_once(tmp_path: Path):
    for k in range(12):
        (tmp_path / f"links/{k}").mkdir(parents=True)
        for name in "ab":
            (tmp_path / f"links/{k}/{name}").symlink_to(tmp_path / f"links/{k + 1}")
    write_tree(tmp_path / "links", {"12": 1})
    (tmp_path / "root").mkdir()
    (tmp_path / "root/in").symlink_to(tmp_path / "links/0")
    listing = list_pictures(tmp_path / "root")
    assert listing.pictures == ["in/" + "a/" * 12 + "0.png"]
    assert len(listing.odd) == 12 and set(listing.odd.values()) == {AGAIN}


def test_a_folder_is_listed_by_its_own_name_before_that_of_a_link(tmp_path: Path):
    write_tree(tmp_path, {"b/c": 1})
    (tmp_path / "a").symlink_to(tmp_path / "b/c")
    (tmp_path / "b/c/round").symlink_to(tmp_path / "b")
    listing = list_pictures(tmp_path)
    assert listing.pictures == ["b/c/0.png"] and listing.odd == {"a": AGAIN, "b/c/round": CIRCLE}


def test_a_name_counts_where_it_is_clear_and_the_bytes_where_it_is_not(tmp_path: Path):
    (tmp_path / "empty.JPG").touch()
    write_picture(tmp_path / "x.png").rename(tmp_path / "x.dat")
    (tmp_path / "y.dat").write_bytes(b"words")
    listing = list_pictures(tmp_path)
    assert listing.pictures == ["empty.JPG", "x.dat"] and listing.others == ["y.dat"]


def test_a_picture_is_looked_for_only_so_deep(tmp_path: Path):
    write_tree(tmp_path, {"a/b/c": 1})
    assert has_picture(tmp_path, 3) and not has_picture(tmp_path, 2)


def test_folders_and_files_are_told_apart(tmp_path: Path):
    write_tree(tmp_path, {"s10": 0, "s2": 0, ".git": 0, "__MACOSX": 0})
    (tmp_path / "Thumbs.db").touch()
    (tmp_path / "b").touch()
    assert folders_of(tmp_path) == ["s2", "s10"] and files_of(tmp_path) == ["b"]


def test_what_was_passed_over_is_said_with_counts(tmp_path: Path):
    for name in ("a.txt", "b.txt", "c.xml", "d", ".DS_Store"):
        (tmp_path / name).touch()
    notes = notes_of([("cat", list_pictures(tmp_path))])
    assert (
        notes[0]
        == "left out 4 files that are no pictures (.txt 2, .xml 1, no extension 1): cat/a.txt, cat/b.txt, cat/c.xml ..."
    )
    assert notes[1].startswith("passed over 1 hidden")


def test_a_folder_that_is_gone_is_told(tmp_path: Path):
    with pytest.raises(DataError) as caught:
        list_pictures(tmp_path / "gone")
    assert caught.value.code == "DATA-010"
