"""Commands as processes: what only shows when a shell, a signal, another user or a full disk is involved."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import BRIEFLY
from tests.verbs.examples import tensors
from tests.verbs.test_resume import steps_seen

import visus

VISUS = [sys.executable, "-m", "visus"]


def command(*words, **options):
    """Run a command as a process of its own."""
    return subprocess.run([*VISUS, *map(str, words)], capture_output=True, text=True, timeout=300, **options)


def started(*words, **options):
    """Start a command that hears Ctrl-C, even where these tests run in the background, which does not."""
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([*VISUS, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_python_m_visus_is_visus():
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"visus {visus.__version__}\n", "")


def test_a_reader_that_has_seen_enough_is_no_error():
    shown = subprocess.Popen([*VISUS, "list", "settings"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    shown.stdout.read(10)
    shown.stdout.close()
    said = shown.stderr.read()
    assert (shown.wait(60), said) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_with_its_code_and_the_way_on(photos, tmp_path, number):
    child = started("train", photos, "--steps", 100_000, "--out", tmp_path / "run", *BRIEFLY)
    steps_seen(child, tmp_path / "run", 5)
    began = time.monotonic()
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 128 + number and out == b"" and b"Traceback" not in err
    assert f"fix:   visus resume {tmp_path / 'run'}" in err.decode() and time.monotonic() - began < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_cannot_be_resumed_says_that_it_was_interrupted(tmp_path, number):
    for name in ("photo.png", "painting.png"):
        Image.effect_noise((96, 96), 64).save(tmp_path / name)
    child = started("stylize", tmp_path / "photo.png", tmp_path / "painting.png", "--steps", 10_000, "--json",
                    "--out", tmp_path / "made.png")  # fmt: skip
    while b"painting" not in child.stderr.readline():
        assert child.poll() is None
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    code = f"RUN-{128 + number}"
    assert (child.returncode, json.loads(out)["error"]["code"]) == (128 + number, code)
    assert f"error[{code}]: interrupted" in err.decode() and b"Traceback" not in err
    assert not (tmp_path / "made.png").exists()


def test_a_command_that_is_terminated_leaves_no_draft(trained, tmp_path):
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    child = started("export", trained, "--to", "onnx", "--out", tmp_path / "a.onnx",
                    env={**os.environ, "TMPDIR": str(drafts)})  # fmt: skip
    while not list(drafts.glob("visus-export-*")):
        assert child.poll() is None
        time.sleep(0.01)
    child.terminate()
    _, err = child.communicate(timeout=60)
    assert child.returncode == 143 and b"error[RUN-143]: interrupted" in err
    assert not list(drafts.glob("visus-*")) and not (tmp_path / "a.onnx").exists()


def test_a_process_that_was_killed_is_resumed_by_a_command(photos, tmp_path):
    """And the other way round to the tests of ``visus.resume``: both halves are processes."""
    child = started("train", photos, "--steps", 40, "--out", tmp_path / "run", "--set", "save_every=0.1", *BRIEFLY)
    steps_seen(child, tmp_path / "run", 10)
    child.kill()
    child.communicate()
    done = command("resume", tmp_path / "run", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["steps"] == 40, done.stderr


NOBODY = """
import json, os, sys
from visus.cli.app import run
assert run(json.loads(sys.argv[1])) == 0  # loads every library that nobody else may read
os.setgid(65534)
os.setuid(65534)
sys.exit(run(json.loads(sys.argv[2])))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else, and only root needs to")
def test_a_folder_one_may_not_write_to_is_said_before_anything_is_trained(photos, tmp_path):
    for folder in (photos, *photos.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(0o755)
    (tmp_path / "mine").mkdir(mode=0o755)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    words = ["train", str(photos), "--steps", "2", *BRIEFLY]
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, json.dumps([*words, "--out", str(tmp_path / "before")]),
         json.dumps([*words, "--out", str(tmp_path / "mine" / "run")])],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "cannot be written" in done.stderr and "--out DIR" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not list((tmp_path / "mine").iterdir())


def small_files(limit):
    """Let no file grow beyond a number of bytes, as on a full disk."""

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return limited


def test_a_disk_that_is_full_in_the_middle_ends_with_4_and_the_old_state_is_whole(photos, tmp_path):
    """The log outgrows what a file may hold while states still fit."""
    run = tmp_path / "run"
    state = 120_000
    done = command("train", photos, "--steps", 20_000, "--out", run, "--set", "save_every=0.05", *BRIEFLY,
                   preexec_fn=small_files(state))  # fmt: skip
    assert done.returncode == 4 and "the disk is full" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert "make room" in done.stderr and not list(run.rglob(".visus-part-*"))
    assert tensors(run / "last.safetensors")
    newest = max(int(path.stem) for path in (run / "state").glob("*.json"))
    assert newest > 10
    child = started("resume", run)
    steps_seen(child, run, newest + 10)
    child.kill()
    child.communicate()


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full_from_the_start_ends_with_4(photos, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "none", str(small)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        done = command("train", photos, "--steps", 5, "--out", small / "run", *BRIEFLY)
        left = [path.name for path in small.rglob(".visus-part-*")]
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.returncode == 4 and "the disk is full" in done.stderr and "bytes free" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and left == []


@pytest.mark.slow
def test_two_processes_of_torchrun_score_what_one_does(photos, tmp_path):
    settings = [*BRIEFLY, "--set", "batch=32", "--steps", "20", "--json"]
    alone = command("train", photos, "--out", tmp_path / "one", *settings)
    together = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "visus", "train", str(photos),
         "--out", str(tmp_path / "two"), *settings],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert together.returncode == 0, together.stderr
    one, two = json.loads(alone.stdout)["scores"], json.loads(together.stdout)["scores"]
    assert one["accuracy"] == two["accuracy"]
    assert one["log_loss"]["value"] == pytest.approx(two["log_loss"]["value"], rel=1e-3)
    assert "runs/" not in together.stderr


@pytest.mark.slow
def test_two_processes_of_torchrun_agree_on_a_folder_and_name_the_broken_pictures_of_both(photos, tmp_path):
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    torn = [sorted((data / "train" / "one").iterdir())[0], sorted((data / "train" / "two").iterdir())[-1]]
    for i, file in enumerate(torn):
        file.write_bytes(file.read_bytes()[: 60 + i])
    together = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "visus", "train", str(data),
         *BRIEFLY, "--set", "batch=32", "--epochs", "2", "--json", "--set", "optim.lr=auto"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert together.returncode == 0, together.stderr
    told = json.loads(together.stdout)
    assert told["run"] == "runs/photos-1" and os.listdir(tmp_path / "runs") == ["photos-1"]
    assert {row["file"] for row in told["bad"]} == {str(file.relative_to(data)) for file in torn}


@pytest.mark.slow
@pytest.mark.parametrize("minutes", [0.5, 1.0])
def test_a_budget_in_minutes_bounds_the_whole_command(photos, tmp_path, minutes):
    began = time.monotonic()
    done = command("train", photos, "--minutes", minutes, "--out", tmp_path / "run", *BRIEFLY)
    took = time.monotonic() - began
    assert done.returncode == 0 and took <= 1.1 * 60 * minutes, took
    assert took >= 0.7 * 60 * minutes, took
