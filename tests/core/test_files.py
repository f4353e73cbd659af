"""Writes are interrupted for real: by SIGKILL at any call, by a full disk, by a folder of somebody else."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG

import numpy as np
import pytest
from PIL import Image

from visus.core.errors import ResourceError, UsageError
from visus.core.files import (
    Hashing,
    alive,
    digest,
    new_folder,
    replacing,
    sweep,
    write_bytes,
    write_json,
    write_picture,
    write_text,
)

needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and users of POSIX")


def in_a_child(program, *arguments):
    """Run a program in a process of its own and return the JSON it prints."""
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def dead_process():
    return in_a_child("import os; print(os.getpid())")


def test_a_written_file_holds_what_was_written(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_text_is_utf_8_and_a_name_in_broken_utf_8_is_spelt_out(tmp_path):
    write_text(tmp_path / "a", "é \udce9")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9 \\udce9"


@needs_posix
def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as file:
        file.write(b"half of the n")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_readers_see_the_old_file_or_the_new_one_while_it_is_replaced_again_and_again(tmp_path):
    path, pages = tmp_path / "a", [bytes([letter]) * 100_000 for letter in b"ab"]
    write_bytes(path, pages[0])
    writer = threading.Thread(target=lambda: [write_bytes(path, pages[i % 2]) for i in range(50)])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(pages)


KILLED = """
import json, os, signal, sys
from pathlib import Path
from stat import S_ISREG
from visus.core.files import replacing, sweep

folder, old, new = Path(sys.argv[1]), b"o" * 50_000, [b"n" * 30_000, b"e" * 30_000, b"w" * 30_000]
path, found = folder / "state", []
for point in range(1, 1000):
    path.write_bytes(old)
    child = os.fork()
    if child == 0:
        calls = [0]
        def count(frame, event, argument):
            if event.startswith("c_"):
                calls[0] += 1
                if calls[0] == point:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(count)
        with replacing(path) as file:
            for part in new:
                file.write(part)
                file.flush()
        sys.setprofile(None)
        os._exit(0)
    survived = os.waitpid(child, 0)[1] == 0
    whole = {old: "old", b"".join(new): "new"}.get(path.read_bytes(), "torn")
    sweep(folder)
    found.append((whole, sorted(os.listdir(folder))))
    if survived:
        break
print(json.dumps(found))
"""


@needs_posix
def test_a_writer_killed_at_any_call_leaves_the_old_file_or_the_new_one_and_no_trace_after_a_sweep(tmp_path):
    """SIGKILL before and after every call into C: making the file, each write and flush, both fsyncs, the renaming."""
    found = in_a_child(KILLED, tmp_path)
    states = [state for state, _ in found]
    assert len(found) > 40
    assert set(states) == {"old", "new"}
    assert states == sorted(states, reverse=True)  # once the new one is there, it stays
    assert all(left == ["state"] for _, left in found)


FULL = """
import json, os, resource, sys
from pathlib import Path
from stat import S_ISREG
from visus.core.errors import VisusError
from visus.core.files import replacing

folder, old, new = Path(sys.argv[1]), b"o" * 50, b"n" * 20_000
path, found = folder / "state", []
for room in (0, 1, 4096, 8191, 8192, 8193, 16_384, 19_999, 20_000):
    path.write_bytes(old)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        with replacing(path, len(new)) as file:
            file.write(new[:9000])
            file.write(new[9000:])
        outcome = "written"
    except VisusError as error:
        outcome = [error.exit, error.code, error.where]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    found.append([outcome, {old: "old", new: "new"}.get(path.read_bytes(), "torn"), sorted(os.listdir(folder))])
print(json.dumps(found))
"""


@needs_posix
def test_a_write_that_outgrows_the_file_size_limit_leaves_the_old_file_and_exits_4(tmp_path):
    *refused, fitted = in_a_child(FULL, tmp_path)
    assert fitted == ["written", "new", ["state"]]
    for (code, name, where), state, left in refused:
        assert (code, name, state, left) == (4, "RUN-004", "old", ["state"])
        assert where.startswith("20,000 bytes needed, ")


@needs_posix
def test_a_write_to_a_full_disk_leaves_the_old_file_and_exits_4(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        write_bytes(disk / "state", b"o" * 30_000)
        with pytest.raises(ResourceError, match="the disk is full") as refused:
            write_bytes(disk / "state", b"n" * 60_000)
        assert refused.value.exit == 4
        assert refused.value.where.startswith("60,000 bytes needed, ")
        assert (disk / "state").read_bytes() == b"o" * 30_000
        assert os.listdir(disk) == ["state"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


OTHER_USER = """
import json, os, sys
from pathlib import Path
from stat import S_ISREG
from visus.core.errors import VisusError
from visus.core.files import sweep, write_bytes

if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
found = []
for act in (lambda: write_bytes(Path(sys.argv[1]) / "state", b"new"), lambda: sweep(Path(sys.argv[1]))):
    try:
        act()
        found.append("done")
    except VisusError as error:
        found.append([error.exit, error.code, error.where.partition(" (")[0]])
