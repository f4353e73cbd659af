"""Pictures that a file lists: their lines, how many may be missing, and their sizes."""

from pathlib import Path

import pytest
from tests.data.examples import write_picture

from visus.core.errors import BadDataLimit, DataError
from visus.core.recipe import DataSettings
from visus.data.listed import check_missing, lines_of, own_sizes, refuse_shared_stems

BAD = [("z.png", "list.txt, line 3: there is no such file")]


def test_lines_are_numbered_and_keep_their_bytes(tmp_path: Path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.png\r\n\r\n \n b \xe9.png\n")
    assert list(lines_of(tmp_path / "list.txt")) == [(1, "a.png"), (4, " b \udce9.png")]


def test_one_missing_picture_is_borne_and_more_than_the_share_is_not():
    check_missing(BAD, 100, Path(), DataSettings(), "the list")
    with pytest.raises(BadDataLimit) as caught:
        check_missing(BAD * 3, 100, Path(), DataSettings(), "the list")
    assert caught.value.code == "DATA-112" and "list.txt, line 3 z.png" in caught.value.where


def test_where_none_is_there_it_is_said_what_paths_are_relative_to():
    with pytest.raises(DataError, match="none of the 1 listed files") as caught:
        check_missing(BAD, 1, Path(), DataSettings(max_bad=1.0), "the list")
    assert caught.value.fix.startswith("paths are relative to the list")


def test_sizes_are_upright_and_0_where_a_header_cannot_be_read(tmp_path: Path):
    write_picture(tmp_path / "a.png", 0, (5, 7))
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert own_sizes(tmp_path, ["a.png", "b.png", "c.png"], 1000).tolist() == [[5, 7], [0, 0], [0, 0]]
    assert own_sizes(tmp_path, ["a.png"], 34).tolist() == [[0, 0]] and own_sizes(tmp_path, [], 1).shape == (0, 2)


def test_two_pictures_of_one_stem_are_refused_by_their_names():
    with pytest.raises(DataError, match=r"a\.png and a\.jpg") as caught:
        refuse_shared_stems(["a.png", "a.jpg"], ["a", "a"], "labels/{}.txt")
    assert caught.value.code == "DATA-236" and caught.value.where == "labels/a.txt"
