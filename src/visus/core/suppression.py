"""Which candidates are the same object: suppression and fusion of overlapping boxes of one picture, chosen by name.

Every method takes candidates in any order and returns (boxes, scores, labels) by falling score, equal scores in the
order given (soft NMS and fusion: by class).  Candidates have forward xyxy boxes (N, 4) in any unit of length, scores
(N,) from 0 upward and labels (N,) int64.  Everything is computed in float64, and nothing is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from visus.core.catalog import UnknownName
from visus.core.errors import did_you_mean

Kept = tuple[Tensor, Tensor, Tensor]
"""Boxes (N, 4), scores (N,) and labels (N,) by falling score."""


def suppress(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, "N"],
    labels: Int[Tensor, "N"],
    name: str = "nms",
    *,
    overlap: float = 0.5,
    least: float = 0.0,
    candidates: int = 1000,
    most: int = 300,
    **numbers: float,
) -> Kept:
    """Return the objects among candidates: the best candidates first, then one method on these.

    What a method costs grows with the square of the candidates, so only the best are looked at, however many there are.

    Args:
        boxes: xyxy.
        scores: what is below ``least``, such as the -1 of padding, is no candidate.
        labels: dense indices.
        name: a name of ``SUPPRESSIONS``.
        overlap: intersection over union above which two boxes are the same object (from which on, of soft NMS).
        least: lowest score that is looked at, and that is returned.
        candidates: how many of the best are looked at, over all classes.
        most: how many of the best are returned, over all classes.
        numbers: further arguments of the method: ``sigma`` of Gaussian soft NMS, ``views`` of fusion.

    Raises:
        UnknownName: no such method.
    """
    if name not in SUPPRESSIONS:
        raise UnknownName("USE-004", f"there is no suppression named {name!r}", fix=did_you_mean(name, SUPPRESSIONS))
    rows = best(scores, candidates, least)
    kept = SUPPRESSIONS[name](boxes[rows], scores[rows], labels[rows], overlap, most=most, **numbers)
    surviving = int((kept[1] >= least).sum())  # soft NMS and fusion lower scores; they are in falling order
    return kept[0][:surviving], kept[1][:surviving], kept[2][:surviving]


def surviving(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, "N"],
    labels: Int[Tensor, "N"],
    name: str = "nms",
    *,
    overlap: float = 0.5,
    least: float = 0.0,
    candidates: int = 1000,
    most: int = 300,
) -> Int[Tensor, "M"]:
    """Return which candidates ``suppress`` returns, for a method of ``REMOVING``, which changes none that stay."""
    rows = best(scores, candidates, least)
    kept = REMOVING[name](boxes[rows], scores[rows], labels[rows], overlap)
    return rows[_ranked(scores[rows], kept, most)]


def best(scores: Float[Tensor, "N"], count: int, least: float = 0.0) -> Int[Tensor, "M"]:
    """Return the rows of the ``count`` highest scores from ``least`` upward, falling; of equal ones the first."""
    if 0 < count < len(scores):  # a border is found in a tenth of the time of sorting all
        least = max(least, scores.where(scores >= least, -torch.inf).topk(count).values[-1].item())
    rows = (scores >= least).nonzero()[:, 0]  # false for NaN
    return rows[scores[rows].argsort(descending=True, stable=True)][:count]


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float = 0.5, *, most: int | None = None) -> Kept:
    """Return the boxes that no better one of their class overlaps by more than ``overlap``.

    As ``torchvision.ops.batched_nms``, but exact: that moves the classes apart in single precision.
    """
    return _by_score(boxes, scores, labels, _nms_rows(boxes, scores, labels, overlap), most)


def nms_agnostic(
    boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float = 0.5, *, most: int | None = None
) -> Kept:
    """Return the boxes that no better one of any class overlaps by more than ``overlap``."""
    return _by_score(boxes, scores, labels, _agnostic_rows(boxes, scores, labels, overlap), most)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    overlap: float = 0.3,
    *,
    most: int | None = None,
    decay: Literal["linear", "gaussian"] = "linear",
    sigma: float = 0.5,
) -> Kept:
    """Return every box with a score that the better boxes of its class lower, rather than remove.

    Args:
        boxes: xyxy.
        scores: from 0 upward.
        labels: dense indices.
        overlap: intersection over union from which on the linear decay lowers a score; the Gaussian one has no border.
        most: how many of the best are returned; the work stops there.
        decay: a better box with the intersection over union u multiplies the score by 1 - u (``linear``), or by
            exp(-u ** 2 / sigma) (``gaussian``).
        sigma: width of the Gaussian decay.

    Source:
        Bodla et al., Soft-NMS: improving object detection with one line of code, ICCV 2017, figure 2 and section 3.
    """
    order = labels.argsort(stable=True)
    places, left, classes = _numbers(boxes[order], scores[order], labels[order])
    starts, ends = classes.searchsorted(classes), classes.searchsorted(classes, "right")
    rows: list[int] = []
    found: list[float] = []
    for _ in range(len(left))[:most]:
        top = int(left.argmax())
        rows.append(top)
        found.append(left[top])
        left[top] = -1  # taken
        rivals = slice(starts[top], ends[top])
        shared = _iou(places[:, top], places[:, rivals])
        factor = np.where(shared >= overlap, 1 - shared, 1) if decay == "linear" else np.exp(-(shared**2) / sigma)
        np.multiply(left[rivals], factor, out=left[rivals], where=left[rivals] > 0)
    at = order[torch.tensor(rows, dtype=torch.int64, device=order.device)]
    return boxes[at], torch.tensor(found, dtype=torch.float64).to(scores), labels[at]


def fusion(
    boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float = 0.55, *, most: int | None = None, views: int = 1
) -> Kept:
    """Return the weighted mean of each cluster of boxes of a class: weighted boxes fusion.

    By falling score, a box joins the cluster whose mean so far it overlaps best, if by more than ``overlap``; else it
    founds one.

    Args:
        boxes: xyxy.
        scores: from 0 upward; a box's weight in the mean.  A cluster's score is the mean of its boxes'.
        labels: dense indices.
        overlap: intersection over union above which a box belongs to a cluster.
        most: how many of the best are returned.
        views: how many networks or views of the picture the boxes come from: a cluster of fewer boxes than views has
            its score lowered by that share.

    Source:
        Solovyev et al., Weighted boxes fusion: ensembling boxes from different object detection models, Image and
        Vision Computing 2021, section 3, equations 1 to 4.
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[labels[order].argsort(stable=True)]
    places, weights, classes = _numbers(boxes[order], scores[order], labels[order])
    weights = np.maximum(weights, _LEAST)  # boxes without any score have a mean too
    moments, means = np.zeros_like(places), np.zeros_like(places)
    masses, members = np.zeros_like(weights), np.zeros_like(weights)
    founders: list[int] = []
    start = 0  # of the clusters of this class
    for row, weight in enumerate(weights):
        if row and classes[row] != classes[row - 1]:
            start = len(founders)
        home = len(founders)
        if home > start:
            shared = _iou(places[:, row], means[:, start:home])
            nearest = int(shared.argmax())
            if shared[nearest] > overlap:
                home = start + nearest
        if home == len(founders):
            founders.append(row)
        members[home] += 1
        masses[home] += weight
        moments[:, home] += weight * places[:, row]
        means[:, home] = moments[:, home] / masses[home]
    count = len(founders)
    mean = masses[:count] / members[:count] * np.minimum(members[:count], views) / views
    fused = torch.from_numpy(means[:, :count].T).to(boxes), torch.from_numpy(mean).to(scores)
    first = order[torch.tensor(founders, dtype=torch.int64, device=order.device)]
    return _by_score(*fused, labels[first], torch.arange(count, device=order.device), most)


