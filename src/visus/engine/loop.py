"""The loop: a step is a pure function of (state, step number, seed), and every trouble ends in calling it again."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence

import torch

from visus.core.errors import ResourceError, UsageError, did_you_mean, first_line, quoted
from visus.core.files import write_picture
from visus.core.modelfile import write_model
from visus.core.recipe import Recipe
from visus.core.task import Condemned, Feed, Metric, Showing
from visus.engine.device import memory_failure, without_deterministic_kernel
from visus.engine.evaluate import judge
from visus.engine.gradient import Found, denominators, gradient
from visus.engine.recovery import go_back, never_finite, reload, save, skip
from visus.engine.run import Run
from visus.engine.schedule import Minutes
from visus.engine.signals import stopped, stopping_in_time
from visus.engine.state import State, copied
from visus.engine.telling import tell_if_short, tell_step, tell_validation

__all__ = ["Run", "fit"]


def fit(run: Run) -> None:
    """Train from the state's step to the end of the horizon; the state, the log and the model files tell the rest.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        ResourceError: one sample does not fit, memory failed beyond retrying, or the disk is full.
        BadDataLimit: more unreadable samples than the recipe allows.
        DivergedError: healing gave up; the last good weights are kept.
        UsageError: the device has no deterministic kernel for a layer.
    """
    try:
        _fit(run)
    except (RuntimeError, MemoryError) as error:
        if told := without_deterministic_kernel(error):
            raise told from error
        if not memory_failure(error):
            raise
        step, why = run.state.progress.step, first_line(error)
        smaller = run.smaller(run.micro(step))
        run.event("micro", step, micro=smaller, why=why, dying=True)
        raise ResourceError(
            "FIT-006", f"memory ran out where no smaller batch is tried at once (step {step})", where=why,
            done=f"the last saved state is kept; from now on {smaller} samples are looked at at once",
            fix=f"visus resume {quoted(run.folder.path)}",
        ) from error  # fmt: skip


def _fit(run: Run) -> None:
    progress = run.state.progress
    if not run.generations.steps():
        broken = run.state.first_not_finite()
        if broken:
            raise UsageError("FIT-008", f"{broken} is not finite before the first step",
                             fix="other weights; a constant needs register_buffer(persistent=False)")  # fmt: skip
        save(run, wait=True)  # whatever happens, there is a good state to go back to
    with stopping_in_time(run.folder.path) as received:
        while True:
            due = _told_by_any(run, received)
            if due:
                save(run)
            if not run.horizon.ended(progress.step):
                tell_if_short(run, progress.step, run.horizon.decide(progress.step, _clock(run)))
            over = _over(run)
            if over and not progress.moved and (progress.failures or progress.rollbacks):
                raise never_finite(run)
            if progress.evaluated < progress.step and (over or run.horizon.evaluates(progress.step)):
                _evaluate(run, received)
            elif over:
                break
            else:
                run.hold(progress.step)
                _step(run, progress.step)
    progress.finished = True
    save(run, wait=True)


def _step(run: Run, step: int) -> None:
    """Do one step: every player's exact gradient, checked before its optimiser moves; or heal and leave the weights."""
    began = time.perf_counter()
    state = run.state
    batch = run.train.batch(step, frozenset(map(int, state.progress.quarantined)))
    lost = len(batch.bad) + len(run.train.condemned) - len(run.condemned["train"])
    if run.device.most([lost])[0]:
        _note_lost(run, run.train, batch.bad, step, "train")
    counts = denominators(run.task, batch, run.device)
    if not any(counts.values()):
        run.event("skipped", step, why="no sample of this step has a target")
        state.progress.step = step + 1
        return
    batch = batch.to(run.device.device, run.device.memory_format)
    rate = float(run.recipe.optim.lr) * run.horizon.rate(step) * state.progress.lr_scale
    before = copied(state, run.memory) if len(run.task.players) > 1 else None
    found: dict[str, Found] = {}
    for player in run.task.players:
        found[player] = gradient(run, batch, counts, player, step)
        if not found[player].finite:
            return skip(run, batch, player, step, before)
        rests = not run.device.most([len(found[player].terms)])[0]  # it has no loss at this step: it stays as it is
        if not rests and not _move(run, player, rate, found[player].norm, step):
            return
    state.progress.failures = 0
    state.progress.moved += 1
    state.progress.step = step + 1
    run.seconds["steps"] += time.perf_counter() - began
    if (step + 1) % run.recipe.log_every == 0:
        tell_step(run, step, rate, found)


