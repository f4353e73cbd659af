"""The task of multilabel segmentation: from pictures to any number of classes for each pixel, each on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.annotations import StatedMap
from visus.core.errors import UsageError
from visus.core.pixels import IGNORE, MOST_SEVERAL
from visus.core.recipe import Choice, Facts, Recipe
from visus.core.sample import Sample
from visus.core.task import Batch, Prediction, Raw, Target, Term
from visus.losses import reads
from visus.losses._imitation import softened_each
from visus.metrics.multilabel_segmentation import SCORES, MultilabelSegmentation
from visus.tasks.segment.choices import choices
from visus.tasks.segment.sets import ClassSets, sets_brought_home
from visus.tasks.segment.task import IMAGE, PIXEL, REGION, Segment


class SegmentMultilabel(Segment):
    """Several classes, or none, for every pixel (column ``class_sets``); one of which nothing is stated is left out.

    A pixel's loss is the mean over its classes, each judged by a sigmoid of its own, so that to have more of them costs
    no more; losses of regions are the mean over the classes that a picture shows.  Both are sums, over known pixels and
    over pictures that have any.

    Args:
        recipe: its settings.
        classes: names, in the order of the outputs; at most 63.

    Raises:
        UsageError: a score that this task does not have, or too many classes.
    """

    name = "segment_multilabel"
    reads = ("class_sets",)
    scores = SCORES
    judge = MultilabelSegmentation
    column = "labels"
    tiled: Mapping[str, float] = {"bits": -1}
    apart = staticmethod(softened_each)
    outputs: Mapping[str, str] = {
        "bits": "(B, H, W) int64, bit k says whether class k is there, -1 where scores were no numbers",
        "probabilities": "(B, K, H, W) of each class, in [0, 1], whatever the others; above one half it is said",
    }
    legend: Mapping[str, str] = {"wrong": "wrong: pixels of which other classes were said"}

    def __init__(self, recipe: Recipe, classes: Sequence[str]) -> None:
        if len(classes) > MOST_SEVERAL:
            raise UsageError("TASK-002", f"{len(classes):,} classes: a pixel can show {MOST_SEVERAL} at once",
                             fix="keep the classes that matter, or join some")  # fmt: skip
        super().__init__(recipe, classes)

    @staticmethod
    def defaults(facts: Facts) -> Iterator[Choice]:
        """Yield the settings of segmentation, with a loss of classes that are shown or not."""
        yield Choice("loss.name", "binary_cross_entropy", "each class is shown at a pixel or not")
        for choice in choices(facts):
            if choice.key != "loss.name":
                yield choice

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return of how many pixels something is stated, and how many pictures have such a pixel."""
        known = (batch.targets["classes"] >= 0).flatten(1).sum(1)
        return {PIXEL: known.sum(), IMAGE: (known > 0).sum()}

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return the loss of the recipe, summed over known pixels, or over pictures that have any; and its region loss.

        Class weights are factors of a class's term where it is shown, and the weights of a region loss's mean.
        """
        logits, bits = self._logits(model, *batch.inputs), batch.targets["classes"]
        known, terms = bits >= 0, dict[str, Term]()
        shown = bits[:, None] >> torch.arange(len(self.classes), device=bits.device)[:, None, None] & 1
        planes = torch.where(known[:, None], shown, IGNORE).to(torch.uint8)  # (B, K, H, W)
        for name, loss, factor in self._losses:
            if reads(name) == REGION:
                values = factor * loss(logits, planes).where(known.flatten(1).any(1), 0)
                terms[name] = Term(values.sum(), IMAGE)
            else:  # these know an unknown class as -1, and have a row a pixel
                labels = torch.where(known[:, None], shown, -1).movedim(1, -1).flatten(0, 2).to(logits.dtype)
                terms[name] = Term(factor * loss(logits.movedim(1, -1).flatten(0, 2), labels).sum(), PIXEL)
        return terms

    def mean(self, views: Iterable[Tensor]) -> Tensor:
        """Return the logits of the mean probabilities of several views."""
        logits = torch.stack(list(views))
        return F.logsigmoid(logits).logsumexp(0) - F.logsigmoid(-logits).logsumexp(0)

    def decode(self, raw: Raw) -> list[ClassSets]:  # type: ignore[override]  # both are predictions
        """Return the classes of each pixel of each picture."""
        sizes = [(int(height), int(width)) for height, width in raw["originals"].tolist()]
        if "bits" in raw:
            return [
                ClassSets(bits[:height, :width], self.classes, self.palette)
                for bits, (height, width) in zip(raw["bits"], sizes, strict=True)
            ]
        return [
            ClassSets.of(logits, size, self.classes, self.palette)
            for logits, size in zip(raw["logits"], sizes, strict=True)
        ]

    def told(self, logits: Tensor) -> Raw:
        """Return ``outputs`` of logits at home, by operations that a graph can hold."""
        places = torch.tensor([1 << k for k in range(len(self.classes))])[:, None, None]
        bits = ((logits > 0) * places).sum(1).where(logits.isfinite().all(1), -1)
        return {"bits": bits, "probabilities": logits.sigmoid()}

    def targets(self, raw: Raw, label: str = "") -> list[Target]:
        """Return the region of each class that is said, the largest first; or that of one class."""
        said = self._scores(raw)[0] > 0
        sizes = said.flatten(1).sum(1).tolist()
        shown = [k for k, size in enumerate(sizes) if size and label in ("", self.classes[k])]
        return [self._target(raw, said[k], k) for k in sorted(shown, key=lambda k: -sizes[k])]

    def decided(self, logarithms: Tensor, frame: Tensor, size: tuple[int, int], rows: slice) -> tuple[Tensor, ...]:
        """Return what the logarithms of probabilities say of some lines of the original picture: ``tiled``."""
        return sets_brought_home(logarithms, frame, size, rows)

    def logarithms(self, logits: Tensor) -> Tensor:
        """Return the logarithm of the probability of each class at each pixel, whatever the others."""
        return F.logsigmoid(logits)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probability of each class at each pixel, whatever the others."""
        return logits.sigmoid()

    def draw(self, sample: Sample, prediction: Prediction) -> NDArray[np.uint8]:
        """Return the picture under the mixed colours of its classes; where the truth is known, beside it."""
        from visus.tasks.segment.drawing import painted

        assert isinstance(prediction, ClassSets)
        stated = sample.annotations.get("stated_map")
        return painted(sample.image, *prediction.mixed(stated.classes if isinstance(stated, StatedMap) else None))


TASK = SegmentMultilabel
