"""From a data set and the user's wishes to a recipe: every setting with the reason for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from visus.core.errors import DataError, UsageError, did_you_mean
from visus.core.recipe import Choice, Draft, Facts, Recipe
from visus.core.suppression import SUPPRESSIONS
from visus.core.task import PICTURE
from visus.data.cache import free_memory
from visus.data.dataset import ArrayImages, Dataset, FileImages, Images
from visus.data.decode import peek
from visus.data.feed import THREADS
from visus.data.formats import FORMATS
from visus.data.mapped import pixels
from visus.data.painting import Painted, colours_of, painted
from visus.data.reading import recognised
from visus.engine import device as hardware
from visus.engine import optim, schedule
from visus.losses import LOSSES
from visus.models.building import check_outputs
from visus.models.describing import multiply_adds, suits_bfloat16, threads_beside_reading, unsafe_channels_last
from visus.models.origins import origin_of
from visus.models.origins.user_code import GIVEN
from visus.models.trunks import STRIDES
from visus.tasks import TASKS
from visus.tasks._scores import chosen
from visus.tasks._taught import choices as choices_by_teacher
from visus.tasks.generate import choices as generating
from visus.verbs.assembly import network

LENGTHS = ("minutes", "epochs", "steps")
USUAL_EPOCHS = 10.0
LOOKED_AT = 200
"""Pictures whose size is looked at before anything is chosen."""
COUNTED = 300_000_000
"""Pixels of class maps that are counted, where classes are weighed by them: a few seconds."""
OBJECTS = 2000
"""Objects whose size is looked at."""


def resolve(dataset: Dataset, wanted: Sequence[Choice], given: nn.Module | None = None) -> Recipe:
    """Return the recipe of a run: the user's word, then what task, network and machine suggest, each with its reason.

    Args:
        dataset: what will be learned from.
        wanted: the user's settings, later ones winning.
        given: the module to train, where the user brings one of their own.

    Raises:
        UsageError: an unknown key or name, a wrong value, two lengths at once, data that no task learns from, or a
            batch larger than memory or the training part.
    """
    draft = Draft(wanted)
    said = draft.wanted()
    lengths = _lengths(said)
    if given is not None:
        draft.choose(Choice("model.name", GIVEN + type(given).__name__, "the module that was given"))
        draft.choose(Choice("model.weights", "none", "the module comes with its own"))
    task = task_for(dataset, str(said.get("task", "")))
    if {"objects", "class_map", "class_sets"} & set(TASKS[task].reads):
        check_marked(dataset)
    draft.choose(Choice("task", task, f"the data knows {dataset.column() or 'nothing of its pictures'}"))
    for choice in choices_by_teacher(draft.finish().distill):
        draft.choose(choice)
    draft.choose(Choice("device", hardware.best_device(), "the fastest at hand"))
    known = facts(dataset, draft.finish(), said)
    if said.get("optim.name") == "gd":
        draft.choose(Choice("batch", known.train, "gradient descent takes every sample at each step"))
    for choice in TASKS[task].defaults(known):
        if not (choice.key in LENGTHS and lengths):
            draft.choose(choice)
    if given is None:
        _check_kind(draft.finish())
    _check_memory(draft.finish())
    _check_size(draft.finish())
    if said.get("batch", 0) > known.train:
        raise UsageError(
            "USE-036", f"{said['batch']:,} pictures a step are more than the {known.train:,} there are to train on",
            where="each step would show some of them several times",
            fix=f"--batch {known.train}, which is all of them at each step, or fewer",
        )  # fmt: skip
    if said.get("optim.name") == "gd" and said.get("batch", known.train) != known.train:
        raise UsageError(
            "USE-053", f"gradient descent takes every picture at each step, and batch is {said['batch']:,}",
            where=f"there are {known.train:,} training pictures", fix="leave batch out, or --set optim.name=sgd",
        )  # fmt: skip
    for choice in _what_follows(draft.finish(), dataset, known, given):
        draft.choose(choice)
    recipe = draft.finish()
    asked = [key for choice in wanted if choice.asked for key in choice.sets()]
    optim.check(recipe.optim, _within("optim", asked))
    schedule.check(recipe.schedule, _within("schedule", asked), recipe.minutes is not None)
    generating.check(recipe, _within("generate", asked))
    return recipe


def _check_kind(recipe: Recipe) -> None:
    """Refuse a network that makes or paints pictures for a task that asks about them, and the other way round.

    Raises:
        UsageError: MODEL-041.
    """
    from visus.models.generators import GENERATORS
    from visus.models.origins import generating, origin_of, stylizing, user_code
    from visus.models.stylizers import STYLIZERS

    listed: dict[str, Iterable[str]] = {generating.TASK: GENERATORS, stylizing.TASK: STYLIZERS}
    name, kinds = recipe.model.name, {origin.TASK: origin for origin in (generating, stylizing)}
    if user_code.is_code(name):
        return
    origin = origin_of(name)
    meant = next((task for task, kind in kinds.items() if origin is kind), "")
    if meant and meant != recipe.task:
        raise UsageError("MODEL-041", f"{name} is trained to {meant}, and the task is {recipe.task}",
                         done="nothing was trained", fix=f"--task {meant}, or another --model")  # fmt: skip
    if recipe.task in kinds and not meant:
        raise UsageError("MODEL-041", f"{name} says something of pictures, and the task is to {recipe.task}",
                         done="nothing was trained", fix=f"--model {', or '.join(listed[recipe.task])}")  # fmt: skip


def _within(section: str, keys: Iterable[str]) -> list[str]:
    """Return the last parts of the keys of one section."""
    return [key.removeprefix(f"{section}.") for key in keys if key.startswith(f"{section}.")]


def for_task(dataset: Dataset, wanted: Sequence[Choice]) -> Dataset:
    """Return the data set as the task that the user names reads it: its outlines painted, if that is what it takes."""
    task = str(Draft(wanted).wanted().get("task", ""))
    return painted(dataset, TASKS[task].reads) if task in TASKS else dataset


def as_pictures(data: str | Path, wanted: Sequence[Choice], said: Recipe) -> Choice | None:
    """Return the choice to read pictures alone, where the task that the user names learns from such and no data has it.

    Args:
        data: as the user names it.
        wanted: the user's settings.
        said: the same as a recipe.
    """
    task, path = str(Draft(wanted).wanted().get("task", "")), Path(data)
    if task not in TASKS or PICTURE not in TASKS[task].reads or said.data.format != "auto" or not path.is_dir():
        return None
    if recognised(path):
        return None
    return Choice("data.format", "pictures", "nothing is said of the pictures", asked=False)


def check_wishes(wanted: Sequence[Choice]) -> Recipe:
    """Return what was said as a recipe, after every check that needs no data: what is misspelt is told at once.

    Raises:
        UsageError: an unknown key or name, a wrong value, or two lengths at once.
    """
    draft = Draft(wanted)
    said, recipe = draft.wanted(), draft.finish()
    _lengths(said)
    for kind, key, known in (("task", "task", TASKS), ("loss", "loss.name", LOSSES), ("format", "data.format", FORMATS),
                             ("schedule", "schedule.name", schedule.SHAPES),
                             ("suppression", "detect.suppression", SUPPRESSIONS)):  # fmt: skip
        name = said.get(key)
        if name is not None and name not in known and name != "auto":
            raise UsageError("USE-004", f"there is no {kind} named {name!r}", fix=did_you_mean(name, known))
    if said.get("score"):
        tasks = [said["task"]] if "task" in said else TASKS
        chosen(said["score"].partition("/")[0], "", [name for task in tasks for name in TASKS[task].scores])
    if "optim.name" in said:
        optim.check(recipe.optim)
    if "model.name" in said and not said["model.name"].startswith(GIVEN):
        origin_of(said["model.name"])
    return recipe


def _lengths(said: Mapping[str, Any]) -> list[str]:
    """Return which length the user gave, if any.

    Raises:
        UsageError: more than one.
    """
    lengths = [key for key in LENGTHS if said.get(key) is not None]
    if len(lengths) > 1:
        raise UsageError(
            "USE-008", f"a run has one length, but {' and '.join(lengths)} are given", fix="leave one of them out"
        )
    return lengths


def task_for(dataset: Dataset, wanted: str) -> str:
    """Return the task that reads what the data set knows.

    Raises:
        UsageError: none does, or the wanted one reads something else.
    """
    readers = {name: TASKS[name].reads for name in TASKS}
    fitting = [name for name, reads in readers.items() if set(reads) & set(dataset.known())]
    alone = [name for name, reads in readers.items() if PICTURE in reads]
    there = ", ".join(dataset.known()) or "pictures without labels"
    if not wanted:
        if not fitting:
            raise UsageError(
                "USE-007", f"no task learns from {there} unasked", fix=f"--task {alone[0]}" if alone else ""
            )
        return fitting[0]
    if wanted not in readers:
        raise UsageError("USE-004", f"there is no task named {wanted!r}", fix=did_you_mean(wanted, readers))
    if wanted not in fitting + alone:
        raise UsageError(
            "USE-007", f"{wanted} cannot learn from {dataset.name}",
            where=f"it reads {' or '.join(readers[wanted])}; the data has {there}",
            fix=f"--task {fitting[0]}" if fitting else "",
        )  # fmt: skip
    return wanted


def check_marked(dataset: Dataset) -> None:
    """Refuse training pictures on which nothing is marked that a network could learn to find, or to tell apart.

    Raises:
        DataError: DATA-096, no object of a known class, or no pixel, is marked; DATA-181, all pixels show one class.
    """
    train = dataset.indices("train")
    if not len(train):
        return
    if dataset.of_pixels is not None:
        _check_maps(dataset, train)
    marked_on = dataset.drawn.objects if isinstance(dataset.drawn, Painted) else dataset.objects
    if marked_on is None:
        return
    marked = marked_on.take(train)
    if not ((marked.labels >= 0) & ~marked.crowd).any():
        raise DataError(
            "DATA-096", f"{dataset.name}: no object is marked on its {len(train):,} training pictures",
            where=f"{len(dataset.remarks):,} were left out or amended while reading" if dataset.remarks else "",
            done="nothing was trained",
            fix="mark them, or name the format in which they are marked: --set data.format=NAME",
        )  # fmt: skip


def _check_maps(dataset: Dataset, train: NDArray[np.int64]) -> None:
    """Refuse masks that show no class, or one alone where a pixel has one: as many are read as it takes to know.

    Raises:
        DataError: as ``check_marked``.
    """
    enough = 1 if "class_sets" in dataset.known() else 2
    met = np.zeros(len(dataset.classes), np.bool_)
    spread = _spread(train)
    for i in (*spread, *np.setdiff1d(np.arange(len(train)), spread)):  # a rare class is soon met far apart
        met |= pixels(dataset, train[[i]]) > 0
        if met.sum() >= enough:
            return
    if not met.any():
        raise DataError(
            "DATA-096", f"{dataset.name}: no pixel of its {len(train):,} training pictures has a class",
            done="nothing was trained",
            fix="give pixels the numbers of classes in their masks; visus info DATA shows how these were read",
        )  # fmt: skip
    only, count = dataset.classes[int(met.argmax())], f"{len(train):,} training pictures"
    raise DataError(
        "DATA-181", f"{dataset.name}: all pixels of its {count} that have a class show {only!r}",
        where="telling apart needs two; what is ignored teaches nothing", done="nothing was trained",
        fix=f"give what is not {only!r} a class too, such as background; visus info DATA shows how masks were read",
    )  # fmt: skip


def facts(dataset: Dataset, settled: Recipe, wanted: Mapping[str, Any]) -> Facts:
    """Look at the data and the machine, as far as choosing settings needs.

    Args:
        dataset: its training part is looked at.
        settled: what has been chosen so far: device and length.
        wanted: what the user fixed.
    """
    train = dataset.indices("train")
    sizes, channels, dtype = _seen(dataset, train)
    weighed = wanted.get("loss.class_weights") == "balanced" or bool(wanted.get("augment.rare"))
    counted = train if dataset.of_pixels is None else train[_spread(train, _countable(sizes))]
    counts, means, deviations = _targets(dataset, counted, weighed)
    objects = _objects(dataset, train)
    return Facts(
        annotation=dataset.column(), classes=dataset.classes or dataset.numbers, counts=counts, means=means,
        deviations=deviations, train=len(train), sizes=sizes, channels=channels, dtype=dtype, device=settled.device,
        cores=torch.get_num_threads(), fast_bfloat16=hardware.fast_bfloat16(settled.device), minutes=settled.minutes,
        objects=objects, masks=_masked(dataset), palette=_palette(dataset),
        counted=len(counted), wanted=wanted,
    )  # fmt: skip


def _masked(dataset: Dataset) -> bool:
    """Tell whether the data says of any object which pixels it covers."""
    held = dataset.objects
    return held is not None and (held.outlines is not None or held.masks is not None)


def _what_follows(recipe: Recipe, dataset: Dataset, known: Facts, given: nn.Module | None) -> Iterator[Choice]:
    """Yield what follows from the network and the length once these are chosen."""
    if not any((recipe.minutes, recipe.epochs, recipe.steps)):
        yield Choice("epochs", USUAL_EPOCHS, "no length was given")
    names = dataset.classes or dataset.numbers
    task = TASKS[recipe.task](recipe, names)
    if given is not None:  # before anything is started; it also gives lazy layers their shape
        check_outputs(given, len(names), recipe.input.channels, recipe.input.size, type(given).__name__)
    model = network(recipe, task, given)
    work = multiply_adds(model, recipe.input.channels, recipe.input.size)
    if not known.fast_bfloat16:
        yield Choice("precision", "float32", "this processor multiplies bfloat16 no faster")
    elif suits_bfloat16(model, work, recipe.batch):
        yield Choice("precision", "bfloat16", "this processor multiplies it faster")
    else:
        yield Choice("precision", "float32", "the network is too small to gain from bfloat16")
    if known.device == "cpu" and (unsafe := unsafe_channels_last(model)):
        yield Choice("memory_format", "contiguous", f"{unsafe[0]} could crash in channels_last")
    else:
        yield Choice("memory_format", "channels_last", "convolutions run faster in it")
    yield _threads(model, work, recipe, known)


def _threads(model: nn.Module, work: int, recipe: Recipe, known: Facts) -> Choice:
    """Return how many threads compute: all, or those that preparing batches for a small network leaves free."""
    if known.device == "cpu" and known.sizes and known.cores > 1:
        stored = float(median(h for h, _ in known.sizes)), float(median(w for _, w in known.sizes))
        readers = recipe.data.workers or min(THREADS, known.cores)
        threads = threads_beside_reading(model, work, recipe.input.size, stored, known.cores, readers)
        if threads < known.cores:
            why = f"the network is small: preparing batches takes {known.cores - threads} of {known.cores} cores"
            return Choice("threads", threads, why)
    return Choice("threads", known.cores, "of this machine")


def _check_size(recipe: Recipe) -> None:
    """Refuse pictures of which a detector's coarsest map has not even one whole place: they would be mostly padding.

    Raises:
        UsageError: they are so small.
    """
    height, width = recipe.input.size
    if recipe.task == "detect" and min(height, width) < STRIDES[-1]:
        raise UsageError(
            "USE-067", f"pictures of {width} x {height} pixels are too small for a detector",
            where=f"each place of its coarsest map sees {STRIDES[-1]} x {STRIDES[-1]} of them",
            fix=f"--size {STRIDES[-1]} or more",
        )  # fmt: skip


def _check_memory(recipe: Recipe) -> None:
    """Refuse a batch whose pictures alone, before any network, do not fit in the memory of this machine.

    Raises:
        UsageError: they do not.
    """
    height, width = recipe.input.size
    each, free = 4 * recipe.input.channels * height * width, free_memory()  # float32, as the network reads them
    rows = -(-recipe.batch // int(os.environ.get("WORLD_SIZE", "1")))
    if each * rows > free:
        fits = f"--batch {free // (4 * each)}, or " if free // (4 * each) else ""
        some = "--set optim.name=sgd, which takes some at a time, or "
        smaller = f"{some if recipe.optim.name == 'gd' else fits}--size SMALLER"
        raise UsageError(
            "USE-035", f"{rows:,} pictures of {width:,} x {height:,} pixels do not fit in memory",
            where=f"they take {each * rows / 1e9:,.1f} GB; {free / 1e9:,.1f} GB are free", fix=smaller,
        )  # fmt: skip


def _targets(
    dataset: Dataset, train: NDArray[np.int64], weighed: bool
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Return how many training pictures show each class, and mean and deviation of each number over them.

    Of class maps it is how many pixels do, and only where classes are ``weighed`` by it: masks are read for it.
    """
    column = dataset.column()
    if column == "label":
        labels = dataset.columns["label"][train].astype(np.int64)
        return tuple(np.bincount(labels[labels >= 0], minlength=len(dataset.classes)).tolist()), (), ()
    if column == "labels":
        return tuple((dataset.columns["labels"][train] == 1).sum(0).tolist()), (), ()
    if dataset.of_pixels is not None and weighed:
        return tuple(pixels(dataset, train).tolist()), (), ()
    if dataset.objects is not None:
        shown = dataset.objects.take(train).labels
        return tuple(np.bincount(shown[shown >= 0], minlength=len(dataset.classes)).tolist()), (), ()
    if column == "numbers":
        values = np.ma.masked_invalid(dataset.columns["numbers"][train].astype(np.float64))
        return (), tuple(values.mean(0).filled(0.0).tolist()), tuple(values.std(0).filled(1.0).tolist())
    return (), (), ()


