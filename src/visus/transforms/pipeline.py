"""From pictures as they were read to what the network reads, for training and for judging alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray as Array
from torch import Tensor

from visus.core.annotations import Annotation
from visus.core.errors import DataError, UsageError
from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.transforms import colour, geometry, policy
from visus.transforms.erasing import erase
from visus.transforms.mixing import mix
from visus.transforms.resample import sizes_of, warp


def build(input: InputSettings, augment: AugmentSettings | None = None) -> Pipeline:
    """Return the transform of a recipe.

    Args:
        input: what the network reads.
        augment: what training does to pictures; None for judging.

    Raises:
        UsageError: more or fewer means or deviations than channels.
    """
    for name, values in (("mean", input.mean), ("std", input.std)):
        if len(values) not in (1, input.channels):
            raise UsageError("USE-003", f"input.{name} = {values}: should be 1 or {input.channels} numbers",
                             fix="one for each of input.channels, or one for all")  # fmt: skip
    return Pipeline(input, augment)


class Pipeline:
    """A ``Transform``: moves, recolours, normalises, erases and mixes, in this order; holds settings and nothing else.

    The result has images (B, channels, height, width) float32 and frames, both in the pixels of the network's picture.
    Columns that are tensors stay as they are; annotations are moved by the matrix of their picture.  Pictures that are
    mixed get a column ``share``, the weight of their own, and ``partner_NAME`` for each tensor column; a picture
    without a partner is its own and has share 1.
    """

    def __init__(self, input: InputSettings, augment: AugmentSettings | None) -> None:
        self.input, self.augment = input, augment
        self.partners = int(augment is not None and bool(augment.mixup or augment.cutmix))

    def __call__(self, samples: Samples, draws: Draws, partners: Sequence[tuple[Samples, Draws]] = ()) -> Samples:
        """Return the samples as the network reads them.

        Args:
            samples: pictures as they were read: uint8, uint16, or floats in [0, 1].
            draws: the random numbers of each sample; judging uses none.
            partners: as many as ``self.partners`` says, each row the partner of that row of ``samples``.

        Raises:
            DataError: a picture whose channels or numbers cannot be what the network reads.
            UsageError: boxes, masks or the like are to be mixed.
        """
        ready = self._prepare(samples, draws)
        if self.augment is None or not self.partners:
            return ready
        for name, column in samples.columns.items():
            if not isinstance(column, Tensor):
                raise UsageError("AUG-001", f"MixUp and CutMix cannot mix {name}, which has a place in the picture",
                                 fix="--set augment.mixup=0 --set augment.cutmix=0")  # fmt: skip
        share = torch.ones(len(samples))
        other = ready
        if partners:
            other = self._prepare(*partners[0])
            images, share = mix(_stacked(ready.images), _stacked(other.images), self.augment, draws)
            ready = replace(ready, images=images)
        mixed = {f"partner_{name}": other.columns[name] for name in samples.columns}
        return replace(ready, columns={**ready.columns, **mixed, "share": share})

    def _prepare(self, samples: Samples, draws: Draws) -> Samples:
        """Return the samples moved, recoloured, normalised and erased."""
        sizes = sizes_of(samples.images)
        drawn = None
        if self.augment is None:
            matrices = geometry.judging(sizes, self.input)
        else:
            drawn = policy.draw(self.augment, draws)
            before = drawn.matrices(sizes) if drawn is not None else None
            matrices = geometry.training(sizes, self.input, self.augment, draws, before)
        parts = [
            (
                rows,
                self._pixels(levels, matrices[rows], drawn.rows(rows) if drawn is not None else None, draws.rows(rows)),
            )
            for rows, levels in self._levels(samples)
        ]
        if len(parts) == 1:
            images = parts[0][1]
        else:
            images = torch.empty(len(samples), self.input.channels, *self.input.size)
            for rows, ready in parts:
                images[torch.from_numpy(rows)] = ready
        if self.augment is not None:
            images = erase(images, self.augment, draws)
        columns: dict[str, Tensor | Sequence[Annotation]] = {}
        for name, column in samples.columns.items():
            columns[name] = column if isinstance(column, Tensor) else [
                value.warp(torch.from_numpy(matrix), self.input.size)
                for value, matrix in zip(column, matrices, strict=True)
            ]  # fmt: skip
        frames = torch.from_numpy(samples.frames.numpy().reshape(-1, 3, 3) @ np.linalg.inv(matrices))
        return replace(samples, images=images, columns=columns, frames=frames)

    def _pixels(
        self,
        levels: Tensor | list[Tensor],
        matrices: Float64[Array, "B 3 3"],
        chosen: policy.Policy | None,
        draws: Draws,
    ) -> Tensor:
        """Return (B, C, H, W) normalised pictures from levels of one dtype."""
        input, augment = self.input, self.augment
        beyond = [min(max(mean, 0.0), 1.0) for mean in input.mean]  # what lies beyond a picture is 0 once normalised
        if colour.top(levels[0]) == 255:
            beyond = [float(round(255 * mean)) for mean in beyond]
        reflect = augment.pad if augment is not None else 0
        moved = warp(levels, matrices, input.size, interpolation=input.interpolation, fill=beyond, reflect=reflect)
        moved = moved.contiguous()
        if chosen is not None:
            moved = chosen.recolour(moved)
        jitter = colour.jitter(moved, augment, draws) if augment is not None else None
        return colour.normalise(moved, input.mean, input.std, jitter)

    def _levels(self, samples: Samples) -> list[tuple[Int64[Array, "n"], Tensor | list[Tensor]]]:
        """Return the pictures as uint8 and as float32 in [0, 1], each kind with its rows."""
        images = samples.images
        if isinstance(images, Tensor):
            return [(np.arange(len(images)), self._level(images, samples.ids[0]))] if len(images) else []
        levels = [self._level(image, id) for image, id in zip(images, samples.ids, strict=True)]
        bytes_ = np.array([level.dtype == torch.uint8 for level in levels], bool)
        kinds = [rows for rows in (np.flatnonzero(bytes_), np.flatnonzero(~bytes_)) if len(rows)]
        return [(rows, [levels[i] for i in rows]) for rows in kinds]

    def _level(self, image: Tensor, id: str) -> Tensor:
        """Return (..., C, H, W) pixels in the network's channels: uint8 as they are, others as float32 in [0, 1]."""
        if image.dtype == torch.uint16:
            image = image.float() / 65535
        elif image.is_floating_point():
            image = image.float()
        elif image.dtype != torch.uint8:
            raise DataError("AUG-003", f"{id}: pixels are {image.dtype}, not uint8, uint16 or float32")
        have, want = image.shape[-3], self.input.channels
        if have == want:
            return image
        if have == 1:
            return image.expand(*image.shape[:-3], want, -1, -1)
        if have == 3 and want == 1:
            return colour.grey(image)
        raise DataError(
            "AUG-002",
            f"{id}: the picture has {have} channels, the network reads {want}",
            fix=f"--set input.channels={have} trains a network for such pictures",
        )


def _stacked(images: Tensor | list[Tensor]) -> Tensor:
    return images if isinstance(images, Tensor) else torch.stack(images)
