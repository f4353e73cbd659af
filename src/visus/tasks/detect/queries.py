"""How a detector of queries is learned from and read: ``rtdetr_v2`` and ``dfine``.

B pictures, S stages (queries as they were chosen, and after each layer), Q queries of a picture, K classes, M objects
of a picture, R steps of the distribution of a side.

The authors also train on disturbed copies of the objects, shown to the decoder as further queries (contrastive
denoising).  That is left out: the copies would have to be part of what the network is asked, and it is asked with
pictures alone, in training as in judging.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from visus.core.boxes import cxcywh_to_xyxy, overlaps, xyxy_to_cxcywh
from visus.core.recipe import LossSettings, Recipe
from visus.core.task import Batch, Term
from visus.losses import settled
from visus.losses.distribution_focal import distribution_focal
from visus.models.detectors.dfine import steps
from visus.models.trunks import extended
from visus.tasks.detect.matching import objects_of, outside_regions
from visus.tasks.detect.terms import UNIT, class_loss, precise

CLASS_COST, ABSOLUTE_COST, OVERLAP_COST = 2.0, 5.0, 2.0
"""What a class, a box's numbers and its overlap weigh when queries are matched with objects."""
COST_ALPHA, COST_GAMMA = 0.25, 2.0
"""Of the focal loss that the cost of a class is."""
ABSOLUTE_GAIN, FINE_GAIN, DISTILLED_GAIN = 5.0, 0.15, 1.5
"""Factors of the losses of a box's numbers, of its sides' distributions, and of what layers learn of the last one's."""
HEAT = 5.0
"""Temperature at which distributions of two layers are compared."""


class Queries:
    """Losses and answers of a network of queries.

    At each stage every object is matched with one query, which learns it; all others learn that nothing is there.  The
    losses are sums over pictures, in the unit of objects; each picture counts as one object more, so that the
    denominator follows from the targets alone.

    Args:
        recipe: its settings.

    Raises:
        UsageError: a loss that does not fit.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.detect = recipe, recipe.detect
        self.class_loss = class_loss(recipe, ("quality",))
        self.box_loss = settled(LossSettings(name=recipe.detect.box_loss), ("boxes",))

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Term]:
        """Return the losses of classes and boxes at all stages, and of the distributions where a network has them.

        A matched query learns the overlap of its box as the score of its class.  Nothing is learned of a class whose
        box does not even touch, nor by unmatched queries in regions in which nothing is counted.

        Source:
            Zhao et al., DETRs beat YOLOs, CVPR 2024, section 4.3; Carion et al., DETR, ECCV 2020, section 3.1.
        """
        (images,) = batch.inputs
        logits, boxes, *sides = (precise(said) for said in model(images))
        scale = _scale(images).to(boxes)
        pixels = cxcywh_to_xyxy(boxes) * scale
        quality = torch.zeros_like(logits)
        absolute, apart = boxes.new_zeros(()), boxes.new_zeros(())
        fine, distilled = boxes.new_zeros(()), boxes.new_zeros(())
        for row in range(len(batch)):
            objects, labels = objects_of(batch, row)
            objects = objects.to(pixels)
            wanted = xyxy_to_cxcywh(objects / scale)
            stages, queries, at = matches(logits[row], boxes[row], wanted, labels)
            mine = pixels[row, stages, queries]
            shared = overlaps(mine, objects[at]).detach()
            counted = outside_regions(pixels[row].detach().flatten(0, 1), batch, row).reshape(boxes.shape[1:3])
            quality[row] = quality[row].where(counted[..., None], -1.0)
            quality[row, stages, queries] = 0.0
            quality[row, stages, queries, labels[at]] = shared.where(shared > 0, -1.0)
            apart = apart + self.box_loss(mine, objects[at]).sum()
            absolute = absolute + (boxes[row, stages, queries] - wanted[at]).abs().sum()
            if sides:
                corners, starts = sides[0][row], sides[1][row]
                layers = stages - (boxes.shape[1] - len(corners))  # the stages that have distributions are the last
                said, learned = _of_sides(corners, starts, logits[row, -1], wanted[at], shared, layers, queries)
                fine = fine + said
                distilled = distilled + (1 + (batch.targets["labels"][row] >= 0).sum()) * learned
        surprise = self.class_loss(logits.flatten(0, 2), quality.flatten(0, 2))
        terms = {
            self.recipe.loss.name: Term(surprise.sum(), UNIT),
            self.detect.box_loss: Term(self.detect.box_gain * apart, UNIT),
            "absolute_error": Term(ABSOLUTE_GAIN * absolute, UNIT),
        }
        if sides:
            terms["fine_grained"] = Term(FINE_GAIN * fine, UNIT)
            terms["distilled"] = Term(DISTILLED_GAIN * distilled, UNIT)
        return terms

    def answer(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Return boxes (B, Q, 4) in pixels, and the score of each class there (B, Q, K), as the last layer says."""
        logits, boxes, *_ = (precise(said) for said in model(images))
        return cxcywh_to_xyxy(boxes[:, -1]) * _scale(images).to(boxes), logits[:, -1].sigmoid()


