"""When a step is not finite: which module, which loss term, which samples; and a bundle that shows it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from visus.core.files import write_bytes, write_text
from visus.core.task import Batch, Task
from visus.engine.device import Device
from visus.engine.splitting import Rows


@dataclass(frozen=True)
class Cause:
    """Why a step was not finite.

    Attributes:
        kind: the first that is so: ``input``, ``target``, ``weight``, ``buffer``, ``forward``, ``loss``, ``backward``.
        module: the first module whose output (or gradient) is not finite, or the weight's name.
        term: the loss term.
        ids: of the samples that are not finite by themselves; empty when none or nearly all are, so no one is to blame.
        indices: of those samples in the data set.
    """

    kind: str
    module: str = ""
    term: str = ""
    ids: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()

    def __str__(self) -> str:
        parts = [f"first not finite: {self.kind}" + (f" of {self.module}" if self.module else "")]
        parts += [f"loss term {self.term}"] if self.term else []
        parts += [f"sample{'s' * (len(self.ids) > 1)} {', '.join(self.ids[:3])}"] if self.ids else []
        return ", ".join(parts)


def locate(task: Task, model: nn.Module, batch: Batch, player: str, step: int, device: Device) -> Cause:
    """Return the cause of a step that is not finite, by doing it again under watch.

    The caller restores buffers afterwards.
    """
    for name, parameter in model.named_parameters():
        if not _all_finite(parameter):
            return Cause("weight", name)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and not _all_finite(buffer):
            return Cause("buffer", name)
    guilty = _guilty_inputs(batch)
    if guilty:
        return Cause(*guilty[:3], *_named(batch, guilty[3]))
    kind, module, term = _watched(task, model, batch, player, step, device)
    with _statistics_held(model):
        rows = [i for i in range(len(batch)) if _watched(task, model, batch.rows(i, i + 1), player, step, device)[0]]
    if len(rows) > max(1, len(batch) // 2):
        rows = []  # it is the weights or the rate, not a sample
    return Cause(kind or "backward", module, term, *_named(batch, rows))


def write_bundle(folder: Path, cause: Cause, batch: Batch, model: nn.Module, player: str, step: int) -> Path:
    """Write what is needed to see a failed step again; return its folder."""
    place = folder / "bundles" / f"step-{step:010d}"
    place.mkdir(parents=True, exist_ok=True)
    tensors = {f"input.{i}": tensor for i, tensor in enumerate(batch.inputs)}
    tensors |= {f"target.{name}": value for name, value in batch.targets.items() if isinstance(value, Tensor)}
    tensors |= {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors["indices"], tensors["frames"] = batch.indices, batch.frames
    write_bytes(
        place / "tensors.safetensors", to_bytes({n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()})
    )
    about = {"cause": asdict(cause), "player": player, "step": step, "seed": batch.seed, "start": batch.start,
             "whole": batch.whole, "ids": list(batch.ids)}  # fmt: skip
    write_text(place / "cause.json", json.dumps(about, indent=1))
    return place


def replay(place: Path, task: Task, model: nn.Module, device: Device) -> Cause:
    """Return the cause found by repeating a bundle's step; ``model`` takes the weights of that moment."""
    about: dict[str, Any] = json.loads((place / "cause.json").read_text(encoding="utf-8"))
    tensors = load_file(place / "tensors.safetensors")
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    inputs = tuple(tensors[f"input.{i}"] for i in range(sum(n.startswith("input.") for n in tensors)))
    targets = {n.removeprefix("target."): t for n, t in tensors.items() if n.startswith("target.")}
    batch = Batch(inputs, targets, tuple(about["ids"]), tensors["indices"], tensors["frames"], about["seed"],
                  about["start"], about["whole"]).to(device.device, device.memory_format)  # fmt: skip
    model.train()
    return locate(task, model, batch, about["player"], about["step"], device)


def _named(batch: Batch, rows: list[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return tuple(batch.ids[i] for i in rows), tuple(int(batch.indices[i]) for i in rows)


def _guilty_inputs(batch: Batch) -> tuple[str, str, str, list[int]] | None:
    for i, tensor in enumerate(batch.inputs):
        rows = _bad_rows(tensor)
        if rows:
            return "input", str(i), "", rows
    for name, value in batch.targets.items():
        if isinstance(value, Tensor) and value.is_floating_point() and bool(torch.isinf(value).any()):
            return "target", name, "", _bad_rows(value.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf))
    return None


def _bad_rows(tensor: Tensor) -> list[int]:
    if not tensor.is_floating_point() or not len(tensor):
        return []
    return [int(i) for i in (~torch.isfinite(tensor).reshape(len(tensor), -1).all(1)).nonzero().flatten()]


def _watched(
    task: Task, model: nn.Module, batch: Batch, player: str, step: int, device: Device
) -> tuple[str, str, str]:
    """Return (kind, module, term) of the first thing that is not finite in one pass; empty when all is well."""
    with _watching(model) as seen, torch.enable_grad():
        device.seed(batch.seed)
        with Rows(len(batch), batch.start, max(batch.whole, batch.start + len(batch))), device.autocast():
            terms = task.losses(model, batch, player, step)
        broken = [name for name, term in terms.items() if not _all_finite(term.sum)]
        if broken:
            return ("forward", seen[0], broken[0]) if seen else ("loss", "", broken[0])
        if seen:
            return "forward", seen[0], ""
        inputs = [p for p in model.parameters() if p.requires_grad]
        for name, term in terms.items():
            if not term.sum.requires_grad:
                continue
            gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
                term.sum, inputs, retain_graph=True, allow_unused=True
            )
            if any(g is not None and not _all_finite(g) for g in gradients):
                names = [n for n, p in model.named_parameters() if p.requires_grad]
                first = next(n for n, g in zip(names, gradients, strict=True) if g is not None and not _all_finite(g))
                return "backward", seen[0] if seen else first.rpartition(".")[0], name
    return "", "", ""


@contextmanager
def _statistics_held(model: nn.Module) -> Iterator[None]:
    """Let normalisations use their running statistics, for one sample has none of its own."""
    norms = [m for m in model.modules() if m.training and getattr(m, "running_mean", None) is not None]
    for module in norms:
        module.eval()
    try:
        yield
    finally:
        for module in norms:
            module.train()


@contextmanager
def _watching(model: nn.Module) -> Iterator[list[str]]:
    """Collect the names of leaf modules whose output, then whose gradient, is not finite, in the order they ran."""
    seen: list[str] = []

    def watch(name: str) -> Any:
        def note_gradient(gradient: Tensor) -> None:
            if not _all_finite(gradient):
                seen.append(name)

        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            for tensor in output if isinstance(output, tuple | list) else [output]:
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    if not _all_finite(tensor):
                        seen.append(name)
                    if tensor.requires_grad:
                        tensor.register_hook(note_gradient)  # type: ignore[no-untyped-call]

        return hook

    handles = [m.register_forward_hook(watch(n)) for n, m in model.named_modules() if not any(m.children())]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _all_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
