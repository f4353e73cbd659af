"""The task of detection: from pictures with boxes to objects with names and scores."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.annotations import Annotation, Boxes, Stated
from visus.core.boxes import moved, overlaps
from visus.core.deployment import Deployed
from visus.core.errors import UsageError
from visus.core.recipe import Choice, DetectSettings, Facts, Recipe
from visus.core.sample import Sample, Samples
from visus.core.shapes import SoftMasks
from visus.core.task import Batch, Prediction, Raw, Target, Term, Transform
from visus.losses._imitation import at_places
from visus.metrics.detection import Detected, Detection
from visus.models.detectors import DETECTORS
from visus.models.origins import backbone_of
from visus.tasks._scores import chosen
from visus.tasks._tiling import framed, limits_of, tiling_of
from visus.tasks.detect.choices import choices
from visus.tasks.detect.decoding import (
    IN_GRAPH,
    MASKS,
    ORIGINALS,
    candidates,
    finish,
    finish_in_graph,
    joined,
    mirrored,
)
from visus.tasks.detect.terms import IGNORED, UNIT
from visus.tasks.detect.tiling import tiled
from visus.transforms.tiles import Tiling

NOTHING = -1
"""Label of a row of the targets that is there only because another picture has more objects."""


OUTPUTS = {
    "boxes": "(B, N, 4) xyxy in pixels of the pictures; zeros where there is no further object",
    "scores": "(B, N) in [0, 1], falling; -1 where there is no further object",
    "labels": "(B, N) places in the class names; -1 where there is no further object",
    "shown": "(B, N) whether the score is that of the best F1 on the validation part, or higher: what to draw",
}
"""What the exported network gives."""
OF_MASKS = {
    MASKS: "(B, N, S, S) the probability that a place of a grid over the box shows the object, in [0, 1]",
    ORIGINALS: "(B, 2) height and width of the pictures",
}
"""What one that also outlines objects gives beside it."""


class Reading(Protocol):
    """How one kind of network is learned from and read: a file of this folder offers it as ``READING(recipe)``."""

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Term]:
        """Return every loss as a sum in the unit of objects."""
        ...

    def answer(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """Return boxes (B, A, 4) xyxy in pixels, or (B, A, K, 4), and the score of each class there (B, A, K)."""
        ...


@runtime_checkable
class Outlining(Protocol):
    """A reading of a network of masks, which outlines only what stays after suppression."""

    def seen(
        self,
        model: nn.Module,
        images: Float[Tensor, "B C H W"],
        limits: Float[Tensor, "B 4"],
        settings: DetectSettings,
        *,
        in_graph: bool = False,
    ) -> Raw:
        """Return the objects of each picture as candidates with masks."""
        ...


@dataclass(frozen=True)
class Objects:
    """The objects found in one picture, the highest score first.

    Attributes:
        boxes: (N, 4) xyxy in pixels.
        labels: (N,) names of classes.
        scores: (N,) in [0, 1].
        masks: the pixels of each in the original picture, where the network says them.
    """

    boxes: Tensor
    labels: tuple[str, ...]
    scores: Tensor
    masks: SoftMasks | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, str, float]]:
        """Yield box (4,), name and score of each object."""
        return iter(zip(self.boxes, self.labels, self.scores.tolist(), strict=True))

    def home(self, frame: Tensor) -> Objects:
        """Return the objects in original pixels."""
        return replace(self, boxes=moved(self.boxes.double(), frame.double().cpu()))

    def json(self) -> dict[str, Any]:
        """Return boxes, labels and scores, and masks as COCO's compressed run lengths."""
        boxes = [[round(side, 2) for side in box] for box in self.boxes.tolist()]
        said = {"boxes": boxes, "labels": list(self.labels), "scores": self.scores.tolist()}
        if self.masks is not None:
            said["masks"] = [{"size": list(self.masks.size), "counts": runs} for runs in self.runs]
        return said

    @cached_property
    def runs(self) -> list[str]:
        """COCO's compressed run lengths of each object in the original picture; none without masks."""
        return [] if self.masks is None else self.masks.runs(self.boxes.double().numpy())

    def rows(self) -> list[dict[str, Any]]:
        """Return a line an object, and an empty one for a picture without any."""
        said = self.json()
        lines = [
            {"label": label, "score": score, **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))}
            for box, label, score in zip(said["boxes"], said["labels"], said["scores"], strict=True)
        ]
        return lines or [dict.fromkeys(("label", "score", "x0", "y0", "x1", "y1"), "")]


