"""The exact gradient of a step: of every part of its batch, on every rank, in parts that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from visus.core.errors import ResourceError, UsageError, first_line, quoted
from visus.core.task import Batch, Task
from visus.engine.device import Device, memory_failure, out_of_memory
from visus.engine.recovery import save
from visus.engine.run import Run
from visus.engine.splitting import of_a_single_row, rows_of, seed_of, uncovered


@dataclass(frozen=True)
class Found:
    """What a player's gradient looked like.

    Attributes:
        loss: of the whole batch; ``terms``: its parts; ``told``: what else the log is told.
        norm: L2, before clipping.
        gathered: a number that is finite where all that normalisations gathered is.
    """

    loss: float
    norm: float
    gathered: float
    terms: dict[str, float]
    told: dict[str, float]

    @property
    def finite(self) -> bool:
        """Whether loss, gradient and gathered statistics are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.norm) and math.isfinite(self.gathered)


def gradient(run: Run, batch: Batch, counts: Mapping[str, float], player: str, step: int) -> Found:
    """Leave a player's gradient of the whole batch, over all ranks, in the buffer; split further as memory runs out."""
    state, flat = run.state, run.state.flat
    if len(run.task.players) > 1:
        prefix = run.task.players[player]
        flat.attach(frozenset(n for n in flat.place if not n.startswith(prefix)) | (run.held or frozenset()))
    state.remember_buffers()
    drawn: set[str] | None = None if run.split_before else set()
    while True:
        micro, failed, fatal = run.micro(step), "", False
        accumulated: tuple[Tensor, dict[str, Tensor], dict[str, Tensor]] | None = None
        try:
            accumulated = _accumulate(run, batch, counts, player, step, micro, drawn)
        except ValueError as error:
            if (named := of_a_single_row(error)) is None:
                raise
            raise named from error
        except (RuntimeError, MemoryError) as error:
            if not memory_failure(error):
                raise
            failed, fatal = first_line(error), not out_of_memory(error)
        # every rank learns of it before any of them reduces, so that none waits for one that is splitting
        some, hopeless = run.device.most([int(bool(failed)), int(fatal)])
        if not some and accumulated is not None:
            break
        state.restore_buffers()
        _halve(run, batch, step, micro, failed or "another rank ran out of memory", bool(hopeless))
    total, terms, told = accumulated
    run.device.sum_(flat.gradients)
    run.device.sum_(total)
    if run.device.world > 1:
        _agree_on_statistics(run)
    if drawn is not None and (micro < len(batch) or run.device.world > 1):
        _note_what_splitting_changes(run, step, drawn)
    norm = torch.linalg.vector_norm(flat.gradients)
    sizes = torch._foreach_norm(state.statistics, 1) if state.statistics else ()
    values = torch.stack([norm, total, *terms.values(), *told.values(), *sizes]).tolist()
    if not math.isfinite(values[0]) and bool(torch.isfinite(flat.gradients).all()):
        values[0] = float(torch.linalg.vector_norm(flat.gradients.double()))  # only the sum of squares overflowed
    at = 2 + len(terms)
    gathered = sum(values[at + len(told) :])
    if not math.isfinite(gathered) and all(bool(torch.isfinite(buffer).all()) for buffer in state.statistics):
        gathered = 0.0  # only the sum overflowed
    said = dict(zip(terms, values[2:at], strict=True)), dict(zip(told, values[at:], strict=False))
    return Found(values[1], values[0], gathered, *said)


def denominators(task: Task, batch: Batch, device: Device) -> dict[str, float]:
    """Return the units of each kind in the whole step, over all ranks; every rank must call."""
    counts = task.counts(batch)
    if device.world == 1:
        return {unit: float(count) for unit, count in counts.items()}
    together = torch.stack([counts[unit].double() for unit in sorted(counts)]).to(device.device)
    return dict(zip(sorted(counts), device.sum_(together).tolist(), strict=True))


