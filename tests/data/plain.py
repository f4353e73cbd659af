"""A transform one can check by hand, and small data sets: for tests of the feed and the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.core.task import Batch
from visus.data.dataset import ArrayImages, Dataset, FileImages, Strings


@dataclass(frozen=True)
class Brighten:
    """Pictures in [0, 1], cut to one size, plus each sample's random number, plus a tenth of each partner likewise."""

    partners: int = 0
    size: int = 8

    def __call__(self, samples: Samples, draws: Draws, partners: Sequence[tuple[Samples, Draws]] = ()) -> Samples:
        ready = self._one(samples, draws)
        for others, theirs in partners:
            ready = ready + 0.1 * self._one(others, theirs)
        mates = {f"partner_{j}": others.indices for j, (others, _) in enumerate(partners)}
        return replace(samples, images=ready, columns={**samples.columns, **mates})

    def _one(self, samples: Samples, draws: Draws) -> Tensor:
        pixels = torch.stack([image[:, : self.size, : self.size].float() / 255 for image in samples.images])
        return pixels + torch.from_numpy(draws.uniform("brightness")).float()[:, :, None, None]


def collate(samples: Samples) -> Batch:
    """Return the samples as they are."""
    return Batch((samples.images,), dict(samples.columns), samples.ids, samples.indices, samples.frames)


def same(a: Batch, b: Batch) -> bool:
    """Tell whether two batches are equal to the bit."""
    return (
        all(torch.equal(x, y) and x.stride() == y.stride() for x, y in zip(a.inputs, b.inputs, strict=True))
        and a.targets.keys() == b.targets.keys()
        and all(torch.equal(a.targets[name], b.targets[name]) for name in a.targets)
        and torch.equal(a.indices, b.indices)
        and torch.equal(a.frames, b.frames)
        and (a.ids, a.seed, a.start, a.whole, a.bad) == (b.ids, b.seed, b.start, b.whole, b.bad)
    )


def of_array(n: int = 50, size: int = 8, channels: int = 3, seed: int = 0) -> Dataset:
    """Return a data set of random pictures in one array."""
    array = np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
    return _dataset(ArrayImages(array), [str(i) for i in range(n)])


def of_files(folder: Path, pictures: Sequence[NDArray[Any]], kind: str = "png") -> Dataset:
    """Return a data set of pictures written to files."""
    names = []
    for i, picture in enumerate(pictures):
        names.append(f"{i:03d}.{kind}")
        Image.fromarray(picture).save(folder / names[-1])
    return in_folder(folder, names)


def in_folder(folder: Path, names: Sequence[str]) -> Dataset:
    """Return a data set of files that are there."""
    return _dataset(FileImages(folder, Strings(names)), names)


def odd_sizes(n: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Return pictures of many sizes, some of them grey."""
    random = np.random.default_rng(seed)
    return [
        random.integers(0, 256, (*random.integers(9, 40, 2), 3)[: 3 if i % 3 else 2], dtype=np.uint8) for i in range(n)
    ]


def _dataset(images: ArrayImages | FileImages, ids: Sequence[str]) -> Dataset:
    n = len(ids)
    columns = {"label": np.arange(n) % 5, "numbers": np.arange(2 * n, dtype=np.float32).reshape(n, 2)}
    return Dataset("plain", Path(), "array", "", Strings(ids), images, columns, np.zeros(n, dtype=np.uint8))
