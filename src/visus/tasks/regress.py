"""Regression: numbers read from a picture, such as a count, a size or an age."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.annotations import Annotation, Numbers
from visus.core.deployment import Deployed
from visus.core.errors import UsageError
from visus.core.recipe import Choice, Facts, Recipe
from visus.core.sample import Sample, Samples
from visus.core.task import Batch, Prediction, Raw, Target, Term, Transform
from visus.losses import settled
from visus.metrics.regression import SCORES, Regression
from visus.tasks._captions import UNJUDGED, captioned
from visus.tasks._choices import whole_pictures
from visus.tasks._scores import chosen

UNIT = "number"
OUTPUTS = {"predictions": "(B, M) the numbers, in the user's units, in the order of the class names"}
"""What the exported network gives."""


@dataclass(frozen=True)
class NumbersPrediction:
    """The numbers said of one picture, by name, in the user's units."""

    values: Mapping[str, float]

    def home(self, frame: Tensor) -> NumbersPrediction:
        """Return itself: a number has no place in the picture."""
        return self

    def json(self) -> dict[str, Any]:
        """Return the numbers by name, null where the network's answer was not finite; ``value`` where there is one."""
        values = {name: value if math.isfinite(value) else None for name, value in self.values.items()}
        alone = {"value": next(iter(values.values()))} if len(values) == 1 else {}
        return {**alone, "values": values}

    def rows(self) -> list[dict[str, Any]]:
        """Return one line: the numbers by name."""
        return [dict(self.json()["values"])]


