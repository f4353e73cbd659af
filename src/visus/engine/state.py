"""The state of a run: one object with everything a step reads and writes, saved whole or not at all."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from visus.core.errors import IntegrityError, UsageError, first_line
from visus.core.files import write_bytes
from visus.core.recipe import Recipe
from visus.engine import optim

ALIGN = 16  # elements: a weight begins on a cache line, as kernels expect
KEPT = 2  # complete generations
_PLAIN = (bool, int, float, str, type(None))


@dataclass
class Progress:
    """The few decisions of a run that are no tensors.

    Attributes:
        step: steps behind.
        lr_scale: share of the learning rate left after roll-backs.
        rollbacks: so far.
        failures: steps in a row that were not finite; moved: steps in which the weights moved.
        suspects: {index: times} that a sample was named in a failed step.
        quarantined: {index: id} of samples left out from now on.
        evaluated: step of the last validation; best: its best score, at best_step; stale: validations since then.
        elapsed: seconds of the budget used.
        finished: training ended by itself.
    """

    step: int = 0
    lr_scale: float = 1.0
    rollbacks: int = 0
    failures: int = 0
    moved: int = 0
    suspects: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    evaluated: int = 0
    best: float | None = None
    best_step: int = 0
    stale: int = 0
    elapsed: float = 0.0
    finished: bool = False


class Flat:
    """All trained weights in one buffer, their gradients in another: one kernel clips, checks, reduces or averages.

    Args:
        parameters: by name, of one floating type; they become views of ``weights``, their gradients views of
            ``gradients``, with the strides they have.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        if not parameters:
            raise UsageError("FIT-001", "nothing is trained: the network has no weight that is not frozen",
                             fix="--set model.freeze=[], or a network that has weights")  # fmt: skip
        kinds = {(p.dtype, p.device) for p in parameters.values()}
        if len(kinds) > 1:
            raise UsageError("FIT-002", "trained parameters of more than one type", where=str(sorted(map(str, kinds))),
                             fix="make them one: model.float()")  # fmt: skip
        (dtype, device), at = kinds.pop(), 0
        self.parameters = dict(parameters)
        self.place: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {}
        for name, parameter in parameters.items():
            dense = parameter.is_contiguous() or parameter.is_contiguous(memory_format=torch.channels_last)
            strides = parameter.stride() if dense else torch.empty(parameter.shape, device="meta").stride()
            self.place[name] = at, tuple(parameter.shape), tuple(strides)
            at += -(-parameter.numel() // ALIGN) * ALIGN
        self.weights = torch.zeros(at, dtype=dtype, device=device)
        self.gradients = torch.zeros_like(self.weights)
        for name, parameter in parameters.items():
            view = self.view(self.weights, name)
            view.copy_(parameter.detach())
            parameter.data = view

    def view(self, buffer: Tensor, name: str) -> Tensor:
        """Return one parameter's part of a buffer laid out like ``weights``."""
        at, shape, strides = self.place[name]
        return buffer.as_strided(shape, strides, at)

    def attach(self, frozen: frozenset[str]) -> None:
        """Let gradients flow into the buffer, but not to the frozen parameters, which the optimiser then passes by."""
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(name not in frozen)
            parameter.grad = None if name in frozen else self.view(self.gradients, name)


@dataclass
class State:
    """Everything that a step reads and writes.

    Attributes:
        model: the network.
        flat: its trained weights and their gradients.
        optimisers: by player.
        average: EMA of ``flat.weights``, or None.
        average_buffers: EMA of the floating buffers, in the order of ``buffers``.
        progress: what is no tensor.
        statistics, average_statistics, counted: what holds the floating buffers, their EMA, and buffers that are not
            averaged (what counts, a task's own numbers, constants), one tensor a type.
    """

    model: nn.Module
    flat: Flat
    optimisers: dict[str, Optimizer]
    average: Tensor | None
    average_buffers: list[Tensor]
    progress: Progress

    def __post_init__(self) -> None:
        averaged = statistics(self.model)
        self.buffers = list(averaged.values())
        self.counters = [b for name, b in self.model.named_buffers() if name not in averaged]
        self.statistics, self.average_statistics = together(self.buffers), together(self.average_buffers)
        self.counted = together(self.counters)
        self._now = [*self.statistics, *self.counted]
        self._before = [torch.empty_like(b) for b in self._now]

    def remember_buffers(self) -> None:
        """Copy the buffers before a forward pass that may have to be undone."""
        if self._before:
            torch._foreach_copy_(self._before, self._now)

    def restore_buffers(self) -> None:
        """Put the remembered buffers back."""
        if self._before:
            torch._foreach_copy_(self._now, self._before)

    def swap_average(self) -> None:
        """Exchange the weights and their average; twice is nothing."""
        if self.average is None:
            return
        held = self.flat.weights.clone()
        self.flat.weights.copy_(self.average)
        self.average.copy_(held)
        for buffer, average in zip(self.buffers, self.average_buffers, strict=True):
            held = buffer.clone()
            buffer.copy_(average)
            average.copy_(held)

    def judged_tensors(self) -> dict[str, Tensor]:
        """Return a copy of the weights that are judged and shipped: the averaged ones where there are some."""
        averaged: dict[int, Tensor] = {}  # by identity, for tied weights have several names
        if self.average is not None:
            averaged = {id(p): self.flat.view(self.average, name) for name, p in self.flat.parameters.items()}
            averaged |= {id(b): mean for b, mean in zip(self.buffers, self.average_buffers, strict=True)}
        tensors = self.model.state_dict(keep_vars=True)
        return {name: averaged.get(id(t), t).detach().clone().contiguous() for name, t in tensors.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the state by a name that says where it belongs; views, not copies."""
        named = {f"model.{name}": tensor.detach() for name, tensor in self.model.state_dict().items()}
        unsaved = {n: b for n, b in self.model.named_buffers() if f"model.{n}" not in named}
        named |= {f"buffer.{name}": buffer for name, buffer in unsaved.items()}
        if self.average is not None:
            named["average"] = self.average
            named |= {f"average_buffer.{i}": buffer for i, buffer in enumerate(self.average_buffers)}
        for player, optimiser in self.optimisers.items():
            told = optimiser.state_dict()
            kept = {str(index): values for index, values in told["state"].items()}
            kept |= {f"group{i}": group for i, group in enumerate(told["param_groups"])}
            for place, values in kept.items():
                tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
                named |= {f"optimiser.{player}.{place}.{key}": value for key, value in tensors.items()}
        return named

    def scalars(self) -> dict[str, Any]:
        """Return what optimisers keep besides tensors, by player: for each parameter, and for each group."""
        kept: dict[str, Any] = {}
        for player, optimiser in self.optimisers.items():
            told = optimiser.state_dict()
            of_parameters = {
                str(index): {key: value for key, value in values.items() if not isinstance(value, Tensor)}
                for index, values in told["state"].items()
            }
            of_groups = [{k: v for k, v in group.items() if isinstance(v, _PLAIN)} for group in told["param_groups"]]
            kept[player] = {"parameters": of_parameters, "groups": of_groups}
        return kept

    def finite(self) -> bool:
        """Tell whether every number of the state is finite."""
        return not self.first_not_finite()

    def first_not_finite(self) -> str:
        """Return the name, as of ``tensors``, of the first tensor or number that is not finite; empty when all are."""
        for name, tensor in self.tensors().items():
            if tensor.is_floating_point() and not name.startswith("buffer.") and not bool(torch.isfinite(tensor).all()):
                return name
        for player, kept in self.scalars().items():
            for values in (*kept["parameters"].values(), *kept["groups"]):
                for key, value in values.items():
                    if isinstance(value, float) and not math.isfinite(value):
                        return f"optimiser.{player}.{key}"
        return ""


def together(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Move tensors, in place, into one buffer for each type, and return these: one kernel then copies or checks all."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    buffers = []
    for (dtype, device), alike in kinds.items():
        sizes = [-(-tensor.numel() // ALIGN) * ALIGN for tensor in alike]
        buffers.append(torch.zeros(sum(sizes), dtype=dtype, device=device))
        for tensor, room in zip(alike, torch.split(buffers[-1], sizes), strict=True):
            tensor.data = room[: tensor.numel()].view(tensor.shape).copy_(tensor)
    return buffers


def statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return the floating buffers that training gathers and a model file keeps.

    The others are constants, such as an attention mask of minus infinities: no average of theirs means anything.
    """
    saved = model.state_dict(keep_vars=True).keys()
    return {name: b for name, b in model.named_buffers() if b.is_floating_point() and name in saved}


def new_state(
    model: nn.Module,
    recipe: Recipe,
    players: Mapping[str, str],
    layers: Sequence[Sequence[str]] = (),
    never: frozenset[str] = frozenset(),
) -> State:
    """Return the state before the first step.

    Args:
        model: already on its device, in its memory format.
        players: as the task's.
        layers: parameter names from the input to the output, for layer-wise rates.
        never: names of parameters that stay as they are for the whole run.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.is_floating_point() and name not in never)
    flat = Flat({name: p for name, p in model.named_parameters() if p.requires_grad})
    optimisers = optim.build(model, recipe.optim, players, layers, recipe.model.layer_decay)
    buffers = statistics(model).values() if recipe.ema else ()
    average = flat.weights.clone() if recipe.ema else None
    return State(model, flat, optimisers, average, [b.clone() for b in buffers], Progress())


@dataclass
class Snapshot:
    """A copy of a state that no step touches any more."""

    tensors: dict[str, Tensor]
    scalars: dict[str, Any]
    progress: dict[str, Any]


def copied(state: State, memory: dict[str, Tensor]) -> Snapshot:
    """Return a copy of a state as it is now, in memory kept for it, which is filled again by the next one."""
    tensors = state.tensors()
    if memory.keys() != tensors.keys():  # an optimiser has nothing to remember before its first step
        memory.clear()
        memory.update((name, torch.empty_like(tensor)) for name, tensor in tensors.items())
    for name, tensor in tensors.items():
        memory[name].copy_(tensor)
    return Snapshot(memory, state.scalars(), asdict(state.progress))


class Generations:
    """Complete states of a run on disk: ``state/STEP.safetensors`` and ``STEP.json``, which is written last and counts.

    Saving copies the state into memory kept for it and writes in a thread; the next save, or ``wait``, waits for it and
    raises what went wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "state"
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None
        self._memory: dict[str, Tensor] = {}

    def save(self, state: State, then: Callable[[], None] | None = None, *, wait: bool = False) -> None:
        """Save a state; ``then`` runs in the thread once it is safe on disk.

        Raises:
            ResourceError: the disk is full (also of an earlier save); the generations on disk are intact.
        """
        self.wait()
        snapshot = self._copy(state)
        self.folder.mkdir(exist_ok=True)

        def write() -> None:
            try:
                self._write(snapshot)
                if then is not None:
                    then()
            except BaseException as error:
                self._failed = error

        self._thread = threading.Thread(target=write, name="visus-save")
        self._thread.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Return when the last save is on disk, or raise what stopped it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def steps(self) -> list[int]:
        """Return the steps of the generations that have a manifest, newest first."""
        return sorted((int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit()), reverse=True)

    def load(self, state: State) -> list[str]:
        """Put the newest generation that is whole into ``state``; return what was wrong with newer ones.

        Raises:
            IntegrityError: there is none.
        """
        wrong = []
        for step in self.steps():
            try:
                snapshot = self._read(step)
            except (OSError, ValueError, TypeError, LookupError, AttributeError, SafetensorError) as error:
                wrong.append(f"state {step} is damaged ({first_line(error)}); the one before it was used")
                continue
            restore(state, snapshot)
            return wrong
        raise IntegrityError("RUN-006", f"{self.folder}: no complete state to go on from", where="; ".join(wrong),
                             fix="start again in another folder")  # fmt: skip

    def _copy(self, state: State) -> Snapshot:
        tensors = state.tensors()
        if self._memory.keys() != tensors.keys():
            self._memory = {n: torch.empty(t.shape, dtype=t.dtype) for n, t in tensors.items()}
        for name, tensor in tensors.items():
            self._memory[name].copy_(tensor)
        return Snapshot(self._memory, state.scalars(), asdict(state.progress))

    def _write(self, snapshot: Snapshot) -> None:
        step = int(snapshot.progress["step"])
        data = self.folder / f"{step:010d}.safetensors"
        content = to_bytes(snapshot.tensors)
        write_bytes(data, content)
        sealed = sha256(content).hexdigest()
        manifest = {"progress": snapshot.progress, "optimisers": snapshot.scalars, "sha256": sealed}
        text = json.dumps(manifest, allow_nan=False)
        manifest["self"] = _hash(text)
        write_bytes(self.folder / f"{step:010d}.json", json.dumps(manifest).encode())
        # a later step than this one is a damaged generation, for the run would else have gone on from it
        later, kept = [s for s in self.steps() if s > step], [s for s in self.steps() if s <= step]
        for old in (*later, *kept[KEPT:]):
            (self.folder / f"{old:010d}.json").unlink(missing_ok=True)
            (self.folder / f"{old:010d}.safetensors").unlink(missing_ok=True)
        whole = {f"{step:010d}.safetensors" for step in self.steps()}
        for orphan in self.folder.glob("*.safetensors"):
            if orphan.name not in whole:
                orphan.unlink(missing_ok=True)

    def _read(self, step: int) -> Snapshot:
        text = (self.folder / f"{step:010d}.json").read_bytes()
        manifest = json.loads(text)
        canonical = json.dumps(manifest).encode() == text  # else a flipped bit may spell the same numbers another way
        claimed = manifest.pop("self")
        if not canonical or _hash(json.dumps(manifest)) != claimed:
            raise ValueError("its manifest does not match its own checksum")
        data = (self.folder / f"{step:010d}.safetensors").read_bytes()
        if sha256(data).hexdigest() != manifest["sha256"]:
            raise ValueError("its checksum does not hold")
        return Snapshot(from_bytes(data), manifest["optimisers"], manifest["progress"])


def restore(state: State, snapshot: Snapshot) -> None:
    """Copy a snapshot into a state of the same recipe, in place, so that every view stays a view.

    Raises:
        KeyError: a tensor that the state needs is missing.
        ValueError: a shape differs.
    """
    tensors = snapshot.tensors
    with torch.no_grad():
        for name, tensor in state.model.state_dict().items():
            _copy_into(tensor, tensors[f"model.{name}"], name)
        for name, buffer in state.model.named_buffers():
            if f"buffer.{name}" in tensors:
                _copy_into(buffer, tensors[f"buffer.{name}"], name)
        if state.average is not None:
            _copy_into(state.average, tensors["average"], "average")
            for i, buffer in enumerate(state.average_buffers):
                _copy_into(buffer, tensors[f"average_buffer.{i}"], f"average_buffer.{i}")
    for player, optimiser in state.optimisers.items():
        _restore_optimiser(optimiser, player, tensors, snapshot.scalars[player])
    known = {f.name for f in fields(Progress)}
    for name, value in snapshot.progress.items():
        if name in known:
            setattr(state.progress, name, value)


def _restore_optimiser(
    optimiser: Optimizer, player: str, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]
) -> None:
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    values: dict[int, dict[str, Any]] = {int(index): dict(kept) for index, kept in scalars["parameters"].items()}
    prefix, of_groups = f"optimiser.{player}.", [dict(kept) for kept in scalars["groups"]]
    for name, tensor in tensors.items():
        place, _, key = name.removeprefix(prefix).partition(".")
        if name.startswith(prefix + "group"):
            of_groups[int(place.removeprefix("group"))][key] = tensor.clone()
        elif name.startswith(prefix):
            values.setdefault(int(place), {})[key] = tensor.clone()  # what it counts must not count in the snapshot
    groups = [{**now, **kept} for now, kept in zip(optimiser.state_dict()["param_groups"], of_groups, strict=True)]
    optimiser.load_state_dict({"state": values, "param_groups": groups})
    for index, kept in values.items():
        parameter = parameters[index]
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                laid = torch.empty_like(parameter, dtype=value.dtype)  # with the strides the optimiser gave it
                optimiser.state[parameter][key] = laid.copy_(value)


def _copy_into(target: Tensor, source: Tensor, name: str) -> None:
    if target.shape != source.shape:
        raise ValueError(f"{name} is {tuple(source.shape)}, expected {tuple(target.shape)}")
    target.copy_(source)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
