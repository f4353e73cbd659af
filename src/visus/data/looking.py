"""One look at every picture of a data set: what it is, how it looks, and two fingerprints, in a single pass."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visus.core.errors import DataError, ResourceError
from visus.data.dataset import ArrayImages, Dataset, FileImages, Images
from visus.data.fetched import FetchedImages
from visus.data.paths import shown
from visus.data.pixels import Beat, fit, shrunk
from visus.data.workers import Lethal, Pool, Processes, Threads, cores

SIDE = 32
"""Pixels of a side of the small grey pictures that near duplicates are found by."""

SHARP = 256
"""Pixels of the shorter side, at most, at which sharpness is measured."""

EVERY = 10.0
"""Seconds between two words on how far the look has come."""


@dataclass(frozen=True)
class Seen:
    """What one look at every picture found: N rows each, zeros where a picture could not be read.

    Attributes:
        reasons: why, by index, for pictures that cannot be read.
        warnings: what the decode door says, by index.
        size: (N, 2) int32 upright height and width.
        channels: (N,) uint8, 1 or 3, or what an array has; depth: (N,) uint8 bits of a channel: 8, 16 or 32.
        orientation: (N,) uint8, EXIF's number that was applied.
        brightness: (N,) float32 mean of the grey picture, in [0, 1]; contrast: (N,) float32, its standard deviation.
        sharpness: (N,) float32 variance of the Laplacian of the grey picture at a shorter side of at most 256 pixels,
            values in [0, 1], over its contrast squared; NaN for one grey, and for less than 3 pixels a side.
        digest: (N, 16) uint8 hash of the upright pixels with their size, whatever file they came in.
        small: (N, SIDE, SIDE) uint8 grey, shrunk by area to SIDE x SIDE, whatever its shape.
    """

    reasons: Mapping[int, str]
    warnings: Mapping[int, tuple[str, ...]]
    size: NDArray[np.int32]
    channels: NDArray[np.uint8]
    depth: NDArray[np.uint8]
    orientation: NDArray[np.uint8]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    digest: NDArray[np.uint8]
    small: NDArray[np.uint8]


def look(dataset: Dataset, *, workers: int = 0, tell: Callable[[str], None] = lambda sentence: None) -> Seen:
    """Look once at every picture, through the door that training reads them by.

    Files are decoded in processes of their own, so that a picture which ends its process is a reason, not the end of
    everything; what is one array already is worked on by threads, many pictures at once.

    Args:
        dataset: of any kind.
        workers: processes; 0 for as many as there are cores.
        tell: told now and then how far it is.
    """
    images, count = dataset.images, len(dataset)
    if isinstance(images, ArrayImages):
        each = max(1, min(_ROWS, _AT_ONCE // max(1, int(np.prod(images.array.shape[1:3])))))
    else:
        each = _FILES
    work, jobs = _Look(images, count, each), -(-count // each)
    columns = {name: np.zeros((count, *shape), dtype) for name, (dtype, shape) in _COLUMNS.items()}
    reasons: dict[int, str] = {}
    warnings: dict[int, tuple[str, ...]] = {}
    condemned: dict[int, str] = {}
    processes = max(1, min(workers or cores(), jobs))
    pool: Pool[_Job, _Part]
    pool = Threads(work, processes) if isinstance(images, ArrayImages) else Processes(work, processes, method=_method())
    at, said = 0, time.monotonic()
    try:
        while at < jobs:
            known = tuple(condemned.items())
            ahead = [(chunk, known) for chunk in range(at, min(at + 1 + pool.ahead, jobs))]
            for job in ahead:
                pool.submit(job)
            try:
                part = pool.result(ahead[0])
            except Lethal as error:
                condemned[error.picture] = f"every process that read it {error.how}"
                continue
            except ResourceError:
                if isinstance(pool, Threads) or any(loss.picture >= 0 for loss in pool.losses):
                    raise
                pool.close()  # none could even begin, as in a script that has no `if __name__ == "__main__":`
                pool = Threads(work, processes)
                tell("no process of its own can be started here: pictures are read by this one")
                continue
            for name, rows in part.columns.items():
                columns[name][at * each : at * each + len(rows)] = rows
            reasons |= part.reasons
            warnings |= part.warnings
            at += 1
            if time.monotonic() - said > EVERY:
                said = time.monotonic()
                tell(f"looked at {min(count, at * each):,} of {count:,} pictures")
    finally:
        pool.close()
    return Seen(reasons, warnings, **columns)


def grey(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return (N, SIDE, SIDE) grey levels of (N, H, W, C) pictures, shrunk by area, whatever their shape.

    Raises:
        DataError: pixels of a depth for which there is no rule.
    """
    small = _resized(_resized(_levels(pixels), 1, SIDE), 2, SIDE)
    levels: NDArray[np.uint8] = (255 * small).round().clamp(0, 255).byte().numpy()
    return levels


