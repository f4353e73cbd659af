"""All that the engine knows of a problem: the protocol a task keeps, and the values that pass between them.

B samples, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.annotations import Annotation
from visus.core.deployment import Deployed
from visus.core.figures import Figure
from visus.core.recipe import Choice, Facts, Recipe
from visus.core.sample import Sample, Samples
from visus.core.scores import Score
from visus.core.seeds import Draws, derive

PICTURE = "picture"
"""What a task reads that learns from pictures alone: every data set has it."""

Raw = Mapping[str, Tensor]
"""What a network says, in present pixels: every tensor has B rows."""


@dataclass(frozen=True)
class Term:
    """One loss of a batch: a *sum* in a unit of ``Task.counts``, so that splitting a batch changes nothing.

    What is only ``told`` is no loss: it is written to the log, as "told/NAME", and no gradient flows from it.
    """

    sum: Tensor
    unit: str
    told: bool = False


@dataclass(frozen=True)
class Batch:
    """What one forward pass reads.

    Attributes:
        inputs: positional arguments of the model; every tensor has B rows.
        targets: by name, every tensor (or list) has B rows.
        ids: (B,) the user's names.
        indices: (B,) int64 index of each sample in its data set.
        frames: (B, 3, 3) from present pixels to original pixels.
        seed: what random numbers of this batch derive from (the step's, not the run's).
        start: row of the whole step's batch at which this part begins.
        whole: rows of the whole step's batch, over all micro-batches and ranks.
        bad: (id, reason) of samples that should have been here and could not be read.
        originals: (B, 2) int64 height and width of the original pictures; 0 where they are not known.
    """

    inputs: tuple[Tensor, ...]
    targets: Mapping[str, Any]
    ids: tuple[str, ...]
    indices: Tensor
    frames: Tensor
    seed: int = 0
    start: int = 0
    whole: int = 0
    bad: tuple[tuple[str, str], ...] = ()
    originals: Tensor = field(default_factory=lambda: torch.zeros(0, 2, dtype=torch.int64))

    def __post_init__(self) -> None:
        if not len(self.originals):
            object.__setattr__(self, "originals", torch.zeros(len(self), 2, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, start: int, stop: int) -> Batch:
        """Return rows start to stop, which remember where they stood."""
        return replace(
            self,
            inputs=tuple(t[start:stop] for t in self.inputs),
            targets={name: value[start:stop] for name, value in self.targets.items()},
            ids=self.ids[start:stop],
            indices=self.indices[start:stop],
            frames=self.frames[start:stop],
            originals=self.originals[start:stop],
            start=self.start + start,
        )

    def split(self, n: int, group: int = 1) -> list[Batch]:
        """Return parts of at most ``n`` rows in order, as even as whole groups of ``group`` rows allow.

        Even, lest the last one be a single row, of which a normalisation could make no statistic.
        """
        if n >= len(self):
            return [self]
        groups = -(-len(self) // group)
        parts = -(-groups // (n // group))
        ends = [min(len(self), groups * i // parts * group) for i in range(parts + 1)]
        return [self.rows(start, end) for start, end in pairwise(ends)]

    def to(self, device: torch.device, memory_format: torch.memory_format = torch.contiguous_format) -> Batch:
        """Return the batch on a device; 4-d inputs take the memory format."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=True)
            return [move(v) for v in value] if isinstance(value, list) else value

        inputs = tuple(
            t.to(device, non_blocking=True, memory_format=memory_format if t.dim() == 4 else torch.preserve_format)
            for t in self.inputs
        )
        return replace(self, inputs=inputs, targets={k: move(v) for k, v in self.targets.items()})

    def generator(self, name: str, row: int) -> torch.Generator:
        """Return the generator of one sample for one purpose: the same however the batch was split."""
        return torch.Generator().manual_seed(derive(self.seed, name, self.start + row))


class Transform(Protocol):
    """Prepares samples for the network.

    ``partners`` is how many other samples each one is mixed with (MixUp and CutMix 1, mosaic 3); the feed supplies
    them, already read but not yet transformed, with draws of their own.
    """

    partners: int

    def __call__(self, samples: Samples, draws: Draws, partners: Sequence[tuple[Samples, Draws]] = ()) -> Samples:
        """Return the samples as the network wants them."""
        ...


class Condemned(NamedTuple):
    """A picture that ends every process which reads it: left out of steps from ``since`` on, and of every sweep."""

    since: int
    id: str
    why: str