class Detect:
    """Objects of known classes, each in an upright box.

    Args:
        recipe: its settings.
        classes: names, in the order of the outputs.

    Raises:
        UsageError: a score that this task does not have or that should be small.
    """

    name = "detect"
    reads: tuple[str, ...] = ("objects",)
    scores = Detection.SCORES
    players: Mapping[str, str] = {"model": ""}
    group = 1
    legend: Mapping[str, str] = {
        "right": "found: class and place are right",
        "wrong": "wrong: another class, another place, or nothing there",
        "missed": "missed: an object that was not found",
    }

    def __init__(self, recipe: Recipe, classes: Sequence[str]) -> None:
        self.recipe, self.classes = recipe, tuple(classes)
        detector = backbone_of(recipe.model.name)[0]
        self.masks = detector in DETECTORS and DETECTORS[detector].masks
        if self.masks:
            self.reads = ("objects", "masks")
        self.score = chosen(recipe.score, "mask_map" if self.masks else "map", Detection.SCORES)
        self.calibrate({})

    @staticmethod
    def defaults(facts: Facts) -> Iterator[Choice]:
        """Yield the settings this task would choose, each with its reason."""
        yield from choices(facts)

    def model(self) -> nn.Module:
        """Return the network.

        Raises:
            UsageError: also for a loss that does not fit the task, before anything is trained.
        """
        from visus.models.building import build

        recipe = self.recipe
        _ = self._reading
        shape = len(self.classes), recipe.input.channels, recipe.input.size
        return build(recipe.model, *shape, recipe.data.accept, seed=recipe.seed)

    def transforms(self, train: bool) -> Transform:
        """Return what prepares pictures for training or for judging."""
        from visus.transforms.pipeline import build

        return build(self.recipe.input, self.recipe.augment if train else None, self._tiling)

    def collate(self, samples: Samples) -> Batch:
        """Return images (B, C, H, W) and, where they are known, ``boxes`` (B, M, 4), ``labels`` (B, M) and ``stated``.

        Rows beyond a picture's objects have the label -1; regions in which nothing is counted, and objects of unknown
        class, -2.  A network of masks also gets ``masks`` (B, M, G, G), each over its box, and ``masked`` (B, M): which
        are known.
        """
        images = samples.images if isinstance(samples.images, Tensor) else framed(samples.images)
        targets: dict[str, Any] = {}
        if "boxes" in samples.columns:
            marked = [each for each in samples.columns["boxes"] if isinstance(each, Boxes)]
            most = max((len(each.labels) for each in marked), default=0)
            boxes = torch.zeros(len(marked), most, 4)
            labels = torch.full((len(marked), most), NOTHING)
            for row, each in enumerate(marked):
                boxes[row, : len(each.labels)] = each.xyxy
                labels[row, : len(each.labels)] = each.labels.where((each.labels >= 0) & ~each.crowd, IGNORED)
            targets = {"boxes": boxes, "labels": labels, "stated": list(samples.columns["stated"])}
            if self.masks:
                targets |= _masks(marked, most)
            else:  # what nobody looks at does not travel
                targets["stated"] = [
                    replace(one, shapes=None) if isinstance(one, Stated) else one for one in targets["stated"]
                ]
        return Batch((images,), targets, samples.ids, samples.indices, samples.frames, originals=samples.originals)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return how many objects there are, each picture counting as one more."""
        return {UNIT: (batch.targets["labels"] >= 0).sum() + len(batch)}

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return the losses of the network's kind."""
        return self._reading.losses(model, batch)

    @property
    def unteachable(self) -> str:
        """Why no answer of a teacher can be imitated; empty where it can: place by place."""
        kind, name = type(self._reading).__name__, self.recipe.model.name
        return "" if kind in ("Anchors", "Centres", "Places") else f"{name} does not answer place by place"

    def unlike(self, said: Any, wanted: Any, batch: Batch, temperature: float) -> Tensor:
        """Return (B,) how far scores and boxes are from a teacher's, place by place, at any temperature.

        Raises:
            UsageError: COMPRESS-033, the teacher has other places.
        """
        (images,) = batch.inputs
        (boxes, scores), (theirs, sure) = (self._reading.answer(_Said(answer), images) for answer in (said, wanted))
        if boxes.shape != theirs.shape:
            raise UsageError("COMPRESS-033", "no teacher can be imitated: it has other places",
                             done="no weight was moved", fix="a teacher of the same kind of detector")  # fmt: skip
        return at_places(scores, boxes, sure, theirs)

    def raw(self, model: nn.Module, batch: Batch) -> Raw:
        """Return candidates in present pixels: ``boxes`` (B, T, 4), ``scores`` (B, T) and ``labels`` (B, T).

        With ``flips`` those of the mirrored pictures are among them.  With ``tiles`` present pixels are those of whole
        pictures at the tiles' scale, and as many tiles are looked at at once as training shows pictures.
        """
        (images,) = batch.inputs
        limits = limits_of(batch, images)
        if self._tiling is None:
            raw = self._seen(model, images, limits)
        else:
            raw = tiled(
                images, limits, self._tiling, self.recipe.batch, self.detect.candidates,
                lambda tiles, limits: self._seen(model, tiles, limits),
            )  # fmt: skip
        if not self.masks:
            return raw
        present = batch.originals.new_tensor(images.shape[2:]).expand(len(batch), 2)
        return {**raw, ORIGINALS: batch.originals.where(batch.originals > 0, present)}

    def _seen(
        self,
        model: nn.Module,
        images: Float[Tensor, "B C H W"],
        limits: Float[Tensor, "B 4"],
        *,
        in_graph: bool = False,
    ) -> Raw:
        """Return the candidates of pictures or tiles of the network's size, as they are and mirrored."""
        raws = [self._candidates(model, images, limits, in_graph)]
        if self.recipe.flips:
            width = images.shape[-1]
            turned = limits.clone()
            turned[:, 0], turned[:, 2] = width - limits[:, 2], width - limits[:, 0]
            raws.append(mirrored(self._candidates(model, images.flip(-1), turned, in_graph), width))
        return self.merge(raws)

    def _candidates(self, model: nn.Module, images: Tensor, limits: Tensor, in_graph: bool) -> Raw:
        reading = self._reading
        if isinstance(reading, Outlining):
            return reading.seen(model, images, limits, self.detect, in_graph=in_graph)
        return candidates(*reading.answer(model, images), limits, self.detect)

    def merge(self, raws: Sequence[Raw]) -> Raw:
        """Return the candidates of several views together."""
        return joined(list(raws))

    def decode(self, raw: Raw) -> list[Objects]:
        """Return the objects of each picture from the calibrated score on."""
        found = []
        for boxes, scores, labels, masks in self._finish(raw):
            shown = scores >= self.thresholds.to(scores)[labels]
            names = tuple(self.classes[k] for k in labels[shown].tolist())
            found.append(Objects(boxes[shown], names, scores[shown], masks and masks.take(shown.numpy())))
        return found

    def targets(self, raw: Raw, label: str = "") -> list[Target]:
        """Return each object that is found, the surest first; or those of one class.

        What is asked about is the score of its class at the candidate that gave its box.  In a changed picture that is
        the best claim to the same box: the largest product of a candidate's score and the square of its overlap.

        Source:
            Petsiuk et al., Black-box explanation of object detectors via saliency maps (D-RISE), CVPR 2021, section
            3.2; the square keeps the surer candidates of a neighbour apart.
        """
        (found,) = self.decode(raw)
        return [
            Target(name, score, claim, claim, box)
            for box, name, score in found
            if label in ("", name)
            for claim in [partial(_claim, box=box, label=self.classes.index(name))]
        ]

    def deployed(self, network: nn.Module, *, deep: bool = False, size: tuple[int, int] | None = None) -> Deployed:
        """Return pictures -> objects in original pixels.

        Raises:
            UsageError: TASK-012, pictures are read in tiles, or the suppression works in rounds.
        """
        from visus.transforms.in_graph import Judging

        if self._tiling is not None:
            raise _unexportable("input.tiles: how many there are depends on the picture")
        if self.detect.suppression not in IN_GRAPH:
            raise _unexportable(f"detect.suppression = {self.detect.suppression}: it works in rounds, one an object")
        prepare = Judging(self.recipe.input, deep=deep, size=size)
        return Deployed(prepare, network, self._read, {**OUTPUTS, **OF_MASKS} if self.masks else OUTPUTS)

    def said(self, outputs: Raw) -> list[Objects]:
        """Return the objects of each picture that are shown."""
        found = []
        for row, (boxes, scores, labels, shown) in enumerate(
            zip(*(outputs[name].cpu() for name in OUTPUTS), strict=True)
        ):
            names = tuple(self.classes[k] for k in labels[shown].tolist())
            masks = None
            if MASKS in outputs:
                height, width = outputs[ORIGINALS][row].tolist()
                masks = SoftMasks(outputs[MASKS][row].cpu()[shown].numpy(), (height, width))
            found.append(Objects(boxes[shown].double(), names, scores[shown], masks))
        return found

    def _read(self, network: nn.Module, images: Float[Tensor, "B C H W"], view: Any) -> Raw:
        """Return ``OUTPUTS``, and ``OF_MASKS``, by operations that a graph can hold."""
        limits = view.outline.expand(images.shape[0], 4)
        said = finish_in_graph(self._seen(network, images, limits, in_graph=True), self.detect, len(self.classes))
        real = said["scores"] >= 0
        shown = said["scores"] >= self.thresholds.to(images.device)[said["labels"].clamp(min=0)]
        home = torch.where(real[..., None], view.home(said["boxes"]), 0.0)
        size = torch.stack([view.down.extent, view.across.extent]).long().expand(images.shape[0], 2)
        return {**said, "boxes": home, "shown": shown & real, ORIGINALS: size}

    def calibrate(self, said: Mapping[str, float]) -> None:
        """Take the score from which on an object of a class is shown, and is then looked for at the latest."""
        self.detect = self.recipe.detect
        usual = said.get("threshold", self.detect.least)
        self.thresholds = torch.tensor([said.get(f"threshold/{name}", usual) for name in self.classes])
        if (lowest := min(self.thresholds.tolist(), default=usual)) < self.detect.least:
            self.detect = self.detect.model_copy(update={"least": lowest})

    def annotations(self, columns: Mapping[str, Any], i: int) -> dict[str, Annotation]:
        """Return the objects that record ``i`` is known to show."""
        return {"stated": columns["stated"][i]} if "stated" in columns else {}

    def metric(self) -> Detection:
        """Return an empty metric."""
        return Detection(self.classes, score=self.score, resamples=self.recipe.resamples, finish=self._finish)

    def draw(self, sample: Sample, prediction: Prediction) -> NDArray[np.uint8]:
        """Return the picture with what was found."""
        from visus.tasks._drawing import boxed

        assert isinstance(prediction, Objects)
        stated = sample.annotations.get("stated")
        truth = stated if isinstance(stated, Stated) else None
        return boxed(
            sample.image, prediction.boxes, prediction.labels, prediction.scores, self.classes, truth, prediction.runs
        )

    def _finish(self, raw: Raw) -> list[Detected]:
        return finish(raw, self.detect)

    @cached_property
    def _tiling(self) -> Tiling | None:
        return tiling_of(self.recipe.input)

    @cached_property
    def _reading(self) -> Reading:
        kind = DETECTORS[backbone_of(self.recipe.model.name)[0]].reading
        reading: Reading = importlib.import_module(f"visus.tasks.detect.{kind}").READING(self.recipe)
        return reading