@torch.no_grad()
def matches(
    logits: Float[Tensor, "S Q K"],
    boxes: Float[Tensor, "S Q 4"],
    wanted: Float[Tensor, "M 4"],
    labels: Int[Tensor, "M"],
) -> tuple[Int[Tensor, "N"], Int[Tensor, "N"], Int[Tensor, "N"]]:
    """Return stage, query and object of every match in one picture: at each stage the one of the lowest total cost.

    Where there are more objects than queries, each query has one.

    Args:
        logits: of each class.
        boxes: middle, width and height, in widths and heights of the picture.
        wanted: boxes of the objects, alike.
        labels: classes of the objects.

    Source:
        Carion et al., DETR, ECCV 2020, eq. 1; the focal cost of a class: Zhu et al., Deformable DETR, ICLR 2021.
    """
    score = logits[..., labels].sigmoid()
    right = COST_ALPHA * (1 - score) ** COST_GAMMA * -(score + 1e-8).log()
    wrong = (1 - COST_ALPHA) * score**COST_GAMMA * -(1 - score + 1e-8).log()
    away = (boxes[:, :, None] - wanted).abs().sum(-1)
    over = overlaps(cxcywh_to_xyxy(boxes)[:, :, None], cxcywh_to_xyxy(wanted), "giou")
    cost = CLASS_COST * (right - wrong) + ABSOLUTE_COST * away - OVERLAP_COST * over
    finite = cost.nan_to_num(*(3 * [torch.finfo(torch.float32).max])).cpu().numpy()
    found = [linear_sum_assignment(stage) for stage in finite]
    stages = torch.arange(len(found)).repeat_interleave(min(boxes.shape[1], len(labels)))
    queries, objects = (torch.cat([torch.from_numpy(each[i]) for each in found]) for i in (0, 1))
    return stages.to(labels.device), queries.to(labels.device), objects.to(labels.device)


def fine_grained(
    corners: Float[Tensor, "N 4 R"], starts: Float[Tensor, "N 4"], wanted: Float[Tensor, "N 4"]
) -> Float[Tensor, "N"]:
    """Return how little each box's distributions say of its sides: cross entropy with the two steps next to the truth.

    Args:
        corners: logits of the steps of left, top, right and bottom.
        starts: the boxes from which sides are moved: middle, width and height.
        wanted: boxes of the objects, alike.

    Returns:
        Sums over the four sides, from 0 upward.

    Source:
        Peng et al., D-FINE, 2024, section 4.1, eq. 5 (without the overlap).
    """
    offsets = torch.cat([starts[:, :2], starts[:, :2]], 1)
    outward = corners.new_tensor([-1.0, -1.0, 1.0, 1.0])
    size = torch.cat([starts[:, 2:], starts[:, 2:]], 1).clamp(min=1e-16)
    moved = outward * (cxcywh_to_xyxy(wanted) - offsets) / size - 0.5
    edges = steps().to(corners)
    moved = moved.clamp(edges[0], edges[-1]).contiguous()
    below = (torch.searchsorted(edges, moved, right=True) - 1).clamp(0, len(edges) - 2)
    at = below + (moved - edges[below]) / (edges[below + 1] - edges[below])
    return 4 * distribution_focal(corners, at)


def taught(
    corners: Float[Tensor, "L Q 4 R"], worth: Float[Tensor, "L Q"], matched: Bool[Tensor, "L Q"]
) -> Float[Tensor, ""]:
    """Return how far the distributions of earlier layers are from the last layer's, which is not to follow them.

    Args:
        corners: logits, of one picture.
        worth: weight of each query: the overlap of its box where it is matched, else the last layer's highest score.
        matched: whether it has an object.

    Returns:
        The sum over earlier layers of a mean over matched and one over unmatched queries, which weigh as the roots of
        how many there are.

    Source:
        Peng et al., D-FINE, 2024, section 4.2, eq. 6; means as in the authors' code.
    """
    last = (corners[-1:].detach() / HEAT).log_softmax(-1)
    mine = (corners[:-1] / HEAT).log_softmax(-1)
    apart = HEAT**2 * worth[:-1] * (last.exp() * (last - mine)).sum(-1).mean(-1)
    parts = torch.stack([matched[:-1], ~matched[:-1]])  # (2, L - 1, Q)
    count = parts.sum(2)
    mean, root = (apart * parts).sum(2) / count.clamp(min=1), count.to(apart).sqrt()
    return ((mean * root).sum(0) / root.sum(0)).sum()


def _of_sides(
    corners: Float[Tensor, "L Q 4 R"],
    starts: Float[Tensor, "Q 4"],
    last: Float[Tensor, "Q K"],
    wanted: Float[Tensor, "N 4"],
    shared: Float[Tensor, "N"],
    layers: Int[Tensor, "N"],
    queries: Int[Tensor, "N"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return what the distributions of one picture say of its objects, and what they learn of the last layer's.

    Args:
        corners: logits of the distributions.
        starts: boxes from which sides are moved.
        last: logits of the classes, after the last layer.
        wanted: the object of each match.
        shared: how far the box of each match overlaps it.
        layers, queries: of each match; layers below 0 have no distributions.
    """
    late = layers >= 0
    layers, queries, shared = layers[late], queries[late], shared[late]
    fine = (shared * fine_grained(corners[layers, queries], starts[queries], wanted[late])).sum()
    worth = last.detach().sigmoid().amax(1).repeat(len(corners), 1)
    worth[layers, queries] = shared
    matched = torch.zeros_like(worth, dtype=torch.bool)
    matched[layers, queries] = True
    return fine, taught(corners, worth, matched)


def _scale(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "4"]:
    """Return width, height, width, height of the pictures as the network reads them: extended to whole strides."""
    height, width = extended((images.shape[2], images.shape[3]))
    return torch.tensor([width, height, width, height], dtype=torch.float32)


READING = Queries
