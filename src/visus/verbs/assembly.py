"""From a recipe and a data set to a run that is ready to train: what train and resume have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from visus import __version__
from visus.core.errors import UsageError
from visus.core.modelfile import Architecture, Card
from visus.core.recipe import Recipe
from visus.core.task import Sampled, Studying, Task
from visus.data import cache as caches
from visus.data.cache import Cache
from visus.data.dataset import SPLITS, Dataset
from visus.data.feed import Feed
from visus.data.traces import trace
from visus.engine import device as hardware
from visus.engine import loop
from visus.engine.device import Device
from visus.engine.folder import RunFolder
from visus.engine.range_test import Tested, range_test
from visus.engine.schedule import Horizon, Minutes, Steps
from visus.engine.state import new_state
from visus.models.building import architecture_of
from visus.models.freezing import frozen, layers, still
from visus.models.origins.user_code import GIVEN
from visus.models.weights import card_of
from visus.tasks import TASKS
from visus.tasks._taught import taught
from visus.verbs.styles import studied

USUAL_PASSES = 10.0
"""How often a picture is read in a run whose length is not known beforehand."""

Tell = Callable[[Mapping[str, Any]], None]
"""Told what happens: rows of the log, events, notes."""


def assemble(
    recipe: Recipe,
    dataset: Dataset,
    held: RunFolder,
    device: Device,
    *,
    given: nn.Module | None,
    started: float,
    tell: Tell,
) -> loop.Run:
    """Return a run before its first step.

    Args:
        recipe: with a number as its learning rate.
        dataset: what it learns from and is judged on.
        held: its folder.
        device: this process's place.
        given: the module to train, where the user brings one of their own.
        started: ``time.perf_counter`` at which its clock began.
        tell: told what happens.
    """
    task = task_of(recipe, dataset)
    model = hardware.placed(network(recipe, task, given), device)
    held_back, order = frozen_and_stages(model, recipe)
    forever = held_back if recipe.model.unfreeze == 1 else frozenset[str]()
    state = new_state(model, recipe, task.players, order, forever)
    cache = decoded(dataset, recipe, tell)
    train = feed(dataset, dataset.indices("train"), task, recipe, device, train=True, cache=cache)
    judged = judged_of(task, dataset, "val")
    validation = feed(dataset, judged, task, recipe, device, train=False, cache=cache) if len(judged) else None
    return loop.Run(
        task=task, recipe=recipe, device=device, folder=held, state=state, train=train, validation=validation,
        horizon=horizon(recipe, train, held, len(judged)), card=describer(recipe, dataset), pictures=len(dataset),
        frozen=held_back - forever, still=tuple(still(model, held_back)), watch=tell, started=started,
    )  # fmt: skip


def frozen_and_stages(model: nn.Module, recipe: Recipe) -> tuple[frozenset[str], Sequence[Sequence[str]]]:
    """Return what is held as it is at first, and the stages of the network where each has a rate of its own."""
    return frozenset(frozen(model, recipe.model.freeze)), layers(model) if recipe.model.layer_decay < 1 else ()


def task_of(recipe: Recipe, dataset: Dataset) -> Task:
    """Return the recipe's task for the classes, or the numbers, of the data, with its teacher where it names one."""
    task = taught(TASKS[recipe.task](recipe, dataset.classes or dataset.numbers), recipe)
    if isinstance(task, Studying):
        studied(task, recipe, dataset)
    return task


def network(recipe: Recipe, task: Task, given: nn.Module | None) -> nn.Module:
    """Return the network of a recipe, or the one the user gave.

    Raises:
        UsageError: the recipe is of a module that was given, and now it is not.
    """
    name = recipe.model.name
    if not name.startswith(GIVEN):
        return task.model()
    if given is None:
        raise UsageError(
            "USE-009", f"this run trains a module of your own ({name.removeprefix(GIVEN)})",
            fix="give it again, from Python: visus.resume(run, model=module)",
        )  # fmt: skip
    return given


def judged_of(task: Task, dataset: Dataset, split: str) -> NDArray[np.int64]:
    """Return the records of a part that are judged: all of them, or as many as the task wants, evenly spread."""
    indices = dataset.indices(split)
    return spread(indices, task.most(split)) if isinstance(task, Sampled) else indices


