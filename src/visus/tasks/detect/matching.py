"""Which boxes of a picture learn which of its objects, by how far they overlap, and which of them are drawn to learn.

N boxes of one picture (anchors, proposals), M objects in it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.models.detection._utils import Matcher

from visus.core.boxes import pairwise_iou
from visus.core.task import Batch
from visus.tasks.detect.assignment import Objects
from visus.tasks.detect.terms import IGNORED

BACKGROUND, BETWEEN = -1, -2
"""Instead of an object: none is near, and none is near enough to tell."""


def objects_of(batch: Batch, row: int) -> tuple[Float[Tensor, "M 4"], Int[Tensor, "M"]]:
    """Return boxes and labels of the objects of one picture that have a class and an area."""
    mine = Objects.of(*(batch.targets[name][row : row + 1] for name in ("boxes", "labels")))
    return mine.boxes, mine.labels


@torch.no_grad()
def matched(
    boxes: Float[Tensor, "N 4"], objects: Float[Tensor, "M 4"], low: float, high: float, *, each: bool
) -> Int[Tensor, "N"]:
    """Return the object that each box learns, ``BACKGROUND`` or ``BETWEEN``.

    Args:
        boxes: xyxy.
        objects: xyxy in the same unit.
        low: overlap below which a box is background.
        high: overlap from which on it learns the object that it overlaps most.
        each: the boxes that overlap an object most learn it, however little that is, if at all.
    """
    if not len(objects) or not len(boxes):
        return torch.full((len(boxes),), BACKGROUND, device=boxes.device)
    overlaps = pairwise_iou(objects, boxes)
    found: Tensor = Matcher(high, low, allow_low_quality_matches=each)(overlaps)
    return found.where(overlaps.amax(0) > 0, BACKGROUND)  # to it, an object that no box overlaps is overlapped by all


def drawn(
    positive: Bool[Tensor, "N"], negative: Bool[Tensor, "N"], count: int, share: float, generator: torch.Generator
) -> Bool[Tensor, "N"]:
    """Return at most ``count`` boxes at random, at most a ``share`` of them positive, the others negative.

    Each box has its number whatever the others are, so that one which changes sides moves no other.
    """
    numbers = torch.rand(len(positive), generator=generator).to(positive.device)
    taken = torch.zeros_like(positive)
    for candidates in (positive, negative):
        most = int(count * share) if candidates is positive else count - int(taken.sum())
        rows = candidates.nonzero()[:, 0]
        taken[rows[numbers[rows].argsort()[:most]]] = True
    return taken


def outside_regions(boxes: Float[Tensor, "N 4"], batch: Batch, row: int) -> Bool[Tensor, "N"]:
    """Return which boxes have their middle in no region of the picture in which nothing is counted."""
    regions = batch.targets["boxes"][row][batch.targets["labels"][row] == IGNORED]
    middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    within: Tensor = ((middles > regions[:, :2]) & (middles < regions[:, 2:])).all(2)
    return ~within.any(1)
