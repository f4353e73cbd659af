"""One sitting of a run: train from where its state stands, judge once on the test part, write down what was found."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import DataError, quoted
from visus.core.files import write_json, write_text
from visus.core.modelfile import Card, read_model, write_model
from visus.core.recipe import Recipe
from visus.core.scores import WithoutLeaks
from visus.core.task import Metric, Timed
from visus.data.dataset import Dataset
from visus.data.feed import THREADS, Feed
from visus.data.leaks import Reading
from visus.data.workers import cores
from visus.engine import loop
from visus.engine.device import Device, short_of_memory
from visus.engine.evaluate import answers, judge
from visus.engine.folder import RunFolder
from visus.engine.schedule import Minutes
from visus.engine.signals import stopping_at_once
from visus.verbs import leaking
from visus.verbs.assembly import Tell, assemble, feed, judged_of
from visus.verbs.copying import looks
from visus.verbs.runs import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

REPORTING = 4.0
"""Seconds of a budget kept for the report, beside those that judging takes."""


def complete(
    recipe: Recipe,
    dataset: Dataset,
    held: RunFolder,
    device: Device,
    *,
    given: nn.Module | None,
    started: float,
    tell: Tell,
) -> Run:
    """Train a run to its end, judge it, and write result.json and report.html; every rank calls, the leader writes.

    Args:
        recipe: with a number as its learning rate.
        dataset: the same, in every sitting of the run.
        held: its folder.
        device: this process's place.
        given: the module to train, where the user brings one of their own.
        started: ``time.perf_counter`` at which this command's clock began.
        tell: told what happens.

    Raises:
        Interrupted: SIGINT or SIGTERM came; whatever was reached is saved.
        BadDataLimit: more unreadable pictures than the recipe allows; those of the test part are only met at the end,
            when model and report are written.
        DataError: not one picture of the test part can be read; the weights are kept.
        ResourceError, DivergedError: as ``loop.fit``.
    """
    lean = f"visus resume {quoted(held.path)}, with less else running, or --set size=SMALLER"
    with stopping_at_once(held.path), short_of_memory("what was saved is kept", lean), ExitStack() as stack:
        reading = time.perf_counter() - started
        run = assemble(recipe, dataset, held, device, given=given, started=started, tell=tell)
        stack.callback(run.train.close)
        if run.validation is not None:
            stack.callback(run.validation.close)
        _go_on(run)
        _note_unusable(run, dataset)
        if recipe.tensorboard and held.leader:
            from visus.verbs.tensorboard import writing

            run.record = stack.enter_context(writing(held.path, run.state.progress.step))
        comparing = None
        if isinstance(run.horizon, Minutes):
            val, test = (len(judged_of(run.task, dataset, split)) for split in ("val", "test"))
            each, answering = seconds_a_picture(run, dataset)
            comparing = leaking.seconds_for(dataset, _judged(dataset), each)
            affordable = recipe.data.leaks and comparing <= leaking.SHARE * run.horizon.seconds
            judging = [(each + answering) * n + run.device.shared(_seconds_of_scores(run, n)) for n in (val, test)]
            beside = (each + answering) * looks(run.task, dataset)
            run.horizon.reserve = REPORTING + sum(judging) + beside + affordable * comparing
            run.horizon.cost = judging[0]
        seconds = {"reading data": reading, "preparing": time.perf_counter() - started - reading}
        if not run.state.progress.finished:
            loop.fit(run)
        return _conclude(run, dataset, seconds, comparing)


def _go_on(run: loop.Run) -> None:
    """Take up the newest complete state, where an earlier sitting left one."""
    if not run.generations.steps():
        return
    run.load()
    progress = run.state.progress
    run.spent = progress.elapsed
    run.folder.cut(progress.step, progress.evaluated)
    run.watch({"note": f"going on after step {progress.step:,}"})


def _conclude(run: loop.Run, dataset: Dataset, seconds: dict[str, float], comparing: float | None) -> Run:
    """Judge the best weights, their temperature on the validation part, then the test part, once; write what was found.

    Interrupted at any place, it can be done again: the best weights are what they were.

    Args:
        seconds: spent so far, by stage.
        comparing: seconds that comparing the judged pictures with the others will take, where that is known.
    """
    began = time.perf_counter()
    split = _judged(dataset)
    task, model, device, recipe = run.task, run.state.model, run.device, run.recipe
    tensors, card = read_model(run.folder.path / "best.safetensors")
    model.load_state_dict(tensors)
    run.watch({"note": f"judging the weights of step {card.step:,} on the {split} part"})
    said: dict[str, float] = {}
    held_out = run.judged
    if held_out is None and run.validation is not None:  # the best weights are of an earlier sitting
        held_out, _ = judge(task, model, run.validation, device, micro=run.micro(card.step))
    if held_out is not None:
        said = held_out.calibration()
    with feed(dataset, judged_of(task, dataset, split), task, recipe, device, train=False) as final:
        task.calibrate(said)
        try:
            metric, bad = judge(task, model, final, device, micro=run.micro(card.step))
        except DataError as unread:  # not one picture of it
            unread.done = f"the weights are kept in {run.folder.path}"
            unread.fix = f"mend the files of the {split} part, then visus resume {quoted(run.folder.path)}"
            raise
    seconds |= {"training": run.seconds["steps"] - run.train.waiting, "waiting for data": run.train.waiting,
                "validation": run.seconds["validation"], "saving": run.seconds["saving"]}  # fmt: skip
    run.note_bad(bad, run.state.progress.step, split)
    scores = metric.compute()
    seconds[split] = time.perf_counter() - began
    unusable = (*dataset.bad, *((name, why) for (_, name), why in run.bad.items()))
    result = Run(run.folder.path, recipe, split, scores, run.state.progress.step, seconds, unusable)
    if run.folder.leader:
        began = time.perf_counter()
        result = replace(result, without_leaks=_without_leaks(run, dataset, metric, result, comparing))
        seconds["leaks"] = time.perf_counter() - began
        measured = {name: score.json() for name, score in scores.items()}
        told = card.model_copy(update={"scores": measured, "split": split, "calibration": said})
        write_model(result.best, tensors, told)
        result = _report(run, dataset, metric, told, result)
    device.most([0])  # no rank leaves before the leader has written
    if error := run.too_many_bad(f"the model and {result.report}, which lists them, are written"):
        raise error
    return result


def _judged(dataset: Dataset) -> str:
    """Return the part that a run is judged on at its end."""
    return "test" if len(dataset.indices("test")) else "val"


def _without_leaks(
    run: loop.Run, dataset: Dataset, metric: Metric, result: Run, comparing: float | None
) -> WithoutLeaks:
    """Return the scores without the pictures that other parts give away, where there is time to look for these."""
    recipe = run.recipe
    judged, others = leaking.records(dataset, result.split, run.bad.keys())
    judged = judged[np.isin(judged, judged_of(run.task, dataset, result.split))]
    if not recipe.data.leaks:
        return WithoutLeaks(run.task.score, len(judged), unknown="data.leaks = false")
    if isinstance(run.horizon, Minutes):
        budget = run.horizon.seconds
        limit = min(leaking.SHARE * budget, (1 + leaking.SHARE) * budget - REPORTING - run.elapsed())
    else:
        limit = max(leaking.LEAST, min(leaking.MOST, leaking.PART * run.elapsed()))
    if comparing is None:
        comparing = leaking.seconds_for(dataset, result.split, result.seconds[result.split] / max(1, len(judged)))
    run.watch({"note": f"looking for {result.split} pictures that other parts give away"})
    cache = run.train.cache if isinstance(run.train, Feed) else None
    fresh = cache is None and run.epoch(result.steps) < 1  # what was never read might end the process that reads it
    workers = recipe.data.workers if fresh else 0
    reading = Reading(dataset, recipe.input.channels, recipe.data.stored, cache, workers)
    return leaking.without_leaks(run.task.score, metric, reading, judged, others, comparing, limit)


def _report(run: loop.Run, dataset: Dataset, metric: Metric, card: Card, result: Run) -> Run:
    """Write report.html, then result.json, which says that the run has ended; return the result with its summary."""
    from visus.report.page import render
    from visus.report.terminal import summary
    from visus.verbs.reporting import story

    began = time.perf_counter()
    told = story(run, dataset, metric, card, result)
    write_text(result.report, render(told))
    seconds = {**result.seconds, "report": time.perf_counter() - began}
    result = replace(result, summary=summary(replace(told, path="")), seconds=seconds)
    write_json(result.folder / "result.json", {**result.json(), "summary": result.summary})
    return result


def _note_unusable(run: loop.Run, dataset: Dataset) -> None:
    """Write down, once, what the data lists and nothing can use."""
    known = {row["id"] for row in run.folder.decisions() if row["kind"] == "unusable"}
    for name, why in dataset.bad:
        if name not in known:
            run.event("unusable", run.state.progress.step, id=name, why=why)


def seconds_a_picture(run: loop.Run, dataset: Dataset) -> tuple[float, float]:
    """Return about how long reading a picture takes, and judging it: timed on a batch of the validation part."""
    rows, judged = min(run.recipe.batch, run.micro(run.state.progress.step)), dataset.indices("val")
    reading = answering = 0.0
    for start in range(0, len(judged), rows):
        try:
            reading, answering = _seconds_of(run, dataset, judged[start : start + rows])
            break
        except DataError:
            continue  # not one of these can be read: judging meets them again, names them and counts them
    return run.device.shared(reading), run.device.shared(answering)


def _seconds_of_scores(run: loop.Run, n: int) -> float:
    """Return about how long the scores of ``n`` pictures take once all of them are judged; nothing of most tasks."""
    metric = run.task.metric()
    return metric.seconds(n) if isinstance(metric, Timed) else 0.0


def _seconds_of(run: loop.Run, dataset: Dataset, few: NDArray[np.int64]) -> tuple[float, float]:
    """Return how long reading one of a batch of records takes, and judging it, by this process alone.

    Raises:
        DataError: not one of them can be read.
    """
    alone = Device(run.device.device, run.device.precision, run.device.memory_format)
    plain = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"workers": 0})})
    began = time.perf_counter()
    with feed(dataset, few, run.task, plain, alone, train=False) as uncached:
        batch = next(iter(uncached.sweep()))
    reading = (time.perf_counter() - began) / min(THREADS, cores())
    answering = []
    for seed in range(2):  # of another seed the second time, lest what the task remembers of the first be reckoned in
        began = time.perf_counter()
        for _part in answers(run.task, run.state.model, [replace(batch, seed=seed)], alone):
            pass
        answering.append(time.perf_counter() - began)
    return reading / len(batch), 1.3 * min(answering) / len(batch)
