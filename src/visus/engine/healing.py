"""When a step is not finite: which module, which loss term, which samples; and a bundle that shows it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from visus.core.files import write_bytes, write_text
from visus.core.task import Batch, Task
from visus.engine.device import Device, out_of_memory
from visus.engine.splitting import rows_of, seed_of
from visus.engine.state import statistics

FOLDER = "bundles"
"""Of a run, where steps that failed can be seen again."""


@dataclass(frozen=True)
class Cause:
    """Why a step was not finite.

    Attributes:
        kind: the first that is so: ``weight``, ``buffer``, ``input``, ``target``, ``forward``, ``loss``, ``statistic``
            (of what a normalisation gathers), ``backward``; ``sum`` where each part was finite when it was looked at
            again, and only all of them together were not.
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

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Cause:
        """Return the cause of which ``asdict`` told."""
        return cls(told["kind"], told["module"], told["term"], tuple(told["ids"]), tuple(told["indices"]))

    def __str__(self) -> str:
        parts = [f"first not finite: {self.kind}" + (f" of {self.module}" if self.module else "")]
        parts += [f"loss term {self.term}"] if self.term else []
        parts += [f"sample{'s' * (len(self.ids) > 1)} {', '.join(self.ids[:3])}"] if self.ids else []
        return ", ".join(parts)


def locate(task: Task, model: nn.Module, batch: Batch, player: str, step: int, device: Device, micro: int) -> Cause:
    """Return the cause of a step that is not finite, by doing it again under watch; no kind: it is not in these rows.

    The caller restores buffers afterwards.

    Args:
        batch: this rank's rows.
        micro: of which so many were looked at at once; fewer where memory wants it.
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
    kind = module = term = ""
    parts = [part for part in batch.split(micro, max(1, task.group)) if len(part)]
    while parts and not kind:
        try:
            kind, module, term = _watched(task, model, parts[0], batch, player, step, device)
        except RuntimeError as error:
            if not out_of_memory(error) or len(parts[0]) <= max(1, task.group):
                raise
            half = len(parts[0]) // 2
            parts[:1] = [parts[0].rows(0, half), parts[0].rows(half, len(parts[0]))]
            continue
        parts.pop(0)
    rows: list[int] = []
    if kind and task.group == 1 and not _need_company(model):
        alone = [batch.rows(i, i + 1) for i in range(len(batch))]
        with _statistics_held(model):
            rows = [i for i, one in enumerate(alone) if _watched(task, model, one, batch, player, step, device)[0]]
    if len(rows) > max(1, len(batch) // 2):
        rows = []  # it is the weights or the rate, not a sample
    return Cause(kind, module, term, *_named(batch, rows))


def together(causes: Sequence[Cause]) -> Cause:
    """Return one cause from those of all ranks: the first there is, with the samples that any of them names."""
    found = [cause for cause in causes if cause.kind] or [Cause("sum")]
    named = {index: name for cause in found for index, name in zip(cause.indices, cause.ids, strict=True)}
    return replace(found[0], ids=tuple(named.values()), indices=tuple(named))


def write_bundle(
    place: Path, cause: Cause, batch: Batch, model: nn.Module, player: str, step: int, micro: int, device: Device
) -> None:
    """Write into a folder what is needed to see a failed step again."""
    place.mkdir(parents=True, exist_ok=True)
    tensors = {f"input.{i}": tensor for i, tensor in enumerate(batch.inputs)}
    tensors |= {f"target.{name}": value for name, value in batch.targets.items() if isinstance(value, Tensor)}
    tensors |= {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {"indices": batch.indices, "frames": batch.frames, "originals": batch.originals}
    write_bytes(
        place / "tensors.safetensors", to_bytes({n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()})
    )
    about = {"cause": asdict(cause), "player": player, "step": step, "seed": batch.seed, "start": batch.start,
             "whole": batch.whole, "ids": list(batch.ids), "micro": micro, "world": device.world,
             "still": [name for name, module in model.named_modules() if not module.training]}  # fmt: skip
    write_text(place / "cause.json", json.dumps(about, indent=1))


def replay(place: Path, task: Task, model: nn.Module, device: Device) -> Cause:
    """Return the cause found by repeating a bundle's step; ``model`` takes the weights of that moment."""
    about: dict[str, Any] = json.loads((place / "cause.json").read_text(encoding="utf-8"))
    tensors = load_file(place / "tensors.safetensors")
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    inputs = tuple(tensors[f"input.{i}"] for i in range(sum(n.startswith("input.") for n in tensors)))
    targets = {n.removeprefix("target."): t for n, t in tensors.items() if n.startswith("target.")}
    batch = Batch(inputs, targets, tuple(about["ids"]), tensors["indices"], tensors["frames"], about["seed"],
                  about["start"], about["whole"], originals=tensors["originals"])  # fmt: skip
    batch = batch.to(device.device, device.memory_format)
    for name, module in model.named_modules():
        module.training = name not in about["still"]
    device = replace(device, world=about["world"])  # which masks its rows had; nothing is exchanged
    return locate(task, model, batch, about["player"], about["step"], device, about["micro"])


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
    task: Task, model: nn.Module, part: Batch, batch: Batch, player: str, step: int, device: Device
) -> tuple[str, str, str]:
    """Return (kind, module, term) of the first thing that is not finite in a part's pass; empty when all is well."""
    with _watching(model) as seen, torch.enable_grad():
        device.seed(seed_of(batch, player, task))
        with rows_of(part, batch, device.world), device.autocast():
            terms = task.losses(model, part, player, step)
        broken = [name for name, term in terms.items() if not _all_finite(term.sum)]
        if broken:
            return ("forward", seen[0], broken[0]) if seen else ("loss", "", broken[0])
        if seen:
            return "forward", seen[0], ""
        gathered = [name for name, buffer in statistics(model).items() if not _all_finite(buffer)]
        if gathered:
            return "statistic", gathered[0], ""
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


def _need_company(model: nn.Module) -> bool:
    """Tell whether a normalisation knows only the statistics of the rows it is shown, so that one alone has none."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return any(norm.running_mean is None for norm in norms)


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
    """Collect the names of modules whose output, then whose gradient, is not finite, in the order they ended.

    A module ends after those within it, so the first named is the smallest that the trouble came from.
    """
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

    handles = [m.register_forward_hook(watch(n or type(m).__name__)) for n, m in model.named_modules()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _all_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
