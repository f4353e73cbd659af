"""Weights files of strangers: what is in them is read, what would run is not, and every refusal says why."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visus.core.errors import DataError
from visus.models.reading import read_tensors, unwrapped

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


class Attack:
    """Unpickled without care, it creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.trace}",)


def same(tensors: dict[str, torch.Tensor]) -> bool:
    return tensors.keys() == WEIGHTS.keys() and all(torch.equal(tensors[key], WEIGHTS[key]) for key in WEIGHTS)


def test_safetensors_are_read_whatever_the_file_is_called(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "weights.pth")
    assert same(read_tensors(tmp_path / "weights.pth"))


def test_a_wrapped_checkpoint_gives_its_plain_tensors_and_is_not_opened_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {f"module.{key}": tensor for key, tensor in WEIGHTS.items()}
    checkpoint = {"epoch": 3, "args": Namespace(lr=0.1), "state_dict": state, "optimizer": {"state": {}}}
    torch.save(checkpoint, tmp_path / "checkpoint.pth.tar")

    def refuse(*arguments: object, **named: object) -> object:
        raise AssertionError("unpickled in the parent")

    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    assert same(read_tensors(tmp_path / "checkpoint.pth.tar"))


def test_prefixes_are_taken_off_only_where_every_name_has_them() -> None:
    assert unwrapped({"module.a": torch.ones(1), "b": torch.ones(1)}).keys() == {"module.a", "b"}
    assert unwrapped({"_orig_mod.module.a": torch.ones(1)}).keys() == {"a"}


@pytest.mark.parametrize("legacy", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path: Path, legacy: bool) -> None:
    trace, file = tmp_path / "trace", tmp_path / "weights.pt"
    torch.save({**WEIGHTS, "evil": Attack(trace)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(DataError) as caught:
        read_tensors(file)
    assert not trace.exists()
    assert caught.value.code == "MODEL-020"
    assert "would need posix.system, which is code" in str(caught.value)
    torch.load(file, weights_only=False)  # the attack is real: a loader without care runs it
    assert trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry", [b"cposix\nsystem\n", b"cbuiltins\neval\n", b"csubprocess\nPopen\n", b"cbuiltins\nexec\n"]
)
def test_raw_pickle_code_is_refused_and_runs_nothing(tmp_path: Path, entry: bytes) -> None:
    trace, file = tmp_path / "trace", tmp_path / "weights.pkl"
    command = f"touch {trace}".encode()
    text = b"X" + struct.pack("<I", len(command)) + command
    file.write_bytes(b"\x80\x02" + entry + text + b"\x85R.")  # protocol 2, callable, its argument, call, stop
    with pytest.raises(DataError):
        read_tensors(file)
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "act",
    ["os.system('touch trace')", "open('trace', 'w')", "__import__('socket').create_connection(('127.0.0.1', 9))"],
)
def test_behind_the_loader_a_second_wall_stops_commands_files_and_sockets(tmp_path: Path, act: str) -> None:
    wall = "import os; from pathlib import Path; from visus.models.unpickling import _fence; _fence(Path('/away'))"
    command = [sys.executable, "-c", f"{wall}; {act}"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Refused: reading it would" in ended.stderr
    assert not (tmp_path / "trace").exists()


def test_a_torchscript_archive_is_refused_as_a_program(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("model/data.pkl", "model/constants.pkl", "model/code/__torch__.py", "model/version"):
            archive.writestr(name, b"\x80\x02}.")
    with pytest.raises(DataError, match="TorchScript archive: it holds a program"):
        read_tensors(file)


@pytest.mark.slow
def test_an_exported_program_is_refused(tmp_path: Path) -> None:
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(exported, tmp_path / "model.pt2")
    with pytest.raises(DataError, match=r"exported program \(.pt2\)"):
        read_tensors(tmp_path / "model.pt2")


def test_a_small_file_that_unfolds_to_terabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(1 << 20, 1 << 20)}, tmp_path / "bomb.pt")
    with pytest.raises(DataError, match=r"unfolds to 4,096\.0 GiB"):
        read_tensors(tmp_path / "bomb.pt")


def test_a_file_that_needs_more_memory_than_allowed_is_refused_and_the_caller_lives(tmp_path: Path) -> None:
    plain = tmp_path / "plain.pt"
    torch.save({"a": torch.zeros(60 << 20, dtype=torch.uint8)}, plain)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert packed.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="needs more memory than it may use"):
        read_tensors(packed, memory=16 << 20)


def test_reading_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "weights.pt")
    with pytest.raises(DataError, match=r"did not end within 0\.05 seconds"):
        read_tensors(tmp_path / "weights.pt", seconds=0.05)


@pytest.mark.parametrize(
    "content", [b"{}", b"\xff" * 8 + b"{", struct.pack("<Q", 2) + b"{]", struct.pack("<Q", 10) + b'{"a":1}   ']
)
def test_a_lying_safetensors_header_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    with pytest.raises(DataError):
        read_tensors(file)


def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "torn.safetensors").write_bytes(content[:-4])
    with pytest.raises(DataError):
        read_tensors(tmp_path / "torn.safetensors")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.pt")
    with pytest.raises(DataError, match="not a regular file"):
        read_tensors(tmp_path / "weights.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such weights file"):
        read_tensors(tmp_path / "absent.pt")


@pytest.mark.slow
@pytest.mark.parametrize("value", [[1, 2], "text", {"epoch": 3}, {"state_dict": {}}, torch.ones(2)])
def test_a_pickle_without_named_tensors_says_what_it_holds(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "other.pt")
    with pytest.raises(DataError, match=r"it holds a|no tensors in it"):
        read_tensors(tmp_path / "other.pt")
