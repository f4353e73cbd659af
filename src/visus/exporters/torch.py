"""A torch.export program (.pt2), for PyTorch without visus' networks.

PyTorch reads such a file by unpickling parts of it and evaluating others, which a stranger's file could use to run
anything.  So visus opens only those that it wrote itself for the same user: the file beside it holds a seal, made with
a key that never leaves the user's own folder.
"""

from __future__ import annotations

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path

import torch
import torchvision  # noqa: F401  # makes torch.ops.torchvision, such as roi_align, which a program may hold
from torch import Tensor

from visus.core import suppression  # noqa: F401  # makes torch.ops.visus.kept
from visus.core.deployment import Contract, Deployed
from visus.core.errors import IntegrityError, first_line
from visus.core.files import digest, write_bytes
from visus.exporters import Exporter
from visus.exporters._program import contract_beside, program
from visus.exporters._program import stamp as write_beside

KEY_FILE = "VISUS_KEY"
"""Name of the variable that says where the key lies, if not in the user's folder of settings."""


def export(module: Deployed, example: Tensor, contract: Contract, path: Path) -> Contract:
    """Write the program, and its contract with a seal beside it."""
    traced, contract = program(module, example, contract)
    torch.export.save(traced, str(path))
    contract = contract.model_copy(update={"format": f"torch.export {torch.__version__.partition('+')[0]}"})
    stamp(path, contract)
    return contract


def stamp(path: Path, contract: Contract) -> None:
    """Write a contract beside the file, with a seal over both."""
    write_beside(path, contract, _seal(path, contract.text()))


def load(path: Path) -> TorchRuntime:
    """Return a program that this user wrote.

    Raises:
        DataError: its contract does not lie beside it.
        IntegrityError: EXP-007, it was changed, or somebody else wrote it.
    """
    contract, seal = contract_beside(path)
    if not hmac.compare_digest(seal, _seal(path, contract.text())):
        raise IntegrityError(
            "EXP-007", f"{path}: not a file that visus wrote for this user on this machine",
            where="opening a .pt2 runs what is in it", done="it was not opened",
            fix="visus export MODEL --to torch writes one here; --to onnx one that anybody may open",
        )  # fmt: skip
    return TorchRuntime(path, contract)


class TorchRuntime:
    """A program in PyTorch."""

    def __init__(self, path: Path, contract: Contract) -> None:
        self.contract, self.threads = contract, 1
        try:
            self.module = torch.export.load(str(path)).module()
        except Exception as error:  # of another version of PyTorch
            raise IntegrityError("EXP-005", f"{path}: PyTorch cannot run it", where=first_line(error),
                                 fix="visus export MODEL --to torch writes it anew") from error  # fmt: skip

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the outputs of a batch of pictures by name."""
        return dict(zip(self.contract.outputs, self.module(pictures.contiguous()), strict=True))


def _seal(path: Path, text: str) -> str:
    return hmac.new(_key(), digest(path).encode() + text.encode(), sha256).hexdigest()


def _key() -> bytes:
    """Return the user's key, made now where there is none."""
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    place = Path(os.environ.get(KEY_FILE) or settings / "visus" / "key")
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, secrets.token_bytes(32))
        place.chmod(0o600)
    return place.read_bytes()


def _recognises(start: bytes) -> bool:
    """Tell an exported program: a zip file that begins with a graph or weights, where a state dict has a pickle."""
    return start.startswith(b"PK\x03\x04") and any(part in start for part in (b"/models/", b"/data/", b"/archive_"))


EXPORTER = Exporter(".pt2", export, stamp, load, _recognises)
