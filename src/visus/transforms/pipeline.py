"""From pictures as they were read to what the network reads, for training and for judging alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy import ndarray as Array
from torch import Tensor

from visus.core.annotations import Annotation, Boxes, ClassMap
from visus.core.errors import DataError, UsageError
from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.transforms import colour, copy_paste, crops, erasing, geometry, mosaic, policy
from visus.transforms.mixing import cuts, mix
from visus.transforms.occlusion import seen
from visus.transforms.resample import sizes_of, warp
from visus.transforms.tiles import Tiling


def build(
    input: InputSettings,
    augment: AugmentSettings | None = None,
    tiling: Tiling | None = None,
    *,
    colours: bool = True,
    counts: Sequence[int] = (),
) -> Pipeline:
    """Return the transform of a recipe.

    Args:
        input: what the network reads.
        augment: what training does to pictures; None for judging.
        tiling: pictures are read in tiles: training shows a random one of each, judging whole pictures at their scale.
        colours: change colours; without it, pixels only move, as they would with it.
        counts: training pixels of each class, by which crops about rare ones are laid.

    Raises:
        UsageError: more or fewer means or deviations than channels, or crops that are to be chosen and are not made.
    """
    for name, values in (("mean", input.mean), ("std", input.std)):
        if len(values) not in (1, input.channels):
            raise UsageError("USE-003", f"input.{name} = {values}: should be 1 or {input.channels} numbers",
                             fix="one for each of input.channels, or one for all")  # fmt: skip
    if augment is not None and crops.chosen(augment) and tiling is None and augment.crop == geometry.WHOLE:
        setting = "rare" if augment.rare else "majority"
        raise UsageError("AUG-005", f"augment.{setting} says which crops are taken, and augment.crop makes none",
                         fix="--set augment.crop=0.3,1")  # fmt: skip
    return Pipeline(input, augment, tiling, colours, counts)


class Pipeline:
    """A ``Transform``: moves, recolours, normalises, erases, pastes and mixes, in this order; holds only settings.

    The result has images (B, channels, height, width) float32 and frames, both in the pixels of the network's picture;
    to be judged in tiles, a list of whole pictures, each of its own size.
    Columns that are tensors stay as they are; annotations are moved by the matrix of their picture.  An object of which
    less is left than the share ``visible``, when training has moved, cut, covered or mixed its picture, is dropped.

    Pictures without boxes that are mixed get a column ``share``, the weight of their own, and ``partner_NAME`` for each
    tensor column; a picture without a partner is its own and has share 1.  Pictures with boxes show the objects of all
    the pictures they were made of; their frame, and what is stated of them, is that of their own one.
    """

    def __init__(
        self,
        input: InputSettings,
        augment: AugmentSettings | None,
        tiling: Tiling | None = None,
        colours: bool = True,
        counts: Sequence[int] = (),
    ) -> None:
        self.input, self.augment, self.tiling, self.colours, self.counts = input, augment, tiling, colours, counts
        settings = augment or AugmentSettings()
        self._tiles = mosaic.TILES - 1 if settings.mosaic else 0
        self._pastes = bool(settings.copy_paste)
        self._mixes = bool(settings.mix and (settings.mixup or settings.cutmix))
        self.partners = self._tiles + self._pastes + self._mixes

    def __call__(self, samples: Samples, draws: Draws, partners: Sequence[tuple[Samples, Draws]] = ()) -> Samples:
        """Return the samples as the network reads them.

        Args:
            samples: pictures as they were read: uint8, uint16, or floats in [0, 1].
            draws: the random numbers of each sample; judging uses none.
            partners: as many as ``self.partners`` says, each row the partner of that row of ``samples``: three for
                mosaics, one whose objects are pasted, one for MixUp or CutMix, as far as they are asked for.

        Raises:
            DataError: a picture whose channels or numbers cannot be what the network reads.
            UsageError: the labels are of a kind that cannot be mixed so.
        """
        if self.augment is None or not self.partners:
            return self._prepared(samples, draws)
        boxed = "boxes" in samples.columns
        self._check(samples, boxed)
        others = list(partners)
        tiles, others = others[: self._tiles], others[self._tiles :]
        ready = self._prepared(samples, draws, tiles)
        if self._pastes and others:
            ready = self._pasted(ready, *others.pop(0), draws)
        if not self._mixes:
            return ready
        share, other = torch.ones(len(samples)), ready
        if others:
            other = self._prepared(*others[0])
            images, share = mix(_stacked(ready.images), _stacked(other.images), self.augment, draws)
            ready = replace(ready, images=images)
        if boxed:
            return self._both_seen(ready, other, share) if others else ready
        if "class_map" in samples.columns:
            return self._pasted_maps(ready, other, draws) if others else ready
        mixed = {f"partner_{name}": other.columns[name] for name in samples.columns}
        return replace(ready, columns={**ready.columns, **mixed, "share": share})

    def _check(self, samples: Samples, boxed: bool) -> None:
        """Refuse labels that cannot go through the mixing that is asked for."""
        assert self.augment is not None
        placed = [name for name, column in samples.columns.items() if not isinstance(column, Tensor)]
        mapped = self._mixes and not (self.augment.mixup or self._tiles or self._pastes)  # CutMix alone
        mixing = ("boxes", "stated", *(("class_map", "stated_map") if mapped else ()))
        unmixed = [name for name in placed if name not in mixing]
        if unmixed or (boxed and self._mixes and self.augment.cutmix):
            asked = ["CutMix"] if not unmixed else ["MixUp", "CutMix", "mosaics", "copy-paste"]
            raise UsageError(
                "AUG-001",
                f"{' and '.join(asked)} cannot mix {(unmixed or ['boxes'])[0]}, which has a place in the picture",
                fix=" ".join(f"--set augment.{name}=0" for name in _MIXES if getattr(self.augment, name)),
            )  # fmt: skip
        if (self._tiles or self._pastes) and not boxed:
            raise UsageError("AUG-004", "mosaics and copy-paste put objects together, and these pictures have no boxes",
                             fix="--set augment.mosaic=0 --set augment.copy_paste=0")  # fmt: skip

    def _prepared(self, samples: Samples, draws: Draws, tiles: Sequence[tuple[Samples, Draws]] = ()) -> Samples:
        """Return the samples moved, alone or in mosaics, recoloured, normalised and erased."""
        if self.augment is None:
            return self._alone(samples, draws)
        made = mosaic.chosen(self.augment, draws) if tiles else np.zeros(len(draws), np.bool_)
        if not made.any():
            ready = self._alone(samples, draws)
        else:
            four = [(samples, draws), *tiles]
            parts = []
            if len(rows := np.flatnonzero(~made)):
                parts.append((rows, self._alone(samples.rows(rows.tolist()), draws.rows(rows))))
            rows = np.flatnonzero(made)
            parts.append((rows, self._mosaics([(of.rows(rows.tolist()), drawn.rows(rows)) for of, drawn in four])))
            ready = _in_order(samples, parts)
        return self._erased(ready, draws)

    def _alone(self, samples: Samples, draws: Draws) -> Samples:
        """Return the samples moved, recoloured and normalised, each by itself."""
        if self.augment is None and self.tiling is not None:
            return self._whole(samples, self.tiling, draws)
        sizes, drawn, matrices = sizes_of(samples.images), None, None
        if self.augment is None:
            matrices = geometry.judging(sizes, self.input)
        else:
            drawn = policy.draw(self.augment, draws)
            before = drawn.matrices(sizes) if drawn is not None else None
            kept = self._kept(samples, sizes, draws)
            matrices = geometry.training(sizes, self.input, self.augment, draws, before, kept)
        images = torch.empty(len(samples), self.input.channels, *self.input.size)
        for rows, levels in self._levels(samples):
            moved = warp(levels, matrices[rows], self.input.size, interpolation=self.input.interpolation,
                         fill=self._beyond(levels[0]), reflect=self._reflect)  # fmt: skip
            ready = self._coloured(moved, drawn.rows(rows) if drawn is not None else None, draws.rows(rows))
            if len(rows) == len(samples):
                images = ready
            else:
                images[torch.from_numpy(rows)] = ready
        least = self.augment.visible if self.augment is not None else 0.0
        columns = _moved(samples, matrices, [self.input.size] * len(samples), least)
        return replace(samples, images=images, columns=columns, frames=_frames(samples, matrices))

    def _whole(self, samples: Samples, tiling: Tiling, draws: Draws) -> Samples:
        """Return whole pictures at the scale of their tiles, a list of (C, H, W)."""
        matrices, frames = tiling.whole(sizes_of(samples.images))
        images = []
        for row, (image, id) in enumerate(zip(samples.images, samples.ids, strict=True)):
            level = self._level(image, id)
            moved = warp([level], matrices[row : row + 1], frames[row], interpolation=self.input.interpolation,
                         fill=self._beyond(level))  # fmt: skip
            images.append(self._coloured(moved, None, draws.rows(np.array([row])))[0])
        columns = _moved(samples, matrices, frames, 0.0)
        return replace(samples, images=images, columns=columns, frames=_frames(samples, matrices))

    def _kept(self, samples: Samples, sizes: Int64[Array, "B 2"], draws: Draws) -> Int64[Array, "B 4"] | None:
        """Return what training shows of each picture; None where that is left to ``geometry.kept_boxes``.

        That is a crop or a tile that was chosen by the classes of its pixels, else a tile, every other one so that it
        holds an object.
        """
        assert self.augment is not None
        if crops.chosen(self.augment):
            return crops.chosen_boxes(_maps(samples), self.augment, self.counts, draws, self.tiling)
        if self.tiling is None:
            return None
        aims = np.full((len(samples), 2), np.nan)
        if "boxes" in samples.columns:
            aimed, which = draws.chance("tile_aim", AIMED), draws.uniform("tile_object")[:, 0]
            for row, boxes in enumerate(_boxes(samples)):
                if aimed[row] and len(boxes):
                    x0, y0, x1, y1 = boxes.xyxy[int(which[row] * len(boxes))].tolist()
                    aims[row] = (x0 + x1) / 2, (y0 + y1) / 2
        return self.tiling.drawn(sizes, draws, aims)

    def _mosaics(self, four: Sequence[tuple[Samples, Draws]]) -> Samples:
        """Return mosaics of the rows of four samples, recoloured and normalised; they bear the names of the first."""
        assert self.augment is not None
        sizes = [sizes_of(samples.images) for samples, _ in four]
        drawn = [policy.draw(self.augment, draws) for _, draws in four]
        before = [one.matrices(size) if one is not None else None for one, size in zip(drawn, sizes, strict=True)]
        kept = [self._kept(samples, size, draws) for (samples, draws), size in zip(four, sizes, strict=True)]
        plan = mosaic.layout(sizes, self.input, self.augment, [draws for _, draws in four], before, kept)
        own, draws = four[0]
        images = torch.empty(len(own), self.input.channels, *self.input.size)
        boxes = []
        for row in range(len(own)):
            tiles = [self._level(samples.images[row], samples.ids[row]) for samples, _ in four]
            if len({tile.dtype for tile in tiles}) > 1:
                tiles = [tile / 255 if tile.dtype == torch.uint8 else tile for tile in tiles]
            levels = mosaic.compose(tiles, plan, row, self.input, self._beyond(tiles[0]), self._reflect)[None]
            one = np.array([row])
            images[row] = self._coloured(levels, drawn[0].rows(one) if drawn[0] is not None else None, draws.rows(one))[
                0
            ]
            parts = [
                _boxes(samples)[row].warp(torch.from_numpy(plan.matrices[tile, row]), self.input.size,
                                          self.augment.visible, plan.region(tile, row))
                for tile, (samples, _) in enumerate(four)
            ]  # fmt: skip
            boxes.append(Boxes.joined(parts))
        columns = {**own.columns, "boxes": boxes}
        return replace(own, images=images, columns=columns, frames=_frames(own, plan.matrices[0]))

    def _erased(self, samples: Samples, draws: Draws) -> Samples:
        """Return the samples with a rectangle of some pictures erased, and with it what it hides of their boxes."""
        assert self.augment is not None
        if not self.augment.erase:
            return samples
        places = erasing.rectangles(self.input.size, self.augment, draws)
        images = erasing.erase(_stacked(samples.images), places)
        if "boxes" not in samples.columns:
            return replace(samples, images=images)
        boxes = list(_boxes(samples))
        for i in np.flatnonzero(places[:, 2] > places[:, 0]).tolist():
            shown = torch.ones(self.input.size, dtype=torch.bool)
            x0, y0, x1, y1 = places[i].tolist()
            shown[y0:y1, x0:x1] = False
            boxes[i] = seen(boxes[i], shown, self.augment.visible)
        return replace(samples, images=images, columns={**samples.columns, "boxes": boxes})

    def _pasted(self, samples: Samples, donors: Samples, theirs: Draws, draws: Draws) -> Samples:
        """Return the samples, some with objects of their donors, of which no others are made ready."""
        assert self.augment is not None
        rows = np.flatnonzero(copy_paste.chosen(self.augment, draws))
        if not len(rows):
            return samples
        ready = self._prepared(donors.rows(rows.tolist()), theirs.rows(rows))
        images, boxes, at = _stacked(samples.images), list(_boxes(samples)), torch.from_numpy(rows)
        images[at], after = copy_paste.paste(
            images[at], [boxes[i] for i in rows], _stacked(ready.images), list(_boxes(ready)), self.augment,
            draws.rows(rows),
        )  # fmt: skip
        for i, seen_now in zip(rows, after, strict=True):
            boxes[i] = seen_now
        return replace(samples, images=images, columns={**samples.columns, "boxes": boxes})

    def _both_seen(self, samples: Samples, others: Samples, share: Tensor) -> Samples:
        """Return mixed samples with the objects of both pictures; without those of one too faint to be seen."""
        assert self.augment is not None
        boxes = []
        for mine, theirs, own in zip(_boxes(samples), _boxes(others), share.tolist(), strict=True):
            parts = [part for part, weight in ((mine, own), (theirs, 1 - own)) if weight >= self.augment.visible]
            boxes.append(mine if own == 1 else Boxes.joined(parts))
        return replace(samples, columns={**samples.columns, "boxes": boxes})

    def _pasted_maps(self, samples: Samples, others: Samples, draws: Draws) -> Samples:
        """Return samples with the classes of the rectangles that CutMix has put into their pictures."""
        assert self.augment is not None
        maps = _maps(samples)
        for row, (other, box) in enumerate(zip(_maps(others), cuts(self.input.size, self.augment, draws), strict=True)):
            x0, y0, x1, y1 = box.tolist()
            classes = maps[row].classes.clone()
            classes[y0:y1, x0:x1] = other.classes[y0:y1, x0:x1]
            maps[row] = replace(maps[row], classes=classes)
        return replace(samples, columns={**samples.columns, "class_map": maps})

    def _coloured(self, moved: Tensor, chosen: policy.Policy | None, draws: Draws) -> Tensor:
        """Return (B, C, H, W) normalised pictures from moved levels of one dtype."""
        moved = moved.contiguous()
        if chosen is not None and self.colours:
            moved = chosen.recolour(moved)
        jitter = colour.jitter(moved, self.augment, draws) if self.augment is not None and self.colours else None
        return colour.normalise(moved, self.input.mean, self.input.std, jitter)

    def _beyond(self, levels: Tensor) -> list[float]:
        """Return the level of each channel beyond a picture, which is 0 once it is normalised."""
        beyond = [min(max(mean, 0.0), 1.0) for mean in self.input.mean]
        return [float(round(255 * mean)) for mean in beyond] if colour.top(levels) == 255 else beyond

    @property
    def _reflect(self) -> int:
        return self.augment.pad if self.augment is not None else 0

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


AIMED = 0.5
"""Share of the training tiles that are drawn about an object, where pictures show some: most of a picture is empty."""

_MIXES = ("mixup", "cutmix", "mosaic", "copy_paste")


def _moved(
    samples: Samples, matrices: Float64[Array, "B 3 3"], sizes: Sequence[tuple[int, int]], least: float
) -> dict[str, Tensor | Sequence[Annotation]]:
    """Return the columns of pictures that are moved into sizes of their own."""
    return {
        name: column if isinstance(column, Tensor) else [
            _warped(value, torch.from_numpy(matrix), size, least)
            for value, matrix, size in zip(column, matrices, sizes, strict=True)
        ]
        for name, column in samples.columns.items()
    }  # fmt: skip


def _warped(value: Annotation, matrix: Tensor, size: tuple[int, int], least: float) -> Annotation:
    return value.warp(matrix, size, least) if isinstance(value, Boxes) else value.warp(matrix, size)


def _frames(samples: Samples, matrices: Float64[Array, "B 3 3"]) -> Tensor:
    """Return where pictures that are moved come from, in original pixels."""
    return torch.from_numpy(samples.frames.numpy().reshape(-1, 3, 3) @ np.linalg.inv(matrices))


def _boxes(samples: Samples) -> Sequence[Boxes]:
    column = samples.columns["boxes"]
    assert not isinstance(column, Tensor)
    return [value for value in column if isinstance(value, Boxes)]


def _maps(samples: Samples) -> list[ClassMap]:
    """Return the classes of each picture's pixels.

    Raises:
        UsageError: there are none.
    """
    if "class_map" not in samples.columns:
        raise UsageError("AUG-006", "crops are chosen by the classes of their pixels, and these pictures have none",
                         fix="--set augment.rare=0 --set augment.majority=1")  # fmt: skip
    column = samples.columns["class_map"]
    assert not isinstance(column, Tensor)
    return [value for value in column if isinstance(value, ClassMap)]


def _in_order(samples: Samples, parts: Sequence[tuple[Int64[Array, "_"], Samples]]) -> Samples:
    """Return samples of which each part has some rows ready, in their own order."""
    at = np.argsort(np.concatenate([rows for rows, _ in parts]))
    columns: dict[str, Tensor | Sequence[Annotation]] = {}
    for name, column in samples.columns.items():
        if isinstance(column, Tensor):
            columns[name] = column
        else:
            flat = [value for _, part in parts for value in part.columns[name]]
            columns[name] = [flat[i] for i in at]
    order = torch.from_numpy(at)
    images = torch.cat([_stacked(part.images) for _, part in parts]).index_select(0, order)
    frames = torch.cat([part.frames for _, part in parts]).index_select(0, order)
    return replace(samples, images=images, columns=columns, frames=frames)


def _stacked(images: Tensor | list[Tensor]) -> Tensor:
    return images if isinstance(images, Tensor) else torch.stack(images)
