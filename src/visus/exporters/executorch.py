"""ExecuTorch (.pte), for telephones and other small machines: pictures of one size, one at a time, on XNNPACK."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visus.core.deployment import Contract, Deployed
from visus.core.errors import IntegrityError, first_line, needs
from visus.core.files import write_bytes
from visus.exporters import Exporter
from visus.exporters._program import contract_beside, impossible, program, stamp


def export(module: Deployed, example: Tensor, contract: Contract, path: Path) -> Contract:
    """Write the program and its contract beside it.

    Raises:
        UsageError: an optional library is missing; the network cannot be written.
    """
    to_edge = _library("executorch.exir").to_edge_transform_and_lower
    partitioner = _library("executorch.backends.xnnpack.partition.xnnpack_partitioner").XnnpackPartitioner
    traced, contract = program(module, example, contract)
    if any(str(node.target).startswith("visus.") for node in traced.graph.nodes):
        raise impossible(contract, NotImplementedError("it has no kernel that chooses among overlapping boxes"))
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it tells of every operation that it leaves to its own kernels
    try:
        lowered = to_edge(traced, partitioner=[partitioner()]).to_executorch()
    except Exception as error:  # it raises nearly anything
        raise impossible(contract, error) from error
    finally:
        logging.disable(level)
    write_bytes(path, lowered.buffer)
    version = import_module("importlib.metadata").version("executorch")
    contract = contract.model_copy(update={"format": f"ExecuTorch {version}, XNNPACK"})
    stamp(path, contract)
    return contract


def load(path: Path) -> ExecuTorchRuntime:
    """Return a program in ExecuTorch.

    Raises:
        UsageError: ExecuTorch is missing.
        DataError: its contract does not lie beside it.
        IntegrityError: it cannot be run.
    """
    return ExecuTorchRuntime(path, contract_beside(path)[0])


class ExecuTorchRuntime:
    """A program in ExecuTorch."""

    def __init__(self, path: Path, contract: Contract) -> None:
        self.contract, self.threads = contract, 1
        runtime = _library("executorch.runtime").Runtime.get()
        try:
            self.program = runtime.load_program(path.read_bytes())
            self.method = self.program.load_method("forward")
        except RuntimeError as error:
            raise IntegrityError("EXP-005", f"{path}: ExecuTorch cannot run it", where=first_line(error),
                                 fix="visus export MODEL --to executorch writes it anew") from error  # fmt: skip

    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the outputs of a batch of pictures by name."""
        rows = [[said.clone() for said in self.method.execute([one[None].contiguous()])] for one in pictures]
        return {
            name: torch.cat(each) for name, each in zip(self.contract.outputs, zip(*rows, strict=True), strict=True)
        }


def _recognises(start: bytes) -> bool:
    """Tell a program by the mark that stands behind its first four bytes."""
    return start[4:6] == b"ET"


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise needs("executorch", "executorch") from error


EXPORTER = Exporter(".pte", export, stamp, load, _recognises, one_picture=True)
