"""The task of segmentation: from pictures with a class for each pixel to such a class map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.annotations import Annotation, ClassMap, StatedMap
from visus.core.deployment import Deployed
from visus.core.errors import UsageError, did_you_mean
from visus.core.pixels import IGNORE
from visus.core.recipe import Choice, Facts, LossSettings, Recipe
from visus.core.sample import Sample, Samples
from visus.core.task import Batch, Prediction, Raw, Target, Term, Transform
from visus.losses import reads, settled
from visus.losses._imitation import softened
from visus.metrics.multilabel_segmentation import MultilabelSegmentation
from visus.metrics.segmentation import SCORES, Segmentation
from visus.models.origins import backbone_of
from visus.models.segmenters import SEGMENTERS
from visus.models.trunks import filled, spread
from visus.tasks._class_weights import weights_of
from visus.tasks._scores import chosen
from visus.tasks._tiling import extents_of, framed, limits_of, tiling_of
from visus.tasks.segment.choices import choices
from visus.tasks.segment.colours import palette_of
from visus.tasks.segment.regions import Regions, brought_home, home_size
from visus.tasks.segment.tiling import read_in_tiles
from visus.transforms.tiles import Tiling

PIXEL, IMAGE = "pixel", "image"
REGION = "classes"
"""What the losses of whole pictures learn from; those of pixels learn from ``label``."""


class Segment:
    """One class of several for every pixel (column ``class_map``); pixels of no stated class count nowhere.

    Losses of pixels are sums over the pixels whose class is known, those of regions over the pictures that have any.

    Args:
        recipe: its settings.
        classes: names, in the order of the outputs; at most 255.

    Raises:
        UsageError: a score that this task does not have or that should be small.
    """

    name = "segment"
    reads: tuple[str, ...] = ("class_map",)
    scores: tuple[str, ...] = SCORES
    judge: type[Segmentation | MultilabelSegmentation] = Segmentation
    column = "label"
    """What losses of single pixels learn from."""
    tiled: Mapping[str, float] = {"classes": IGNORE, "scores": 0}
    """What is said of original pixels where pictures are read in tiles, and what stands beyond a picture."""
    apart: Callable[[Tensor, Tensor, float], Tensor] = staticmethod(softened)
    """How far a pixel's logits are from a teacher's."""
    outputs: Mapping[str, str] = {
        "classes": "(B, H, W) uint8, places in the class names, 255 where scores were no numbers",
        "scores": "(B, H, W) the probability of that class, in [0, 1]",
    }
    """What the exported network gives."""
    players: Mapping[str, str] = {"model": ""}
    group = 1
    legend: Mapping[str, str] = {"wrong": "wrong: pixels of another class than was said"}

    def __init__(self, recipe: Recipe, classes: Sequence[str]) -> None:
        self.recipe, self.classes = recipe, tuple(classes)
        self.score = chosen(recipe.score, "miou", self.judge.scores_of(self.classes))
        self.palette = palette_of(recipe.segment.palette, len(self.classes))

    @staticmethod
    def defaults(facts: Facts) -> Iterator[Choice]:
        """Yield the settings this task would choose, each with its reason."""
        yield from choices(facts)

    def model(self) -> nn.Module:
        """Return the network: images (B, C, H, W), of sides that 32 divides, -> logits (B, K, h, w).

        Raises:
            UsageError: a network that says nothing of pixels, or a loss that does not fit, before anything is trained.
        """
        from visus.models.building import build

        recipe = self.recipe
        _ = self._losses
        if backbone_of(recipe.model.name)[0] not in SEGMENTERS:
            near = did_you_mean(recipe.model.name, SEGMENTERS)
            raise UsageError("TASK-003", f"{recipe.model.name} says nothing of single pixels",
                             fix=f"{near}, on it as --model fast:{recipe.model.name}, or on another")  # fmt: skip
        shape = len(self.classes), recipe.input.channels, recipe.input.size
        return build(recipe.model, *shape, recipe.data.accept, seed=recipe.seed)

    def transforms(self, train: bool) -> Transform:
        """Return what prepares pictures for training or for judging."""
        from visus.transforms.pipeline import build

        augment = self.recipe.augment if train else None
        return build(self.recipe.input, augment, self._tiling, counts=self.recipe.target.counts)

    def collate(self, samples: Samples) -> Batch:
        """Return images (B, C, H, W) and, where they are known, ``classes`` (B, H, W) and ``stated``, a list of (h, w).

        The one is in present pixels, the other in original ones: uint8 with 255 where nothing is said, or int64 whose
        bits are classes, with -1.
        """
        images = samples.images if isinstance(samples.images, Tensor) else framed(samples.images)
        targets: dict[str, Any] = {}
        height, width = images.shape[2:]
        if "class_map" in samples.columns:
            maps = [each for each in samples.columns["class_map"] if isinstance(each, ClassMap)]
            targets["classes"] = torch.stack([
                F.pad(each.classes, (0, width - each.classes.shape[1], 0, height - each.classes.shape[0]),
                      value=each.ignore)
                for each in maps
            ])  # fmt: skip
        if "stated_map" in samples.columns:
            targets["stated"] = [each.classes for each in samples.columns["stated_map"] if isinstance(each, StatedMap)]
        return Batch((images,), targets, samples.ids, samples.indices, samples.frames, originals=samples.originals)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return how many pixels have a known class, and how many pictures have such a pixel."""
        known = (batch.targets["classes"] != IGNORE).flatten(1).sum(1)
        return {PIXEL: known.sum(), IMAGE: (known > 0).sum()}

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return the loss of the recipe, summed over known pixels, or over pictures that have any; and its region loss.

        Class weights are factors of a pixel's loss and do not change the number of pixels; a picture's region loss is
        the mean of its classes by these weights.
        """
        logits, classes = self._logits(model, *batch.inputs), batch.targets["classes"]
        known, terms = classes != IGNORE, dict[str, Term]()
        for name, loss, factor in self._losses:
            if reads(name) == REGION:
                values = factor * loss(logits, classes).where(known.flatten(1).any(1), 0)
                terms[name] = Term(values.sum(), IMAGE)
            else:  # these know an unknown class as -1, and have a row a pixel
                rows, label = logits.movedim(1, -1).flatten(0, 2), classes.long().where(known, -1).flatten()
                terms[name] = Term(factor * loss(rows, label).where(label >= 0, 0).sum(), PIXEL)
        return terms

    def unlike(self, said: Tensor, wanted: Tensor, batch: Batch, temperature: float) -> Tensor:
        """Return (B,) how far the logits of pixels are from a teacher's, softened, in the mean over a picture's pixels.

        Source:
            Liu et al., Structured knowledge distillation for semantic segmentation, CVPR 2019, section 3.2, equation 1.
        """
        (images,) = batch.inputs
        rows = [spread(logits.float(), images).movedim(1, -1).flatten(0, 2) for logits in (said, wanted)]
        return self.apart(rows[0], rows[1], temperature).reshape(len(batch), -1).mean(1)

    def raw(self, model: nn.Module, batch: Batch) -> Raw:
        """Return ``logits`` (B, K, H, W) of present pixels and ``originals`` (B, 2), the sizes they belong to.

        With ``flips``, and at several ``scales``, they are the logarithms of mean probabilities of all views.

        In tiles, a large picture's scores are never there at once: it is decided strip by strip (``read_in_tiles``),
        and what is returned is ``tiled`` (B, h, w), of original pixels: ``classes``, uint8, 255 where nothing is said,
        and their ``scores``, filled up to the largest; as many tiles are looked at at once as training shows.
        """
        (images,) = batch.inputs
        if self._tiling is None:
            return {"logits": self._seen(model, images), "originals": batch.originals.to(images.device)}
        said = []
        extents = extents_of(limits_of(batch, images), images, self._tiling)
        for image, frame, original, (high, wide) in zip(images, batch.frames, batch.originals, extents, strict=True):
            size = home_size((high, wide), frame, (int(original[0]), int(original[1])))
            said.append(read_in_tiles(
                image[:, :high, :wide], frame, size, self._tiling, self.recipe.batch,
                lambda tiles: self.logarithms(self._seen(model, tiles)), self.decided,
            ))  # fmt: skip
        sizes = torch.tensor([found[0].shape for found in said])
        height, width = sizes.amax(0).tolist()
        raw: dict[str, Tensor] = {"originals": sizes}
        for (name, beyond), of_name in zip(self.tiled.items(), zip(*said, strict=True), strict=True):
            grown = (
                F.pad(each, (0, width - each.shape[1], 0, height - each.shape[0]), value=beyond) for each in of_name
            )
            raw[name] = torch.stack([each.float() if each.is_floating_point() else each for each in grown])
        return raw

    def merge(self, raws: Sequence[Raw]) -> Raw:
        """Return the logarithms of mean probabilities."""
        if len(raws) == 1:
            return raws[0]
        return {**raws[0], "logits": self.mean(raw["logits"] for raw in raws)}

    def decode(self, raw: Raw) -> list[Regions]:
        """Return the class of each pixel of each picture."""
        sizes = [(int(height), int(width)) for height, width in raw["originals"].tolist()]
        if "classes" in raw:
            return [
                Regions(classes[:height, :width], scores[:height, :width].half(), self.classes, self.palette)
                for classes, scores, (height, width) in zip(raw["classes"], raw["scores"], sizes, strict=True)
            ]
        return [
            Regions.of(logits, size, self.classes, self.palette)
            for logits, size in zip(raw["logits"], sizes, strict=True)
        ]

    def targets(self, raw: Raw, label: str = "") -> list[Target]:
        """Return the region of each class that is shown, the largest first; or that of one class.

        What is asked about is the mean logit of the class over its region.

        Source:
            Vinogradova et al., Towards interpretable semantic segmentation via gradient-weighted class activation
            mapping, AAAI 2020.

        Raises:
            UsageError: the picture was read in tiles, of which no scores are left.
        """
        said = self._scores(raw)[0].argmax(0)
        sizes = torch.bincount(said.flatten(), minlength=len(self.classes)).tolist()
        shown = [k for k, size in enumerate(sizes) if size and label in ("", self.classes[k])]
        return [self._target(raw, said == k, k) for k in sorted(shown, key=lambda k: -sizes[k])]

    def deployed(self, network: nn.Module, *, deep: bool = False, size: tuple[int, int] | None = None) -> Deployed:
        """Return pictures -> the class of every pixel of theirs, and its probability.

        The scores of all classes are there at the size of the pictures for a moment: four bytes a class and pixel.

        Raises:
            UsageError: TASK-012, pictures are read in tiles.
        """
        from visus.transforms.in_graph import Judging

        if self._tiling is not None:
            raise UsageError("TASK-012", "no graph can hold input.tiles: how many there are depends on the picture",
                             done="nothing was written", fix="train one that reads whole pictures")  # fmt: skip

        def read(net: nn.Module, images: Tensor, view: Any) -> Raw:
            return self.told(view.at_home(self._seen(net, images)))

        return Deployed(Judging(self.recipe.input, deep=deep, size=size), network, read, self.outputs)

    def told(self, logits: Float[Tensor, "B K H W"]) -> Raw:
        """Return ``outputs`` of logits at home, by operations that a graph can hold."""
        best, classes = logits.max(1)
        sure = (best - logits.logsumexp(1)).exp()
        said = classes.to(torch.uint8).where(sure.isfinite(), IGNORE)
        return {"classes": said, "scores": sure.nan_to_num(0).clamp(max=1)}

    def said(self, outputs: Raw) -> Sequence[Prediction]:
        """Return what is said of each picture."""
        return self.decode({name: said.cpu() for name, said in outputs.items()})

    def calibrate(self, said: Mapping[str, float]) -> None:
        """Take nothing: the largest score is the answer."""

    def annotations(self, columns: Mapping[str, Any], i: int) -> dict[str, Annotation]:
        """Return the class map that is stated of record ``i``."""
        return {"stated_map": columns["stated_map"][i]} if "stated_map" in columns else {}

    def metric(self) -> Segmentation | MultilabelSegmentation:
        """Return an empty metric."""
        return self.judge(self.classes, score=self.score, resamples=self.recipe.resamples)

    def draw(self, sample: Sample, prediction: Prediction) -> NDArray[np.uint8]:
        """Return the picture under the colours of its classes; where the truth is known, beside it and its mistakes."""
        from visus.tasks.segment.drawing import painted

        assert isinstance(prediction, Regions)
        stated = sample.annotations.get("stated_map")
        truth = stated.classes if isinstance(stated, StatedMap) else None
        return painted(sample.image, prediction, truth)

    def mean(self, views: Iterable[Float[Tensor, "B K H W"]]) -> Float[Tensor, "B K H W"]:
        """Return the logarithms of the mean probabilities of several views, all of which are never there at once."""
        logs, count = (view.log_softmax(1) for view in views), 1
        total = next(logs)
        for view in logs:
            total, count = torch.logaddexp(total, view), count + 1
        return total - math.log(count)

    def decided(
        self, logarithms: Float[Tensor, "K H W"], frame: Tensor, size: tuple[int, int], rows: slice
    ) -> tuple[Tensor, ...]:
        """Return what the logarithms of probabilities say of some lines of the original picture: ``tiled``."""
        return brought_home(logarithms, frame, size, rows)

    def logarithms(self, logits: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """Return the logarithm of the probability of each class at each pixel."""
        return logits.log_softmax(1)

    def probabilities(self, logits: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """Return the probability of each class at each pixel."""
        return logits.softmax(1)

    def _scores(self, raw: Raw) -> Float[Tensor, "B K H W"]:
        """Return the logits of whole pictures."""
        if "logits" not in raw:
            raise UsageError(
                "TASK-005", "what is read in tiles cannot be explained: its scores are not kept",
                fix="visus explain MODEL FILES, which asks about one tile",
            )  # fmt: skip
        return raw["logits"]

    def _target(self, raw: Raw, region: Tensor, k: int) -> Target:
        """Return class ``k`` on a region as what is asked about: its mean logit, and its mean probability."""

        def value(raw: Raw) -> Tensor:
            return raw["logits"][:, k, region].mean(1)

        def strength(raw: Raw) -> Tensor:
            return self.probabilities(raw["logits"])[:, k, region].mean(1)

        return Target(self.classes[k], float(strength(raw)[0]), value, strength, region=region)

    def _seen(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Return the logits of pictures, or the logarithms of the mean probabilities of several views of them."""
        views = self._views(model, images)
        several = self.recipe.flips or len(self.recipe.segment.scales) > 1
        return self.mean(views) if several else next(views)

    def _views(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> Iterator[Float[Tensor, "B K H W"]]:
        """Yield what the network says of pictures at each scale, as they are and mirrored, at their present pixels.

        Raises:
            UsageError: the network reads pictures of one size alone.
        """
        size = (images.shape[2], images.shape[3])
        for scale in self.recipe.segment.scales:
            seen = images
            if (scaled := tuple(max(1, round(scale * side)) for side in size)) != size:
                if any(getattr(module, "reads_one_size", False) for module in model.modules()):
                    raise UsageError("TASK-004", f"segment.scales: {self.recipe.model.name} reads pictures of one size",
                                     fix="--set segment.scales=[1]")  # fmt: skip
                seen = F.interpolate(images, scaled, mode="bilinear", align_corners=False, antialias=True)
            for mirrored in (False, True)[: 1 + self.recipe.flips]:
                logits = self._logits(model, seen.flip(-1) if mirrored else seen)
                logits = logits.flip(-1) if mirrored else logits
                yield logits if seen is images else F.interpolate(logits, size, mode="bilinear", align_corners=False)

    @cached_property
    def _tiling(self) -> Tiling | None:
        return tiling_of(self.recipe.input)

    def _logits(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Return logits of every pixel, at least float32.

        The network reads pictures of sides that 32 divides, extended by zeros, whose answers are cut off.
        """
        logits: Tensor = model(filled(images))
        return spread(logits.to(torch.promote_types(logits.dtype, torch.float32)), images)

    @cached_property
    def _losses(self) -> list[tuple[str, Callable[[Tensor, Tensor], Tensor], float]]:
        """The losses of the recipe: name, function and factor."""
        recipe = self.recipe
        weights = weights_of(recipe, len(self.classes))
        found: list[tuple[str, Callable[[Tensor, Tensor], Tensor], float]] = [
            (recipe.loss.name, settled(recipe.loss, (self.column, REGION), weights), 1.0)
        ]
        if beside := recipe.segment.region_loss:
            found.append((beside, settled(LossSettings(name=beside), (REGION,), weights), recipe.segment.region_gain))
        return found


TASK = Segment
