"""Data sets made by hand, and what a look at them would have found, for one check at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visus.checks import Finding, Subject
from visus.core.recipe import DataSettings, InputSettings, Recipe
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.looking import SIDE, Seen
from visus.data.objects import Objects

USUAL = {
    "size": (64, 64), "channels": 3, "depth": 8, "orientation": 1, "brightness": 0.5, "contrast": 0.2,
    "sharpness": 0.1, "digest": 0, "small": 0,
}  # fmt: skip
"""What a look finds of a picture there is nothing to say of."""

SHAPES = {"size": (np.int32, (2,)), "digest": (np.uint8, (16,)), "small": (np.uint8, (SIDE, SIDE)),
          **dict.fromkeys(("channels", "depth", "orientation"), (np.uint8, ())),
          **dict.fromkeys(("brightness", "contrast", "sharpness"), (np.float32, ()))}  # fmt: skip


def seen(count: int, reasons: dict[int, str] | None = None, warnings: dict[int, tuple[str, ...]] | None = None,
         **odd: dict[int, Any]) -> Seen:  # fmt: skip
    """Return what was seen of ``count`` usual pictures; ``odd``: by column, the value of some of them."""
    columns = {}
    for name, (dtype, shape) in SHAPES.items():
        columns[name] = np.empty((count, *shape), dtype)
        columns[name][:] = USUAL[name]
        for i, value in odd.get(name, {}).items():
            columns[name][i] = value
    for i in reasons or {}:
        columns["size"][i] = 0
    return Seen(reasons or {}, warnings or {}, **columns)


def dataset(labels: Sequence[int] = (), count: int = 0, classes: Sequence[str] = ("cat", "dog"),
            split: Sequence[int] = (), marks: Any = None, **more: Any) -> Dataset:  # fmt: skip
    """Return a data set with these labels, or with these marks, or with ``count`` pictures of nothing known."""
    count = len(labels) or len(marks or ()) or count
    columns = {"label": np.array(labels, np.int64)} if len(labels) else {}
    objects = Objects.of(marks) if marks is not None else None
    images = ArrayImages(np.zeros((count, 4, 4), np.uint8))
    parts = np.array(split or [0] * count, np.uint8)
    ids = Strings([f"{i}.png" for i in range(count)])
    return Dataset("pets", Path("pets"), "folder", "", ids, images, columns, parts, tuple(classes), objects, **more)


def subject(data: Dataset, found: Seen | None = None, size: int = 64, **settings: Any) -> Subject:
    """Return what checks look at, trained at ``size`` pixels a side."""
    recipe = Recipe(input=InputSettings(size=(size, size)))
    found = found or seen(len(data))
    return Subject(data, found, recipe, lambda: np.eye(len(data), dtype=np.float32), None, lambda sentence: None,
                   DataSettings(**settings))  # fmt: skip


def only(findings: Sequence[Finding], code: str) -> Finding:
    """Return the one finding of a code."""
    (found,) = [finding for finding in findings if finding.code == code]
    return found


def codes(findings: Sequence[Finding]) -> list[str]:
    """Return the codes of findings, sorted."""
    return sorted(finding.code for finding in findings)
