"""Classification: which class a picture shows, or which of several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.annotations import Annotation, Label, Labels
from visus.core.deployment import Deployed
from visus.core.recipe import Choice, Facts, Recipe
from visus.core.sample import Sample, Samples
from visus.core.task import Batch, Prediction, Raw, Target, Term, Transform
from visus.losses import reads, settled
from visus.losses._imitation import softened, softened_each
from visus.metrics.classification import SCORES, Classification
from visus.metrics.multilabel import Multilabel
from visus.tasks._captions import RIGHT, UNJUDGED, WRONG, captioned
from visus.tasks._choices import whole_pictures
from visus.tasks._class_weights import weights_of
from visus.tasks._scores import chosen

UNIT = "image"
TOP = 5
OUTPUTS = {
    "logits": "(B, K) unnormalised scores of the classes",
    "probabilities": "(B, K) calibrated: they add up to one, or each is its own where a picture may show several",
    "scores": "(B, 5 or K) the highest probabilities, falling",
    "labels": "(B, 5 or K) the classes they are of, places in the class names",
}
"""What the exported network gives."""


@dataclass(frozen=True)
class ClassPrediction:
    """What is said about one picture.

    Attributes:
        label: the class of the highest score.
        score: its probability.
        top: up to five classes with their probabilities, the highest first.
        shown: where a picture may show several classes, those of a probability above one half; else None.
    """

    label: str
    score: float
    top: tuple[tuple[str, float], ...]
    shown: tuple[str, ...] | None = None

    def home(self, frame: Tensor) -> ClassPrediction:
        """Return itself: a class has no place in the picture."""
        return self

    def json(self) -> dict[str, Any]:
        """Return label, score, the scores of up to five classes, and the labels where there may be several."""
        several = {} if self.shown is None else {"labels": list(self.shown)}
        return {"label": self.label, "score": self.score, **several, "scores": dict(self.top)}

    def rows(self) -> list[dict[str, Any]]:
        """Return one line: label, score and, where there may be several, the labels between semicolons."""
        several = {} if self.shown is None else {"labels": ";".join(self.shown)}
        return [{"label": self.label, "score": self.score, **several}]


class Classify:
    """One class a picture (column ``label``, softmax), or several (column ``labels``, a sigmoid each).

    Pictures whose class is unknown count neither in the loss nor in its denominator.  Where pictures are mixed (MixUp,
    CutMix), so are their classes, in the same shares.

    Args:
        recipe: its settings; ``target.column`` says which of the two.
        classes: names, in the order of the outputs.

    Raises:
        UsageError: a score that this task does not have or that should be small.
    """

    name = "classify"
    reads = ("label", "labels")
    scores = (*SCORES, *Multilabel.SCORES)
    players: Mapping[str, str] = {"model": ""}
    group = 1
    legend: Mapping[str, str] = {"right": "right", "wrong": "wrong"}

    def __init__(self, recipe: Recipe, classes: Sequence[str]) -> None:
        self.recipe, self.classes = recipe, tuple(classes)
        self.column = recipe.target.column or "label"
        self.several = self.column == "labels"
        self.temperature = 1.0
        if self.several:
            self.score = chosen(recipe.score, "average_precision_macro", Multilabel.SCORES)
        else:
            self.score = chosen(recipe.score, "accuracy", Classification.scores_of(len(self.classes)))

    @staticmethod
    def defaults(facts: Facts) -> Iterator[Choice]:
        """Yield the settings this task would choose, each with its reason."""
        yield Choice("target.column", facts.annotation, "the data's main column")
        if facts.annotation == "labels":
            yield Choice("loss.name", "binary_cross_entropy", "a picture may show several classes")
        elif facts.wanted.get("loss.name", "cross_entropy") == "cross_entropy":
            yield Choice("loss.smoothing", 0.1, "keeps probabilities honest and generalises better")
        if facts.wanted.get("loss.class_weights") == "balanced":
            yield Choice("target.counts", list(facts.counts), "training pictures of each class, for balanced weights")
        yield from whole_pictures(facts)

    def model(self) -> nn.Module:
        """Return the network: images (B, C, H, W) -> logits (B, K).

        Raises:
            UsageError: also for a loss that does not fit the task, before anything is trained.
        """
        from visus.models.building import build

        recipe = self.recipe
        _ = self._loss
        shape = len(self.classes), recipe.input.channels, recipe.input.size
        return build(recipe.model, *shape, recipe.data.accept, seed=recipe.seed)

    def transforms(self, train: bool) -> Transform:
        """Return what prepares pictures for training or for judging."""
        from visus.transforms.pipeline import build

        return build(self.recipe.input, self.recipe.augment if train else None)

    def collate(self, samples: Samples) -> Batch:
        """Return images (B, C, H, W) and, where they are known, ``label`` (B,) or ``labels`` (B, K) of 0, 1 and NaN."""
        assert isinstance(samples.images, Tensor), "the transform of this task makes all pictures one size"
        targets = {}
        for name in (self.column, f"partner_{self.column}"):
            if name in samples.columns:
                column = torch.as_tensor(samples.columns[name])
                targets[name] = _known(column) if self.several else column.long()
        if f"partner_{self.column}" in targets:
            targets["share"] = torch.as_tensor(samples.columns["share"])
        return Batch(
            (samples.images,), targets, samples.ids, samples.indices, samples.frames, originals=samples.originals
        )

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return how many pictures are labelled."""
        return {UNIT: self._labelled(batch).sum()}

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return the loss of the recipe, summed over the labelled pictures."""
        values = self._loss(model(*batch.inputs), self._truth(batch))
        return {self.recipe.loss.name: Term(values.where(self._labelled(batch), 0).sum(), UNIT)}

    def unlike(self, said: Tensor, wanted: Tensor, batch: Batch, temperature: float) -> Tensor:
        """Return (B,) how far logits are from a teacher's, softened by a temperature."""
        return (softened_each if self.several else softened)(said, wanted, temperature)

    def raw(self, model: nn.Module, batch: Batch) -> Raw:
        """Return ``logits`` (B, K); with ``flips``, the mean of those of the pictures and of their mirror images."""
        return {"logits": self._logits(model, *batch.inputs)}

    def merge(self, raws: Sequence[Raw]) -> Raw:
        """Return the mean of logits."""
        return {"logits": torch.stack([raw["logits"] for raw in raws]).mean(0)} if len(raws) > 1 else raws[0]

    def decode(self, raw: Raw) -> list[ClassPrediction]:
        """Return a prediction a picture; an answer that is not finite gives every class the score 0."""
        return self.said(self._read(raw["logits"].cpu().double()))  # not every device has float64

    def deployed(self, network: nn.Module, *, deep: bool = False, size: tuple[int, int] | None = None) -> Deployed:
        """Return pictures -> logits, probabilities, and the classes of the highest."""
        from visus.transforms.in_graph import Judging

        prepare = Judging(self.recipe.input, deep=deep, size=size)
        return Deployed(prepare, network, lambda net, images, view: self._read(self._logits(net, images)), OUTPUTS)

    def said(self, outputs: Raw) -> list[ClassPrediction]:
        """Return a prediction a picture."""
        probabilities = outputs["probabilities"]
        predictions = []
        for row, (values, places) in enumerate(
            zip(outputs["scores"].tolist(), outputs["labels"].tolist(), strict=True)
        ):
            top = tuple((self.classes[k], value) for k, value in zip(places, values, strict=True))
            shown = None
            if self.several:
                shown = tuple(self.classes[k] for k in (probabilities[row] > 0.5).nonzero()[:, 0].tolist())
            predictions.append(ClassPrediction(*top[0], top, shown))
        return predictions

    def targets(self, raw: Raw, label: str = "") -> list[Target]:
        """Return the class that is said, where there may be several those that are shown, or the one that is named."""
        (said,) = self.decode(raw)
        names = (label,) if label else said.shown or (said.label,)
        found = [self._target(raw, self.classes.index(name)) for name in names]
        return sorted(found, key=lambda target: -target.score)

    def calibrate(self, said: Mapping[str, float]) -> None:
        """Take the temperature by which logits are divided from now on."""
        self.temperature = said.get("temperature", 1.0)

    def annotations(self, columns: Mapping[str, Any], i: int) -> dict[str, Annotation]:
        """Return the class, or the classes, of record ``i``; nothing where they are unknown."""
        if self.column not in columns:
            return {}
        known = columns[self.column][i]
        if self.several:
            return {"labels": Labels(torch.as_tensor(np.asarray(known)))}
        return {"label": Label(int(known))} if int(known) >= 0 else {}

    def metric(self) -> Classification | Multilabel:
        """Return an empty metric."""
        kind = Multilabel if self.several else Classification
        return kind(self.classes, score=self.score, resamples=self.recipe.resamples, temperature=self.temperature)

    def draw(self, sample: Sample, prediction: Prediction) -> NDArray[np.uint8]:
        """Return the picture with what was said and, framed red where it is another, the truth."""
        assert isinstance(prediction, ClassPrediction)
        if prediction.shown is not None:
            said, lines = set(prediction.shown), [", ".join(prediction.shown) or "nothing"]
        else:
            said, lines = {prediction.label}, [f"{prediction.label} {prediction.score:.0%}"]
        truth = self._shown(sample)
        if truth is None:
            return captioned(sample.image, lines, UNJUDGED)
        if truth == said:
            return captioned(sample.image, lines, RIGHT)
        return captioned(sample.image, [*lines, f"is: {', '.join(sorted(truth)) or 'nothing'}"], WRONG)

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the mean logits (B, K) of pictures and, with ``flips``, of their mirror images."""
        views = (images, images.flip(-1)) if self.recipe.flips else (images,)
        return self.merge([{"logits": model(view).float()} for view in views])["logits"]

    def _read(self, logits: Tensor) -> Raw:
        """Return what follows from logits (B, K): ``OUTPUTS``."""
        probabilities = self._calibrated(logits)
        scores, labels = probabilities.topk(min(TOP, len(self.classes)))
        return {"logits": logits, "probabilities": probabilities, "scores": scores, "labels": labels}

    def _shown(self, sample: Sample) -> set[str] | None:
        """Return the names of the classes a sample is known to show, or None."""
        label, labels = sample.annotations.get("label"), sample.annotations.get("labels")
        if isinstance(label, Label):
            return {self.classes[label.index]}
        if isinstance(labels, Labels):
            return {self.classes[k] for k in (labels.shown == 1).nonzero()[:, 0].tolist()}
        return None

    def _target(self, raw: Raw, k: int) -> Target:
        """Return class ``k`` as what is asked about: its logit, and its probability."""
        score = float(self._probabilities(raw)[0, k])
        return Target(
            self.classes[k], score, lambda raw: raw["logits"][:, k], lambda raw: self._probabilities(raw)[:, k]
        )

    def _probabilities(self, raw: Raw) -> Tensor:
        """Return (B, K) float64; 0 where the network's answer is not finite."""
        return self._calibrated(raw["logits"].cpu().double())  # not every device has float64

    def _calibrated(self, logits: Tensor) -> Tensor:
        """Return (B, K) probabilities; 0 where logits are not finite."""
        calibrated = logits / self.temperature
        return (calibrated.sigmoid() if self.several else calibrated.softmax(1)).nan_to_num(0)

    def _labelled(self, batch: Batch) -> Tensor:
        """Return (B,) bool: the class is known; of mixed pictures, both classes."""
        own = batch.targets[self.column]
        known: Tensor = ~own.isnan().all(1) if self.several else own >= 0
        if "share" in batch.targets and not self.several:
            known = known & ((batch.targets[f"partner_{self.column}"] >= 0) | (batch.targets["share"] == 1))
        return known

    def _truth(self, batch: Batch) -> Tensor:
        """Return what the loss learns from: classes (B,), or the share of each (B, K)."""
        own = batch.targets[self.column]
        mixed = "share" in batch.targets
        if not self.several:
            if not mixed and reads(self.recipe.loss.name) == "label":
                return torch.as_tensor(own)
            own = self._shares(own)
        if not mixed:
            return torch.as_tensor(own)
        other = batch.targets[f"partner_{self.column}"]
        share = batch.targets["share"][:, None]
        mixture = share * own + (1 - share) * (other if self.several else self._shares(other))
        return torch.where(share == 1, own, mixture)

    def _shares(self, label: Tensor) -> Tensor:
        return F.one_hot(label.clamp(min=0), len(self.classes)).float()

    @cached_property
    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss of the recipe; one class a picture is also learned by losses of several, as one against the rest."""
        weights = weights_of(self.recipe, len(self.classes))
        return settled(self.recipe.loss, ("labels",) if self.several else ("label", "labels"), weights)


TASK = Classify


def _known(labels: Tensor) -> Tensor:
    """Return 1 and 0 for what is shown and what is not, NaN for what is unknown (-1, or its uint8, 255)."""
    values = labels.float()
    return values.where((values >= 0) & (values <= 1), torch.nan)
