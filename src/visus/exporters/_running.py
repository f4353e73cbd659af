"""An exported file asked like a model: the task of its card, but pictures stay as they were decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from visus.core.deployment import Contract
from visus.core.errors import DataError
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.core.task import Batch, Prediction, Raw, Task, Transform


class Running(nn.Module):
    """Pictures, each (H, W, C) of any size -> the outputs of a file for each, by name.

    Args:
        runtime: what runs the file, on (1, H, W, C); with several threads it is told of the others by ``beside=True``.
        threads: pictures that it runs at the same time: most of what a graph does is too small to be shared by cores.
    """

    def __init__(self, runtime: Callable[..., dict[str, Tensor]], threads: int = 1) -> None:
        super().__init__()
        self.runtime, self.threads = runtime, threads
        self._pool = ThreadPoolExecutor(threads, "visus-runtime")
        self._before = 1

    def forward(self, pictures: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Run the file."""
        shown, before = [picture[None] for picture in pictures], self._before
        self._before = len(shown)
        if self.threads == 1 or len(shown) == before == 1:  # one that follows several is the last of them
            return [self.runtime(each) for each in shown]
        return list(self._pool.map(partial(self.runtime, beside=True), shown))


class Asked:
    """A task whose network is ``Running``: what it does not say itself, the task of the card says.

    What is said is at home already.

    Args:
        task: of the card.
        contract: of the file.
    """

    def __init__(self, task: Task, contract: Contract) -> None:
        self._task, self._contract = task, contract

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def transforms(self, train: bool) -> Transform:
        """Return what leaves pictures as they are."""
        return _Unchanged()

    def collate(self, samples: Samples) -> Batch:
        """Return ``pictures``, a list of (H, W, C), and the truth that metrics judge by."""
        pictures = [image.movedim(0, -1) for image in samples.images]
        columns = {name: column for name, column in samples.columns.items() if name != "class_map"}
        blank = torch.zeros(len(samples), 1, 1, 1)
        batch = self._task.collate(replace(samples, images=blank, columns=columns))
        return replace(batch, inputs=(), targets={**batch.targets, "pictures": pictures})

    def raw(self, model: nn.Module, batch: Batch) -> Raw:
        """Return the outputs for each picture, filled up to the largest, and ``originals`` (B, 2), their sizes.

        Raises:
            DataError: a picture of another depth or size than the file reads.
        """
        pictures = batch.targets["pictures"]
        for id, picture in zip(batch.ids, pictures, strict=True):
            if why := self.refusal(picture):
                raise DataError("EXP-006", why, where=id, fix="visus export with --data that holds such pictures")
        said = model(pictures)
        sizes = torch.tensor([picture.shape[:2] for picture in pictures])
        return {"originals": sizes, **{name: _joined([one[name] for one in said]) for name in self._contract.outputs}}

    def decode(self, raw: Raw) -> Sequence[Prediction]:
        """Return a prediction a picture."""
        return self._task.said(raw)

    def refusal(self, picture: Tensor) -> str:
        """Return why a picture (H, W, C) is not what the file reads, or nothing."""
        contract = self._contract
        if picture.dtype != getattr(torch, contract.dtype):
            return f"its pixels are {str(picture.dtype).removeprefix('torch.')}, the file reads {contract.dtype}"
        if contract.size is not None and tuple(picture.shape[:2]) != contract.size:
            height, width = picture.shape[:2]
            return f"it has {height} x {width} pixels, the file reads {contract.size[0]} x {contract.size[1]}"
        return ""


def _joined(rows: Sequence[Tensor]) -> Tensor:
    """Return (B, ...) of B tensors (1, ...), with zeros where one has a shorter side than another."""
    shape = [max(sides) for sides in zip(*(row.shape for row in rows), strict=True)]
    if all(list(row.shape) == shape for row in rows):
        return torch.cat(list(rows))
    joined = rows[0].new_zeros(len(rows), *shape[1:])
    for at, row in enumerate(rows):
        joined[at][tuple(slice(side) for side in row.shape[1:])] = row[0]
    return joined


class _Unchanged:
    """A ``Transform`` that does nothing."""

    partners = 0

    def __call__(self, samples: Samples, draws: Draws, partners: Sequence[tuple[Samples, Draws]] = ()) -> Samples:
        """Return the samples."""
        return samples
