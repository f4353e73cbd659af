"""Which places learn which object: those that already say its class best and lie over it best, together.

N objects of all pictures of a batch, A places of a picture, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from visus.core.boxes import overlaps


@dataclass(frozen=True)
class Objects:
    """The objects of a batch, one after the other.

    Attributes:
        boxes: (N, 4) xyxy in pixels.
        labels: (N,) classes.
        pictures: (N,) row of the batch each lies in.
    """

    boxes: Float[Tensor, "N 4"]
    labels: Int[Tensor, "N"]
    pictures: Int[Tensor, "N"]

    @staticmethod
    def of(boxes: Float[Tensor, "B M 4"], labels: Int[Tensor, "B M"]) -> Objects:
        """Return the objects of padded targets: those whose label is 0 or more and that have an area."""
        pictures, at = Objects.rows(boxes, labels).nonzero(as_tuple=True)
        return Objects(boxes[pictures, at], labels[pictures, at], pictures)

    @staticmethod
    def rows(boxes: Float[Tensor, "... M 4"], labels: Int[Tensor, "... M"]) -> Bool[Tensor, "... M"]:
        """Return which rows of padded targets are objects: their label is 0 or more, and they have an area."""
        real: Tensor = (labels >= 0) & (boxes[..., 2:] > boxes[..., :2]).all(-1)
        return real


@dataclass(frozen=True)
class Assigned:
    """Places that learn an object, R of them.

    Attributes:
        pictures, places: (R,) where each lies: row of the batch, place of the network's answer.
        objects: (R,) which object each learns.
        quality: (R,) in [0, 1], the score its class should have there.
    """

    pictures: Int[Tensor, "R"]
    places: Int[Tensor, "R"]
    objects: Int[Tensor, "R"]
    quality: Float[Tensor, "R"]


@torch.no_grad()
def task_aligned(
    scores: Float[Tensor, "B A K"],
    boxes: Float[Tensor, "B A 4"],
    points: Float[Tensor, "A 2"],
    objects: Objects,
    *,
    most: int = 13,
    alpha: float = 1.0,
    beta: float = 6.0,
) -> Assigned:
    """Return the places that learn each object, and how well each should say so.

    An object is learned by the ``most`` places within its box of the highest ``score ** alpha * iou ** beta``; where no
    place lies within a box, by the one nearest to its middle.  A place wanted by several objects learns the one that
    its box overlaps most.  The quality is that measure, scaled so that the best place of an object has the best
    overlap that any of its places has.  Pictures do not depend on each other.

    Args:
        scores: what the network says now, in [0, 1].
        boxes: the boxes it says now, xyxy in pixels.
        points: x and y of the places.
        objects: what there is.
        most: places an object.
        alpha: power of the score.
        beta: power of the overlap.

    Source:
        Feng et al., TOOD: task-aligned one-stage object detection, ICCV 2021, section 3.2, eq. 8 and 9.
    """
    n, a = len(objects.labels), len(points)
    if not n:
        none = objects.labels.new_zeros(0)
        return Assigned(none, none, none, scores.new_zeros(0))
    # pairs of an object and a place within it: few of all, and each costs memory
    rows, places = _within(points, objects.boxes).nonzero(as_tuple=True)
    pictures = objects.pictures[rows]
    lying = overlaps(boxes[pictures, places], objects.boxes[rows])
    fit = scores[pictures, places, objects.labels[rows]] ** alpha * lying**beta
    best = fit.argsort(descending=True, stable=True)
    best = best[rows[best].argsort(stable=True)]
    best = best[torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows) < most]
    rows, places, lying, fit = rows[best], places[best], lying[best], fit[best]

    # of several objects that want a place, the one that the place's box overlaps most
    key = objects.pictures[rows] * a + places
    highest = lying.new_full((len(scores) * a,), -1.0).scatter_reduce(0, key, lying, "amax")
    wins = lying >= highest[key]
    first = torch.full((len(scores) * a,), n, device=key.device).scatter_reduce(0, key[wins], rows[wins], "amin")
    mine = first[key] == rows
    rows, places, lying, fit = rows[mine], places[mine], lying[mine], fit[mine]
    top_fit = fit.new_zeros(n).scatter_reduce(0, rows, fit, "amax")
    top_overlap = fit.new_zeros(n).scatter_reduce(0, rows, lying, "amax")
    quality = fit / top_fit[rows].clamp(min=1e-30) * top_overlap[rows]
    return Assigned(objects.pictures[rows], places, rows, quality)


def _within(points: Float[Tensor, "A 2"], boxes: Float[Tensor, "N 4"]) -> Bool[Tensor, "N A"]:
    """Return which places lie within which boxes; of a box without any, the one nearest to its middle."""
    x, y = points[:, 0], points[:, 1]
    inside = (x > boxes[:, :1]) & (x < boxes[:, 2:3]) & (y > boxes[:, 1:2]) & (y < boxes[:, 3:])
    lonely = ~inside.any(1)
    if bool(lonely.any()):
        middles = (boxes[lonely, :2] + boxes[lonely, 2:]) / 2
        inside[lonely.nonzero()[:, 0], torch.cdist(middles, points).argmin(1)] = True
    return inside
