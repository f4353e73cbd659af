"""Lists of classes: a name a line, in their order."""

import pytest

from visus.core.errors import DataError
from visus.data.class_lists import find_list, read_list, write_list


def test_names_stand_in_the_order_of_their_lines(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfdog \r\n\r\ncat\r\n s10\n")
    assert read_list(tmp_path / "classes.txt") == ("dog", "cat", "s10")


def test_what_is_written_comes_back(tmp_path):
    names = ("größe", "a b", "'=x", "in the middle\u2028x")
    write_list(tmp_path / "classes.txt", names)
    assert read_list(tmp_path / "classes.txt") == names


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"cat\ndog\ncat\n", "'cat' is there twice"), (b"\n \n", "is empty"), (b"cat\n\xff\n", "line 2"),
        (b"cat\0\n", "NUL"), (b"x" * 5_000_000, "more than"),
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_refused_with_its_line(data, told, tmp_path):
    (tmp_path / "classes.txt").write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_list(tmp_path / "classes.txt")
    assert caught.value.code == "DATA-230" and told in caught.value.what and "classes.txt" in caught.value.what


def test_the_first_list_of_the_first_folder_is_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "labels.txt").touch()
    assert find_list([tmp_path / "a", tmp_path], ("classes.txt", "labels.txt")) == tmp_path / "labels.txt"
    assert find_list([tmp_path / "a"], ("classes.txt",)) is None