print(json.dumps(found))
"""


@needs_posix
def test_a_folder_of_somebody_else_is_a_plain_refusal_with_exit_2():
    """Root ignores permissions, so a child that started as root becomes nobody first."""
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "state").write_bytes(b"old")
        (folder / f".visus-part-{dead_process()}-00000000-x").touch()
        folder.chmod(0o555)
        assert in_a_child(OTHER_USER, folder) == [[2, "RUN-002", "Permission denied"]] * 2
        assert (folder / "state").read_bytes() == b"old"
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["missing/state", "file/state", "folder"])
def test_a_place_that_cannot_be_written_is_a_plain_refusal(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(UsageError) as refused:
        write_bytes(tmp_path / name, b"new")
    assert refused.value.code == "RUN-002"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_sweep_removes_what_dead_processes_left_and_nothing_else(tmp_path):
    dead = tmp_path / f".visus-part-{dead_process()}-0123abcd-x"
    earlier = tmp_path / f".visus-part-{os.getpid()}-0123abcd-x"  # of a process that had our number before us
    living = tmp_path / f".visus-part-{os.getppid()}-0123abcd-x"
    others = [
        tmp_path / name for name in (".visus-part-", ".visus-part-x", ".visus-part-99999999999999-0-0", "a", ".b")
    ]
    for file in (dead, earlier, living, *others):
        file.touch()
    with replacing(tmp_path / "being written"):
        ours = set(tmp_path.glob(f".visus-part-{os.getpid()}-*")) - {earlier}
        assert sweep(tmp_path) == 2
        assert set(tmp_path.iterdir()) == {living, *ours, *others}
    assert len(ours) == 1


def test_a_process_is_alive_until_it_ends():
    assert alive(os.getpid())
    assert alive(1)
    assert not alive(dead_process())


@pytest.mark.parametrize(
    "handle, last_error, known, code, wanted",
    [(7, 0, 1, 259, True), (7, 0, 1, 0, False), (0, 5, 0, 0, True), (0, 87, 0, 0, False), (7, 0, 0, 0, True)],
)
def test_on_windows_a_process_is_asked_for_its_exit_code_and_sent_no_signal(
    monkeypatch, handle, last_error, known, code, wanted
):
    closed = []

    class Kernel:
        """The three functions of kernel32 that are called, as its documentation describes them."""

        def __init__(self, name, use_last_error):
            self.OpenProcess = lambda access, inherit, process: handle
            self.CloseHandle = lambda handle: closed.append(handle.value)

        def GetExitCodeProcess(self, handle, place):
            place._obj.value = code
            return known

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", Kernel, raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: last_error, raising=False)
    monkeypatch.setattr(os, "kill", None)
    assert alive(4321) == wanted
    assert closed == [handle] * bool(handle)


def test_a_file_hashed_while_it_is_written_has_the_digest_of_the_file(tmp_path):
    with replacing(tmp_path / "a") as file:
        hashing = Hashing(file)
        for part in (b"", b"abc", b"d" * 3_000_000):
            assert hashing.write(part) == len(part)
    expected = sha256(b"abc" + b"d" * 3_000_000).hexdigest()
    assert hashing.hasher.hexdigest() == digest(tmp_path / "a") == expected


def test_a_number_that_json_has_not_is_written_as_null(tmp_path):
    write_json(tmp_path / "a.json", {"nan": float("nan"), "in": [1.5, (float("inf"), True)], "deep": {3: "\u00e9"}})
    text = (tmp_path / "a.json").read_text("ascii")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "nan": None,
        "in": [1.5, [None, True]],
        "deep": {"3": "\u00e9"},
    }


def test_a_new_folder_is_there_whole(tmp_path):
    with new_folder(tmp_path / "above" / "new") as building:
        (building / "a").write_text("a")
        assert not (tmp_path / "above" / "new").exists()
    assert os.listdir(tmp_path / "above") == ["new"] and os.listdir(tmp_path / "above" / "new") == ["a"]


def test_a_new_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "new") as building:
        (building / "a").write_text("a")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_a_new_folder_takes_an_empty_ones_place_but_not_a_full_ones(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with new_folder(tmp_path / "empty") as building:
        (building / "a").write_text("a")
    with pytest.raises(UsageError), new_folder(tmp_path / "full"):
        pass
    assert os.listdir(tmp_path / "empty") == ["a"] and os.listdir(tmp_path / "full") == ["mine"]


def test_the_folder_a_dead_process_was_building_is_swept(tmp_path):
    (tmp_path / f".visus-part-{dead_process()}-00000000-x" / "inner").mkdir(parents=True)
    assert sweep(tmp_path) == 1 and os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "sync"), reason="a system that flushes file by file")
def test_a_new_folder_is_flushed_once_before_it_takes_its_place(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: calls.append("file" if S_ISREG(os.fstat(descriptor).st_mode) else "folder")
    )
    monkeypatch.setattr(os, "sync", lambda: calls.append("all" if not (tmp_path / "new").exists() else "late"))
    with new_folder(tmp_path / "new") as building:
        (building / "inner").mkdir()
        for i in range(50):
            write_text(building / "inner" / f"{i}.txt", "text")
    assert calls == ["all", "folder"]


def test_a_file_beside_a_folder_that_is_being_made_is_flushed_by_itself(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    with new_folder(tmp_path / "new"):
        write_text(tmp_path / "beside.txt", "text")
        assert len(flushed) == 2  # the file and its folder


def test_a_picture_is_written_without_a_loss(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_picture(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
    assert [place.name for place in tmp_path.iterdir()] == ["a.png"]
