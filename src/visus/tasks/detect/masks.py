"""How a detector that also outlines what it finds is learned from and read: ``mask_rcnn``.

B pictures, M objects of a picture, R boxes that learn, S places of a mask a side, G places a side of what is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import roi_align

from visus.core.annotations import Boxes
from visus.core.errors import UsageError
from visus.core.recipe import DetectSettings, Recipe
from visus.core.suppression import REMOVING
from visus.core.task import Batch, Raw, Term
from visus.models.detectors.faster_rcnn import FasterRCNN
from visus.models.detectors.mask_rcnn import MASK, MaskRCNN
from visus.tasks.detect.assignment import Objects
from visus.tasks.detect.decoding import MASKS, candidates, finish, finish_in_graph
from visus.tasks.detect.proposals import Drawn, Proposals
from visus.tasks.detect.terms import UNIT, precise, weights

GRID = 4 * MASK
"""Places a side at which the mask of an object is known to the loss, over the object's box, whatever its size."""


class Masks(Proposals):
    """Losses and answers of a network that proposes, judges and outlines.

    To the losses of ``Proposals`` comes that of the masks.  Of each picture it is a mean over the proposals drawn that
    hold an object whose mask is known, and it counts for its objects and one more, as those do.

    Args:
        recipe: its settings.

    Raises:
        UsageError: a loss that does not fit, or a suppression that makes boxes of which no mask was said.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if self.detect.suppression not in REMOVING:
            raise UsageError(
                "USE-069", f"the suppression {self.detect.suppression!r} changes what it keeps, and masks with it",
                fix=f"--set detect.suppression={'|'.join(REMOVING)}",
            )  # fmt: skip

    def seen(
        self,
        model: nn.Module,
        images: Float[Tensor, "B C H W"],
        limits: Float[Tensor, "B 4"],
        settings: DetectSettings,
        *,
        in_graph: bool = False,
    ) -> Raw:
        """Return the objects of each picture after suppression, as candidates with masks.

        Only what stays is outlined, within the box it was given at last, as its authors do; in a graph, where nobody
        knows how many these are, as many as may stay.
        """
        assert isinstance(model, MaskRCNN)
        maps = model.maps(images)
        proposals = model.propose(images, maps).proposals
        logits, corrections = model.judge(images, maps, list(proposals))
        shape = proposals.shape[:2]
        boxes, scores = self.read(proposals, logits.reshape(*shape, -1), corrections.reshape(*shape, -1, 4))
        several = candidates(boxes, scores, limits, settings)
        if in_graph:
            said = finish_in_graph(several, settings, boxes.shape[2])
            label = said["labels"].clamp(min=0)
            logits = model.outline(images, maps, list(said["boxes"]), label.flatten() + 1)
            return {**said, "labels": label, MASKS: precise(logits).sigmoid().reshape(*label.shape, MASK, MASK)}
        found = finish(several, settings)
        labels = torch.cat([one.labels for one in found]).to(images.device)
        masks = model.outline(images, maps, [one.boxes.to(images.device) for one in found], labels + 1)
        most = max((len(one.scores) for one in found), default=0)

        def padded(parts: Sequence[Tensor], fill: float) -> Tensor:
            """Return (B, most, ...) of what is said of each picture's objects."""
            grown = [F.pad(part, (0, 0) * (part.dim() - 1) + (0, most - len(part)), value=fill) for part in parts]
            return torch.stack(grown).to(images.device)

        return {
            "boxes": padded([one.boxes for one in found], 0.0), "scores": padded([one.scores for one in found], -1.0),
            "labels": padded([one.labels for one in found], 0),
            MASKS: padded(torch.split(precise(masks).sigmoid(), [len(one.scores) for one in found]), 0.0),
        }  # fmt: skip

    def _further(
        self, model: FasterRCNN, images: Tensor, maps: Sequence[Tensor], learning: Drawn, batch: Batch
    ) -> dict[str, Term]:
        """Return the loss of the masks, a binary cross entropy of the mask of the class that each proposal shows.

        Source:
            He et al., Mask R-CNN, ICCV 2017, section 3, "Mask representation" and "Multi-task loss".
        """
        assert isinstance(model, MaskRCNN)
        boxes, labels, wanted = list[Tensor](), list[Tensor](), list[Tensor]()
        for row in range(len(batch)):
            truth, known = _of_objects(batch, row)
            which = learning.which[row]
            rows = ((which >= 0) & known[which.clamp(min=0)]).nonzero()[:, 0] if len(known) else which[:0]
            boxes.append(learning.boxes[row][rows])
            labels.append(learning.labels[row][rows])
            wanted.append(targets(truth, learning.objects[row][rows], boxes[-1], which[rows]))
        counts = torch.tensor([len(each) for each in boxes], device=images.device)
        share = weights(batch, counts).repeat_interleave(counts)
        logits = precise(model.outline(images, maps, boxes, torch.cat(labels)))
        surprise = F.binary_cross_entropy_with_logits(logits, torch.cat(wanted).to(logits), reduction="none")
        return {"masks": Term((surprise.mean((1, 2)) * share).sum(), UNIT)}


def grids(boxes: Boxes) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return (M, G, G) the mask of each object over its box, 0 or 1, and (M,) whether it is known.

    That of an object of which nothing is seen any more, though its box is there, is not known.
    """
    masks = np.zeros((len(boxes), GRID, GRID), np.uint8)
    for m, box in enumerate(boxes.xyxy.double().tolist()):
        shape = boxes.shapes[m] if boxes.shapes is not None else None
        if shape is not None and not boxes.crowd[m] and boxes.labels[m] >= 0:
            masks[m] = shape.drawn(box, (GRID, GRID))
    return masks, np.asarray(masks.any((1, 2)))


@torch.no_grad()
def targets(
    masks: Tensor, objects: Float[Tensor, "R 4"], boxes: Float[Tensor, "R 4"], which: Tensor
) -> Float[Tensor, "R S S"]:
    """Return how much of each place of a box the object that it learns covers.

    Args:
        masks: (M, G, G) of the objects, each over its own box.
        objects: xyxy of the object that each box learns.
        boxes: xyxy that learn.
        which: (R,) object that each learns.
    """
    if not len(boxes):
        return boxes.new_zeros(0, MASK, MASK)
    sides = (objects[:, 2:] - objects[:, :2]).repeat(1, 2)
    places = (boxes - objects[:, :2].repeat(1, 2)) / sides * GRID
    rows = torch.cat([which[:, None].to(places), places], 1)
    covered: Tensor = roi_align(masks[:, None].to(places), rows, (MASK, MASK), aligned=True)[:, 0]
    return covered


def _of_objects(batch: Batch, row: int) -> tuple[Tensor, Tensor]:
    """Return masks (M, G, G) of ``objects_of`` a picture, and whether each is known."""
    real = Objects.rows(batch.targets["boxes"][row], batch.targets["labels"][row])
    return batch.targets["masks"][row][real], batch.targets["masked"][row][real]


READING = Masks
