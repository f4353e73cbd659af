"""From what a network says of every place to the objects of a picture: candidates first, then suppression.

B pictures, A places, K classes, T candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from visus.core.recipe import DetectSettings
from visus.core.shapes import SoftMasks
from visus.core.suppression import kept, suppress, surviving, top
from visus.core.task import Raw
from visus.metrics.detection import Detected

MASKS = "masks"
"""What a network of masks says beside boxes, scores and labels: (B, T, S, S) in [0, 1], each over its box."""
ORIGINALS = "originals"
"""Beside masks, (B, 2) height and width of the pictures in which they are drawn."""
IN_GRAPH = ("nms", "nms_agnostic", "none")
"""Suppressions that ``finish_in_graph`` knows: the others work in rounds, as many as there are objects."""


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
    at = top(flat.detach(), min(settings.candidates, flat.shape[1]))
    sure = flat.gather(1, at)
    by_class = boxes.dim() == 4
    rows = at if by_class else at // classes
    chosen = (boxes.flatten(1, 2) if by_class else boxes).gather(1, rows[..., None].expand(-1, -1, 4)).nan_to_num(0)
    low, high = limits[:, None, :2], limits[:, None, 2:]
    chosen = torch.cat([chosen[..., :2].maximum(low).minimum(high), chosen[..., 2:].maximum(low).minimum(high)], -1)
    has_area = (chosen[..., 2:] > chosen[..., :2]).all(2)
    sure = sure.where((sure >= max(settings.least, 1e-6)) & has_area, -1.0)
    return {"boxes": chosen, "scores": sure, "labels": at % classes}


def finish(raw: Raw, settings: DetectSettings) -> list[Detected]:
    """Return the objects of each picture: its candidates, of the same object reduced to one.

    Where candidates have masks, those that stay keep theirs.
    """
    limits: dict[str, Any] = {"overlap": settings.overlap, "least": settings.least, "most": settings.most}
    columns = [raw[name].cpu() for name in ("boxes", "scores", "labels")]
    found = []
    for row, (boxes, scores, labels) in enumerate(zip(*columns, strict=True)):
        limits["candidates"] = len(scores)
        if MASKS not in raw:
            found.append(Detected(*suppress(boxes, scores, labels, settings.suppression, **limits)))
            continue
        rows = surviving(boxes, scores, labels, settings.suppression, **limits)
        size = int(raw[ORIGINALS][row, 0]), int(raw[ORIGINALS][row, 1])
        masks = SoftMasks(raw[MASKS][row].detach().cpu()[rows].float().numpy(), size)
        found.append(Detected(boxes[rows], scores[rows], labels[rows], masks))
    return found


def finish_in_graph(raw: Raw, settings: DetectSettings, classes: int) -> dict[str, Tensor]:
    """Return the objects of all pictures at once: what ``finish`` does, by operations that an exported graph can hold.

    Args:
        raw: candidates.
        settings: with a suppression of ``IN_GRAPH``.
        classes: how many there are.

    Returns:
        As the candidates, N a picture, by falling score; where there is no further object, the score and the label are
        -1 and all else is 0.
    """
    boxes, scores, labels = raw["boxes"], raw["scores"], raw["labels"]
    if settings.suppression != "none":
        agnostic = settings.suppression == "nms_agnostic"
        kinds = torch.zeros_like(labels) if agnostic else labels
        real = kept(boxes, scores, kinds, 1 if agnostic else classes, settings.overlap)
        scores = torch.where(real, scores, -1.0)
    scores = torch.where(scores >= settings.least, scores, -1.0)
    at = top(scores, min(settings.most, scores.shape[1]))
    sure = scores.gather(1, at)
    found = sure >= 0
    said = {"scores": sure, "labels": torch.where(found, labels.gather(1, at), -1)}
    for name in raw.keys() - said.keys():
        rows, more = raw[name], (1,) * (raw[name].dim() - 2)
        picked = rows.gather(1, at.reshape(*at.shape, *more).expand(*at.shape, *rows.shape[2:]))
        said[name] = torch.where(found.reshape(*at.shape, *more), picked, 0.0)
    return said


def joined(raws: list[Raw]) -> Raw:
    """Return the candidates of several views of the same pictures together."""
    if len(raws) == 1:
        return raws[0]
    return {name: raws[0][name] if name == ORIGINALS else torch.cat([raw[name] for raw in raws], 1) for name in raws[0]}


def mirrored(raw: Mapping[str, Tensor], width: int) -> Raw:
    """Return the candidates of mirrored pictures where they lie in the pictures themselves."""
    x0, y0, x1, y1 = raw["boxes"].unbind(-1)
    turned = {MASKS: raw[MASKS].flip(-1)} if MASKS in raw else {}
    return {**raw, "boxes": torch.stack([width - x1, y0, width - x0, y1], -1), **turned}