def _palette(dataset: Dataset) -> tuple[tuple[int, int, int], ...]:
    """Return the colours that the data states of its classes."""
    colours = colours_of(dataset) if dataset.of_pixels is not None else None
    return () if colours is None else tuple((int(r), int(g), int(b)) for r, g, b in colours)


def _objects(dataset: Dataset, train: NDArray[np.int64]) -> tuple[tuple[float, float], ...]:
    """Return (height, width) of some training objects."""
    if dataset.objects is None:
        return ()
    boxes = dataset.objects.take(train).boxes
    spread = np.linspace(0, len(boxes) - 1, min(OBJECTS, len(boxes))).astype(np.int64)
    sizes = (boxes[spread, 2:] - boxes[spread, :2])[:, ::-1]
    return tuple((float(height), float(width)) for height, width in sizes)


def _seen(dataset: Dataset, train: NDArray[np.int64]) -> tuple[tuple[tuple[int, int], ...], int, str]:
    """Return the sizes of some training pictures, the channels to read them with, and their depth."""
    looked = train[_spread(train)].tolist()
    if isinstance(dataset.images, ArrayImages):
        array = dataset.images.array
        channels = int(array.shape[3]) if array.ndim == 4 else 1
        return ((int(array.shape[1]), int(array.shape[2])),) * len(looked), channels, str(array.dtype)
    sizes: list[tuple[int, int]] = []
    kinds: set[int] = set()
    depth = ""
    for i in looked:
        try:
            height, width, channels = _look(dataset.images, i)
            depth = depth or str(dataset.images.read(i).dtype)
        except DataError:
            continue  # the feed meets it again, names it and counts it
        sizes.append((height, width))
        kinds.add(channels)
    many = max(kinds, default=3)
    return tuple(sizes), 1 if kinds == {1} else many if many > 4 else 3, depth or "uint8"


def _spread(train: NDArray[np.int64], most: int = 0) -> NDArray[np.int64]:
    """Return which of the training pictures are looked at."""
    return np.linspace(0, len(train) - 1, min(most or LOOKED_AT, len(train))).astype(np.int64)


def _countable(sizes: Sequence[tuple[int, int]]) -> int:
    """Return of how many pictures of such sizes the pixels are counted."""
    return max(LOOKED_AT, int(COUNTED // max(1.0, median([high * wide for high, wide in sizes] or [1]))))


def _look(images: Images, i: int) -> tuple[int, int, int]:
    """Return height, width and channels of a picture; of a file, the header alone is read."""
    if isinstance(images, FileImages):
        seen = peek(images.root / images.paths[i], max_pixels=images.max_pixels)
        return seen.height, seen.width, seen.channels
    height, width, *channels = images.read(i).shape
    return height, width, channels[0] if channels else 1
