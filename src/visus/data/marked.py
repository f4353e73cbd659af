"""What is marked on some pictures, as values that a transform moves and a metric judges against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.annotations import Annotation, Boxes, Stated
from visus.data.objects import Objects, Outlines


def light(objects: Objects | None) -> Objects | None:
    """Return objects without what only a conversion needs, for the way to a worker."""
    return objects and replace(objects, ids=objects.ids[:0], masks=None, more=None)


def columns(
    objects: Objects | None, indices: NDArray[np.int64], originals: NDArray[np.int64], sizes: Sequence[tuple[int, int]]
) -> dict[str, Sequence[Annotation]]:
    """Return the columns ``boxes`` and ``stated`` of some records; none where nothing is marked on any picture.

    Args:
        objects: of the data set.
        indices: (B,) of the records.
        originals: (B, 2) height and width of the original pictures.
        sizes: (height, width) of the present ones, in whose pixels ``boxes`` are given.
    """
    if objects is None:
        return {}
    at, counts = objects.of_records(indices)
    shrinkage = (originals / np.asarray(sizes, np.float64).reshape(-1, 2))[:, ::-1]  # along x and y
    scale = np.repeat(shrinkage, counts, 0)
    stated = objects.boxes[at]
    area = objects.area[at]
    area = np.where(np.isnan(area), (stated[:, 2:] - stated[:, :2]).prod(1), area)
    n = counts.tolist()
    parts = _parts(objects.outlines.take(at), scale) if objects.outlines is not None else None
    present, original, labels, crowd, areas = (
        torch.split(torch.from_numpy(values), n)
        for values in (
            (stated / np.tile(scale, 2)).astype(np.float32), stated, objects.labels[at], objects.crowd[at], area,
        )
    )  # fmt: skip
    ends = np.cumsum(counts).tolist()
    return {
        "boxes": [
            Boxes(present[b], labels[b], parts[ends[b] - n[b] : ends[b]] if parts is not None else None, crowd[b])
            for b in range(len(n))
        ],
        "stated": [Stated(original[b], labels[b], crowd[b], areas[b]) for b in range(len(n))],
    }


def _parts(outlines: Outlines, scale: NDArray[np.float64]) -> tuple[tuple[Tensor, ...], ...]:
    """Return the parts of each object's outline, divided by its (x, y) scale."""
    corners = np.diff(outlines.corners[outlines.parts])
    xy = torch.from_numpy((outlines.xy / np.repeat(scale, corners, 0)).astype(np.float32))
    parts = torch.split(xy, np.diff(outlines.corners).tolist())
    return tuple(
        tuple(parts[a:b]) for a, b in zip(outlines.parts[:-1].tolist(), outlines.parts[1:].tolist(), strict=True)
    )
