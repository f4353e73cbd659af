"""The one place where a foreign pickle is opened: a process of its own, with limits, that leaves only tensors behind.

``python -m visus.models.unpickling FILE FOLDER BYTES`` reads FILE with ``weights_only=True`` and writes
FOLDER/tensors.safetensors and FOLDER/result.json.  ``reading`` starts it; nobody else should.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.serialization import safe_globals

RESULT, TENSORS = "result.json", "tensors.safetensors"

_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "state_dict_ema",
    "model_ema",
)
_FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.", "socket.",
    "ctypes.dlopen", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.kill", "shutil.",
)  # fmt: skip
_CPU_SECONDS = 300


class Refused(Exception):
    """A file that is no plain set of tensors; ``detail`` is what the loader said."""

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(why)
        self.detail = detail


def main(file: Path, folder: Path, memory: int) -> None:
    """Read the file, write tensors and result into the folder."""
    torch.set_num_threads(1)
    sys.dont_write_bytecode = True  # a late import would otherwise meet the fence
    _limit(memory)
    _fence(folder)
    try:
        _check_kind(file)
        try:
            with safe_globals([Namespace]):  # the arguments that training scripts put beside the weights: plain values
                loaded = torch.load(file, map_location="cpu", weights_only=True)
        except Refused:
            raise
        except Exception as error:
            raise _reason(error) from error
        tensors = _plain(_state(loaded), memory)
        safetensors.torch.save_file(tensors, folder / TENSORS)
        said: dict[str, Any] = {"read": len(tensors)}
    except Refused as error:
        said = {"refused": str(error), "detail": error.detail}
    (folder / RESULT).write_text(json.dumps(said))


def _limit(memory: int) -> None:
    """Bound address space beyond what PyTorch has mapped, processor time, file size and core dumps, where possible."""
    try:
        import resource
    except ImportError:
        return  # Windows: the parent's deadline is the only limit
    mapped = _mapped()
    if mapped:
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _mapped() -> int:
    """Return the address space in use, in bytes; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return 0
    import resource

    return int(status.read_text().split()[0]) * resource.getpagesize()


def _fence(folder: Path) -> None:
    """Refuse, from now on, whatever reading tensors does not need: a second wall behind ``weights_only``."""
    mine = str(folder)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise Refused(f"reading it would call {event}")
        if event == "open" and _writes(arguments) and not str(arguments[0]).startswith(mine):
            raise Refused(f"reading it would write to {arguments[0]}")

    sys.addaudithook(watch)


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return any(letter in str(mode) for letter in "wax+") if mode is not None else bool(int(flags or 0) & 3)


def _check_kind(file: Path) -> None:
    """Refuse archives whose own loaders would run what they hold."""
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise Refused("it is a damaged zip file", str(error)) from error
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise Refused("it is a TorchScript archive: it holds a program, not weights alone")
    if "archive_format" in inside or any(n.endswith((".pt2", "serialized_exported_program.json")) for n in names):
        raise Refused("it is an exported program (.pt2), whose loader unpickles without limits")
    if "data.pkl" not in inside:
        raise Refused("it is a zip file without PyTorch weights in it")


def _reason(error: Exception) -> Refused:
    """Return what PyTorch's long message comes down to."""
    said = str(error)
    if named := re.search(r"GLOBAL ([\w.]+)", said):
        return Refused(f"reading it would need {named[1]}, which is code and no tensor")
    if isinstance(error, MemoryError) or "allocate memory" in said:
        return Refused("reading it needs more memory than it may use", said)
    return Refused("it is damaged, or no file of weights", said.partition(". ")[0])


def _state(loaded: object) -> Mapping[str, Any]:
    """Return the mapping that holds the weights, inside the wrappers that training scripts put around it."""
    if not isinstance(loaded, Mapping):
        raise Refused(f"it holds a {type(loaded).__name__}, not weights by name")
    if any(isinstance(value, Tensor) for value in loaded.values()):
        return loaded
    for wrapper in (*_WRAPPERS, *loaded):
        inner = loaded.get(wrapper)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return inner
    raise Refused(f"no tensors in it (its keys: {', '.join(str(key) for key in list(loaded)[:8]) or 'none'})")


def _plain(state: Mapping[str, Any], memory: int) -> dict[str, Tensor]:
    """Return separate, dense, contiguous tensors; a small storage seen through huge views is refused before copying."""
    named = {str(name): value.detach() for name, value in state.items() if isinstance(value, Tensor)}
    odd = [
        name
        for name, tensor in named.items()
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta
    ]
    if odd:
        raise Refused(f"{odd[0]} is a sparse, quantised or empty tensor")
    need = sum(tensor.numel() * tensor.element_size() for tensor in named.values())
    if need > memory:
        raise Refused(f"it unfolds to {need / 2**30:,.1f} GiB of weights")
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in named.items()}


def _arguments() -> Iterator[Any]:
    yield Path(sys.argv[1])
    yield Path(sys.argv[2])
    yield int(sys.argv[3])


if __name__ == "__main__":
    main(*_arguments())
