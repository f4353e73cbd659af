"""The loop: a step is a pure function of (state, step number, seed), and every trouble ends in calling it again."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from visus.core.errors import BadDataLimit, DivergedError, Interrupted, ResourceError, UsageError, did_you_mean, quoted
from visus.core.modelfile import Card, write_model
from visus.core.recipe import Recipe
from visus.core.task import Batch, Feed, Metric, Task
from visus.engine import healing
from visus.engine.device import Device, memory_failure, out_of_memory
from visus.engine.evaluate import judge
from visus.engine.folder import RunFolder
from visus.engine.schedule import Horizon, Minutes
from visus.engine.splitting import rows_of, seed_of
from visus.engine.state import Generations, Snapshot, State, restore

IN_A_ROW = 3  # steps that are not finite before the last good weights are put back
ROLLBACKS = 3  # times that is tried, each at half the rate
NAMED = 2  # times a sample is named before it is left out
BUNDLES = 8  # failed steps of a run that can be seen again; each takes as much room as the model

Watch = Callable[[Mapping[str, Any]], None]


@dataclass
class Run:
    """Everything a run holds while it trains.

    Attributes:
        task, recipe, device, folder: as their names say.
        state: what steps change.
        train, validation: feeds; ``validation`` None trains without judging.
        horizon: how long, at which rate.
        card: the card of a model file at a step, with its scores.
        pictures: in the whole data set, of which a share may be unreadable; 0 for those of the two feeds.
        frozen: names of parameters held until ``recipe.model.unfreeze`` of the run.
        still: modules that stay in eval mode while they are frozen.
        watch: told of every event, and of rows of the log at most ten times a second.
        record: told of every row of the log.
        started: ``time.perf_counter`` at which this command's clock began.
        judged: the best weights' metric on the validation part, where this process judged them.
    """

    task: Task
    recipe: Recipe
    device: Device
    folder: RunFolder
    state: State
    train: Feed
    validation: Feed | None
    horizon: Horizon
    card: Callable[[int, Mapping[str, float]], Card]
    pictures: int = 0
    frozen: frozenset[str] = frozenset()
    still: tuple[nn.Module, ...] = ()
    watch: Watch = lambda row: None
    record: Watch = lambda row: None
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.generations = Generations(self.folder.path)
        self.micros = [(int(d["step"]), int(d["micro"])) for d in self.folder.decisions() if d["kind"] == "micro"]
        self.seconds = {"steps": 0.0, "validation": 0.0, "saving": 0.0}
        decisions = self.folder.decisions()
        since = max((i for i, d in enumerate(decisions) if d["kind"] == "changed"), default=-1)  # files may be mended
        self.bad = {str(d["id"]): str(d["why"]) for d in decisions[since + 1 :] if d["kind"] == "unreadable"}
        self.pictures = self.pictures or self.train.size + (self.validation.size if self.validation is not None else 0)
        self.saved_at = self.told_at = time.perf_counter()
        self.judged: Metric | None = None
        self.bundles = len(list((self.folder.path / healing.FOLDER).glob("step-*")))
        self.reloads, self.reloaded_at = 0, -1
        self.held: frozenset[str] | None = None
        self.spent = self.state.progress.elapsed
        self.autocast: Callable[[], Any] = nullcontext if self.device.precision == "float32" else self.device.autocast

    def elapsed(self) -> float:
        """Return the seconds of the budget used, also by the processes that this one resumes."""
        return self.spent + time.perf_counter() - self.started

    def micro(self, step: int) -> int:
        """Return the rows of a forward pass: as the recipe says, or as want of memory decided at or before ``step``."""
        group = self.task.group
        if not group:
            return self.train.batch_size
        sizes = [self.recipe.micro or self.train.batch_size, *(micro for at, micro in self.micros if at <= step)]
        return max(group, min(sizes) // group * group)

    def event(self, kind: str, step: int, **values: Any) -> None:
        """Write a decision down and tell of it."""
        self.folder.decide(kind, step, values)
        self.watch({"event": kind, "step": step, **values})

    def hold(self, step: int) -> None:
        """Freeze what is frozen at this step."""
        due = self.frozen if self.horizon.progress(step) < self.recipe.model.unfreeze else frozenset()
        if due != self.held:
            self.held = due
            self.state.flat.attach(due)
            self.state.model.train()
            for module in self.still if due or not self.frozen else ():
                module.eval()


def fit(run: Run) -> None:
    """Train from the state's step to the end of the horizon; the state, the log and the model files tell the rest.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the state is saved.
        ResourceError: one sample does not fit, memory failed beyond retrying, or the disk is full.
        BadDataLimit: more unreadable samples than the recipe allows.
        DivergedError: healing gave up; the last good weights are kept.
    """
    try:
        _fit(run)
    except (RuntimeError, MemoryError) as error:
        if not memory_failure(error):
            raise
        step, why = run.state.progress.step, str(error).splitlines()[0] if str(error) else type(error).__name__
        smaller = _smaller(run, run.micro(step))
        run.event("micro", step, micro=smaller, why=why)
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
    with _signals() as received:
        while True:
            due = _told_by_any(run, received)
            if due:
                save(run)
            if not run.horizon.ended(progress.step):
                run.horizon.decide(progress.step, _clock(run))
            over = _over(run)
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
    if run.device.most([len(batch.bad)])[0]:
        everyones = map(json.loads, run.device.texts(json.dumps(batch.bad)))
        _stop_if_bad(run, list(chain.from_iterable(everyones)), step, "train")
    counts = _counts(run, batch)
    if not any(counts.values()):
        run.event("skipped", step, why="no sample of this step has a target")
        state.progress.step = step + 1
        return
    batch = batch.to(run.device.device, run.device.memory_format)
    rate = float(run.recipe.optim.lr) * run.horizon.rate(step) * state.progress.lr_scale
    before = _copied(state) if len(run.task.players) > 1 else None
    found: dict[str, Found] = {}
    for player in run.task.players:
        found[player] = _gradient(run, batch, counts, player, step)
        if not found[player].finite:
            return _skip(run, batch, player, step, before)
        if not _move(run, player, rate, found[player].norm, step):
            return
    state.progress.failures = 0
    state.progress.step = step + 1
    run.seconds["steps"] += time.perf_counter() - began
    if (step + 1) % run.recipe.log_every == 0:
        _log(run, step, rate, found)


@dataclass(frozen=True)
class Found:
    """What a player's gradient looked like: the loss, its terms, and the L2 norm before clipping."""

    loss: float
    norm: float
    terms: dict[str, float]

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def _gradient(run: Run, batch: Batch, counts: Mapping[str, float], player: str, step: int) -> Found:
    """Leave a player's gradient of the whole batch, over all ranks, in the buffer; split further as memory runs out."""
    state, flat = run.state, run.state.flat
    if len(run.task.players) > 1:
        prefix = run.task.players[player]
        flat.attach(frozenset(n for n in flat.place if not n.startswith(prefix)) | (run.held or frozenset()))
    state.remember_buffers()
    while True:
        micro, failed, fatal = run.micro(step), "", False
        total, terms = torch.zeros_like(flat.gradients[0]), dict[str, Tensor]()
        try:
            total, terms = _accumulate(run, batch, counts, player, step, micro)
        except (RuntimeError, MemoryError) as error:
            if not memory_failure(error):
                raise
            failed, fatal = str(error).splitlines()[0] or type(error).__name__, not out_of_memory(error)
        # every rank learns of it before any of them reduces, so that none waits for one that is splitting
        some, hopeless = run.device.most([int(bool(failed)), int(fatal)])
        if not some:
            break
        state.restore_buffers()
        _halve(run, batch, step, micro, failed or "another rank ran out of memory", bool(hopeless))
    run.device.sum_(flat.gradients)
    run.device.sum_(total)
    if run.device.world > 1:
        _agree_on_statistics(run)
    norm = torch.linalg.vector_norm(flat.gradients)
    values = torch.stack([norm, total, *terms.values()]).tolist()
    if not math.isfinite(values[0]) and bool(torch.isfinite(flat.gradients).all()):
        values[0] = float(torch.linalg.vector_norm(flat.gradients.double()))  # only the sum of squares overflowed
    return Found(values[1], values[0], dict(zip(terms, values[2:], strict=True)))


