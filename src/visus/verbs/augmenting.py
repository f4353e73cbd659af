"""What training does to pictures: some of the user's own under its transforms, and proof that labels follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.annotations import Boxes
from visus.core.recipe import InputSettings, Recipe
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.data.dataset import Dataset
from visus.data.pixels import frames, pictures
from visus.transforms.pipeline import build

ROWS, EPOCHS = 8, 6
"""Pictures that are shown, and as how many epochs would show each."""

APART = 0.01
"""Pixels by which a box may lie beside where the frame matrix says."""


@dataclass(frozen=True)
class Variants:
    """One picture as training sees it.

    Attributes:
        file: the user's name of it; ``label``: what it shows, in words.
        images: (H, W, 3) uint8: as it is, then as each epoch would show it.
        boxes: (K, 4) x0, y0, x1, y1 in each of them.
    """

    file: str
    label: str
    images: Sequence[NDArray[np.uint8]]
    boxes: Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class Sheet:
    """Some pictures under the training transforms, and what was proved of their labels."""

    rows: Sequence[Variants]
    proof: str


def sheet(dataset: Dataset, recipe: Recipe, readable: NDArray[np.int64]) -> Sheet:
    """Return some training pictures as they are and as the first epochs would show them.

    Args:
        dataset: with classes, numbers or boxes.
        recipe: whose ``input`` and ``augment`` settings are shown.
        readable: records that can be read.

    Returns:
        The sheet; its proof says of how many pictures the label is what it was, or of how many boxes the corners lie
        where the matrix of the picture's frame puts them, whichever way the transform came by them.
    """
    train = np.intersect1d(dataset.indices("train"), readable)
    chosen = train[np.unique(np.linspace(0, len(train) - 1, min(ROWS, len(train))).astype(np.int64))]
    samples = _samples(dataset, chosen, recipe.input.channels)
    judged = build(recipe.input)(samples, Draws(recipe.seed, np.zeros_like(chosen), chosen))
    transform = build(recipe.input, recipe.augment)
    shown = [judged]
    for epoch in range(EPOCHS):
        draws = Draws(recipe.seed, np.full_like(chosen, epoch), chosen)
        others = np.roll(np.arange(len(chosen)), 1)
        partners = [(samples.rows(others.tolist()), draws.rows(others))] * transform.partners
        shown.append(transform(samples, draws, partners))
    rows = [
        Variants(
            dataset.ids[int(i)], _label(dataset, int(i)), [_pixels(one.images[row], recipe.input) for one in shown],
            [_boxes(one, row) for one in shown],
        )
        for row, i in enumerate(chosen)
    ]  # fmt: skip
    return Sheet(rows, _proof(samples, shown, recipe.input.size))


def _samples(dataset: Dataset, chosen: NDArray[np.int64], channels: int) -> Samples:
    """Return pictures with what is known of them: columns as they are, boxes as annotations."""
    taken = pictures(dataset.images, channels).take(chosen, lambda index: None)
    sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in taken.images]
    columns: dict[str, Tensor | Sequence[Boxes]] = {
        name: torch.from_numpy(np.ascontiguousarray(column[chosen])) for name, column in dataset.columns.items()
    }
    if dataset.objects is not None:
        bounds = [slice(int(dataset.objects.starts[i]), int(dataset.objects.starts[i + 1])) for i in chosen]
        columns["boxes"] = [
            Boxes(torch.from_numpy(dataset.objects.boxes[at]).float(), torch.from_numpy(dataset.objects.labels[at]))
            for at in bounds
        ]
    ids = tuple(dataset.ids[int(i)] for i in chosen)
    return Samples(ids, torch.from_numpy(chosen), taken.images, columns, frames(taken.originals, sizes))


def _proof(samples: Samples, shown: Sequence[Samples], size: tuple[int, int]) -> str:
    """Return what was compared, and what came of it."""
    if "boxes" in samples.columns:
        apart = [distance for one in shown for distance in _apart(samples, one, size)]
        if max(apart, default=0.0) <= APART:
            return (f"Labels moved with the pixels: the corners of all {len(apart):,} boxes that stay inside lie within"
                    f" {APART:g} pixels of where the matrix of their picture's frame puts them.")  # fmt: skip
        return f"LABELS DID NOT MOVE WITH THE PIXELS: a box lies {max(apart):.1f} pixels beside its place."
    name = next(iter(samples.columns), "")
    if not name:
        return "These pictures have no labels that could move."
    same, total = sum(_same(samples.columns[name], one.columns[name]) for one in shown), len(shown) * len(samples)
    if same == total:
        return f"The labels of all {total:,} pictures are what they were: nothing in them has a place in the picture."
    return f"LABELS CHANGED: {total - same:,} of {total:,} are not what they were."


def _same(before: Tensor | Sequence[object], after: Tensor | Sequence[object]) -> int:
    """Return how many rows of a column are the same, unknown numbers included."""
    assert isinstance(before, Tensor) and isinstance(after, Tensor), "what does not move is a tensor"
    return sum(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, after, strict=True))


def _apart(before: Samples, after: Samples, size: tuple[int, int]) -> Iterator[float]:
    """Yield, of each box that stays inside, how far from where its picture's frame puts it the nearest one lies.

    Its corners go through the inverse of the frame, which maps present pixels to original ones: a way that shares no
    code with the one by which the transform moves annotations.
    """
    limits = np.array(size[::-1], np.float64)
    for row in range(len(before)):
        inverse = np.linalg.inv(after.frames[row].numpy())
        moved = _boxes(after, row)
        for x0, y0, x1, y1 in _boxes(before, row):
            corners = inverse @ np.array([[x0, x1, x1, x0], [y0, y0, y1, y1], [1.0, 1.0, 1.0, 1.0]])
            points = (corners[:2] / corners[2]).T
            if (points >= 0).all() and (points <= limits).all() and x1 > x0 and y1 > y0:
                tight = np.concatenate([points.min(0), points.max(0)])
                yield float(np.abs(moved - tight).max(1).min(initial=np.inf))


def _pixels(image: Tensor, input: InputSettings) -> NDArray[np.uint8]:
    """Return a picture as the network reads it as (H, W, 3) uint8."""
    shape = (-1, 1, 1)
    levels = image * torch.tensor(input.std).view(shape) + torch.tensor(input.mean).view(shape)
    shown = levels[:3] if len(levels) >= 3 else levels[:1].expand(3, -1, -1)
    pixels: NDArray[np.uint8] = (255 * shown).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return pixels


def _boxes(samples: Samples, row: int) -> NDArray[np.float64]:
    held = samples.columns["boxes"][row] if "boxes" in samples.columns else None
    return held.xyxy.double().numpy() if isinstance(held, Boxes) else np.zeros((0, 4))


def _label(dataset: Dataset, i: int) -> str:
    """Return what is known of a picture in words."""
    if "label" in dataset.columns:
        label = int(dataset.columns["label"][i])
        return dataset.classes[label] if label >= 0 else "unknown"
    if "labels" in dataset.columns:
        return ", ".join(dataset.classes[k] for k in np.flatnonzero(dataset.columns["labels"][i] == 1)) or "nothing"
    if "numbers" in dataset.columns:
        told = zip(dataset.numbers, dataset.columns["numbers"][i].tolist(), strict=True)
        return ", ".join(f"{name} {value:g}" for name, value in told)
    return ""
