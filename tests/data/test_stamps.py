"""A file that changed is found by its time, or by its bytes where its time was put back."""

import os

import pytest
from tests.data.plain import odd_sizes, of_array, of_files

from visus.data import stamps


def rewritten(path, data, *, time):
    """Write a file anew, with the time of change it had or with a later one."""
    before = path.stat().st_mtime_ns
    path.write_bytes(data)
    os.utime(path, ns=(before, before if time == "same" else before + 1))


@pytest.mark.parametrize(("time", "changed"), [("same", False), ("later", True)])
def test_a_file_written_anew_is_found_by_its_time(tmp_path, time, changed):
    data = of_files(tmp_path, odd_sizes(4))
    before = stamps.stamps(data)
    rewritten(tmp_path / "002.png", (tmp_path / "002.png").read_bytes(), time=time)
    assert (stamps.stamps(data) != before) is changed


def test_a_byte_that_changed_is_found_whatever_the_time_says(tmp_path):
    data = of_files(tmp_path, odd_sizes(4))
    before = stamps.contents(data)
    changed = bytearray((tmp_path / "002.png").read_bytes())
    changed[50] ^= 1
    rewritten(tmp_path / "002.png", bytes(changed), time="same")
    assert stamps.contents(data) != before


def test_bytes_that_move_from_one_file_to_the_next_are_a_change(tmp_path):
    data = of_files(tmp_path, odd_sizes(2))
    (tmp_path / "000.png").write_bytes(b"ab"), (tmp_path / "001.png").write_bytes(b"c")
    before = stamps.contents(data)
    (tmp_path / "000.png").write_bytes(b"a"), (tmp_path / "001.png").write_bytes(b"bc")
    assert stamps.contents(data) != before


def test_more_than_is_cheap_is_not_hashed(tmp_path, monkeypatch):
    data = of_files(tmp_path, odd_sizes(4))
    monkeypatch.setattr(stamps, "CHEAP", sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert stamps.contents(data)
    monkeypatch.setattr(stamps, "CHEAP", stamps.CHEAP - 1)
    assert stamps.contents(data) == ""


def test_a_file_that_is_gone_is_a_change_and_no_error(tmp_path):
    data = of_files(tmp_path, odd_sizes(4))
    before = stamps.stamps(data), stamps.contents(data)
    (tmp_path / "002.png").unlink()
    assert before[0] != stamps.stamps(data) and before[1] != stamps.contents(data)


def test_an_array_has_no_files():
    assert stamps.stamps(of_array(3)) == stamps.stamps(of_array(5))
