"""Dropout whose masks do not depend on how a batch was split: drawn for the whole, each part takes its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from visus.core.errors import UsageError
from visus.core.seeds import derive
from visus.core.task import Batch, Task

_DROPOUTS = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}


class Rows(TorchFunctionMode):
    """While active, random masks are drawn at the size of the whole batch and cut to this part's rows.

    The generator must stand at the same seed before every part.  Covered are ``F.dropout`` and its kin and the
    in-place ``bernoulli_`` by which drop-path is written everywhere; a first axis that is a multiple of the part
    (windows) is cut in proportion.  Whatever else moves the generator is not: dropout inside the fused kernel of
    attention, noise that a network draws itself.

    Args:
        rows: of this part.  start: first of them in the whole batch.  whole: rows of the whole batch.
        drawn: collects, in words, which functions drew random numbers that are not covered; looking costs time, so
            None does not.
    """

    def __init__(self, rows: int, start: int, whole: int, drawn: set[str] | None = None) -> None:
        super().__init__()
        self.rows, self.start, self.whole, self.drawn = rows, start, whole, drawn

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Redirect random masks; everything else passes."""
        kwargs = dict(kwargs or {})
        if func in _DROPOUTS and self._cuttable(args[0] if args else kwargs["input"]):
            return self._dropout(func, *args, **kwargs)
        if func is Tensor.bernoulli_ and self._cuttable(args[0]):
            return args[0].copy_(self._cut(self._whole(args[0]).bernoulli_(*args[1:], **kwargs)))
        if self.drawn is None:
            return func(*args, **kwargs)
        before = _generators()
        result = func(*args, **kwargs)
        if _generators() != before:
            name = resolve_name(func) or getattr(func, "__name__", "a function")
            self.drawn.add(f"{name} draws random numbers for each part on its own")
        return result

    def _dropout(
        self, func: Callable[..., Tensor], input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return func(input, p, training, inplace)
        if func in {F.alpha_dropout, F.feature_alpha_dropout}:
            padded = self._whole(input.detach()).zero_()
            padded[self._at(input) : self._at(input) + len(input)].copy_(input)
            return self._cut(func(padded, p, True, False), input)
        mask = self._cut(func(self._whole(input.detach()).fill_(1), p, True, False), input)
        return input.mul_(mask) if inplace else input * mask

    def _cuttable(self, tensor: Tensor) -> bool:
        return self.rows > 0 and tensor.dim() > 0 and len(tensor) > 0 and len(tensor) % self.rows == 0

    def _at(self, part: Tensor) -> int:
        return self.start * (len(part) // self.rows)

    def _whole(self, part: Tensor) -> Tensor:
        rows = self.whole * (len(part) // self.rows)
        whole = part.new_empty((rows, *part.shape[1:]))
        if part.dim() == 4 and part.is_contiguous(memory_format=torch.channels_last) and not part.is_contiguous():
            whole = whole.to(memory_format=torch.channels_last)  # masks are drawn in memory order
        return whole

    def _cut(self, whole: Tensor, part: Tensor | None = None) -> Tensor:
        share = len(whole) // self.whole
        return whole[self.start * share : self.start * share + self.rows * share]


def rows_of(part: Batch, batch: Batch, world: int, drawn: set[str] | None = None) -> Rows:
    """Return the place of a part in the step's batch of all ranks, or in this process's batch where it is alone."""
    if world > 1:
        return Rows(len(part), part.start, batch.whole, drawn)
    return Rows(len(part), part.start - batch.start, len(batch), drawn)


def seed_of(batch: Batch, player: str, task: Task) -> int:
    """Return what the random numbers of a player's forward pass derive from."""
    return batch.seed if len(task.players) == 1 else derive(batch.seed, player)


def uncovered(model: nn.Module) -> list[str]:
    """Return, in words, which modules make this model's gradient depend on how a batch is split, whatever they draw."""
    norms = [n for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if not norms:
        return []
    return [f"batch normalisation ({len(norms)} layers, first {norms[0]}) uses the statistics of each part"]


def of_a_single_row(error: ValueError) -> UsageError | None:
    """Return what to say where a normalisation was shown a single row, or None where the error says something else."""
    if "more than 1 value per channel" not in str(error):
        return None
    return UsageError(
        "FIT-010", "batch normalisation cannot learn from a single sample", where=str(error),
        fix="--set batch and --set micro of at least 3, or a network with another normalisation",
    )  # fmt: skip


def _generators() -> list[bytes]:
    """Return where the generators of processor and GPUs stand."""
    made = [torch.default_generator, *torch.cuda.default_generators]  # none before CUDA is used
    return [generator.get_state().numpy().tobytes() for generator in made]
