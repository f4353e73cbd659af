"""An exported file asked like a model: the task of its card, but pictures stay as they were decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from visus.core.deployment import Contract
from visus.core.errors import DataError
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.core.task import Batch, Prediction, Raw, Task, Transform


class Running(nn.Module):
    """Pictures (B, H, W, C) -> the outputs of a file by name."""

    def __init__(self, runtime: Callable[[Tensor], dict[str, Tensor]]) -> None:
        super().__init__()
        self.runtime = runtime

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Run the file."""
        return self.runtime(pictures)


class Asked:
    """A task whose network is ``Running``: what it does not say itself, the task of the card says.

    Pictures are asked one by one, as each may have a size of its own; what is said is at home already.

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
        """Return the outputs for each picture.

        Raises:
            DataError: a picture of another depth or size than the file reads.
        """
        said = []
        for id, picture in zip(batch.ids, batch.targets["pictures"], strict=True):
            if why := self.refusal(picture):
                raise DataError("EXP-006", why, where=id, fix="visus export with --data that holds such pictures")
            said.append(model(picture[None]))
        return {name: torch.cat([one[name] for one in said]) for name in self._contract.outputs}

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


class _Unchanged:
    """A ``Transform`` that does nothing."""

    partners = 0

    def __call__(self, samples: Samples, draws: Draws, partners: Sequence[tuple[Samples, Draws]] = ()) -> Samples:
        """Return the samples."""
        return samples
