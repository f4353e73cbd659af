"""What a run has to tell: its scores, curves, pictures, data, settings and mishaps, as one story for the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visus.checks.classes import shown_in
from visus.core.sample import Sample
from visus.core.task import Metric, Prediction
from visus.data.dataset import SPLITS, Dataset
from visus.data.mapped import columns as mapped
from visus.data.mapped import with_maps
from visus.data.marked import columns
from visus.data.pixels import Taken, pictures
from visus.engine import loop
from visus.engine.device import Device
from visus.engine.evaluate import answers
from visus.report.findings import findings
from visus.report.story import Picture, Story
from visus.report.words import plural, sampled
from visus.verbs.assembly import feed, judged_of
from visus.verbs.copying import Copying, copying
from visus.verbs.runs import ROUTINE, Run, read_document, sentence
from visus.verbs.walking import ways

if TYPE_CHECKING:
    from visus.core.modelfile import Card

SHEETS = 6
"""Sheets of samples, of the first validation to the last."""
EACH = 12
"""Pictures under each title of the gallery."""


def story(run: loop.Run, dataset: Dataset, metric: Metric, card: Card, result: Run) -> Story:
    """Return everything the report tells.

    Args:
        run: after its last step, with the best weights in its model.
        dataset: what it learned from.
        metric: of the part it was judged on.
        card: of the best model file.
        result: scores, and what could not be read.
    """
    copied = _copied(run, dataset)
    told = Story(
        title=f"{card.architecture.name} on {dataset.name}",
        command=read_document(run.folder.path / "data.json").get("command", ""),
        task=run.recipe.task,
        score=run.task.score,
        split=result.split,
        scores={**result.scores, **(copied.scores if copied is not None else {})},
        figures=metric.figures(),
        log=run.folder.rows(),
        gallery=[*samples(run.folder.path), *_ways(run), *(copied.pictures if copied is not None else ()),
                 *_gallery(run, dataset, metric)],
        legend=run.task.legend,
        recipe=run.recipe,
        card=card,
        data=_data(run, dataset, result),
        seconds=result.seconds,
        events=[{"step": row["step"], "kind": row["kind"], "what": sentence(row)} for row in run.folder.decisions()
                if row["kind"] not in ROUTINE],
        environment=read_document(run.folder.path / "environment.json"),
        path=str(result.report),
        without_leaks=result.without_leaks,
        taken=tuple(getattr(run.state.model, "taken", ())),
    )  # fmt: skip
    return replace(told, findings=findings(told))


def _copied(run: loop.Run, dataset: Dataset) -> Copying | None:
    """Return how near a generator's pictures lie to those it was trained on; None of a task that makes none."""
    if run.task.name != "generate":
        return None
    alone = Device(run.device.device, run.device.precision, run.device.memory_format)
    return copying(run.task, run.state.model, dataset, run.recipe, alone)


def _ways(run: loop.Run) -> Iterator[Picture]:
    """Yield what lies between the pictures of a generator; nothing of a task that makes none."""
    if run.task.name != "generate":
        return
    classes = run.task.classes
    network = run.state.model.eval()
    row = "a class" if classes else "through three pictures"
    yield Picture("On the way from one picture to the next", f"a row {row}", ways(network.generator, classes, 0))


def samples(folder: Path) -> Iterator[Picture]:
    """Yield what a network that makes pictures made while it trained, from the first sheet to the last."""
    from PIL import Image

    sheets = sorted((folder / "samples").glob("*.png"))
    if not sheets:
        return
    told = [(f"After {plural(int(sheets[-1].stem), 'step')}", sheets[-1])] if len(sheets) == 1 else []
    for place in sorted({round(i) for i in np.linspace(0, len(sheets) - 1, SHEETS)}) if len(sheets) > 1 else ():
        told.append(("The same pictures, as training went on", sheets[place]))
    for title, sheet in told:
        with Image.open(sheet) as image:
            yield Picture(title, f"step {int(sheet.stem):,}", np.asarray(image.convert("RGB")))


def _data(run: loop.Run, dataset: Dataset, result: Run) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = {}
    sample = [sampled(len(judged_of(run.task, dataset, split)), len(dataset.indices(split)), split)
              for split in dict.fromkeys(("val", result.split))]  # fmt: skip
    named = zip(dataset.split.tolist(), dataset.ids, strict=True)
    read = np.array([(SPLITS[split], name) not in run.bad for split, name in named], np.bool_)
    parts = {split: (at := dataset.indices(split))[read[at]] for split in SPLITS}
    if dataset.column() in ("label", "objects"):
        shown = {split: shown_in(dataset, at) for split, at in parts.items()}
        anywhere = np.sum(list(shown.values()), axis=0) > 0  # lists of boxes often name more classes than are drawn
        listed = [k for k in range(len(dataset.classes)) if anywhere[k] or dataset.objects is None]
        counts = {split: {dataset.classes[k]: int(found[k]) for k in listed} for split, found in shown.items()}
    return {
        "name": dataset.name, "format": dataset.format, "evidence": dataset.evidence,
        "notes": (*dataset.notes, *filter(None, sample)),
        "items": {split: len(parts[split]) for split in SPLITS}, "carved": dataset.carved, "counts": counts,
        "bad": result.bad, "fingerprint": dataset.fingerprint(), "licence": dataset.licence,
    }  # fmt: skip


def _gallery(run: loop.Run, dataset: Dataset, metric: Metric) -> list[Picture]:
    """Return the pictures worth looking at, with what was said about them."""
    chosen = {title: list(indices) for title, indices in metric.gallery(EACH).items()}
    wanted = np.unique(np.array([i for indices in chosen.values() for i in indices], dtype=np.int64))
    predictions = _predictions(run, dataset, wanted) if len(wanted) else {}
    source = with_maps(pictures(dataset.images, run.recipe.input.channels), dataset.of_pixels)
    shown = []
    for title, indices in chosen.items():
        for i in indices:
            if i in predictions:
                taken = source.take(np.array([i]), lambda index: None)
                image = taken.images[0]
                sample = Sample(dataset.ids[i], image, run.task.annotations(_known(dataset, i, taken), i))
                shown.append(Picture(title, dataset.ids[i], run.task.draw(sample, predictions[i])))
    return shown


def _known(dataset: Dataset, i: int, taken: Taken) -> dict[str, Any]:
    """Return what is known of record ``i``: the columns, and by its number what is marked on it."""
    size = (int(taken.originals[0, 0]), int(taken.originals[0, 1]))
    marked = {**columns(dataset.objects, np.array([i]), taken.originals, [size]), **mapped(taken, [size], judged=True)}
    return {**dataset.columns, **{name: {i: values[0]} for name, values in marked.items()}}


def _predictions(
    run: loop.Run, dataset: Dataset, indices: np.ndarray[Any, np.dtype[np.int64]]
) -> dict[int, Prediction]:
    """Return what the model says of some records, in their original pixels, by this process alone."""
    said: dict[int, Prediction] = {}
    alone = Device(run.device.device, run.device.precision, run.device.memory_format)
    with feed(dataset, indices, run.task, run.recipe, alone, train=False) as few:
        for part, raw in answers(run.task, run.state.model, few.sweep(), alone, run.micro(run.state.progress.step)):
            for i, frame, found in zip(part.indices.tolist(), part.frames, run.task.decode(raw), strict=True):
                said[i] = found.home(frame)
    return said