def _agree_on_statistics(run: Run) -> None:
    """Give every rank the mean of what normalisations gathered on each: one network, not as many as there are ranks."""
    averaged, counted = run.state.buffers, [b for b in run.state.counters if not b.is_floating_point()]
    for buffers, share in ((averaged, 1 / run.device.world), (counted, None)):
        if not buffers:
            continue
        flat = torch.cat([buffer.reshape(-1) for buffer in buffers])
        flat = run.device.share_(flat) if share is None else run.device.sum_(flat).mul_(share)
        parts = torch.split(flat, [b.numel() for b in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view(buffer.shape))


def _accumulate(
    run: Run, batch: Batch, counts: Mapping[str, float], player: str, step: int, micro: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Add up the gradients of a batch's parts; return the loss and its terms, divided by the counts of the whole."""
    flat = run.state.flat
    flat.gradients.zero_()
    total = torch.zeros((), dtype=flat.gradients.dtype, device=flat.gradients.device)
    terms: dict[str, Tensor] = {}
    parts = [part for part in batch.split(micro) if len(part)]
    split = len(parts) > 1 or run.device.world > 1
    seed = seed_of(batch, player, run.task)
    for part in parts:
        run.device.seed(seed)
        with rows_of(part, batch, run.device.world) if split else nullcontext(), run.autocast():
            found = run.task.losses(run.state.model, part, player, step)
        shares = {name: term.sum / max(counts[term.unit], 1e-30) for name, term in found.items()}
        loss = sum(shares.values(), start=torch.zeros_like(total))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
        for name, share in shares.items():
            terms[name] = terms[name] + share.detach() if name in terms else share.detach()
    return total, terms


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
    smaller = _smaller(run, micro)
    run.event("micro", step, micro=smaller, why=why)
    run.micros.append((step, smaller))
    if fatal:
        save(run, wait=True)
        raise ResourceError(
            "FIT-004", f"memory ran out in a way this process cannot go on from (step {step})", where=why,
            done=f"the state is saved, and from now on {smaller} samples are looked at at once",
            fix=f"visus resume {quoted(run.folder.path)}",
        )  # fmt: skip


def _smaller(run: Run, micro: int) -> int:
    """Return about half as many rows as are looked at at once: whole groups of the task, at least one."""
    rows = -(-run.train.batch_size // run.device.world)
    group = run.task.group or rows
    return max(group, min(micro, rows) // 2 // group * group)


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
        failed = str(error).splitlines()[0] or type(error).__name__
    if run.device.most([int(bool(failed))])[0]:
        _reload(run, step, failed or "another rank ran out of memory")
        return False
    if not _sound(state):
        broken = state.first_not_finite()
        state.progress.step = step + 1  # the same step would do the same again
        _go_back(run, f"{broken} is not finite after the optimiser moved the weights")
        return False
    return True


def _follow(state: State, recipe: Recipe, step: int) -> None:
    """Let the averaged weights follow; early on they follow fast, so that a short run is not mostly its beginning."""
    if state.average is None or (step + 1) % recipe.ema_every:
        return
    decay = min(recipe.ema, (1 + step) / (10 + step)) ** recipe.ema_every
    state.average.lerp_(state.flat.weights, 1 - decay)
    if state.buffers:
        torch._foreach_lerp_(state.average_buffers, state.buffers, 1 - decay)


def _sound(state: State) -> bool:
    total = state.flat.weights.sum()
    if state.average is not None:
        total = total + state.average.sum()
    return math.isfinite(total.item()) or state.finite()


def _skip(run: Run, batch: Batch, player: str, step: int, before: Snapshot | None) -> None:
    """Leave a step out: name its cause, keep a bundle, quarantine who is named again, go back when it goes on."""
    state, progress = run.state, run.state.progress
    state.restore_buffers()
    own = healing.locate(run.task, state.model, batch, player, step, run.device, run.micro(step))
    state.restore_buffers()
    told = run.device.texts(json.dumps(asdict(own)))
    causes = [healing.Cause.from_json(json.loads(text)) for text in told]
    cause = healing.together(causes)
    shows = next((rank for rank, its in enumerate(causes) if its.kind), 0)  # its rows bring the trouble back
    place = f"{healing.FOLDER}/step-{step:010d}" if run.bundles < BUNDLES else ""
    run.bundles += bool(place)
    if place and run.device.rank == shows:
        healing.write_bundle(
            run.folder.path / place, own, batch, state.model, player, step, run.micro(step), run.device
        )
    if before is not None:
        restore(state, before)
    run.event("skipped", step, why=str(cause), cause=cause.kind, module=cause.module, term=cause.term,
              ids=list(cause.ids), bundle=place)  # fmt: skip
    for index, name in zip(cause.indices, cause.ids, strict=True):
        key = str(index)
        progress.suspects[key] = progress.suspects.get(key, 0) + 1
        if progress.suspects[key] == NAMED:
            progress.quarantined[key] = name
            run.event("quarantined", step, id=name, why=f"not finite {NAMED} times")
    progress.failures += 1
    progress.step = step + 1
    if progress.failures >= IN_A_ROW or cause.kind in ("weight", "buffer"):
        _go_back(run, str(cause))


def _go_back(run: Run, why: str) -> None:
    """Put the last good weights back, keep the step number, and halve the rate; give up after ROLLBACKS times."""
    state, kept = run.state, replace(run.state.progress)
    run.generations.wait()
    run.device.most([0])  # every rank waits until the leader's save is on disk
    run.generations.load(state)
    good = state.progress.step
    for name, value in asdict(replace(kept, failures=0, rollbacks=kept.rollbacks + 1,
                                      lr_scale=kept.lr_scale / 2)).items():  # fmt: skip
        setattr(state.progress, name, value)
    if kept.rollbacks >= ROLLBACKS:
        state.progress.step = good
        save(run, wait=True)
        raise DivergedError(
            "FIT-007", f"training does not stay finite (step {kept.step}, gone back {ROLLBACKS} times)", where=why,
            done=f"the last good weights, of step {good}, are in {run.folder.path / 'last.safetensors'}",
            fix="a smaller --set optim.lr, --set precision=float32, or look at the named samples: visus info RUN",
        )  # fmt: skip
    run.event("rolled_back", kept.step, to=good, lr_scale=state.progress.lr_scale, why=why)
    save(run, wait=True)


def _reload(run: Run, step: int, why: str) -> None:
    """Go on from the state on disk, step number and all: the optimiser was interrupted half-way."""
    run.reloads = run.reloads + 1 if step <= run.reloaded_at else 1  # what is got past is no endless trouble
    run.reloaded_at = max(step, run.reloaded_at)
    if run.reloads > ROLLBACKS:
        raise ResourceError("FIT-005", f"memory runs out in the optimiser (step {step})", where=why,
                            done="the last saved state is kept",
                            fix="an optimiser with less state: --set optim.name=momentum, or --set ema=0")  # fmt: skip
    run.generations.wait()
    run.device.most([0])
    run.generations.load(run.state)
    run.folder.cut(run.state.progress.step, run.state.progress.evaluated)
    run.event("reloaded", step, to=run.state.progress.step, why=why)


def _evaluate(run: Run, received: list[int]) -> None:
    """Judge the (averaged) weights on the validation part; keep them when they are the best, else count."""
    progress = run.state.progress
    progress_before = time.perf_counter()
    save(run)
    values: dict[str, float] = {}
    metric: Metric | None = None
    if run.validation is not None:
        run.state.swap_average()
        try:
            stop = (lambda: bool(received)) if run.device.world == 1 else (lambda: False)
            fits = run.micro(progress.step)
            metric, bad = judge(run.task, run.state.model, run.validation, run.device, stop, fits)
            values = metric.quick()
        except StopIteration:
            return  # the loop sees the signal next; a resume judges again from the start
        finally:
            run.state.swap_average()
        _stop_if_bad(run, bad, progress.step, "val")
        if run.task.score not in values:
            raise UsageError(
                "USE-006", f"there is no score named {run.task.score!r}", fix=did_you_mean(run.task.score, values)
            )
    seconds = time.perf_counter() - progress_before
    run.seconds["validation"] += seconds
    progress.evaluated = progress.step
    score = values.get(run.task.score, math.nan)
    if run.validation is None or progress.best is None or score > progress.best:
        progress.best, progress.best_step, progress.stale = score if math.isfinite(score) else None, progress.step, 0
        run.judged = metric
        if run.folder.leader:
            card = run.card(progress.step, values)
            write_model(run.folder.path / "best.safetensors", run.state.judged_tensors(), card)
    else:
        progress.stale += 1
    row = {"step": progress.step, "epoch": _epoch(run, progress.step), "seconds": round(run.elapsed(), 3),
           "validation": values, "took": round(seconds, 3)}  # fmt: skip
    run.folder.log(row)
    run.record(row)
    run.watch(row)


def note_bad(run: Run, bad: Sequence[tuple[str, str]], step: int, part: str) -> None:
    """Write down, once, which pictures of a part of the data could not be read."""
    for name, why in bad:
        if name not in run.bad:
            run.bad[name] = why
            run.event("unreadable", step, id=name, part=part, why=why)


def too_many_bad(run: Run, done: str) -> BadDataLimit | None:
    """Return the error for more unreadable pictures than the recipe allows, or None while there are not."""
    limit = run.recipe.data.most_bad(run.pictures)
    if len(run.bad) <= limit:
        return None
    name, why = list(run.bad.items())[-1]
    return BadDataLimit(
        "DATA-020", f"{len(run.bad):,} of {run.pictures:,} pictures cannot be read", where=f"{name}: {why}",
        done=f"at most {limit:,} may be left out ({run.recipe.data.max_bad:.1%}); {done}",
        fix=f"mend or remove them ({run.folder.path / 'decisions.jsonl'} lists them), or --set data.max_bad=SHARE",
    )  # fmt: skip


def _stop_if_bad(run: Run, bad: Sequence[tuple[str, str]], step: int, part: str) -> None:
    note_bad(run, bad, step, part)
    if bad and (error := too_many_bad(run, "the state is kept")):
        save(run, wait=True)
        raise error


def save(run: Run, *, wait: bool = False) -> None:
    """Save the whole state, and the weights as a model file beside it; never one with a number that is not finite."""
    began = time.perf_counter()
    broken = next(filter(None, run.device.texts(run.state.first_not_finite())), "")
    if broken:
        return _go_back(run, f"{broken} is not finite")
    run.state.progress.elapsed = run.elapsed()
    run.folder.flush()
    if run.folder.leader:
        tensors, card = run.state.judged_tensors(), run.card(run.state.progress.step, {})
        run.generations.save(
            run.state, lambda: write_model(run.folder.path / "last.safetensors", tensors, card), wait=wait
        )
    run.saved_at = time.perf_counter()
    run.seconds["saving"] += run.saved_at - began


def _over(run: Run) -> bool:
    progress = run.state.progress
    return run.horizon.ended(progress.step) or 0 < run.recipe.patience <= progress.stale


def _told_by_any(run: Run, received: list[int]) -> bool:
    """Stop when any rank got a signal; tell whether a save is due on any, so that all of them save the same step."""
    due = time.perf_counter() - run.saved_at > run.recipe.save_every
    number, due_anywhere = run.device.most([max(received, default=0), int(due)])
    if number:
        save(run, wait=True)
        name = signal.Signals(number).name
        raise Interrupted(number, f"stopped by {name} after step {run.state.progress.step}",
                          done="the state is saved, nothing is lost",
                          fix=f"visus resume {quoted(run.folder.path)}")  # fmt: skip
    return bool(due_anywhere)


def _clock(run: Run) -> float:
    """Return the seconds used, the same on every rank."""
    if run.device.world == 1 or not isinstance(run.horizon, Minutes):
        return run.elapsed()
    return float(run.device.share_(torch.tensor(run.elapsed(), dtype=torch.float64, device=run.device.device)))


def _counts(run: Run, batch: Batch) -> dict[str, float]:
    """Return the denominators of the step, over all ranks."""
    counts = run.task.counts(batch)
    if run.device.world == 1:
        return {unit: float(count) for unit, count in counts.items()}
    together = torch.stack([counts[unit].double() for unit in sorted(counts)]).to(run.device.device)
    return dict(zip(sorted(counts), run.device.sum_(together).tolist(), strict=True))


def _log(run: Run, step: int, rate: float, found: Mapping[str, Found]) -> None:
    row: dict[str, Any] = {"step": step + 1, "epoch": _epoch(run, step + 1), "lr": rate}
    for player, part in found.items():
        of = "" if len(found) == 1 else f"/{player}"
        row[f"loss{of}"], row[f"gradient_norm{of}"] = part.loss, part.norm
        terms = _summed(run.device.texts(json.dumps(part.terms)))
        if len(terms) > 1:
            row |= {f"loss{of}/{name}": value for name, value in terms.items()}
    row["seconds"], row["waiting"] = round(run.elapsed(), 3), round(run.train.waiting, 3)
    run.folder.log(row)
    run.record(row)
    now = time.perf_counter()
    if now - run.told_at > 0.1:
        run.told_at = now
        run.watch({**row, "progress": run.horizon.progress(step + 1), "memory": run.device.peak_memory()})


def _summed(texts: Sequence[str]) -> dict[str, float]:
    """Return the loss terms of the whole step from those of each rank; one without a sample has none."""
    total: dict[str, float] = {}
    for name, value in chain.from_iterable(json.loads(text).items() for text in texts):
        total[name] = total.get(name, 0.0) + value
    return total


def _epoch(run: Run, step: int) -> float:
    return round(step * run.train.batch_size / max(1, run.train.size), 4)


def _copied(state: State) -> Snapshot:
    return Snapshot({n: t.clone() for n, t in state.tensors().items()}, state.scalars(), asdict(state.progress))


def _shape(batch: Batch) -> str:
    return " x ".join(str(n) for n in batch.inputs[0].shape[1:]) if batch.inputs else "this kind"


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; the same one twice is not waited for."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may handle signals; its owner decides what they do
        return

    def note(number: int, frame: object) -> None:
        if number in received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
