"""What a run keeps on disk, and how it goes back to it: saving, skipping a step, rolling back."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace

from visus.core.errors import DivergedError, ResourceError
from visus.core.modelfile import write_model
from visus.core.task import Batch
from visus.engine import healing
from visus.engine.run import Run
from visus.engine.state import Snapshot, restore

IN_A_ROW = 3  # steps that are not finite before the last good weights are put back
ROLLBACKS = 3  # times that is tried, each at half the rate
NAMED = 2  # times a sample is named before it is left out
BUNDLES = 8  # failed steps of a run that can be seen again; each takes as much room as the model


def save(run: Run, *, wait: bool = False) -> None:
    """Save the whole state, and the weights as a model file beside it; never one with a number that is not finite."""
    began = time.perf_counter()
    broken = next(filter(None, run.device.texts(run.state.first_not_finite())), "")
    if broken:
        return go_back(run, f"{broken} is not finite")
    run.state.progress.elapsed = run.elapsed()
    run.folder.flush()
    if run.folder.leader:
        tensors, card = run.state.judged_tensors(), run.card(run.state.progress.step, {})
        run.generations.save(
            run.state, lambda: write_model(run.folder.path / "last.safetensors", tensors, card), wait=wait
        )
    run.saved_at = time.perf_counter()
    run.seconds["saving"] += run.saved_at - began


def skip(run: Run, batch: Batch, player: str, step: int, before: Snapshot | None) -> None:
    """Leave a step out: name its cause, keep a bundle, quarantine who is named again, go back when it goes on."""
    state, progress = run.state, run.state.progress
    state.restore_buffers()
    own = healing.locate(run.task, state.model, batch, player, step, run.device, run.micro(step))
    state.restore_buffers()
    told = run.device.texts(json.dumps(asdict(own)))
    causes = [healing.Cause.from_json(json.loads(text)) for text in told]
    cause = healing.together(causes)
    shows = next((rank for rank, its in enumerate(causes) if its.kind), 0)  # its rows bring the trouble back
    place = f"{healing.FOLDER}/step-{step:010d}"
    place = place if place in run.bundles or len(run.bundles) < BUNDLES else ""
    run.bundles.update([place] if place else [])
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
        go_back(run, str(cause))


def go_back(run: Run, why: str) -> None:
    """Put the last good weights back, keep the step number, and halve the rate; give up after ROLLBACKS times."""
    state, kept = run.state, replace(run.state.progress)
    run.generations.wait()
    run.device.most([0])  # every rank waits until the leader's save is on disk
    run.load()
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


def never_finite(run: Run) -> DivergedError:
    """Return the error for a run that came to its end without one finite step: it is no trained model."""
    why = next((row["why"] for row in run.folder.decisions() if row["kind"] == "skipped"), "")
    return DivergedError(
        "FIT-012", f"not one of {run.state.progress.step:,} steps was finite", where=why,
        done=f"nothing was learned; the weights from the beginning are in {run.folder.path / 'last.safetensors'}",
        fix="look at what is named: a network or a loss that gives NaN or infinity for every picture",
    )  # fmt: skip


def reload(run: Run, step: int, why: str) -> None:
    """Go on from the state on disk, step number and all: the optimiser was interrupted half-way."""
    run.reloads = run.reloads + 1 if step <= run.reloaded_at else 1  # what is got past is no endless trouble
    run.reloaded_at = max(step, run.reloaded_at)
    if run.reloads > ROLLBACKS:
        raise ResourceError("FIT-005", f"memory runs out in the optimiser (step {step})", where=why,
                            done="the last saved state is kept",
                            fix="an optimiser with less state: --set optim.name=momentum, or --set ema=0")  # fmt: skip
    run.generations.wait()
    run.device.most([0])
    run.load()
    run.folder.cut(run.state.progress.step, run.state.progress.evaluated)
    run.event("reloaded", step, to=run.state.progress.step, why=why)
