"""What a run tells while it trains: the rows of its log, for the file, the terminal and whoever records them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from visus.engine.gradient import Found
from visus.engine.run import Run


def tell_step(run: Run, step: int, rate: float, found: Mapping[str, Found]) -> None:
    """Log a step: rate, loss and gradient norm of every player, its terms where there are several, what it tells."""
    row: dict[str, Any] = {"step": step + 1, "epoch": run.epoch(step + 1), "lr": rate}
    for player, part in found.items():
        of = "" if len(found) == 1 else f"/{player}"
        row[f"loss{of}"], row[f"gradient_norm{of}"] = part.loss, part.norm
        terms, told = part.terms, part.told
        if run.device.world > 1:
            terms, told = (_summed(run.device.texts(json.dumps(values))) for values in (terms, told))
        if len(terms) > 1:
            row |= {f"loss{of}/{name}": value for name, value in terms.items()}
        row |= {f"told/{name}": value for name, value in told.items()}
    row["seconds"], row["waiting"] = round(run.elapsed(), 3), round(run.train.waiting, 3)
    run.folder.log(row)
    run.record(row)
    now = time.perf_counter()
    if now - run.told_at > 0.1:
        run.told_at = now
        run.watch({**row, "progress": run.horizon.progress(step + 1), "memory": run.device.peak_memory()})


def tell_validation(run: Run, values: Mapping[str, float], seconds: float) -> None:
    """Log what a validation found."""
    step = run.state.progress.step
    row = {"step": step, "epoch": run.epoch(step), "seconds": round(run.elapsed(), 3),
           "validation": values, "took": round(seconds, 3)}  # fmt: skip
    run.folder.log(row)
    run.record(row)
    run.watch(row)


def tell_if_short(run: Run, step: int, fits: int | None) -> None:
    """Warn, once it is known, of a budget in which no more than a few steps fit."""
    if fits is None or fits >= FEW:
        return
    if step == 0:
        why = "the time is over before the first step, with what judging and the report take: more --minutes would help"
    else:
        why = f"about {fits} fit into the time: smaller pictures (--set size), a smaller network (--model) "
        why += "or more --minutes would help"
    run.event("few_steps", step, steps=fits, why=why)


FEW = 10
"""Steps of a run in minutes below which it is told that they are few."""


def _summed(texts: Sequence[str]) -> dict[str, float]:
    """Return the loss terms of the whole step from those of each rank; one without a sample has none."""
    total: dict[str, float] = {}
    for name, value in chain.from_iterable(json.loads(text).items() for text in texts):
        total[name] = total.get(name, 0.0) + value
    return total
