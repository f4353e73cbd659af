"""One sitting of a run: train from where its state stands, judge once on the test part, write down what was found."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.files import write_text
from visus.core.recipe import Recipe
from visus.data.dataset import Dataset
from visus.engine.device import Device
from visus.engine.folder import RunFolder
from visus.verbs.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from visus.core.task import Metric
    from visus.engine import loop
    from visus.verbs.assembly import Tell

FINAL = 4.0  # seconds kept for the report, beside what judging the test part takes


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
    """Train a run to its end, judge it and write result.json and report.html; every rank calls, the leader writes."""
    from visus.engine import loop
    from visus.verbs.assembly import assemble

    seconds = {"reading data": time.perf_counter() - started}
    with ExitStack() as stack:
        record = stack.enter_context(events(held.path, recipe)) if recipe.tensorboard and held.leader else _nobody
        run = assemble(recipe, dataset, held, device, given=given, started=started, tell=tell, record=record)
        stack.callback(run.train.close)
        if run.validation is not None:
            stack.callback(run.validation.close)
        seconds["preparing"] = time.perf_counter() - started - seconds["reading data"]
        _note_splitting(run)
        if run.generations.steps():
            for warning in run.generations.load(run.state):
                tell({"note": warning})
            run.spent = run.state.progress.elapsed
            held.cut(run.state.progress.step, run.state.progress.evaluated)
            tell({"note": f"going on after step {run.state.progress.step}"})
        if hasattr(run.horizon, "reserve"):
            run.horizon.reserve = FINAL + _seconds_to_judge(run, dataset)
        if not run.state.progress.finished:
            loop.fit(run)
        return _conclude(run, dataset, seconds, given)


def _conclude(run: loop.Run, dataset: Dataset, seconds: dict[str, float], given: nn.Module | None) -> Run:
    """Judge the best weights: temperature on the validation part, then the test part, once; write what was found."""
    from visus.core.modelfile import read_model, write_model
    from visus.engine.evaluate import judge
    from visus.verbs.assembly import feed

    folder, recipe, task, device = run.folder.path, run.recipe, run.task, run.device
    began = time.perf_counter()
    tensors, card = read_model(folder / "best.safetensors")
    run.state.model.load_state_dict(tensors)
    said: dict[str, float] = {}
    if run.validation is not None:
        held_out, _ = judge(task, run.state.model, run.validation, device)
        said = held_out.calibration()
    split = "test" if len(dataset.indices("test")) else "val"
    with feed(dataset, split, task, recipe, device, train=False) as final:
        task.calibrate(said)
        metric, bad = judge(task, run.state.model, final, device)
    scores = metric.compute()
    seconds |= {"training": run.seconds["steps"] - run.train.waiting, "waiting for data": run.train.waiting,
                "validation": run.seconds["validation"], "saving": run.seconds["saving"],
                "test": time.perf_counter() - began}  # fmt: skip
    result = Run(folder, recipe, split, scores, run.state.progress.step, seconds)
    if run.folder.leader:
        measured = {name: score.json() for name, score in scores.items()}
        told = card.model_copy(update={"scores": measured, "split": split, **said})
        write_model(folder / "best.safetensors", tensors, told)
        began = time.perf_counter()
        _write_report(run, dataset, metric, told, result, [*run.bad.items(), *bad], given)
        seconds["report"] = time.perf_counter() - began
        write_text(folder / "result.json", json.dumps(result.json(), indent=1))
    device.most([0])  # no rank leaves before the leader has written
    return result


def _write_report(
    run: loop.Run, dataset: Dataset, metric: Metric, card: Any, result: Run, bad: Sequence[tuple[str, str]],
    given: nn.Module | None,
) -> None:  # fmt: skip
    from visus.report.page import render

    write_text(result.report, render(story(run, dataset, metric, card, result, bad)))


def story(
    run: loop.Run, dataset: Dataset, metric: Metric, card: Any, result: Run, bad: Sequence[tuple[str, str]]
) -> Any:
    """Return everything the report tells."""
    from dataclasses import replace

    import numpy as np

    from visus.report.findings import findings
    from visus.report.story import Story

    counts = {}
    if "label" in dataset.columns:
        for split in ("train", "val", "test"):
            labels = dataset.columns["label"][dataset.indices(split)]
            found = np.bincount(labels[labels >= 0].astype(np.int64), minlength=len(dataset.classes))
            counts[split] = dict(zip(dataset.classes, map(int, found), strict=True))
    told = Story(
        title=f"{run.recipe.model.name} on {dataset.name}",
        command=" ".join(["visus", *sys.argv[1:]]) if Path(sys.argv[0]).stem in ("visus", "__main__") else "visus.train(...)",
        task=run.recipe.task,
        score=run.task.score,
        split=result.split,
        scores=result.scores,
        figures=metric.figures(),
        log=run.folder.rows(),
        gallery=_gallery(run, dataset, metric),
        recipe=run.recipe,
        card=card,
        data={
            "name": dataset.name, "format": dataset.format, "evidence": dataset.evidence, "notes": dataset.notes,
            "items": {s: len(dataset.indices(s)) for s in ("train", "val", "test")}, "counts": counts,
            "bad": (*dataset.bad, *bad), "fingerprint": dataset.fingerprint(), "licence": dataset.licence,
        },
        seconds=result.seconds,
        events=[{"step": d["step"], "kind": d["kind"], "what": _sentence(d)} for d in run.folder.decisions()
                if d["kind"] not in ("mark", "segment")],
        environment=json.loads((run.folder.path / "environment.json").read_text(encoding="utf-8")),
        path=str(result.report),
    )  # fmt: skip
    return replace(told, findings=findings(told))


def _gallery(run: loop.Run, dataset: Dataset, metric: Metric, each: int = 12) -> list[Any]:
    """Return the pictures worth looking at, with what was said about them."""
    import numpy as np
    import torch

    from visus.core.sample import Sample
    from visus.data.pixels import pictures
    from visus.report.story import Picture
    from visus.verbs.assembly import feed

    chosen = {title: list(indices) for title, indices in metric.gallery(each).items()}
    wanted = np.unique(np.array([i for indices in chosen.values() for i in indices], dtype=np.int64))
    if not len(wanted):
        return []
    predictions = {}
    run.state.model.eval()
    with feed(dataset, wanted, run.task, run.recipe, Device(run.device.device), train=False) as few:
        for batch in few.sweep():
            moved = batch.to(run.device.device, run.device.memory_format)
            with torch.no_grad(), run.device.autocast():
                said = run.task.decode({k: v.float() for k, v in run.task.raw(run.state.model, moved).items()})
            predictions |= dict(zip(batch.indices.tolist(), said, strict=True))
    source = pictures(dataset.images, run.recipe.input.channels)
    shown = []
    for title, indices in chosen.items():
        for i in indices:
            if i in predictions:
                taken = source.take(np.array([i]), lambda index: None)
                sample = Sample(dataset.ids[i], taken.images[0], run.task.annotations(dataset.columns, i))
                shown.append(Picture(title, dataset.ids[i], run.task.draw(sample, predictions[i])))
    return shown


def _seconds_to_judge(run: loop.Run, dataset: Dataset) -> float:
    """Return about how long judging the best weights takes at the end: timed on one batch, which changes nothing."""
    import torch

    if run.validation is None:
        return 0.0
    run.state.model.eval()
    batch = next(iter(run.validation.sweep()), None)
    if batch is None or not len(batch):
        return 0.0
    moved = batch.to(run.device.device, run.device.memory_format)
    times = []
    for _ in range(2):
        began = time.perf_counter()
        with torch.no_grad(), run.device.autocast():
            run.task.raw(run.state.model, moved)
        times.append(time.perf_counter() - began)
    judged = run.validation.size + len(dataset.indices("test"))
    seconds = torch.tensor(1.3 * min(times) * judged / len(batch), dtype=torch.float64)
    return float(run.device.share_(seconds))


def _note_splitting(run: loop.Run) -> None:
    """Say what makes the gradient depend on how a batch is split, where it will be."""
    from visus.engine.splitting import uncovered

    if run.micro(0) < run.recipe.batch or run.device.world > 1:
        for why in uncovered(run.state.model.train()):
            run.watch({"note": f"splitting the batch is not exact here: {why}"})


def events(folder: Path, recipe: Recipe) -> Any:
    """Return a context that writes TensorBoard events of the rows it is told.

    Raises:
        UsageError: tensorboard is not installed.
    """
    from contextlib import contextmanager

    from visus.core.errors import UsageError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("USE-020", "TensorBoard is not installed", fix="pip install 'visus[tensorboard]'") from error

    @contextmanager
    def writing() -> Any:
        with SummaryWriter(str(folder / "tensorboard")) as writer:

            def record(row: Mapping[str, Any]) -> None:
                values = {f"validation/{k}": v for k, v in row.get("validation", {}).items()} or {
                    k: v for k, v in row.items() if k != "step"
                }
                for name, value in values.items():
                    if isinstance(value, float):
                        writer.add_scalar(name, value, row["step"])

            yield record

    return writing()


def _sentence(decision: Mapping[str, Any]) -> str:
    words = {k: v for k, v in decision.items() if k not in ("kind", "step", "at", "why") and v not in ("", [])}
    told = ", ".join(f"{k} {', '.join(map(str, v)) if isinstance(v, list) else v}" for k, v in words.items())
    return " - ".join(part for part in (str(decision.get("why", "")), told) if part)


def _nobody(row: Mapping[str, Any]) -> None:
    """Record nothing."""
