"""Which part of a data set a model is judged on, and why: what it was trained on is told from what is new to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import DataError, UsageError, did_you_mean
from visus.core.recipe import DataSettings
from visus.core.task import PICTURE
from visus.data.dataset import SPLITS, Dataset
from visus.data.painting import painted
from visus.data.reading import open_data
from visus.data.splitting import carve_missing
from visus.data.traces import recognised

if TYPE_CHECKING:
    from visus.verbs.load import Model


@dataclass(frozen=True)
class Part:
    """What is judged.

    Attributes:
        dataset: with its classes in the model's order.
        split: ``train``, ``val``, ``test`` or ``all``.
        notes: what reading the data and choosing the part have to say, a sentence each.
        seen: pictures of the data set, of the few that a model file remembers from its training.
    """

    dataset: Dataset
    split: str
    notes: tuple[str, ...]
    seen: int


def part_for(
    model: Model, data: str | Path, split: str | None, *, download: bool = False,
    instead: str = "--split all judges every picture",
) -> Part:  # fmt: skip
    """Open a data set for a model, and choose what is judged where the user does not say.

    That is the data's own test part.  Where it has none, it is what was held back from the model if it was trained on
    this data (the test part of that run, or its validation part if it had no other), and all of it if the data is new
    to the model.

    Args:
        model: whose classes, settings and memory of its training count.
        data: as for ``train``.
        split: what the user asks for; parts that are missing are then carved as for the run that trained the model.
        download: allow a named data set to be fetched.
        instead: what helps where a part is missing and cannot be carved.

    Raises:
        DataError: it shows classes that the model does not know, or knows nothing the task reads.
    """
    settings, seed = model.recipe.data, model.recipe.seed
    dataset = open_data(data, _readable(settings, data), seed=seed, download=download, carve=False)
    dataset = painted(dataset, model.task.reads)
    _check_column(model, dataset)
    seen = recognised(dataset, dataset.indices("all"), model.card.trace)
    own = len(dataset.indices("test")) > 0
    told: list[str] = []
    new = "is new to the model"
    if not model.card.trace:
        new = "may be new to the model, whose file remembers no training pictures, or not"
    if split is None and not own and not seen:
        told.append(f"{dataset.name} has no test part and {new}: all of its pictures are judged")
    elif split in (None, "test") and not own and not seen:
        told.append(f"{dataset.name} {new}; --split all judges every picture, not only the carved part")
    chosen = split or ("test" if own or (seen and settings.test) else "val" if seen else "all")
    if chosen != "all" and not (chosen == "test" and own):
        try:
            dataset = carve_missing(dataset, validation=settings.validation, test=settings.test, seed=seed)
        except DataError as error:
            error.fix += f"; {instead}"
            raise
        if seen and dataset.carved:
            same = dataset.fingerprint() == model.card.data.get("fingerprint")
            how = "it is carved as it was then" if same else "but the data has changed since, so it is carved anew"
            told.append(f"the model was trained on {dataset.name}, which has no {chosen} part of its own: {how}")
    if seen and (flattering := recognised(dataset, dataset.indices(chosen), model.card.trace)):
        told.append(
            f"the model was trained on some of what is judged, so the scores flatter: {flattering:,} of the "
            f"{len(model.card.trace):,} training pictures that its file remembers are in it"
        )
    return Part(in_order(dataset, model.classes), chosen, (*dataset.notes, *told), seen)


def check_split(split: str | None) -> None:
    """Refuse a split that no data set has.

    Raises:
        UsageError: it is none.
    """
    if split not in (None, *SPLITS, "all"):
        raise UsageError("USE-015", f"there is no split {split!r}", fix=did_you_mean(split, (*SPLITS, "all")))


def in_order(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """Return the data set with its names in the given order; of numbers, only those that are asked for.

    Raises:
        DataError: it shows a class that is none of them, or lacks one of the numbers.
    """
    names = dataset.classes or dataset.numbers
    if not classes or tuple(names) == tuple(classes):
        return dataset  # also where a model knows nothing of classes
    _check_names(dataset, classes)
    columns = dict(dataset.columns)
    if "numbers" in columns:
        columns["numbers"] = columns["numbers"][:, [names.index(name) for name in classes]]
        return dataset.with_(columns=columns, numbers=tuple(classes))
    place = np.array([list(classes).index(name) for name in names], dtype=np.int64)
    if "label" in columns:
        labels = columns["label"].astype(np.int64)
        columns["label"] = np.where(labels >= 0, place[np.maximum(labels, 0)], -1)
    if "labels" in columns:
        wide = np.zeros((len(dataset), len(classes)), columns["labels"].dtype)
        wide[:, place] = columns["labels"]
        columns["labels"] = wide
    objects = dataset.objects
    if objects is not None:
        objects = replace(objects, labels=np.where(objects.labels >= 0, place[np.maximum(objects.labels, 0)], -1))
    maps = dataset.maps
    if maps is not None:
        values = [maps.values[names.index(name)] if name in names else -1 for name in classes]  # -1: in no file
        maps = replace(maps, values=np.array(values, np.int64), palette=None)
    drawn = dataset.drawn and dataset.drawn.renamed(place, len(classes))
    return dataset.with_(columns=columns, objects=objects, maps=maps, drawn=drawn, classes=tuple(classes))


def _readable(trained: DataSettings, data: str | Path) -> DataSettings:
    """Return how to read data: as the model's own was, unless that was of another format."""
    from visus.data.formats import FORMATS

    fits = trained.format == "auto" or FORMATS[trained.format].sniff(Path(data)) is not None
    return trained if fits else trained.model_copy(update={"format": "auto"})


_STATED = {
    "": "data that states it: in class folders, or in a table's column of that name",
    "objects": "data with boxes or outlines, such as COCO's",
    "class_map": "masks with a class for each pixel: images/cat.jpg, masks/cat.png; or outlines, such as COCO's",
    "class_sets": "a mask for each class: images/cat.jpg, masks/CLASS/cat.png; or outlines, such as COCO's",
}
"""What data must hold, by what a model reads."""


def _check_column(model: Model, dataset: Dataset) -> None:
    wanted = model.recipe.target.column
    reads = (wanted,) if wanted else model.task.reads
    if PICTURE not in reads and not set(reads) & set(dataset.known()):
        raise DataError(
            "DATA-091", f"{dataset.name} does not say what the model was trained for",
            where=f"it has {', '.join(dataset.known()) or 'no labels'}; the model reads {' or '.join(reads)}",
            fix=next((_STATED[name] for name in reads if name in _STATED), _STATED[""]),
        )  # fmt: skip


def _check_names(dataset: Dataset, classes: Sequence[str]) -> None:
    if dataset.classes:
        wrong, fix = sorted(set(dataset.classes) - set(classes)), "rename them, or leave those records out"
        said = "shows {}, which the model does not know"
    else:
        wrong, fix = sorted(set(classes) - set(dataset.numbers)), "add those columns"
        said = "lacks {}, which the model was trained for"
    if wrong:
        raise DataError(
            "DATA-092", f"{dataset.name} " + said.format(", ".join(map(repr, wrong[:5]))),
            where=f"the model knows {', '.join(classes[:12])}{' ...' if len(classes) > 12 else ''}", fix=fix,
        )  # fmt: skip