class Feed(Protocol):
    """Turns a step number into a batch.  It holds no state: the same step gives the same bits, whoever asks and when.

    ``waiting`` is the seconds that ``batch`` has kept its caller waiting, ``condemned`` what it has found out about
    pictures by their index: kept elsewhere and put back here, it makes another feed show the same.
    """

    waiting: float
    condemned: dict[int, Condemned]

    @property
    def size(self) -> int:
        """Samples in an epoch."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples in a step, over all ranks."""
        ...

    def batch(self, step: int, without: frozenset[int] = frozenset()) -> Batch:
        """Return this rank's rows of a training step, without the samples of the given indices."""
        ...

    def sweep(self) -> Iterator[Batch]:
        """Yield this rank's share of every sample once, in order, unpadded."""
        ...

    def close(self) -> None:
        """Stop workers."""
        ...


class Prediction(Protocol):
    """What is said about one picture."""

    def home(self, frame: Tensor) -> Self:
        """Return the prediction in original pixels, by a (3, 3) matrix from present pixels to original ones."""
        ...

    def json(self) -> dict[str, Any]:
        """Return plain values with the field's names."""
        ...

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines of a table that say the same: the same names in each, at least one line."""
        ...


@runtime_checkable
class Located(Prediction, Protocol):
    """What was found in one picture, N objects, the highest score first."""

    @property
    def boxes(self) -> Tensor:
        """(N, 4) xyxy in pixels."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """(N,) names of classes."""
        ...

    @property
    def scores(self) -> Tensor:
        """(N,) in [0, 1]."""
        ...


@runtime_checkable
class Mapped(Prediction, Protocol):
    """What is said of every pixel of one picture."""

    @property
    def class_map(self) -> Tensor:
        """(H, W) uint8, the class of each pixel."""
        ...

    @property
    def palette(self) -> Sequence[tuple[int, int, int]]:
        """(K,) the (R, G, B) in which each class is shown."""
        ...


@runtime_checkable
class Layered(Prediction, Protocol):
    """What is said of every pixel of one picture, of which each may show several classes."""

    @property
    def layers(self) -> Mapping[str, Tensor]:
        """(H, W) bool, where each class is that is said anywhere, by its name."""
        ...


@dataclass(frozen=True)
class Target:
    """One thing that is said of a picture, as numbers by which it can be asked why.

    Attributes:
        label: name of the class, or of the number.
        score: how sure it is said, in [0, 1]; of a number, the number itself.
        value: raw -> (B,) what is explained: gradients flow through it, as a logit where the task has one.
        strength: raw -> (B,) how much of it is said, in [0, 1]; of a number, in units of its usual deviation.
        box: (4,) xyxy in present pixels, of an object.
        region: (H, W) bool of present pixels, where it is said of some of them.
    """

    label: str
    score: float
    value: Callable[[Raw], Tensor]
    strength: Callable[[Raw], Tensor]
    box: Tensor | None = None
    region: Tensor | None = None


class Metric(Protocol):
    """Sums that can be merged: over batches, over ranks, over resumed evaluations."""

    def update(self, raw: Raw, batch: Batch) -> None:
        """Count one batch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what was counted: tensors whose rows are concatenated over ranks."""
        ...

    def load(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Replace what was counted by the rows of several states, in order."""
        ...

    def without(self, indices: Sequence[int]) -> Metric:
        """Return a metric that counted the same except for some samples, by their data set index."""
        ...

    def quick(self) -> dict[str, float]:
        """Return the headline values without intervals: cheap enough for every validation."""
        ...

    def compute(self) -> dict[str, Score]:
        """Return every score with its interval."""
        ...

    def figures(self) -> Sequence[Figure]:
        """Return the tables, matrices and curves a reader of the report wants."""
        ...

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return up to ``n`` data set indices under each title worth looking at: best, worst, confident mistakes."""
        ...

    def calibration(self) -> dict[str, float]:
        """Return what judging on held-out data says the decoder should know, such as {"temperature": 1.3}."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A metric whose scores take long when everything is counted already."""

    def seconds(self, n: int) -> float:
        """Return about how long the scores of ``n`` samples take on this machine."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """A task whose scores are of two sets, so dear that a sample of a part is judged in its stead."""

    def most(self, split: str) -> int:
        """Return how many records of a part are judged, at most."""
        ...


@runtime_checkable
class Showing(Protocol):
    """A task whose network shows by itself what it has learned: looked at whenever it is judged."""

    @property
    def command(self) -> str:
        """What a user calls for such pictures; ``{model}`` stands for the model file."""

    def shown(self, model: nn.Module) -> NDArray[np.uint8]:
        """Return one picture (H, W, 3) of what the network makes: always of the same things, so that it grows."""
        ...


@runtime_checkable
class Studying(Protocol):
    """A task that also learns from pictures that are no part of the data: those that ``stylize.style`` names."""

    def study(self, paintings: UInt8[Tensor, "N 3 H W"], photos: UInt8[Tensor, "M 3 H W"]) -> None:
        """Take them, and a few of the data to show what was learned by; both of the size of the input."""
        ...


class Task(Protocol):
    """A problem, with its settings.  ``visus/tasks/NAME.py`` offers the class as ``TASK``: ``TASK(recipe, classes)``.

    Attributes:
        name: the file's name.
        reads: names of the columns it learns from, one of which a data set must have.
        score: the metric that picks the best weights; larger is better.
        scores: every name that it may have, whatever the data; of one number among several, what stands before ``/``.
        players: optimiser name -> prefix of its parameters: ``{"model": ""}``; a GAN has two, stepped in this order.
        group: smallest legal micro-batch: 1; 4 for a minibatch statistic; 0 when the loss needs the whole batch.
        classes: names of what its network tells apart, or makes.
        legend: what the colours of ``draw`` mean where the truth is known, by ``right``, ``wrong`` and ``missed``.
    """

    name: str
    reads: tuple[str, ...]
    score: str
    scores: tuple[str, ...]
    players: Mapping[str, str]
    group: int
    classes: tuple[str, ...]
    legend: Mapping[str, str]

    def __init__(self, recipe: Recipe, classes: Sequence[str]) -> None: ...

    @staticmethod
    def defaults(facts: Facts) -> Iterable[Choice]:
        """Yield the settings this task would choose for such data on such a machine, each with its reason."""
        ...

    def model(self) -> nn.Module:
        """Return the network, with its pretrained weights where the recipe names some."""
        ...

    def transforms(self, train: bool) -> Transform:
        """Return what prepares samples for training or for judging."""
        ...

    def collate(self, samples: Samples) -> Batch:
        """Return one batch of what the transform gave."""
        ...

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return () denominators by unit, from the targets alone: {"image": 8, "pixel": 90112}."""
        ...

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return every loss as a sum in one of the units of ``counts``; none where the player rests at this step."""
        ...

    def raw(self, model: nn.Module, batch: Batch) -> Raw:
        """Return what the network says."""
        ...

    def merge(self, raws: Sequence[Raw]) -> Raw:
        """Return one answer from several views of the same samples (tiles, flips)."""
        ...

    def decode(self, raw: Raw) -> Sequence[Prediction]:
        """Return one prediction a sample."""
        ...

    def targets(self, raw: Raw, label: str = "") -> Sequence[Target]:
        """Return what can be explained of the one picture of ``raw``, the surest or largest first; or of one name."""
        ...

    def deployed(self, network: nn.Module, *, deep: bool = False, size: tuple[int, int] | None = None) -> Deployed:
        """Return the network between the judging transform and what is said, to be exported as one module.

        Its outputs are at home, in original pixels, and are a ``Raw`` for the metric of batches whose frames move
        nothing.

        Args:
            network: in eval mode.
            deep: it reads uint16, else uint8.
            size: (H, W) of all pictures; None for any.

        Raises:
            UsageError: this recipe does what no graph can hold.
        """
        ...

    def said(self, outputs: Raw) -> Sequence[Prediction]:
        """Return one prediction a picture, in original pixels, of what such a module gave.

        Args:
            outputs: of pictures of any sizes, filled up to the largest, and ``originals`` (B, 2), their heights and
                widths.
        """
        ...

    def calibrate(self, said: Mapping[str, float]) -> None:
        """Take what ``Metric.calibration`` found on held-out data, or what a model file remembers of it."""
        ...

    def annotations(self, columns: Mapping[str, Any], i: int) -> dict[str, Annotation]:
        """Return what a data set's columns, and what is marked on its pictures, know of record ``i``, for ``draw``."""
        ...

    def metric(self) -> Metric:
        """Return an empty metric."""
        ...

    def draw(self, sample: Sample, prediction: Prediction) -> NDArray[np.uint8]:
        """Return an (H, W, 3) uint8 picture of a sample with what was said about it."""
        ...
