"""From a data set and the user's wishes to a run that is ready to train: what train and resume have in common."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from visus import __version__
from visus.core.errors import UsageError, did_you_mean
from visus.core.modelfile import Architecture, Card
from visus.core.recipe import Choice, Draft, Facts, Recipe
from visus.core.task import Task
from visus.data import cache as caches
from visus.data.dataset import ArrayImages, Dataset, FileImages
from visus.data.feed import Feed
from visus.engine import device as hardware
from visus.engine import loop
from visus.engine.device import Device
from visus.engine.folder import RunFolder
from visus.engine.range_test import range_test
from visus.engine.schedule import SHAPES, Horizon, Minutes, Steps
from visus.engine.state import new_state
from visus.models.building import architecture_of
from visus.models.dense import is_dense
from visus.models.freezing import frozen, layers, still
from visus.models.weights import card_of
from visus.tasks import TASKS

LENGTHS = ("minutes", "epochs", "steps")
GIVEN = "given:"
LOOKED_AT = 200  # pictures whose size is looked at before anything is chosen
Tell = Callable[[Mapping[str, Any]], None]


def task_for(dataset: Dataset, wanted: str) -> str:
    """Return the task that reads what the data set knows.

    Raises:
        UsageError: none does, or the wanted one reads something else.
    """
    readers = {name: TASKS[name].reads for name in TASKS}
    fitting = [name for name, reads in readers.items() if set(reads) & set(dataset.columns)]
    if wanted:
        if wanted not in readers:
            raise UsageError("USE-004", f"there is no task named {wanted!r}", fix=did_you_mean(wanted, readers))
        if wanted not in fitting:
            raise UsageError("USE-007", f"{wanted} cannot learn from {dataset.name}",
                             where=f"it reads {' or '.join(readers[wanted])}; the data has {', '.join(dataset.columns)}",
                             fix=f"--task {fitting[0]}" if fitting else "")  # fmt: skip
        return wanted
    if not fitting:
        raise UsageError("USE-007", f"no task learns from {', '.join(dataset.columns) or 'pictures without labels'}")
    return fitting[0]


def facts(dataset: Dataset, wanted: Mapping[str, Any], device: str) -> Facts:
    """Look at the data and the machine, as far as choosing settings needs."""
    train = dataset.indices("train")
    looked = train[np.linspace(0, len(train) - 1, min(LOOKED_AT, len(train))).astype(np.int64)] if len(train) else train
    sizes, channels, dtype = _shapes(dataset, looked)
    column = dataset.column()
    values = dataset.columns[column][train] if column else np.zeros(0)
    if column == "label":
        counts = np.bincount(values[values >= 0].astype(np.int64), minlength=len(dataset.classes))
    else:
        counts = (values == 1).sum(0) if column == "labels" else np.zeros(0)
    return Facts(
        annotation=column,
        classes=dataset.classes or dataset.numbers,
        counts=tuple(int(c) for c in counts),
        train=len(train),
        sizes=sizes,
        channels=channels,
        dtype=dtype,
        device=device,
        cores=torch.get_num_threads(),
        fast_bfloat16=hardware.fast_bfloat16(device),
        minutes=wanted.get("minutes"),
        wanted=wanted,
    )


def resolve(dataset: Dataset, wanted: Sequence[Choice], given: nn.Module | None = None) -> tuple[Recipe, Facts]:
    """Return the recipe of a run: the user's word, then what the task, the weights and the machine suggest, with reasons.

    Raises:
        UsageError: an unknown key or name, a wrong value, or two lengths at once.
    """
    said = {choice.key for choice in wanted}
    lengths = [key for key in LENGTHS if key in said]
    if len(lengths) > 1:
        raise UsageError(
            "USE-008", f"a run has one length, but {' and '.join(lengths)} are given", fix="leave one of them out"
        )
    draft = Draft(wanted)
    if given is not None:
        draft.choose(Choice("model.name", GIVEN + type(given).__name__, "the module that was given"))
        draft.choose(Choice("model.weights", "none", "the module comes with its own"))
    kind = draft.wanted().get("device", hardware.best_device())
    name = task_for(dataset, draft.wanted().get("task", ""))
    draft.choose(Choice("task", name, f"the data knows {dataset.column()}"))
    draft.choose(Choice("device", kind, "the fastest at hand"))
    draft.choose(Choice("threads", torch.get_num_threads(), "of this machine"))
    known = facts(dataset, draft.wanted(), kind)
    for choice in TASKS[name].defaults(known):
        if not (choice.key in LENGTHS and lengths):
            draft.choose(choice)
    recipe = draft.finish()
    for choice in _follow_up(recipe, dataset, known, given):
        draft.choose(choice)
    recipe = draft.finish()
    if recipe.schedule.name not in SHAPES:
        raise UsageError("USE-004", f"there is no schedule named {recipe.schedule.name!r}",
                         fix=did_you_mean(recipe.schedule.name, SHAPES))  # fmt: skip
    return recipe, known


def network(recipe: Recipe, task: Task, given: nn.Module | None) -> nn.Module:
    """Return the network of a recipe, or the one the user gave."""
    if recipe.model.name.startswith(GIVEN):
        if given is None:
            raise UsageError("USE-009", f"this run trains a module of your own ({recipe.model.name.removeprefix(GIVEN)})",
                             fix="give it again: visus.resume(run, model=module)")  # fmt: skip
        return given
    return task.model()


def feed(
    dataset: Dataset, split: str | np.ndarray, task: Task, recipe: Recipe, device: Device, *, train: bool, cache: Any = None
) -> Feed:  # fmt: skip
    """Return the feed of a split (or of given records) as the recipe reads it."""
    indices = dataset.indices(split) if isinstance(split, str) else split
    return Feed(
        dataset, indices, task.transforms(train), task.collate, batch=recipe.batch, seed=recipe.seed, train=train,
        channels=recipe.input.channels, workers=recipe.data.workers, cache=cache, rank=device.rank, world=device.world,
        stored=recipe.data.stored,
    )  # fmt: skip


def decoded(dataset: Dataset, recipe: Recipe, tell: Tell) -> Any:
    """Return the cache of decoded pictures, where one pays."""
    parts = np.concatenate([dataset.indices("train"), dataset.indices("val")])
    passes = recipe.epochs or (recipe.steps or 0) * recipe.batch / max(1, len(dataset.indices("train"))) or 10.0
    planned = caches.plan(dataset, parts, mode=recipe.data.cache, stored=recipe.data.stored,
                          channels=recipe.input.channels, size=recipe.input.size, passes=passes)  # fmt: skip
    tell({"note": f"cache: {planned.mode}, {planned.why}"})
    made, notes = caches.build(planned, dataset, parts, workers=0,
                               progress=lambda done, of: tell({"decoding": done, "of": of}))  # fmt: skip
    for note in notes:
        tell({"note": note})
    return made


def assemble(
    recipe: Recipe, dataset: Dataset, held: RunFolder, device: Device, *, given: nn.Module | None, started: float,
    tell: Tell, record: Tell, reserve: float = 0.0,
) -> loop.Run:  # fmt: skip
    """Return a run before its first step."""
    task: Task = TASKS[recipe.task](recipe, dataset.classes or dataset.numbers)
    model = hardware.placed(network(recipe, task, given), device)
    held_back = frozenset(frozen(model, recipe.model.freeze))
    forever = recipe.model.unfreeze >= 1
    order = layers(model) if recipe.model.layer_decay < 1 else ()
    state = new_state(model, recipe, task.players, order, held_back if forever else frozenset())
    cache = decoded(dataset, recipe, tell)
    train = feed(dataset, "train", task, recipe, device, train=True, cache=cache)
    judged = dataset.indices("val")
    validation = feed(dataset, "val", task, recipe, device, train=False, cache=cache) if len(judged) else None
    return loop.Run(
        task=task, recipe=recipe, device=device, folder=held, state=state, train=train, validation=validation,
        horizon=horizon(recipe, train, held, started, reserve), card=describer(recipe, dataset),
        frozen=frozenset() if forever else held_back, still=tuple(still(model, held_back)), watch=tell, record=record,
        started=started,
    )  # fmt: skip


def horizon(recipe: Recipe, train: Feed, held: RunFolder, started: float, reserve: float) -> Horizon:
    """Return how long the run is."""
    epoch = train.size / train.batch_size
    if recipe.minutes:
        decisions = [(row["kind"], int(row["step"]), row) for row in held.decisions()]
        warm = max(1, min(500, round(recipe.schedule.warmup * 10 * epoch)))
        return Minutes(recipe, recipe.minutes * 60, warm, held.decide, decisions, reserve)
    total = recipe.steps or math.ceil((recipe.epochs or 1) * epoch)
    return Steps(recipe, total, epoch)


def describer(recipe: Recipe, dataset: Dataset) -> Callable[[int, Mapping[str, float]], Card]:
    """Return what makes the card of a model file at a step; the same run makes the same card."""
    given = recipe.model.name.startswith(GIVEN)
    outputs = len(dataset.classes or dataset.numbers)
    architecture = (
        Architecture(name=recipe.model.name, outputs=outputs) if given else architecture_of(recipe.model, outputs)
    )
    start = None if given else card_of(recipe.model)
    card = Card(
        visus=__version__,
        task=recipe.task,
        architecture=architecture,
        classes=dataset.classes or dataset.numbers,
        input=recipe.input,
        recipe=recipe.flat(),
        weights=start.name if start and recipe.model.weights != "none" else "",
        licences={
            "code": "Apache-2.0",
            **({f"weights {start.name}": start.licence} if start and recipe.model.weights != "none" else {}),
            **({"data": dataset.licence} if dataset.licence else {}),
        },
        data={
            "name": dataset.name,
            "format": dataset.format,
            "fingerprint": dataset.fingerprint(),
            **{split: len(dataset.indices(split)) for split in ("train", "val", "test")},
        },
    )

    def describe(step: int, scores: Mapping[str, float]) -> Card:
        n = len(dataset.indices("val"))
        kept = {k: {"value": v, "n": n} for k, v in scores.items() if math.isfinite(v)}
        return card.model_copy(update={"step": step, "scores": kept, "split": "val" if kept else ""})

    return describe


def rate_by_range_test(recipe: Recipe, dataset: Dataset, given: nn.Module | None, device: Device) -> tuple[float, str]:
    """Return the learning rate a range test finds on the training part, and why."""
    task: Task = TASKS[recipe.task](recipe, dataset.classes or dataset.numbers)
    model = hardware.placed(network(recipe, task, given), device)
    with feed(dataset, "train", task, recipe, device, train=True) as train:
        tested = range_test(task, model, train, recipe, device)
    return tested.rate, tested.why


def free_folder(data: str | Path, base: Path = Path("runs")) -> Path:
    """Return a run folder that does not exist yet: ``runs/NAME-1``."""
    stem = Path(str(data).removeprefix("torchvision:")).resolve().name or "run"
    number = 1
    while (base / f"{stem}-{number}").exists():
        number += 1
    return base / f"{stem}-{number}"


def leads() -> bool:
    """Tell whether this process is the one of a ``torchrun`` that writes and talks."""
    return int(os.environ.get("RANK", "0")) == 0


def _follow_up(recipe: Recipe, dataset: Dataset, known: Facts, given: nn.Module | None) -> list[Choice]:
    """Return what follows from the network and the length once these are chosen."""
    choices = []
    if recipe.optim.name == "gd":
        choices.append(Choice("batch", known.train, "gradient descent takes every sample at each step"))
    if not any((recipe.minutes, recipe.epochs, recipe.steps)):
        choices.append(Choice("epochs", 10.0, "no length was given"))
    task: Task = TASKS[recipe.task](recipe, dataset.classes or dataset.numbers)
    dense = is_dense(network(recipe, task, given))
    if known.fast_bfloat16 and dense:
        choices.append(Choice("precision", "bfloat16", "this processor multiplies it faster, and the network is dense"))
    if dense:
        choices.append(Choice("memory_format", "channels_last", "dense convolutions run faster in it"))
    return choices


def _shapes(dataset: Dataset, indices: np.ndarray) -> tuple[tuple[tuple[int, int], ...], int, str]:
    """Return sizes, channels and depth of some pictures."""
    from visus.core.errors import DataError
    from visus.data.decode import peek

    if isinstance(dataset.images, ArrayImages):
        array = dataset.images.array
        channels = array.shape[3] if array.ndim == 4 else 1
        return ((int(array.shape[1]), int(array.shape[2])),) * len(indices), channels, str(array.dtype)
    sizes, kinds, depth = [], set(), "uint8"
    assert isinstance(dataset.images, FileImages)
    for i in indices:
        try:
            seen = peek(dataset.images.root / dataset.images.paths[int(i)])
        except DataError:
            continue  # the feed meets it again, names it and counts it
        sizes.append((seen.height, seen.width))
        kinds.add(seen.channels)
    if len(indices):
        for i in indices[:8]:
            try:
                depth = str(dataset.images.read(int(i)).dtype)
                break
            except DataError:
                continue
    channels = 1 if kinds == {1} else max(3, *kinds) if kinds and max(kinds) > 4 else 3
    return tuple(sizes), channels, depth
