"""What training does to pictures: some of the user's own under its transforms, and proof that labels follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from visus.core.annotations import Annotation, Boxes, ClassMap
from visus.core.pixels import IGNORE
from visus.core.recipe import AugmentSettings, InputSettings, Recipe
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.core.task import Transform
from visus.data.dataset import Dataset
from visus.data.mapped import columns as mapped
from visus.data.mapped import with_maps
from visus.data.marked import columns as marked
from visus.data.pixels import frames, pictures
from visus.tasks._drawing import Drawn, colour_of, drawn
from visus.tasks.segment.colours import palette_of
from visus.tasks.segment.drawing import tinted
from visus.transforms.copy_paste import shape
from visus.transforms.pipeline import build

ROWS, EPOCHS = 8, 6
"""Pictures that are shown, and as how many epochs would show each."""

SIDE = 320
"""Pixels of the longer side of pictures with boxes on the sheet, so that names can be read."""

PAINTED = 3
"""Objects of a picture that are painted for the proof, the largest first."""

APART = 1.5
"""Pixels by which a box may lie beside what was painted, in addition to one pixel of the picture as it was read."""

AGREE = 0.99
"""Share of the pixels away from edges between classes that must show the class which their map says."""


@dataclass(frozen=True)
class Variants:
    """One picture as training sees it.

    Attributes:
        file: the user's name of it; ``label``: what it shows, in words.
        images: (H, W, 3) uint8 with boxes or classes drawn: as it is judged, then as each epoch would show it.
    """

    file: str
    label: str
    images: Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Sheet:
    """Some pictures under the training transforms, and what was proved of their labels."""

    rows: Sequence[Variants]
    proof: str


def usual(dataset: Dataset) -> Recipe | None:
    """Return settings as they are usual for boxes or class maps, for data no task learns from; None for other data."""
    if dataset.column() not in ("objects", "class_map"):
        return None
    augment = AugmentSettings(flip=0.5, scale=(0.6, 1.4), rotate=0.1, brightness=0.2, contrast=0.2,
                              mosaic=0.5 * (dataset.column() == "objects"))  # fmt: skip
    return Recipe(input=InputSettings(size=(320, 320), fit="pad"), augment=augment)


def sheet(dataset: Dataset, recipe: Recipe, readable: NDArray[np.int64]) -> Sheet:
    """Return some training pictures as they are and as the first epochs would show them.

    Args:
        dataset: with classes, numbers, boxes or class maps.
        recipe: whose ``input`` and ``augment`` settings are shown.
        readable: records that can be read.

    Returns:
        The sheet; its proof says of how many pictures the label is what it was.  Of boxes and class maps it says how
        far they lie from the pixels: each object, or every class, is painted into its picture and looked for again.
    """
    train = np.intersect1d(dataset.indices("train"), readable)
    chosen = train[np.unique(np.linspace(0, len(train) - 1, min(ROWS, len(train))).astype(np.int64))]
    samples = _samples(dataset, chosen, recipe.input.channels)
    shown = list(_variants(samples, samples, recipe, build(recipe.input), build(recipe.input, recipe.augment)))
    rows = [
        Variants(dataset.ids[i], _label(dataset, i), [_picture(one, row, recipe, dataset) for one in shown])
        for row, i in enumerate(samples.indices.tolist())
    ]
    return Sheet(rows, _proof(samples, shown, recipe))


def _samples(dataset: Dataset, chosen: NDArray[np.int64], channels: int) -> Samples:
    """Return those of the pictures that can be read with what is known of them; without those whose map cannot be."""
    maps = (
        dataset.of_pixels if dataset.column() in ("class_map", "class_sets") else None
    )  # what is wrong with one is a finding of its own
    taken = with_maps(pictures(dataset.images, channels), maps).take(chosen, lambda index: None)
    chosen = chosen[~np.isin(chosen, [*taken.bad])]
    sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in taken.images]
    columns: dict[str, Tensor | Sequence[Annotation]] = {
        name: torch.from_numpy(np.ascontiguousarray(column[chosen])) for name, column in dataset.columns.items()
    }
    if dataset.column() == "objects":
        columns["boxes"] = marked(dataset.objects, chosen, taken.originals, sizes)["boxes"]
    columns.update(mapped(taken, sizes, judged=False))
    if dataset.column() == "class_sets":
        maps_of = [one for one in columns["class_map"] if isinstance(one, ClassMap)]
        columns["class_map"] = [_combined(one) for one in maps_of]
    ids = tuple(dataset.ids[int(i)] for i in chosen)
    return Samples(ids, torch.from_numpy(chosen), taken.images, columns, frames(taken.originals, sizes))


def _variants(
    samples: Samples, others: Samples, recipe: Recipe, judging: Transform, training: Transform
) -> Iterator[Samples]:
    """Yield samples as they are judged, then as each epoch would show them; their partners are neighbours in others."""
    at = samples.indices.numpy()
    yield judging(samples, Draws(recipe.seed, np.zeros_like(at), at))
    for epoch in range(EPOCHS):
        draws = Draws(recipe.seed, np.full_like(at, epoch), at)
        mates = [np.roll(np.arange(len(at)), k + 1) for k in range(training.partners)]
        yield training(samples, draws, [(others.rows(rows.tolist()), draws.rows(rows)) for rows in mates])


def _proof(samples: Samples, shown: Sequence[Samples], recipe: Recipe) -> str:
    """Return what was compared, and what came of it."""
    if "boxes" in samples.columns:
        return _proof_of_boxes(samples, recipe)
    if "class_map" in samples.columns:
        return _proof_of_maps(samples, recipe)
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


def _proof_of_boxes(samples: Samples, recipe: Recipe) -> str:
    """Paint an object white into a black picture, move both as training does, and look where the white is.

    What hides pixels without moving any (erasing) is left out, and what changes colours.
    """
    distances: list[float] = []
    for rank in range(PAINTED):
        painted = _painted(samples, rank)
        for one in _moved(painted, recipe):
            frame = one.frames.numpy()
            for row, boxes in enumerate(one.columns["boxes"]):
                assert isinstance(boxes, Boxes)
                pixel = float(np.abs(np.linalg.det(np.linalg.inv(frame[row])[:2, :2])) ** 0.5)  # of the picture, in new
                distances += [max(0.0, _beside(one.images[row][0], box) - pixel) for box in boxes.xyxy]
    if not distances:
        return "These pictures have no boxes that could move."
    if max(distances) <= APART:
        return (f"Labels moved with the pixels: objects were painted white into their pictures, and every one of"
                f" {len(distances):,} boxes lies along the white after the move, within a pixel or two.")  # fmt: skip
    return f"LABELS DID NOT MOVE WITH THE PIXELS: a box lies {max(distances):.1f} pixels beside what was painted in it."


def _painted(samples: Samples, rank: int) -> Samples:
    """Return black pictures in each of which one object is white, the ``rank``-th by size, and that one alone."""
    images, boxes = [], []
    for image, held in zip(samples.images, samples.columns["boxes"], strict=True):
        assert isinstance(held, Boxes)
        area = (held.xyxy[:, 2:] - held.xyxy[:, :2]).prod(1).where(~held.crowd, 0)
        one = held.rows(area.argsort(descending=True, stable=True)[rank : rank + 1])
        one = one.rows((~one.crowd).nonzero()[:, 0])
        size = int(image.shape[-2]), int(image.shape[-1])
        images.append(shape(one, size)[None].float())
        boxes.append(one)
    return replace(samples, images=images, columns={"boxes": boxes})


def _proof_of_maps(samples: Samples, recipe: Recipe) -> str:
    """Paint every pixel in the level of its class, move picture and map as training does, and compare the two."""
    maps = [one for one in samples.columns["class_map"] if isinstance(one, ClassMap)]
    levels = [(one.classes.float()[None] + 1) / 256 for one in maps]
    agree = counted = 0
    for one in _moved(replace(samples, images=levels, columns={"class_map": maps}), recipe):
        for image, moved in zip(one.images, one.columns["class_map"], strict=True):
            assert isinstance(moved, ClassMap)
            said = moved.classes.float()[None, None]
            inner = (F.max_pool2d(said, 5, 1, 2) == -F.max_pool2d(-said, 5, 1, 2))[0, 0] & (moved.classes != IGNORE)
            right = (image[0] * 256 - 1 - moved.classes).abs() < 0.5
            agree, counted = agree + int((right & inner).sum()), counted + int(inner.sum())
    share = agree / max(1, counted)
    if share >= AGREE:
        return (f"Labels moved with the pixels: every class was painted into the pictures in a level of its own, and"
                f" {share:.2%} of {counted:,} pixels away from edges show what their map says.")  # fmt: skip
    return f"LABELS DID NOT MOVE WITH THE PIXELS: only {share:.1%} of the pixels show what their map says."


def _combined(several: ClassMap) -> ClassMap:
    """Return a map in which each combination of a picture's classes is a class of its own, as far as there is room."""
    known = several.classes != several.ignore
    combinations = torch.unique(several.classes[known])
    places = torch.searchsorted(combinations, several.classes).clamp(max=IGNORE - 1)
    return ClassMap(places.where(known, IGNORE).to(torch.uint8))