def unsuppressed(
    boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float = 1.0, *, most: int | None = None
) -> Kept:
    """Return every box: for networks that say each object once."""
    return _by_score(boxes, scores, labels, _all_rows(boxes, scores, labels, overlap), most)


SUPPRESSIONS: dict[str, Callable[..., Kept]] = {
    "nms": nms,
    "nms_agnostic": nms_agnostic,
    "soft_nms": soft_nms,
    "soft_nms_gaussian": partial(soft_nms, decay="gaussian"),
    "fusion": fusion,
    "none": unsuppressed,
}
"""Name -> ``(boxes, scores, labels, overlap, *, most, ...) -> Kept``."""


@torch.library.custom_op("visus::kept", mutates_args=())
def kept(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int, overlap: float) -> Tensor:
    """Return (B, T) bool, which candidates of each picture ``nms`` keeps: one operation, so that a graph can hold it.

    Args:
        boxes: (B, T, 4) xyxy.
        scores: (B, T); one below zero is no candidate.
        labels: (B, T) int64 below ``classes``.
        classes: how many there are.
        overlap: intersection over union above which two boxes of a class are the same object.
    """
    from torchvision import ops

    found = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    for row, (mine, sure, kinds) in enumerate(zip(boxes, scores, labels, strict=True)):
        real = (sure >= 0).nonzero()[:, 0]
        if len(real):
            low = mine[real].min()
            found[row, real[ops.batched_nms(mine[real].double() - low, sure[real].double(), kinds[real], overlap)]] = (
                True
            )
    return found


