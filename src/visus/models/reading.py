"""Tensors out of files: safetensors directly, anything pickled only in a child process with limits."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from visus.core.errors import DataError
from visus.models.unpickling import RESULT, TENSORS

SECONDS = 120.0
MEMORY = 2 << 30


def read_tensors(file: Path, *, seconds: float = SECONDS, memory: int = MEMORY) -> dict[str, Tensor]:
    """Return the tensors of a weights file by the names they have in it.

    What kind of file it is follows from its bytes, never from its name.  Wrappers (``state_dict``, ``model``) and
    prefixes (``module.``) are taken off.  A pickle is read with ``weights_only=True`` in a child process that may use
    neither network nor other programs, nor write anywhere but to its own temporary folder.

    Args:
        file: of the user's or of a cache.
        seconds: after which the child is ended.
        memory: bytes the child may use beyond PyTorch itself and four times the size of the file.

    Raises:
        DataError: no such file, not a weights file, damaged, or one whose reading would run code; nothing of it was
            run.
    """
    size = _regular(file)
    try:
        with file.open("rb") as opened:
            start = opened.read(9)
    except OSError as error:
        raise _refused(file, "it cannot be opened", str(error)) from error
    if len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        try:
            return unwrapped(load_file(file))
        except (SafetensorError, OSError, ValueError) as error:
            raise _refused(file, "its safetensors header does not fit its data", str(error)) from error
    if not start.startswith((b"PK\x03\x04", b"\x80")):  # a zip file, a pickle
        raise _refused(file, "neither a safetensors file nor one that torch.save wrote")
    with tempfile.TemporaryDirectory(prefix="visus-adopt-") as folder:
        _unpickle(file, Path(folder), seconds, memory + 4 * size)
        return unwrapped(load_file(Path(folder) / TENSORS))


def unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the prefix that data-parallel training or compiling put before every name."""
    for prefix in ("module.", "_orig_mod."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            return unwrapped({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def _regular(file: Path) -> int:
    """Return the size of a regular file; a pipe or device would block for ever or never end."""
    try:
        found = file.stat()
    except (OSError, ValueError) as error:
        raise DataError("MODEL-001", f"{file}: there is no such weights file", where=str(error)) from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError("MODEL-020", f"{file}: not a regular file", fix="name a file of weights")
    return found.st_size


def _unpickle(file: Path, folder: Path, seconds: float, memory: int) -> None:
    """Let a child process turn the pickle into safetensors in ``folder``, or say why not."""
    command = [sys.executable, "-P", "-m", "visus.models.unpickling", str(file.resolve()), str(folder), str(memory)]
    try:
        ended = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=_environment(folder), timeout=seconds, start_new_session=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _refused(file, f"reading it did not end within {seconds:g} seconds") from error
    said = folder / RESULT
    result = json.loads(said.read_text()) if said.is_file() else {}
    if result.get("refused"):
        raise _refused(file, str(result["refused"]), str(result.get("detail", "")))
    if ended.returncode or not result.get("read"):
        raise _refused(file, f"reading it needs more than {memory / 2**30:.1f} GiB of memory, or broke the reader",
                       f"the child process ended with {ended.returncode}")  # fmt: skip


def _environment(folder: Path) -> dict[str, str]:
    """Return the child's environment: nothing that loosens PyTorch's loader, one thread, its own temporary folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TORCH_")}
    return kept | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": ""}


def _refused(file: Path, why: str, detail: str = "") -> DataError:
    return DataError(
        "MODEL-020",
        f"{file}: {why}",
        where=detail.partition("\n")[0],
        done="refused; nothing in it was run",
        fix="ask for the weights as .safetensors, or as a plain state dict saved by torch.save",
    )