def _moved(painted: Samples, recipe: Recipe) -> Iterator[Samples]:
    """Yield painted pictures as they are judged and as the first epochs would move them, in levels from 0 to 1.

    The pictures they are put together with are black and have no objects.
    """
    input = recipe.input.model_copy(update={"channels": 1, "mean": (0.0,), "std": (1.0,)})
    still = recipe.augment.model_copy(update={"erase": 0.0, "mixup": 0.0, "cutmix": 0.0})
    none = [
        one.rows(torch.zeros(0, dtype=torch.int64))
        if isinstance(one, Boxes) else one
        for name in painted.columns for one in painted.columns[name]
    ]  # fmt: skip
    black = replace(painted, images=[torch.zeros_like(image) for image in painted.images],
                    columns=dict.fromkeys(painted.columns, none))  # fmt: skip
    yield from _variants(painted, black, recipe, build(input), build(input, still, colours=False))


def _beside(image: Tensor, box: Tensor) -> float:
    """Return how far a box lies from the edges of what is bright, in pixels, at the side where it is farthest."""
    y, x = (image > image.max() / 2).nonzero(as_tuple=True)
    if not len(x):
        return float("inf")
    tight = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1])
    return float((box - tight).abs().max())


def _picture(samples: Samples, row: int, recipe: Recipe, dataset: Dataset) -> NDArray[np.uint8]:
    """Return a picture as the network reads it as (H, W, 3) uint8, with what is marked on it."""
    image = samples.images[row]
    shape = (-1, 1, 1)
    std, mean = (torch.tensor(each).view(shape) for each in (recipe.input.std, recipe.input.mean))
    levels = image * std + mean
    seen = levels[:3] if len(levels) >= 3 else levels[:1].expand(3, -1, -1)
    pixels: NDArray[np.uint8] = (255 * seen).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    held = {name: samples.columns[name][row] for name in ("boxes", "class_map") if name in samples.columns}
    if isinstance(moved := held.get("class_map"), ClassMap):
        classes = moved.classes.numpy()
        alone = dataset.column() == "class_map"  # combinations of classes have no colours of their own
        count = len(dataset.classes) if alone else int(classes[classes != IGNORE].max(initial=0)) + 1
        return tinted(pixels, classes, palette_of(recipe.segment.palette if alone else (), count))
    boxes = held.get("boxes")
    if not isinstance(boxes, Boxes):
        return pixels
    objects = []
    for i, (box, label) in enumerate(zip(boxes.xyxy.tolist(), boxes.labels.tolist(), strict=True)):
        name = dataset.classes[label] if label >= 0 else ""
        parts = [part.numpy() for part in boxes.outlines[i]] if boxes.outlines is not None else []
        objects.append(Drawn(box, name, colour_of(name, dataset.classes), bool(boxes.crowd[i]), parts))
    return drawn(pixels, objects, SIDE)


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
