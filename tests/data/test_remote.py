"""What is copied of an address before it is read has a bound, and a disk that takes no copy is told of."""

import fsspec
import pytest
from tests.data.examples import write_tree

from visus.core.errors import DataError, ResourceError
from visus.core.recipe import DataSettings
from visus.data import remote
from visus.data.reading import open_data


@pytest.fixture
def address(tmp_path):
    """Return the address of class folders with a text beside them."""
    memory = fsspec.filesystem("memory")
    folder = write_tree(tmp_path / "photos", {"cat": 2, "dog": 2})
    (folder / "cat/notes.txt").write_text("words" * 20)
    (folder / "dog/notes.txt").write_text("words" * 20)
    for path in folder.rglob("*.*"):
        memory.pipe_file(f"/bounded/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield "memory://bounded"
    memory.rm("/bounded", recursive=True)


def test_more_than_may_be_copied_is_refused_before_anything_is(address, monkeypatch):
    monkeypatch.setattr(remote, "MOST_TABLES", 199)
    monkeypatch.setattr(remote, "fetch", None)
    with pytest.raises(DataError, match="its 2 files that are no pictures are too large") as raised:
        open_data(address, DataSettings())
    assert raised.value.code == "DATA-364" and raised.value.where == "200 bytes, of at most 199"


def test_a_full_disk_is_told_of_when_tables_are_copied(address, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        open_data(address, DataSettings())
