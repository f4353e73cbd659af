"""One picture with what is known about it, and many of them column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from visus.core.annotations import Annotation


@dataclass(frozen=True)
class Sample:
    """One picture and its annotations.

    Attributes:
        id: the user's name for it: a path below the data root, or an index into an array file.
        image: (C, H, W), or (T, C, H, W) for clips; uint8, uint16 or float32; RGB and upright for colour pictures.
        annotations: by name: ``{"label": Label(3)}``.
        frame: (3, 3) matrix from present pixels to original pixels; None where there are no pixels.
    """

    id: str
    image: Tensor
    annotations: Mapping[str, Annotation] = field(default_factory=dict)
    frame: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the present image."""
        return int(self.image.shape[-2]), int(self.image.shape[-1])


@dataclass(frozen=True)
class Samples:
    """B samples, column by column, so that a whole batch is moved by one kernel where the sizes agree.

    Attributes:
        ids: (B,) names.
        indices: (B,) int64 index of each sample in its data set.
        images: (B, C, H, W) where all sizes agree, else a list of (C, H, W).
        columns: by annotation name: a tensor with B rows for values that geometry does not move (label, numbers), else
            a list of B annotations (boxes, masks).
        frames: (B, 3, 3) float64 matrices from present pixels to original pixels.
        originals: (B, 2) int64 height and width of the original pictures; 0 where they are not known.
    """

    ids: tuple[str, ...]
    indices: Tensor
    images: Tensor | list[Tensor]
    columns: Mapping[str, Tensor | Sequence[Annotation]]
    frames: Tensor
    originals: Tensor = field(default_factory=lambda: torch.zeros(0, 2, dtype=torch.int64))

    def __post_init__(self) -> None:
        if not len(self.originals):
            object.__setattr__(self, "originals", torch.zeros(len(self), 2, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, keep: Sequence[int]) -> Samples:
        """Return some rows, in the given order."""
        at = torch.as_tensor(list(keep), dtype=torch.int64)
        images = self.images.index_select(0, at) if isinstance(self.images, Tensor) else [self.images[i] for i in keep]
        columns = {
            name: column.index_select(0, at) if isinstance(column, Tensor) else [column[i] for i in keep]
            for name, column in self.columns.items()
        }
        return replace(
            self,
            ids=tuple(self.ids[i] for i in keep),
            indices=self.indices.index_select(0, at),
            images=images,
            columns=columns,
            frames=self.frames.index_select(0, at),
            originals=self.originals.index_select(0, at),
        )
