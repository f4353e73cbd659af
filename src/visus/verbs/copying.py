"""Whether a generator copies: what it makes, beside the training pictures that the same network finds most like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.figures import Table
from visus.core.recipe import Recipe
from visus.core.scores import Score
from visus.core.task import Task
from visus.data.dataset import Dataset
from visus.engine.device import Device
from visus.engine.evaluate import answers
from visus.metrics.bootstrap import measured, scored
from visus.metrics.generation import named, nearest
from visus.models.extractors import extractor
from visus.report.story import Picture
from visus.tasks.generate.sheet import pixels_of, sheet
from visus.verbs.assembly import feed, spread

MADE = 256
"""Generated pictures that are looked at."""

MOST = 10_000
"""Training pictures that are looked through; of more, as many evenly through their order."""

BESIDE = 5
"""Training pictures shown beside a generated one."""

TITLE = "Generated, and the training pictures most like it"


@dataclass(frozen=True)
class Copying:
    """What was found.

    Attributes:
        scores: ``authenticity``, by the name of what made the features: the share of generated pictures that lie
            farther from the nearest training picture than that one lies from the next; about one half of those of a
            generator that has learned nothing by heart.  Empty where there are too few pictures.
        pictures: the generated pictures that lie nearest to a training picture, each with those beside it.
        looked: training pictures that were looked through, of ``there``.
    """

    scores: dict[str, Score]
    pictures: tuple[Picture, ...]
    looked: int
    there: int

    def table(self) -> Table:
        """Return the score as a table, with what it says."""
        return Table(
            "Copies of training pictures", ("score", "value"), list(self.scores.items()),
            "The share of generated pictures that lie farther from the nearest training picture than that one lies from"
            f" the next: about half, where nothing is learned by heart. {self.looked:,} of {self.there:,} were seen.",
        )  # fmt: skip


def looks(task: Task, dataset: Dataset) -> int:
    """Return how many pictures ``copying`` looks at: none of a task that makes none."""
    if task.name != "generate":
        return 0
    known = len(dataset.indices("train"))
    return min(known, MOST) + min(known, MADE)


def copying(
    task: Task, network: nn.Module, dataset: Dataset, recipe: Recipe, device: Device, shown: int = 12
) -> Copying:
    """Return how near a generator's pictures lie to those it was trained on.

    Args:
        task: with its recipe.
        network: generator and discriminator.
        dataset: whose training part it learned from.
        recipe: the same.
        device: of this process alone.
        shown: pictures drawn.
    """
    train = dataset.indices("train")
    looked = spread(train, MOST)
    if len(looked) <= BESIDE:
        return Copying({}, (), len(looked), len(train))
    images, features = _made(task, network, dataset, spread(train, MADE), recipe, device)
    known, records = _features(task, dataset, looked, recipe, device)
    if len(known) <= BESIDE or not len(features):
        return Copying({}, (), len(looked), len(train))
    found = nearest(known, features, BESIDE)
    name = named("authenticity", extractor(recipe.generate.extractor, recipe.input.channels, recipe.input.size).name)
    shares = measured(lambda weights: {name: found.own @ weights / weights.sum(0)}, len(features), recipe.resamples)
    suspects = np.argsort(found.distances[:, 0], kind="stable")[:shown]
    near = found.rows[suspects]
    beside = _pixels(task, dataset, np.unique(records[near]), recipe, device)
    pictures = tuple(
        Picture(TITLE, f"{found.distances[i, 0]:.3g} away", sheet([images[i], *(beside[r] for r in row)], 1 + BESIDE))
        for i, row in zip(suspects.tolist(), records[near].tolist(), strict=True)
    )
    return Copying(scored(shares, len(features), {name}), pictures, len(looked), len(train))


def _made(
    task: Task, network: nn.Module, dataset: Dataset, indices: NDArray[np.int64], recipe: Recipe, device: Device
) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    """Return pictures made beside some records, and their features."""
    images, features = [], []
    with feed(dataset, indices, task, recipe, device, train=False) as few:
        for _, raw in answers(task, network, few.sweep(), device):
            images += pixels_of(raw["images"])
            features.append(raw["generated"].double().cpu().numpy())
    return images, np.concatenate(features) if features else np.zeros((0, 1))


def _features(
    task: Task, dataset: Dataset, indices: NDArray[np.int64], recipe: Recipe, device: Device
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return features of some records, and which records they are of: those that can be read."""
    extract = extractor(recipe.generate.extractor, recipe.input.channels, recipe.input.size).to(device.device)
    features, records = [], list[int]()
    with feed(dataset, indices, task, recipe, device, train=False) as shown, torch.inference_mode():
        for batch in shown.sweep():
            if len(batch):
                (images,) = batch.to(device.device).inputs
                features.append(extract(images)[0].double().cpu().numpy())
                records += batch.indices.tolist()
    return np.concatenate(features) if features else np.zeros((0, 1)), np.array(records, np.int64)


def _pixels(
    task: Task, dataset: Dataset, indices: NDArray[np.int64], recipe: Recipe, device: Device
) -> dict[int, NDArray[np.uint8]]:
    """Return some records as the network sees them."""
    with feed(dataset, indices, task, recipe, device, train=False) as few:
        shown: list[tuple[Tensor, Tensor]] = [(batch.indices, batch.inputs[0]) for batch in few.sweep() if len(batch)]
    return {i: picture for at, images in shown for i, picture in zip(at.tolist(), pixels_of(images), strict=True)}