def _agree_on_statistics(run: Run) -> None:
    """Give every rank the mean of what normalisations gathered on each: one network, not as many as there are ranks."""
    for buffer in run.state.statistics:
        run.device.sum_(buffer).mul_(1 / run.device.world)
    for buffer in run.state.counted:
        run.device.share_(buffer)


def _accumulate(
    run: Run,
    batch: Batch,
    counts: Mapping[str, float],
    player: str,
    step: int,
    micro: int,
    drawn: set[str] | None,
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Add up the gradients of a batch's parts; return the loss, its terms and what is told, by the whole's counts."""
    flat = run.state.flat
    flat.gradients.zero_()
    total, terms, told = flat.gradients.new_zeros(()), dict[str, Tensor](), dict[str, Tensor]()
    parts = [part for part in batch.split(micro, max(1, run.task.group)) if len(part)]
    split = len(parts) > 1 or run.device.world > 1
    seed = seed_of(batch, player, run.task)
    for part in parts:
        run.device.seed(seed)
        with rows_of(part, batch, run.device.world, drawn) if split else nullcontext(), run.autocast():
            found = run.task.losses(run.state.model, part, player, step)
        shares = {name: term.sum / max(counts[term.unit], 1e-30) for name, term in found.items()}
        beside = {name: shares.pop(name).detach() for name, term in found.items() if term.told}
        loss = reduce(torch.add, shares.values()) if shares else total
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        elif shares:
            raise UsageError(
                "FIT-013", f"the loss does not depend on any weight that is trained (step {step})",
                where=f"loss term{'s' * (len(shares) > 1)} {', '.join(shares)}", done="no weight was moved",
                fix="let the network's forward neither detach nor convert its answer, nor run under torch.no_grad()",
            )  # fmt: skip
        total = total + loss.detach()
        for kept, new in ((terms, shares), (told, beside)):
            for name, share in new.items():
                kept[name] = kept[name] + share.detach() if name in kept else share.detach()
    return total, terms, told


def _halve(run: Run, batch: Batch, step: int, micro: int, why: str, fatal: bool) -> None:
    """Write down half the rows a pass; stop where there is nothing to halve, or where this process cannot go on."""
    rows = -(-run.train.batch_size // run.device.world)
    smallest = run.task.group or rows
    if min(micro, rows) <= smallest:
        what = f"{smallest} samples" if smallest > 1 else "a single sample"
        raise ResourceError(
            "FIT-003", f"{what} of {_shape(batch)} does not fit in memory on {run.device.device} (step {step})",
            where=f"{batch.ids[0] if batch.ids else 'no sample here'}: {why}", done="the last saved state is kept",
            fix="--set size=SMALLER or --set precision=bfloat16; splitting the batch cannot help any further",
        )  # fmt: skip
    smaller = run.smaller(micro)
    run.event("micro", step, micro=smaller, why=why)
    run.micros.append((step, smaller))
    if fatal:
        save(run, wait=True)
        raise ResourceError(
            "FIT-004", f"memory ran out in a way this process cannot go on from (step {step})", where=why,
            done=f"the state is saved, and from now on {smaller} samples are looked at at once",
            fix=f"visus resume {quoted(run.folder.path)}",
        )  # fmt: skip


def _note_what_splitting_changes(run: Run, step: int, drawn: set[str]) -> None:
    """Say, once in the life of a run, what makes the gradient depend on how a batch is split."""
    run.split_before = True
    known = {row["why"] for row in run.folder.decisions() if row["kind"] == "splitting_is_inexact"}
    for why in (*uncovered(run.state.model), *sorted(drawn)):
        if why not in known:
            run.event("splitting_is_inexact", step, why=why)


def _shape(batch: Batch) -> str:
    return " x ".join(str(n) for n in batch.inputs[0].shape[1:]) if batch.inputs else "this kind"