def spread(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most so many indices, evenly spread over all."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]


def feed(
    dataset: Dataset,
    indices: NDArray[np.int64],
    task: Task,
    recipe: Recipe,
    device: Device,
    *,
    train: bool,
    cache: Cache | None = None,
) -> Feed:
    """Return the feed of some records as the recipe reads them.

    What is judged in tiles comes picture by picture: each is there whole, and may be large.
    """
    batch = recipe.batch if train or not recipe.input.tiles else 1
    return Feed(
        dataset, indices, task.transforms(train), task.collate, batch=batch, seed=recipe.seed, train=train,
        channels=recipe.input.channels, workers=recipe.data.workers, cache=cache, rank=device.rank, world=device.world,
        stored=recipe.data.stored, masks="masks" in task.reads,
    )  # fmt: skip


def decoded(dataset: Dataset, recipe: Recipe, tell: Tell) -> Cache | None:
    """Return the cache of decoded pictures of training and validation, where one pays."""
    train, val = dataset.indices("train"), dataset.indices("val")
    parts = np.concatenate([train, val])
    seen = (recipe.steps or 0) * recipe.batch / max(1, len(train))
    plan = caches.plan(
        dataset, parts, mode=recipe.data.cache, stored=recipe.data.stored, channels=recipe.input.channels,
        size=recipe.input.size, passes=recipe.epochs or seen or USUAL_PASSES,
    )  # fmt: skip
    tell({"note": f"cache: {plan.mode}, {plan.why}"})
    made, notes = caches.build(plan, dataset, parts, progress=lambda done, of: tell({"decoding": done, "of": of}))
    for note in notes:
        tell({"note": note})
    return made


def horizon(recipe: Recipe, train: Feed, held: RunFolder, judged: int) -> Horizon:
    """Return how long the run is, and when its ``judged`` pictures are; what an earlier sitting decided stands."""
    epoch = train.size / train.batch_size
    if recipe.minutes:
        decisions = [(row["kind"], int(row["step"]), row) for row in held.decisions()]
        warm = max(1, min(500, round(recipe.schedule.warmup * 10 * epoch)))
        return Minutes(recipe, recipe.minutes * 60, warm, held.decide, decisions, epoch=epoch)
    steps = math.ceil(round((recipe.epochs or 1) * epoch, 6))  # 3 x 0.1 is 0.3, not a little more
    return Steps(recipe, recipe.steps or max(1, steps), epoch, judged)


def describer(recipe: Recipe, dataset: Dataset) -> Callable[[int, Mapping[str, float]], Card]:
    """Return what makes the card of a model file at a step; the same run makes the same card."""
    task = task_of(recipe, dataset)
    classes = task.classes
    name, licences = recipe.model.name, {"code": "Apache-2.0"}
    start = None if recipe.model.weights == "none" or name.startswith(GIVEN) else card_of(recipe.model)
    if start is not None:
        licences[f"weights {start.name}"] = start.licence
    if dataset.licence:
        licences["data"] = dataset.licence
    architecture = _architecture(recipe, len(classes))
    settings = recipe.flat() | {"model.name": architecture.name, "model.weights": Path(recipe.model.weights).name}
    settings["distill.teacher"] = Path(recipe.distill.teacher).name
    settings["stylize.style"] = Path(recipe.stylize.style).name
    card = Card(
        visus=__version__,
        task=recipe.task,
        architecture=architecture,
        classes=classes,
        input=recipe.input,
        recipe=settings,  # which of the user's folders its files lay in is nobody's business
        weights=start.name if start is not None else "",
        licences=licences,
        data={"name": dataset.name, "format": dataset.format, "fingerprint": dataset.fingerprint(),
              **{split: len(dataset.indices(split)) for split in SPLITS}},
        trace=trace(dataset) if recipe.data.trace else (),
    )  # fmt: skip
    judged = len(judged_of(task, dataset, "val"))

    def describe(step: int, scores: Mapping[str, float]) -> Card:
        kept = {name: {"value": value, "n": judged} for name, value in scores.items() if math.isfinite(value)}
        return card.model_copy(update={"step": step, "scores": kept, "split": "val" if kept else ""})

    return describe


def with_rate(recipe: Recipe, dataset: Dataset, given: nn.Module | None, device: Device) -> Recipe:
    """Return the recipe with a number as its learning rate: ``auto`` becomes what a range test finds."""
    if recipe.optim.lr != "auto":
        return recipe
    found = rate_by_range_test(recipe, dataset, given, device)
    optim = recipe.optim.model_copy(update={"lr": float(f"{found.rate:.3g}")})
    origins = {**recipe.origins, "optim.lr": f"range test: {found.why}"}
    return recipe.model_copy(update={"optim": optim, "origins": origins})


def rate_by_range_test(recipe: Recipe, dataset: Dataset, given: nn.Module | None, device: Device) -> Tested:
    """Return what a range test on the training part says of the learning rate."""
    task = task_of(recipe, dataset)
    model = hardware.placed(network(recipe, task, given), device)
    held, order = frozen_and_stages(model, recipe)
    held = held if recipe.model.unfreeze > 0 else frozenset()
    lean = hardware.short_of_memory("nothing was trained", "less else running, --set size=SMALLER, or --lr 1e-3")
    with lean, feed(dataset, dataset.indices("train"), task, recipe, device, train=True) as train:
        return range_test(task, model, train, recipe, device, frozen=held, still=still(model, held), layers=order)


def _architecture(recipe: Recipe, outputs: int) -> Architecture:
    if recipe.model.name.startswith(GIVEN):
        return Architecture(name=recipe.model.name, outputs=outputs)
    return architecture_of(recipe.model, outputs)
