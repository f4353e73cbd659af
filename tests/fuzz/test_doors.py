"""The fuzzer of the doors: the same cases for the same seed, nothing found, and what is found is kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import doors

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="limits are kept by Linux's /proc")


@pytest.mark.parametrize("target", doors.TARGETS)
def test_a_few_damaged_files_are_answered_as_they_should_be(target: str, tmp_path: Path):
    tally = doors.Tally()
    assert doors.run(target, range(20), 1, tmp_path / "found", tally) == 20
    assert tally.answers.total() == 20 and not tally.findings


def test_the_same_seed_gives_the_same_cases(tmp_path: Path):
    (file, *_) = doors.write_seeds("coco", tmp_path)
    whole = (tmp_path / file).read_bytes()
    cases = [[doors.damaged(whole, [whole], np.random.default_rng([0, n])) for n in range(50)] for _ in range(2)]
    assert cases[0] == cases[1] and len({whole, *cases[0]}) > 45


def crash(*_: object) -> str:
    os.abort()


def hang(*_: object) -> str:
    time.sleep(60)
    return "accepted"


def work(*_: object) -> str:
    began = time.process_time()
    while time.process_time() - began < 0.6:
        pass
    return "refused"


def fill(*_: object) -> str:
    return "accepted" if (b"1" * (600 << 20)).endswith(b"1") else "refused"


def exhaust(*_: object) -> str:
    return str(np.zeros(4 << 30, np.uint8).any())


def fail(*_: object) -> str:
    raise KeyError("a word")


@pytest.mark.parametrize(
    ("door", "why"),
    [(crash, "SIGABRT"), (hang, "no answer"), (work, "seconds"), (fill, "MiB"), (exhaust, "MemoryError"),
     (fail, "a word")],
)  # fmt: skip
def test_whatever_ends_in_no_answer_is_kept_with_its_reason(door, why, tmp_path):
    tally = doors.Tally()
    hangs, seconds = (5.0 if door is hang else 60.0), (0.5 if door is work else 60.0)
    doors.run("csv", range(7, 8), 0, tmp_path, tally, door, seconds=seconds, hangs=hangs)
    assert tally.findings == [tmp_path / "csv-0-7"] and tally.answers == {"found": 1}
    assert why in (tmp_path / "csv-0-7/finding.json").read_text() and (tmp_path / "csv-0-7/case/labels.csv").is_file()


def test_a_finding_can_be_read_again_and_fuzzing_ends_when_it_should(tmp_path):
    told: list[str] = []
    tally = doors.fuzz(["idx"], 1, 0, tmp_path, told.append, fail, 2)
    assert told[-1].startswith("done in 0.0 minutes: ") and len(tally.findings) == tally.answers.total() > 1
    assert doors.replay(tally.findings[0]) in {"accepted", "refused"}


def test_the_command_line_says_what_was_found(tmp_path, capsys):
    arguments = ["--minutes", "0.001", "--only", "boxes_csv", "--keep", str(tmp_path / "found")]
    assert doors.main(arguments) == 0
    assert "0 findings" in capsys.readouterr().out and not (tmp_path / "found").exists()
