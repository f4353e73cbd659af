"""Training a changed network a little further, by the same loop, for methods that make models smaller."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from visus.core.errors import DivergedError, Interrupted
from visus.core.modelfile import Card, read_model
from visus.engine import device as hardware
from visus.engine import loop
from visus.engine.device import short_of_memory
from visus.engine.folder import RunFolder
from visus.engine.schedule import Minutes
from visus.engine.state import new_state
from visus.verbs.assembly import decoded, feed, horizon
from visus.verbs.session import seconds_a_picture

if TYPE_CHECKING:
    from torch import nn

    from visus.core.recipe import Recipe
    from visus.core.task import Task
    from visus.data.dataset import Dataset
    from visus.verbs.load import Model

ONLY_AT_THE_END = 1e6
"""Epochs between validations: weights that were good before need no choice among many, and the time is short."""

RATE = 1e-3
"""Learning rate that is thought of where a model file does not say which one it was trained with."""


def fine_tune(
    model: Model,
    dataset: Dataset,
    network: nn.Module,
    task: Task | None = None,
    *,
    rate: float,
    minutes: float | None,
    steps: int | None,
    watch: Callable[[Mapping[str, Any]], None],
) -> None:
    """Leave in a network the weights at the end of a short run; it ends in eval mode, on the processor.

    Args:
        model: whose recipe, task and classes count.
        dataset: its training part is learned, its validation part judged.
        network: asked as the task asks its own.
        task: whose losses are learned; the model's own by default.
        rate: learning rate, as a share of the one the model was trained with.
        minutes, steps: how long; one of them.
        watch: told what happens.

    Raises:
        ResourceError, DivergedError, BadDataLimit, Interrupted: as ``loop.fit``; nothing is kept of it.
    """
    recipe = _recipe(model.recipe, rate, minutes, steps)
    device, learned = hardware.place(recipe), task or model.task
    with (
        tempfile.TemporaryDirectory(prefix="visus-tuning-") as place,
        short_of_memory("nothing was written", "less else running, or --set batch=SMALLER when training the model"),
    ):
        began = time.perf_counter()
        placed = hardware.placed(network, device)
        state = new_state(placed, recipe, learned.players, (), frozenset())
        cache = decoded(dataset, recipe, watch)
        with (
            RunFolder(Path(place)) as held,
            feed(dataset, dataset.indices("train"), learned, recipe, device, train=True, cache=cache) as train,
            feed(dataset, dataset.indices("val"), learned, recipe, device, train=False, cache=cache) as validation,
        ):
            run = loop.Run(
                task=learned, recipe=recipe, device=device, folder=held, state=state, train=train,
                validation=validation, horizon=horizon(recipe, train, held, validation.size),
                card=lambda step, scores: _card(model.card, step), pictures=len(dataset), watch=watch, started=began,
            )  # fmt: skip
            if isinstance(run.horizon, Minutes):
                run.horizon.reserve = sum(seconds_a_picture(run, dataset)) * validation.size
            _fit(run)
        network.load_state_dict(read_model(Path(place) / "best.safetensors")[0])
    network.eval().cpu().to(memory_format=torch.contiguous_format)


def _fit(run: loop.Run) -> None:
    """Train; what a run that did not end well has saved goes with its folder: there is nothing to resume."""
    try:
        loop.fit(run)
    except Interrupted as stop:
        raise Interrupted(stop.exit - 128, "interrupted while fine-tuning", done="nothing was written") from stop
    except DivergedError as error:
        error.done, error.fix = "nothing was written", "another method: visus list compressors"
        raise


def _card(card: Card, step: int) -> Card:
    return card.model_copy(update={"step": step})


def _recipe(recipe: Recipe, rate: float, minutes: float | None, steps: int | None) -> Recipe:
    """Return the recipe of a short run that starts from weights which are good already."""
    usual = RATE if recipe.optim.lr == "auto" else float(recipe.optim.lr)
    return recipe.model_copy(update={
        "minutes": minutes, "steps": steps, "epochs": None, "ema": 0.0, "tensorboard": False,
        "evaluate_every": ONLY_AT_THE_END,
        "optim": recipe.optim.model_copy(update={"lr": usual * rate}),
        "model": recipe.model.model_copy(update={"freeze": (), "layer_decay": 1.0}),
    })  # fmt: skip