class Regress:
    """Numbers of a picture (column ``numbers``); what is unknown (NaN) counts neither in the loss nor below it.

    The network learns each number standardised by its mean and deviation over the training part (``target.mean`` and
    ``target.std`` of the recipe, which travels with the weights), so that numbers of any unit train alike; what leaves
    ``raw`` is in the user's units.

    Args:
        recipe: its settings.
        classes: names of the numbers, in the order of the outputs.

    Raises:
        UsageError: a score that this task does not have or that should be small.
    """

    name = "regress"
    reads = ("numbers",)
    scores = SCORES
    players: Mapping[str, str] = {"model": ""}
    group = 1
    legend: Mapping[str, str] = {}

    def __init__(self, recipe: Recipe, classes: Sequence[str]) -> None:
        self.recipe, self.classes = recipe, tuple(classes)
        self.score = chosen(recipe.score, "r2", Regression.scores_of(self.classes))

    @staticmethod
    def defaults(facts: Facts) -> Iterator[Choice]:
        """Yield the settings this task would choose, each with its reason."""
        yield Choice("target.column", "numbers", "the data's main column")
        yield Choice("target.mean", list(facts.means), "of the training part; numbers are learned standardised")
        spread = [d if d > 0 else 1.0 for d in facts.deviations]
        yield Choice("target.std", spread, "of the training part; numbers are learned standardised")
        yield Choice("loss.name", "mean_squared_error", "its minimum is the mean, and R2 measures the same")
        yield from whole_pictures(facts)

    def model(self) -> nn.Module:
        """Return the network: images (B, C, H, W) -> standardised numbers (B, M).

        Raises:
            UsageError: also for a loss that does not fit the task, before anything is trained.
        """
        from visus.models.building import build

        recipe = self.recipe
        _ = self._loss, self._standard
        shape = len(self.classes), recipe.input.channels, recipe.input.size
        return build(recipe.model, *shape, recipe.data.accept, seed=recipe.seed)

    def transforms(self, train: bool) -> Transform:
        """Return what prepares pictures for training or for judging."""
        from visus.transforms.pipeline import build

        return build(self.recipe.input, self.recipe.augment if train else None)

    def collate(self, samples: Samples) -> Batch:
        """Return images (B, C, H, W) and, where they are known, ``numbers`` (B, M), mixed as the pictures are."""
        assert isinstance(samples.images, Tensor), "the transform of this task makes all pictures one size"
        targets = {}
        if "numbers" in samples.columns:
            numbers = torch.as_tensor(samples.columns["numbers"]).float()
            if "partner_numbers" in samples.columns:
                share = torch.as_tensor(samples.columns["share"])[:, None]
                other = torch.as_tensor(samples.columns["partner_numbers"]).float()
                numbers = torch.where(share == 1, numbers, share * numbers + (1 - share) * other)
            targets["numbers"] = numbers
        return Batch(
            (samples.images,), targets, samples.ids, samples.indices, samples.frames, originals=samples.originals
        )

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return how many numbers are known."""
        return {UNIT: (~batch.targets["numbers"].isnan()).sum()}

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return the loss of the recipe on standardised numbers, summed over the known ones."""
        answer = model(*batch.inputs)
        mean, std = (t.to(answer.device) for t in self._standard)
        values = self._loss(answer, (batch.targets["numbers"] - mean) / std)
        return {self.recipe.loss.name: Term(values.sum(), UNIT)}

    def unlike(self, said: Tensor, wanted: Tensor, batch: Batch, temperature: float) -> Tensor:
        """Return (B,) the mean squared difference of standardised numbers from a teacher's."""
        return (said.float() - wanted.float()).square().mean(1)

    def raw(self, model: nn.Module, batch: Batch) -> Raw:
        """Return ``predictions`` (B, M) in the user's units; with ``flips``, the mean over picture and mirror image."""
        return self._read(model, *batch.inputs)

    def merge(self, raws: Sequence[Raw]) -> Raw:
        """Return the mean of predictions."""
        return {"predictions": torch.stack([raw["predictions"] for raw in raws]).mean(0)} if len(raws) > 1 else raws[0]

    def decode(self, raw: Raw) -> list[NumbersPrediction]:
        """Return a prediction a picture."""
        return self.said(raw)

    def deployed(self, network: nn.Module, *, deep: bool = False, size: tuple[int, int] | None = None) -> Deployed:
        """Return pictures -> numbers in the user's units."""
        from visus.transforms.in_graph import Judging

        prepare = Judging(self.recipe.input, deep=deep, size=size)
        return Deployed(prepare, network, lambda net, images, view: self._read(net, images), OUTPUTS)

    def said(self, outputs: Raw) -> list[NumbersPrediction]:
        """Return a prediction a picture."""
        rows = outputs["predictions"].cpu().tolist()
        return [NumbersPrediction(dict(zip(self.classes, row, strict=True))) for row in rows]

    def targets(self, raw: Raw, label: str = "") -> list[Target]:
        """Return every number that is said, in the order of the outputs, or the one that is named."""
        names = (label,) if label else self.classes
        return [self._target(raw, self.classes.index(name)) for name in names]

    def calibrate(self, said: Mapping[str, float]) -> None:
        """Take nothing: numbers are decoded as they are."""

    def annotations(self, columns: Mapping[str, Any], i: int) -> dict[str, Annotation]:
        """Return the numbers of record ``i``."""
        return {"numbers": Numbers(torch.as_tensor(np.asarray(columns["numbers"][i])))} if "numbers" in columns else {}

    def metric(self) -> Regression:
        """Return an empty metric."""
        return Regression(self.classes, score=self.score, resamples=self.recipe.resamples)

    def draw(self, sample: Sample, prediction: Prediction) -> NDArray[np.uint8]:
        """Return the picture with each number said and, in brackets, the true one."""
        assert isinstance(prediction, NumbersPrediction)
        known = sample.annotations.get("numbers")
        truth = known.values.tolist() if isinstance(known, Numbers) else [math.nan] * len(self.classes)
        lines = [
            f"{name} {value:.4g}" + ("" if math.isnan(true) else f" ({true:.4g})")
            for (name, value), true in zip(prediction.values.items(), truth, strict=True)
        ]
        return captioned(sample.image, lines, UNJUDGED)

    def _target(self, raw: Raw, m: int) -> Target:
        """Return number ``m`` as what is asked about: itself, and itself in units of its deviation."""
        unit = float(self._standard[1][m])
        return Target(
            self.classes[m],
            float(raw["predictions"][0, m]),
            lambda raw: raw["predictions"][:, m],
            lambda raw: raw["predictions"][:, m] / unit,
        )

    def _read(self, model: nn.Module, images: Tensor) -> Raw:
        """Return the mean ``predictions`` (B, M) of pictures and, with ``flips``, of their mirror images."""
        mean, std = (t.to(images.device) for t in self._standard)
        views = (images, images.flip(-1)) if self.recipe.flips else (images,)
        return self.merge([{"predictions": model(view).float() * std + mean} for view in views])

    @cached_property
    def _standard(self) -> tuple[Tensor, Tensor]:
        """(M,) mean and deviation of the numbers; 0 and 1 where the recipe holds none.

        Raises:
            UsageError: there are not as many as numbers.
        """
        m = len(self.classes)
        found = []
        for name, given, otherwise in (("mean", self.recipe.target.mean, 0.0), ("std", self.recipe.target.std, 1.0)):
            values = given or (otherwise,) * m
            if len(values) != m:
                raise UsageError("TASK-002", f"target.{name} has {len(values)} values for {m} numbers", fix=f"give {m}")
            found.append(torch.tensor(values))
        return found[0], found[1]

    @cached_property
    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss of the recipe."""
        return settled(self.recipe.loss, ("numbers",))


TASK = Regress
