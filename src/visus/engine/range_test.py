"""A learning-rate range test: a copy is trained while the rate rises; where does the loss fall, and where break?"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from visus.core.errors import ResourceError, UsageError, first_line
from visus.core.recipe import Recipe
from visus.core.task import Batch, Feed, Task
from visus.engine.device import Device, out_of_memory
from visus.engine.gradient import denominators
from visus.engine.splitting import of_a_single_row, rows_of, seed_of
from visus.engine.state import State, new_state

STEPS = 80
BROKEN = 3.0  # times the best loss, above its own start, at which the test ends
SMOOTH = 0.8  # share of the running mean that a new loss keeps


@dataclass(frozen=True)
class Tested:
    """What a range test found.

    Attributes:
        rate: to train with.
        why: in one sentence.
        rates, losses: the curve; losses are smoothed.
    """

    rate: float
    why: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]


def range_test(
    task: Task,
    model: nn.Module,
    feed: Feed,
    recipe: Recipe,
    device: Device,
    *,
    frozen: frozenset[str] = frozenset(),
    still: Sequence[nn.Module] = (),
    layers: Sequence[Sequence[str]] = (),
    low: float = 1e-6,
    high: float = 10.0,
) -> Tested:
    """Raise the rate by a constant factor a step, from ``low`` to ``high``; the model itself is left as it was.

    The rate returned is the geometric mean of the one at which the smoothed loss falls fastest and a tenth of the one
    at which it is lowest: the first is cautious, the second is near the edge.

    Args:
        task, model, feed, recipe, device: of the run.
        frozen: names of parameters, and ``still``: modules, that the run begins by holding as they are.
        layers: parameter names from the input to the output, for layer-wise rates.
        low, high: rates of the first and of the last step.

    Raises:
        UsageError: the loss never falls, or a batch normalisation is shown a single row.
        ResourceError: a single sample does not fit in memory.

    Source:
        Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, sec. 3.3.
    """
    recipe = recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"lr": low}), "ema": 0.0})
    model, held = copy.deepcopy((model, list(still)))
    state = new_state(model, recipe, task.players, layers, frozen)
    state.flat.attach(frozenset())
    model.train()
    for module in held:
        module.eval()
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step in range(STEPS):
        rate = low * (high / low) ** (step / (STEPS - 1))
        loss = _step(task, state, feed, recipe, device, step, rate)
        mean = SMOOTH * mean + (1 - SMOOTH) * loss
        smoothed = mean / (1 - SMOOTH ** (step + 1))
        if not math.isfinite(loss) or (
            losses and smoothed - min(losses) > BROKEN * max(abs(losses[0] - min(losses)), 0.1)
        ):
            break
        rates.append(rate)
        losses.append(smoothed)
    lowest = min(range(len(losses)), key=losses.__getitem__, default=0)
    if lowest < 2:
        raise UsageError("USE-022", "the range test found no learning rate at which the loss falls",
                         fix="look at the data and the loss, or give a rate: --lr 1e-3")  # fmt: skip
    slopes = [losses[i + 1] - losses[i - 1] for i in range(1, lowest)]
    steepest = 1 + min(range(len(slopes)), key=slopes.__getitem__)
    rate = math.sqrt(rates[steepest] * rates[lowest] / 10)
    why = (f"in {len(rates)} steps the loss fell fastest at {rates[steepest]:.1e}, was lowest at {rates[lowest]:.1e}; "
           f"the mean of the first and a tenth of the second is {rate:.1e}")  # fmt: skip
    return Tested(rate, why, tuple(rates), tuple(losses))


def _step(task: Task, state: State, feed: Feed, recipe: Recipe, device: Device, step: int, rate: float) -> float:
    """Do one plain step of every player; return the loss."""
    batch = feed.batch(step)
    counts = denominators(task, batch, device)
    total = 0.0
    for player in task.players:
        total += float(device.sum_(_gradient(task, state, batch, counts, player, step, recipe.micro, device)))
        device.sum_(state.flat.gradients)
        norm = float(state.flat.gradients.norm())
        if not math.isfinite(norm):
            return math.nan
        if recipe.optim.clip and norm > recipe.optim.clip:
            state.flat.gradients.mul_(recipe.optim.clip / norm)
        for group in state.optimisers[player].param_groups:
            group["lr"] = rate * group["share"]
        state.optimisers[player].step()
    return total


def _gradient(
    task: Task,
    state: State,
    batch: Batch,
    counts: Mapping[str, float],
    player: str,
    step: int,
    micro: int,
    device: Device,
) -> Tensor:
    """Leave a player's gradient of this rank's rows in the buffer, in parts that fit; return the loss."""
    micro = micro if micro and task.group == 1 else len(batch)
    while True:
        state.flat.gradients.zero_()
        total = state.flat.gradients.new_zeros(())
        failed = ""
        try:
            for part in batch.split(max(1, micro), max(1, task.group)) if len(batch) else ():
                part = part.to(device.device, device.memory_format)
                device.seed(seed_of(batch, player, task))
                with rows_of(part, batch, device.world), device.autocast():
                    terms = task.losses(state.model, part, player, step)
                loss = torch.stack([term.sum / max(counts[term.unit], 1e-30) for term in terms.values()]).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
        except ValueError as error:
            if (named := of_a_single_row(error)) is None:
                raise
            raise named from error
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            failed = first_line(error)
        stuck = bool(failed) and (micro <= 1 or task.group != 1)
        some, hopeless = device.most([int(bool(failed)), int(stuck)])
        if hopeless:
            raise ResourceError("FIT-003", f"the range test does not fit in memory on {device.device}",
                                where=failed or "on another rank",
                                fix="--set size=SMALLER, or give a rate: --lr 1e-3")  # fmt: skip
        if not some:
            return total
        micro = max(1, micro // 2)
