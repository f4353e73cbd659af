"""One process holds a run's folder; its log and journal survive what kills it."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from visus.core.errors import LockedError, ResourceError
from visus.engine.folder import RunFolder


def _hold(folder, ready):
    with RunFolder(folder):
        ready.set()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=_hold, args=(tmp_path, ready))
    child.start()
    assert ready.wait(30)
    yield child
    child.kill()
    child.join()


def test_a_second_run_is_refused_with_exit_5_and_told_who_holds_the_folder(tmp_path, holder):
    with pytest.raises(LockedError) as error:
        RunFolder(tmp_path)
    assert error.value.exit == 5
    assert f"process {holder.pid} on" in str(error.value)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.join()
    with RunFolder(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()


def test_a_reader_needs_no_lock(tmp_path, holder):
    assert RunFolder(tmp_path, leader=False).rows() == []


def test_the_log_is_cut_back_to_a_state(tmp_path):
    with RunFolder(tmp_path) as folder:
        for step in range(1, 6):
            folder.log({"step": step, "loss": 1.0})
            folder.log({"step": step, "validation": {}})
        folder.cut(4, 3)
        folder.log({"step": 5, "loss": 2.0})
        rows = folder.rows()
    assert [r["step"] for r in rows if "loss" in r] == [1, 2, 3, 4, 5]
    assert [r["step"] for r in rows if "validation" in r] == [1, 2, 3]


@pytest.mark.parametrize("name", ["log.jsonl", "decisions.jsonl"])
def test_what_is_written_after_a_torn_line_is_kept(tmp_path, name):
    (tmp_path / name).write_text('{"kind": "micro", "step": 1}\n{"kind": "mic')
    with RunFolder(tmp_path) as folder:
        folder.decide("micro", 2, {})
        folder.log({"step": 2})
        rows = folder.rows() if name == "log.jsonl" else folder.decisions()
    assert [row["step"] for row in rows] == [1, 2]


def test_a_torn_line_in_the_middle_ends_what_is_known(tmp_path):
    (tmp_path / "decisions.jsonl").write_bytes(b'{"step": 1}\n\0\0\0\0\n{"step": 3}\n')
    assert [row["step"] for row in RunFolder(tmp_path, leader=False).decisions()] == [1]


def test_what_json_has_no_number_for_becomes_null_at_any_depth(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.log({"step": 1, "loss": float("nan"), "validation": {"f1": float("inf"), "parts": [float("nan"), 1.0]}})
        folder.decide("skipped", 1, {"loss": float("-inf")})

    def refuse(text):
        raise AssertionError(text)

    row = json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=refuse)
    assert row == {"step": 1, "loss": None, "validation": {"f1": None, "parts": [None, 1.0]}}
    assert json.loads((tmp_path / "decisions.jsonl").read_text(), parse_constant=refuse)["loss"] is None


def test_decisions_are_on_disk_when_they_act(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.decide("micro", 3, {"micro": 8})
        assert json.loads((tmp_path / "decisions.jsonl").read_text())["micro"] == 8


def test_the_ranks_that_do_not_lead_write_nothing(tmp_path):
    with RunFolder(tmp_path / "run", leader=False) as folder:
        folder.log({"step": 1})
        folder.decide("micro", 1, {})
        folder.cut(0, 0)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_lets_go_of_the_folder_with_exit_4(tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    folder = RunFolder(tmp_path, leader=False)
    folder.leader = True
    with pytest.raises(ResourceError) as error:
        folder.log({"step": 1, "text": "x" * 100_000})
        folder.close()
    assert error.value.exit == 4
    with RunFolder(tmp_path / "other"):
        pass


def test_a_rank_that_ends_the_run_writes_down_why_and_others_do_not(tmp_path):
    with RunFolder(tmp_path) as leader:
        RunFolder(tmp_path, leader=False).decide("micro", 3, {"micro": 4})
        assert leader.decisions() == []
        RunFolder(tmp_path, leader=False).decide("micro", 3, {"micro": 4}, dying=True)
        assert [(d["kind"], d["micro"]) for d in leader.decisions()] == [("micro", 4)]