def _method() -> str | None:
    """Return how processes are started: by forking on Linux, which any script may do, unless spawning was asked for."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    return "fork" if sys.platform == "linux" and chosen != "spawn" else None


_FILES, _ROWS = 32, 512  # pictures of a job, from files and of an array
_AT_ONCE = 1 << 20  # pixels that are worked on together, which bounds the memory that a large picture takes
_SMALL = _AT_ONCE // _FILES  # numbers of a picture up to which those of one size are looked at together
_BAND = 4096  # rows or columns that are shrunk together, which bounds the matrix of their weights
_LONGEST = 1024  # pixels of the longer side at which sharpness is measured, for pictures that are mere lines

_COLUMNS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "size": (np.int32, (2,)), "channels": (np.uint8, ()), "depth": (np.uint8, ()), "orientation": (np.uint8, ()),
    "brightness": (np.float32, ()), "contrast": (np.float32, ()), "sharpness": (np.float32, ()),
    "digest": (np.uint8, (16,)), "small": (np.uint8, (SIDE, SIDE)),
}  # fmt: skip

_Job: TypeAlias = tuple[int, tuple[tuple[int, str], ...]]  # chunk; (index, reason) of pictures that end every process


@dataclass(frozen=True)
class _Part:
    """What was found of one chunk: columns of ``Seen`` by name, and what is known by index."""

    columns: dict[str, NDArray[Any]]
    reasons: dict[int, str] = field(default_factory=dict)
    warnings: dict[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Look:
    """Looks at one chunk of pictures: a pure function of its number, as a pool wants it."""

    images: Images
    count: int
    each: int

    def __call__(self, job: _Job, beat: Beat) -> _Part:
        chunk, condemned = job
        here = range(chunk * self.each, min((chunk + 1) * self.each, self.count))
        if isinstance(self.images, ArrayImages):
            pixels = self.images.array[here.start : here.stop]
            try:
                return _Part(_looked(pixels if pixels.ndim == 4 else pixels[..., None]))
            except DataError as error:
                return _Part({}, dict.fromkeys(here, error.what))
        part = _Part({name: np.zeros((len(here), *shape), dtype) for name, (dtype, shape) in _COLUMNS.items()})
        part.reasons.update((i, why) for i, why in condemned if i in here)
        alike: dict[tuple[Any, ...], dict[int, NDArray[np.generic]]] = {}  # pictures by row, of one size and depth
        for i in here:
            if i in part.reasons:
                continue
            beat(i)
            try:
                pixels, warnings, orientation = self._read(i)
            except DataError as error:
                part.reasons[i] = self._reason(i, error)
                continue
            part.columns["orientation"][i - here.start] = orientation
            if warnings:
                part.warnings[i] = warnings
            if pixels.size > _SMALL:
                self._add(part, here, {i - here.start: pixels})
            else:
                alike.setdefault((pixels.shape, pixels.dtype), {})[i - here.start] = pixels
        for pictures in alike.values():
            self._add(part, here, pictures)
        return part

    def _add(self, part: _Part, here: range, pictures: Mapping[int, NDArray[np.generic]]) -> None:
        """Look at pictures of one size and depth, which are given by their rows."""
        rows, held = list(pictures), list(pictures.values())
        pixels = np.stack(held) if len(held) > 1 else held[0][None]  # a large one comes alone, and is not copied
        try:
            found = _looked(pixels if pixels.ndim == 4 else pixels[..., None])
        except DataError as error:
            part.reasons.update({here[row]: self._reason(here[row], error) for row in rows})
            part.columns["orientation"][rows] = 0
            return
        for name, values in found.items():
            if name != "orientation":  # which the file said
                part.columns[name][rows] = values

    def _reason(self, i: int, error: DataError) -> str:
        return error.what.removeprefix(f"{self._subject(i)}: ")  # whoever shows it names the record

    def _read(self, i: int) -> tuple[NDArray[np.generic], tuple[str, ...], int]:
        """Return the pixels of a picture, what the door says of it, and EXIF's orientation that was applied."""
        if not isinstance(self.images, FileImages | FetchedImages):
            return self.images.read(i), (), 1
        from visus.data.decode import decode

        decoded = decode(self.images.source(i), max_pixels=self.images.max_pixels, name=self._subject(i))
        return decoded.pixels, decoded.warnings, decoded.orientation

    def _subject(self, i: int) -> str:
        """Return what the decode door calls a picture."""
        if isinstance(self.images, FileImages):
            return shown(self.images.source(i))
        return shown(self.images.paths[i]) if isinstance(self.images, FetchedImages) else ""