@kept.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int, overlap: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


@torch.library.custom_op("visus::top", mutates_args=())
def top(scores: Tensor, count: int) -> Tensor:
    """Return (B, count) int64, where the highest of each row's (B, N) scores are, falling; of equal ones the first.

    One operation, so that a graph can hold it: of equal ones ``topk`` takes any, and a runtime others than PyTorch.
    What is no number is lowest.
    """
    found = torch.empty(len(scores), count, dtype=torch.int64, device=scores.device)
    for row, each in enumerate(scores):
        found[row] = best(each.where(~each.isnan(), -torch.inf), count, -torch.inf)
    return found


@top.register_fake
def _(scores: Tensor, count: int) -> Tensor:
    return scores.new_empty((scores.shape[0], count), dtype=torch.int64)


_LEAST = 1e-150
"""Of a denominator, in float64."""


def _by_score(boxes: Tensor, scores: Tensor, labels: Tensor, rows: Tensor, most: int | None) -> Kept:
    """Return some rows by falling score, of equal ones the first."""
    rows = _ranked(scores, rows, most)
    return boxes[rows], scores[rows], labels[rows]


def _ranked(scores: Tensor, rows: Tensor, most: int | None) -> Tensor:
    rows = rows.sort().values
    return rows[scores[rows].argsort(descending=True, stable=True)][:most]


def _nms_rows(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    from torchvision import ops

    start = boxes.min() if len(boxes) else 0  # it takes boxes from 0 upward
    rows: Tensor = ops.batched_nms(boxes.double() - start, scores.double(), labels, overlap)
    return rows


def _agnostic_rows(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    from torchvision import ops

    rows: Tensor = ops.nms(boxes.double(), scores.double(), overlap)
    return rows


def _all_rows(boxes: Tensor, scores: Tensor, labels: Tensor, overlap: float) -> Tensor:
    return torch.arange(len(scores), device=scores.device)


def _numbers(
    boxes: Tensor, scores: Tensor, labels: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return what work in rounds reads: coordinates (4, N), scores (N,) and labels (N,)."""
    places = boxes.detach().double().cpu().T.contiguous()
    return places.numpy(), scores.detach().double().cpu().numpy(), labels.cpu().numpy()


def _iou(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of a box (4,) with boxes (4, N).

    Once a round, on a thousand boxes, where most of the time of ``core.boxes`` would be torch's own before it computes.
    """
    (x0, y0, x1, y1), (left, upper, right, lower) = box, boxes
    shared = np.maximum(np.minimum(x1, right) - np.maximum(x0, left), 0)
    shared *= np.maximum(np.minimum(y1, lower) - np.maximum(y0, upper), 0)
    joint = (x1 - x0) * (y1 - y0) + (right - left) * (lower - upper) - shared
    iou: NDArray[np.float64] = shared / np.maximum(joint, _LEAST)
    return iou


REMOVING: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "nms": _nms_rows,
    "nms_agnostic": _agnostic_rows,
    "none": _all_rows,
}
"""Those that only remove candidates: name -> ``(boxes, scores, labels, overlap) -> rows``."""