class _Said(nn.Module):
    """What a network said, to be read as if it were asked again."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *inputs: Tensor) -> Any:
        """Return the answer."""
        return self.answer


def _claim(raw: Raw, box: Float[Tensor, "4"], label: int) -> Float[Tensor, "B"]:
    """Return how surely an object of a class is said to be in a box: see ``Detect.targets``."""
    boxes, scores = raw["boxes"].detach(), raw["scores"]
    shared = overlaps(boxes, box.to(boxes)).square()
    return (scores * shared).where((raw["labels"] == label) & (scores > 0), 0.0).max(1).values


def _masks(marked: Sequence[Boxes], most: int) -> dict[str, Tensor]:
    """Return the masks of the objects of pictures, each over its box, in ``most`` rows a picture."""
    from visus.tasks.detect.masks import GRID, grids

    masks = torch.zeros(len(marked), most, GRID, GRID, dtype=torch.uint8)
    known = torch.zeros(len(marked), most, dtype=torch.bool)
    for row, each in enumerate(marked):
        drawn, there = grids(each)
        masks[row, : len(each)], known[row, : len(each)] = torch.from_numpy(drawn), torch.from_numpy(there)
    return {"masks": masks, "masked": known}


def _unexportable(why: str) -> UsageError:
    return UsageError("TASK-012", f"no graph can hold this detector: {why}", done="nothing was written",
                      fix="train one that reads whole pictures, with detect.suppression nms")  # fmt: skip


TASK = Detect
