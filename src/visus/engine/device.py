"""Where the arithmetic happens: the device, its precision, its threads, and the other processes of the run."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from visus.core.errors import ResourceError, UsageError, first_line
from visus.core.recipe import Recipe
from visus.engine.depthwise import Float32Gradients


@dataclass(frozen=True)
class Device:
    """One process's place in a run.

    Attributes:
        device: where tensors live.
        precision: ``float32`` or ``bfloat16`` (autocast).
        memory_format: of 4-d inputs and weights.
        rank, world: this process and how many there are; 0 and 1 without ``torchrun``.
    """

    device: torch.device
    precision: str = "float32"
    memory_format: torch.memory_format = torch.contiguous_format
    rank: int = 0
    world: int = 1

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Give the context of a forward pass."""
        half = self.precision == "bfloat16"
        gradients = Float32Gradients() if half and self.device.type == "cpu" else nullcontext()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half), gradients:
            yield

    def seed(self, seed: int) -> None:
        """Seed this device's default generator alone; ``torch.manual_seed`` visits every backend and costs 100 us."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def most(self, values: Sequence[int]) -> list[int]:
        """Return the largest of each value over the ranks; every rank must call."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [int(v) for v in tensor.tolist()]

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add a tensor over the ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def share_(self, tensor: Tensor) -> Tensor:
        """Give every rank the tensor of rank 0, in place."""
        if self.world > 1:
            dist.broadcast(tensor, 0)
        return tensor

    def shared(self, number: float) -> float:
        """Return the number of rank 0; every rank must call."""
        if self.world == 1:
            return number
        return float(self.share_(torch.tensor(number, dtype=torch.float64, device=self.device)))

    def agreed(self, text: str) -> str:
        """Return the text of rank 0; every rank must call."""
        held = [text]
        if self.world > 1:
            dist.broadcast_object_list(held, 0, device=self.device if self.device.type == "cuda" else None)
        return held[0]

    def texts(self, text: str) -> list[str]:
        """Return the text of every rank, in rank order; every rank must call."""
        if self.world == 1:
            return [text]
        held = [""] * self.world
        dist.all_gather_object(held, text)
        return held

    def gather(self, state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return every rank's rows, in rank order; ranks may hold different numbers of rows, or none."""
        if self.world == 1:
            return [dict(state)]
        gathered: list[dict[str, Tensor]] = [{} for _ in range(self.world)]
        for name in sorted(state):
            rows = state[name].to(self.device)
            lengths = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world)]
            dist.all_gather(lengths, torch.tensor([len(rows)], device=self.device))
            longest = max(int(n) for n in lengths)
            padded = rows.new_zeros((longest, *rows.shape[1:]))
            padded[: len(rows)] = rows
            parts = [torch.empty_like(padded) for _ in range(self.world)]
            dist.all_gather(parts, padded)
            for rank, (part, length) in enumerate(zip(parts, lengths, strict=True)):
                gathered[rank][name] = part[: int(length)].to(state[name].device)
        return gathered

    def peak_memory(self) -> int:
        """Return the most bytes this process (or its GPU) has held."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return peak_resident()


def place(recipe: Recipe) -> Device:
    """Return where and how a recipe's network runs, alone."""
    formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    return Device(torch.device(recipe.device), recipe.precision, formats[recipe.memory_format])


def best_device() -> str:
    """Return the name of the fastest kind of device at hand."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def fast_bfloat16(device: str) -> bool:
    """Tell whether the hardware multiplies bfloat16 matrices faster than float32 ones."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    if device == "cpu":
        flags = processor_flags()
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)
    return False


def processor_flags() -> set[str]:
    """Return what the processor says it can do, as Linux names it; empty where nothing tells."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    return set(line.partition(":")[2].split())
    except OSError:
        return set()  # not Linux: no flag is known, so nothing is assumed
    return set()


def peak_resident() -> int:
    """Return the most bytes of memory this process has held; 0 where the system does not tell."""
    if platform.system() == "Windows":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


@contextmanager
def opened(recipe: Recipe) -> Iterator[Device]:
    """Prepare this process for a recipe, join the other ranks of ``torchrun``, and put everything back afterwards.

    Raises:
        UsageError: the recipe's device is not there.
    """
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("USE-010", "device = cuda: this machine has no usable CUDA device", fix="--set device=cpu")
    if recipe.device == "mps" and not torch.backends.mps.is_available():
        raise UsageError("USE-010", "device = mps: this machine has no usable Metal device", fix="--set device=cpu")
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), _fill()
    here = place(recipe)
    torch.set_num_threads(recipe.threads)
    if recipe.device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is only deterministic with a fixed one
    torch.use_deterministic_algorithms(recipe.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs a pass over memory
    joined = world > 1 and not dist.is_initialized()
    if joined:
        dist.init_process_group("nccl" if recipe.device == "cuda" else "gloo")
    try:
        index = int(os.environ.get("LOCAL_RANK", "0")) if recipe.device == "cuda" else None
        device = torch.device(recipe.device, index) if index is not None else torch.device(recipe.device)
        if recipe.device == "cuda":
            torch.cuda.set_device(device)
        with float32_as_stated(here):
            yield replace(here, device=device, rank=rank, world=world)
    finally:
        if joined:
            dist.destroy_process_group()
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = before[2]  # type: ignore[attr-defined]


def _fill() -> bool:
    return bool(torch.utils.deterministic.fill_uninitialized_memory)  # type: ignore[attr-defined]


@contextmanager
def float32_as_stated(device: Device) -> Iterator[None]:
    """Let CUDA multiply float32 numbers as such where that is the precision, and put its settings back afterwards.

    By default cuDNN rounds what convolutions multiply to TF32, which has the 10 bits of a half.
    """
    backends: Any = torch.backends  # whose types do not tell of these settings
    kernels = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    before = [kernel.fp32_precision for kernel in kernels]
    if device.precision == "float32":
        for kernel in kernels:
            kernel.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kernel, precision in zip(kernels, before, strict=True):
            kernel.fp32_precision = precision


def placed(model: nn.Module, device: Device) -> nn.Module:
    """Return the model on the device in its memory format."""
    return model.to(device.device).to(memory_format=device.memory_format)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is a failed allocation that can be tried again with less."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def memory_failure(error: BaseException) -> bool:
    """Tell whether an error is any failure for want of memory, also one after which kernels may be unusable."""
    text = str(error).lower()
    return (
        out_of_memory(error)
        or isinstance(error, MemoryError)
        or (isinstance(error, RuntimeError) and ("out of memory" in text or "could not create a memory" in text
                                                 or "bad_alloc" in text or "could not create a primitive" in text))
    )  # fmt: skip


def without_deterministic_kernel(error: BaseException) -> UsageError | None:
    """Return what to say where a layer has no kernel that gives the same bits twice, or None for another error."""
    if "does not have a deterministic implementation" not in str(error):
        return None
    return UsageError(
        "FIT-011", "this device has no deterministic kernel for a layer of the network", where=first_line(error),
        done="the last saved state is kept", fix="--set deterministic=false trains all the same, with no exact resume",
    )  # fmt: skip


@contextmanager
def short_of_memory(done: str, fix: str) -> Iterator[None]:
    """Turn a failure for want of memory, where nothing heals it, into an error the user can act on.

    Raises:
        ResourceError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not memory_failure(error):
            raise
        raise ResourceError("FIT-009", "memory ran out", where=first_line(error), done=done, fix=fix) from error
