"""What is marked on some pictures, as values that a transform moves and a metric judges against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.annotations import Annotation, Boxes, Stated
from visus.core.shapes import Shape
from visus.data.fitting import misfit
from visus.data.objects import Objects, Outlines
from visus.data.pixels import Beat, Pictures, Taken


def light(objects: Objects | None, masks: bool = False) -> Objects | None:
    """Return objects without what only a conversion needs, for the way to a worker; with their masks if wanted."""
    return objects and replace(objects, ids=objects.ids[:0], masks=objects.masks if masks else None, more=None)


@dataclass(frozen=True)
class OutlinedPictures:
    """Pictures, of which one is as bad as a broken one where its masks were drawn on another size.

    Attributes:
        sizes: (N, 2) height and width of what the masks of each were drawn on, see ``mask_sizes``.
    """

    pictures: Pictures
    sizes: NDArray[np.int64]

    def take(self, indices: NDArray[np.int64], beat: Beat) -> Taken:
        """Return pictures by their index in the data set."""
        taken = self.pictures.take(indices, beat)
        rows = [i for i in indices.tolist() if i not in taken.bad]
        looked = zip(rows, taken.originals.tolist(), strict=True)
        return taken.without(rows, {i: why for i, size in looked if (why := misfit(self.sizes[i], size))})


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
    ends = np.cumsum(counts)
    rows = [slice(start, end) for start, end in zip((ends - counts).tolist(), ends.tolist(), strict=True)]
    shapes = [_shapes(objects, at[rows[b]], originals[b]) for b in range(len(n))]
    return {
        "boxes": [
            Boxes(
                present[b], labels[b], parts[rows[b]] if parts is not None else None, crowd[b],
                _inward(shapes[b], shrinkage[b]),
            )
            for b in range(len(n))
        ],
        "stated": [Stated(original[b], labels[b], crowd[b], areas[b], shapes[b]) for b in range(len(n))],
    }  # fmt: skip


def _parts(outlines: Outlines, scale: NDArray[np.float64]) -> tuple[tuple[Tensor, ...], ...]:
    """Return the parts of each object's outline, divided by its (x, y) scale."""
    corners = np.diff(outlines.corners[outlines.parts])
    xy = torch.from_numpy((outlines.xy / np.repeat(scale, corners, 0)).astype(np.float32))
    parts = torch.split(xy, np.diff(outlines.corners).tolist())
    return tuple(
        tuple(parts[a:b]) for a, b in zip(outlines.parts[:-1].tolist(), outlines.parts[1:].tolist(), strict=True)
    )


def shape_of(objects: Objects, m: int, size: tuple[int, int]) -> Shape | None:
    """Return the pixels of an object in its own picture of ``size`` (height, width); None where they are not stated."""
    if objects.masks is not None and (runs := objects.masks[m]):
        return Shape(size, (), runs)
    polygons = tuple(objects.outlines[m]) if objects.outlines is not None else ()
    return Shape(size, polygons) if polygons else None


def _shapes(objects: Objects, at: NDArray[np.int64], size: NDArray[np.int64]) -> tuple[Shape | None, ...] | None:
    """Return the shapes of some objects of a picture in its own pixels; None where the data knows none of any."""
    if objects.outlines is None and objects.masks is None:
        return None
    return tuple(shape_of(objects, m, (int(size[0]), int(size[1]))) for m in at.tolist())


def _inward(shapes: tuple[Shape | None, ...] | None, shrinkage: NDArray[np.float64]) -> tuple[Shape | None, ...] | None:
    """Return shapes in present pixels, of which an original one is as many as (x, y) ``shrinkage`` says."""
    if shapes is None or (shrinkage == 1).all():
        return shapes
    matrix = np.diag([*(1 / shrinkage), 1.0])
    return tuple(shape and shape.moved(matrix) for shape in shapes)
