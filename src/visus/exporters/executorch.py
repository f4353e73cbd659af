"""ExecuTorch (.pte), for telephones and other small machines: pictures of one size, one at a time, on XNNPACK."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from visus.core.deployment import Contract, Deployed
from visus.core.errors import IntegrityError, first_line, needs
from visus.core.files import write_bytes
from visus.exporters import Exporter
from visus.exporters._program import contract_beside, impossible, program, stamp

ROUNDS = 32
"""In which suppression is settled."""


def export(module: Deployed, example: Tensor, contract: Contract, path: Path) -> Contract:
    """Write the program and its contract beside it.

    Raises:
        UsageError: an optional library is missing; the network cannot be written.
    """
    to_edge = _library("executorch.exir").to_edge_transform_and_lower
    partitioner = _library("executorch.backends.xnnpack.partition.xnnpack_partitioner").XnnpackPartitioner
    traced, contract = program(module, example, contract)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it tells of every operation that it leaves to its own kernels
    try:
        lowered = to_edge(_plain(traced), partitioner=[partitioner()]).to_executorch()
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


def _plain(traced: ExportedProgram) -> ExportedProgram:
    """Return a program without our own operations, for which it has no kernels: in those that it has."""
    from visus.core import suppression  # noqa: F401  # makes torch.ops.visus

    said = {torch.ops.visus.kept.default: _kept, torch.ops.visus.top.default: _top}
    ours = any(node.target in said for node in traced.graph.nodes)
    return traced.run_decompositions(said) if ours else traced


def _top(scores: Tensor, count: int) -> Tensor:
    """Return ``visus::top``."""
    return scores.topk(count, dim=1)[1]


def _kept(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int, overlap: float) -> Tensor:
    """Return ``visus::kept`` of one picture.

    At first every candidate hides the lesser ones over the same object; then those that are hidden hide no longer, and
    so on.  After round n all is settled but what hangs on a chain of more than n candidates of which each would hide
    the next; the runtime knows no loop that ends by itself, so the rounds are as many as no chain is long.
    """
    order = scores.topk(scores.shape[1], dim=1)[1]
    sure, kind = scores.gather(1, order), labels.gather(1, order)
    x0, y0, x1, y1 = (boxes[..., side].gather(1, order) for side in range(4))  # (1, T)
    wide = (torch.minimum(x1, x1.T) - torch.maximum(x0, x0.T)).clamp(min=0)
    high = (torch.minimum(y1, y1.T) - torch.maximum(y0, y0.T)).clamp(min=0)
    area = (x1 - x0) * (y1 - y0)
    shared = wide * high
    same = (shared > overlap * (area + area.T - shared)) & (kind == kind.T)
    place = torch.arange(scores.shape[1])[None]
    hides = (same & (place > place.T)).float()  # (T, T), the row hides the column
    real = (sure >= 0).float()
    found = real
    for _ in range(ROUNDS):
        found = torch.where(found @ hides > 0, torch.zeros_like(real), real)
    return torch.zeros_like(scores).scatter(1, order, found) > 0.5


def _recognises(start: bytes) -> bool:
    """Tell a program by the mark that stands behind its first four bytes."""
    return start[4:6] == b"ET"


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise needs("executorch", "executorch") from error


EXPORTER = Exporter(".pte", export, stamp, load, _recognises, one_picture=True)