def _looked(pixels: NDArray[np.generic]) -> dict[str, NDArray[Any]]:
    """Return the columns of ``Seen`` for (N, H, W, C) pictures of one size.

    Raises:
        DataError: pixels of a depth for which there is no rule.
    """
    count, height, width, channels = pixels.shape
    sharp, small, mean, variance = _grey(pixels)
    header = f"{pixels.dtype} {height} {width} {channels} ".encode()
    hashes = [blake2b(header, digest_size=16) for _ in pixels]
    for hasher, picture in zip(hashes, pixels, strict=True):
        hasher.update(np.ascontiguousarray(picture).data)
    return {
        "size": np.full((count, 2), (height, width), np.int32),
        "channels": np.full(count, min(channels, 255), np.uint8),
        "depth": np.full(count, 8 * pixels.dtype.itemsize, np.uint8),
        "orientation": np.ones(count, np.uint8),
        "brightness": mean.float().numpy(),
        "contrast": variance.sqrt().float().numpy(),
        "sharpness": _sharpness(sharp).numpy(),
        "digest": np.frombuffer(b"".join(hasher.digest() for hasher in hashes), np.uint8).reshape(count, 16),
        "small": (255 * small).round().clamp(0, 255).byte().numpy(),
    }


def _grey(pixels: NDArray[np.generic]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return grey pictures in [0, 1] at the size for sharpness, at SIDE x SIDE, and their mean and variance: (N,).

    They are made band by band, so that a picture of 100 million pixels takes little more memory than it has already;
    mean and variance of bands are joined by Chan, Golub and LeVeque, COMPSTAT 1982, eq. 2.1.
    """
    count, height, width, _ = pixels.shape
    h, w = (min(side, _LONGEST) for side in shrunk(height, width, SHARP))
    tall, low = torch.zeros(count, h, width), torch.zeros(count, SIDE, width)
    mean, squares = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    band, done = max(1, min(_BAND, _AT_ONCE // max(1, count * width))), 0
    for top in range(0, height, band):
        levels = _levels(pixels[:, top : top + band])
        _add(tall, levels, top, height)
        _add(low, levels, top, height)
        here = levels.shape[1] * width
        spread, middle = torch.var_mean(levels.double(), (1, 2), correction=0)
        squares += here * spread + (middle - mean) ** 2 * (done * here / (done + here))
        mean += (middle - mean) * (here / (done + here))
        done += here
    return _resized(tall, 2, w), _resized(low, 2, SIDE), mean, squares / max(1, done)


def _levels(pixels: NDArray[np.generic]) -> Tensor:
    """Return (N, H, W) grey in [0, 1] of (N, H, W, C); of other than 1 or 3 channels, their mean."""
    channels = 1 if pixels.shape[3] in (1, 3) else pixels.shape[3]
    levels = fit(pixels, channels).float().mean(3)
    return levels.clamp(0, 1) if pixels.dtype == np.float32 else levels / float(np.iinfo(pixels.dtype).max)  # type: ignore[type-var]


def _resized(planes: Tensor, axis: int, size: int) -> Tensor:
    """Return (N, H, W) planes of which an axis has another size, by the area that pixels share."""
    if planes.shape[axis] == size:
        return planes
    planes = planes.movedim(axis, 1)
    resized = planes.new_zeros(len(planes), size, planes.shape[2])
    for start in range(0, planes.shape[1], _BAND):
        _add(resized, planes[:, start : start + _BAND], start, planes.shape[1])
    return resized.movedim(1, axis)


def _add(resized: Tensor, part: Tensor, start: int, whole: int) -> None:
    """Add to rows of (N, m, K) what ``part`` has in common with them: rows from ``start`` on, of ``whole``."""
    size, stop = resized.shape[1], start + part.shape[1]
    if size == whole:
        resized[:, start:stop] = part
        return
    first, last = start * size // whole, -(-stop * size // whole)
    edges = torch.arange(first, last + 1, dtype=torch.float64) * (whole / size)
    at = torch.arange(start, stop, dtype=torch.float64)
    shared = torch.minimum(edges[1:, None], at + 1) - torch.maximum(edges[:-1, None], at)
    resized[:, first:last] += (shared.clamp(min=0) * (size / whole)).float() @ part


def _sharpness(grey: Tensor) -> Tensor:
    """Return the variance of the Laplacian over the variance, (N,); NaN where either is not there.

    Source:
        Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000, here free of the contrast.
    """
    if min(grey.shape[1:]) < 3:
        return torch.full((len(grey),), torch.nan)
    middle = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    variance = grey.var((1, 2), correction=0)
    steep = (around - 4 * middle).var((1, 2), correction=0)
    return (steep / variance).where(variance > 1e-8, torch.nan)