def _move(run: Run, player: str, rate: float, norm: float, step: int) -> bool:
    """Clip, let the optimiser move and the average follow; false when the state went back to the disk's instead."""
    state, clip = run.state, run.recipe.optim.clip
    failed = ""
    try:
        if clip and norm > clip:
            state.flat.gradients.mul_(clip / norm)
        optimiser = state.optimisers[player]
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        optimiser.step()
        if player == list(run.task.players)[-1]:
            _follow(state, run.recipe, step)
    except (RuntimeError, MemoryError) as error:
        if not memory_failure(error):
            raise
        failed = first_line(error)
    if run.device.most([int(bool(failed))])[0]:
        reload(run, step, failed or "another rank ran out of memory")
        return False
    if not _sound(state):
        broken = state.first_not_finite()
        state.progress.step = step + 1  # the same step would do the same again
        go_back(run, f"{broken} is not finite after the optimiser moved the weights")
        return False
    return True


def _follow(state: State, recipe: Recipe, step: int) -> None:
    """Let the averaged weights follow; early on they follow fast, so that a short run is not mostly its beginning."""
    if state.average is None or (step + 1) % recipe.ema_every:
        return
    decay = min(recipe.ema, (1 + step) / (10 + step)) ** recipe.ema_every
    state.average.lerp_(state.flat.weights, 1 - decay)
    if state.statistics:
        torch._foreach_lerp_(state.average_statistics, state.statistics, 1 - decay)


def _sound(state: State) -> bool:
    """Tell whether the weights are numbers; their average, which lies between numbers, then is one."""
    return math.isfinite(state.flat.weights.sum().item()) or state.finite()


def _evaluate(run: Run, received: list[int]) -> None:
    """Judge the (averaged) weights on the validation part; keep them when they are the best, else count."""
    progress = run.state.progress
    save(run)
    began = time.perf_counter()
    values: dict[str, float] = {}
    metric: Metric | None = None
    if run.validation is not None:
        run.state.swap_average()
        try:
            stop = (lambda: bool(received)) if run.device.world == 1 else (lambda: False)
            fits = run.micro(progress.step)
            metric, bad = judge(run.task, run.state.model, run.validation, run.device, stop, fits)
            values = metric.quick()
            _show(run)
        except StopIteration:
            return  # the loop sees the signal next; a resume judges again from the start
        finally:
            run.state.swap_average()
        _note_lost(run, run.validation, bad, progress.step, "val")
        if run.task.score not in values:
            raise UsageError(
                "USE-006", f"there is no score named {run.task.score!r}", fix=did_you_mean(run.task.score, values)
            )
    seconds = time.perf_counter() - began
    run.seconds["validation"] += seconds
    progress.evaluated = progress.step
    score = values.get(run.task.score, math.nan)
    if run.validation is not None and not math.isfinite(score) and not progress.best_step:
        run.event("undefined_score", progress.step, why=f"the validation part does not define {run.task.score}: "
                  "until it does, the newest weights count as the best")  # fmt: skip
    if run.validation is None or progress.best is None or score > progress.best:
        progress.best, progress.best_step, progress.stale = score if math.isfinite(score) else None, progress.step, 0
        run.judged = metric
        if run.folder.leader:
            card = run.card(progress.step, values)
            write_model(run.folder.path / "best.safetensors", run.state.judged_tensors(), card)
    else:
        progress.stale += 1
    tell_validation(run, values, seconds)


def _show(run: Run) -> None:
    """Keep a picture of what the network makes, where it makes any: ``samples/STEP.png``."""
    if isinstance(run.task, Showing):
        picture = run.task.shown(run.state.model)  # on every rank, lest one be late for what they do together next
        if run.folder.leader:
            place = run.folder.path / "samples"
            place.mkdir(exist_ok=True)
            write_picture(place / f"{run.state.progress.step:010d}.png", picture)


def _note_lost(run: Run, feed: Feed, bad: Sequence[tuple[str, str]], step: int, part: str) -> None:
    """Write down which pictures could not be read on any rank; stop where they are too many."""
    told = [json.loads(text) for text in run.device.texts(json.dumps([bad, list(feed.condemned.items())]))]
    for unreadable, condemned in told:
        run.note_condemned([(index, Condemned(*said)) for index, said in condemned], feed, part)
        run.note_bad(unreadable, step, part)
    if any(unreadable for unreadable, _ in told) and (error := run.too_many_bad("the state is kept")):
        save(run, wait=True)
        raise error


def _over(run: Run) -> bool:
    progress = run.state.progress
    return run.horizon.ended(progress.step) or 0 < run.recipe.patience <= progress.stale


def _told_by_any(run: Run, received: list[int]) -> bool:
    """Stop when any rank got a signal; tell whether a save is due on any, so that all of them save the same step."""
    due = time.perf_counter() - run.saved_at > run.recipe.save_every
    number, due_anywhere = run.device.most([max(received, default=0), int(due)])
    if number:
        save(run, wait=True)
        when = f" after step {run.state.progress.step}"
        raise stopped(number, run.folder.path, "the state is saved, nothing is lost", when)
    return bool(due_anywhere)


def _clock(run: Run) -> float:
    """Return the seconds used, the same on every rank."""
    return run.device.shared(run.elapsed()) if isinstance(run.horizon, Minutes) else run.elapsed()
