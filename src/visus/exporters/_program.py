"""The exported program that every target starts from, and the contract in a file beside those that can hold none."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from visus.core.deployment import PICTURES, Contract, Deployed
from visus.core.errors import DataError, UsageError, first_line
from visus.core.files import write_text


def program(module: Deployed, example: Tensor, contract: Contract) -> tuple[ExportedProgram, Contract]:
    """Return the module as a program of tensor operations, and what it then reads.

    A network that goes through a batch picture by picture becomes a program for one picture.

    Args:
        module: in eval mode.
        example: pictures (B, H, W, C); two or more, of more than one pixel a side, where they may be any.
        contract: says what stays open: batch, height and width.

    Raises:
        UsageError: EXP-002, the network does what depends on the numbers it sees, or what no program can hold.
    """
    with torch.no_grad():
        module(example)  # what a network keeps for a size is made of real numbers, not of the tracer's
        try:
            return _traced(module, example, contract), contract
        except Exception as error:  # whatever the tracer meets in a stranger's network
            if contract.batch is not None:
                raise impossible(contract, error) from error
            alone = contract.model_copy(update={"batch": 1})
            try:
                return _traced(module, example[:1], alone), alone
            except Exception:  # as above; the first reason is the better one
                raise impossible(contract, error) from error


def _traced(module: Deployed, example: Tensor, contract: Contract) -> ExportedProgram:
    free = {0: contract.batch, 1: contract.size, 2: contract.size}
    shapes = {PICTURES: {axis: Dim.DYNAMIC for axis, fixed in free.items() if fixed is None}}
    return torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)


def impossible(contract: Contract, error: BaseException) -> UsageError:
    """Return what to say of a network that cannot be written."""
    architecture = contract.card.architecture.name
    return UsageError(
        "EXP-002", f"{architecture} cannot be written as {contract.target}: {first_line(error)}"[:400],
        where=type(error).__name__, done="no file was written",
        fix="another --to, or a network of tensor operations that do not depend on what they see",
    )  # fmt: skip


def beside(path: Path) -> Path:
    """Return where the contract of a file lies that cannot hold it."""
    return path.with_name(path.name + ".json")


def stamp(path: Path, contract: Contract, seal: str = "") -> None:
    """Write the contract beside a file, with a seal if there is one."""
    text = contract.text()
    write_text(beside(path), (f'{text[:-1]}{_SEAL}{seal}"}}' if seal else text) + "\n")


def contract_beside(path: Path) -> tuple[Contract, str]:
    """Return the contract that lies beside a file, and the seal on it, which may be empty.

    Raises:
        DataError: there is none.
        IntegrityError: it is damaged.
    """
    place = beside(path)
    if not place.is_file():
        raise DataError("EXP-003", f"{path}: {place.name}, which says what it is, does not lie beside it",
                        fix="copy both, or visus export MODEL --to ... again")  # fmt: skip
    text, mark, seal = place.read_text(encoding="utf-8").strip().partition(_SEAL)
    return Contract.of(text + "}" * bool(mark), str(place)), seal.removesuffix('"}')


_SEAL = ', "seal": "'
