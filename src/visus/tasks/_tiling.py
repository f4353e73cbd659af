"""What tasks have in common that read large pictures in overlapping tiles."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visus.core.boxes import clip, moved
from visus.core.errors import UsageError
from visus.core.recipe import InputSettings
from visus.core.task import Batch
from visus.transforms.tiles import SLACK, Tiling


def tiling_of(input: InputSettings) -> Tiling | None:
    """Return how a recipe reads pictures in tiles; None where it reads whole ones.

    Raises:
        UsageError: that is left to data, and nothing has decided it.
    """
    if input.tiles == "auto":
        raise UsageError("USE-064", "input.tiles = auto is decided by data", fix="--set input.tiles=640")
    return Tiling(input.size, input.tiles, input.seam) if input.tiles else None


def framed(images: Sequence[Float[Tensor, "C _h _w"]]) -> Float[Tensor, "B C H W"]:
    """Return pictures of any sizes in the frame of the largest, each at its left top, beyond them the usual level."""
    height, width = max(image.shape[1] for image in images), max(image.shape[2] for image in images)
    return torch.stack([F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images])


def limits_of(batch: Batch, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 4"]:
    """Return xyxy of what of each frame is picture: its original's outline, moved into present pixels and cut."""
    height, width = images.shape[2:]
    whole = torch.tensor([0.0, 0.0, float(width), float(height)]).expand(len(batch), 4)
    sizes = batch.originals.double().cpu()
    corners = torch.cat([torch.zeros_like(sizes), sizes.flip(1)], 1)
    inward = torch.linalg.inv(batch.frames.double().cpu())
    cut = clip(moved(corners, inward).float(), (height, width))
    return torch.where((sizes > 0).all(1, keepdim=True), cut, whole).to(images.device)


def extents_of(limits: Float[Tensor, "B 4"], images: Float[Tensor, "B C H W"], tiling: Tiling) -> list[tuple[int, int]]:
    """Return (height, width) of the part of each frame that its picture needs, that of a tile at least."""
    ends = (limits[:, [3, 2]] - SLACK).ceil()
    needed = ends.clamp(limits.new_tensor(tiling.size), limits.new_tensor(images.shape[2:]))
    return [(int(height), int(width)) for height, width in needed.tolist()]
