"""From what a network says of every place to the objects of a picture: candidates first, then suppression.

B pictures, A places, K classes, T candidates.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from visus.core.recipe import DetectSettings
from visus.core.suppression import suppress
from visus.core.task import Raw

Found = tuple[Tensor, Tensor, Tensor]
"""Boxes (N, 4), scores (N,) and labels (N,) of one picture, the highest score first."""


def candidates(
    boxes: Float[Tensor, "B A 4"] | Float[Tensor, "B A K 4"],
    scores: Float[Tensor, "B A K"],
    limits: Float[Tensor, "B 4"],
    settings: DetectSettings,
) -> Raw:
    """Return the pairs of place and class of the highest scores, cut at the picture's edges.

    Args:
        boxes: xyxy in pixels, one a place or one a class of it.
        scores: in [0, 1]; one that is not finite counts as zero.
        limits: xyxy of what of each frame is picture, the rest being padding.
        settings: how many, and from which score on.

    Returns:
        ``boxes`` (B, T, 4), ``scores`` (B, T) and ``labels`` (B, T); a score of -1 where there is no further one.
    """
    classes = scores.shape[2]
    flat = scores.flatten(1).nan_to_num(0)
    top, at = flat.topk(min(settings.candidates, flat.shape[1]), dim=1)
    by_class = boxes.dim() == 4
    rows = at if by_class else at // classes
    chosen = (boxes.flatten(1, 2) if by_class else boxes).gather(1, rows[..., None].expand(-1, -1, 4)).nan_to_num(0)
    low, high = limits[:, None, :2], limits[:, None, 2:]
    chosen = torch.cat([chosen[..., :2].maximum(low).minimum(high), chosen[..., 2:].maximum(low).minimum(high)], -1)
    has_area = (chosen[..., 2:] > chosen[..., :2]).all(2)
    top = top.where((top >= max(settings.least, 1e-6)) & has_area, -1.0)
    return {"boxes": chosen, "scores": top, "labels": at % classes}


def finish(raw: Raw, settings: DetectSettings) -> list[Found]:
    """Return the objects of each picture: its candidates, of the same object reduced to one."""
    return [
        suppress(
            boxes, scores, labels, settings.suppression, overlap=settings.overlap, least=settings.least,
            candidates=len(scores), most=settings.most,
        )
        for boxes, scores, labels in zip(*(raw[name].cpu() for name in ("boxes", "scores", "labels")), strict=True)
    ]  # fmt: skip


def joined(raws: list[Raw]) -> Raw:
    """Return the candidates of several views of the same pictures together."""
    return {name: torch.cat([raw[name] for raw in raws], 1) for name in raws[0]} if len(raws) > 1 else raws[0]


def mirrored(raw: Mapping[str, Tensor], width: int) -> Raw:
    """Return the candidates of mirrored pictures where they lie in the pictures themselves."""
    x0, y0, x1, y1 = raw["boxes"].unbind(-1)
    return {**raw, "boxes": torch.stack([width - x1, y0, width - x0, y1], -1)}
