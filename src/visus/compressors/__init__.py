"""How a trained model is made smaller or faster, one method a file: ``int8.py`` is "int8".  It loads no torch.

A method proposes candidates, those that save most first, and is told of each whether it keeps the promise; so it knows
when to stop.  It hears no more of the pictures that judge: whatever else it chooses by, it sees on training pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from visus.core.catalog import Catalog

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visus.core.modelfile import Architecture, Card
    from visus.core.recipe import Recipe
    from visus.core.task import Batch, Task


class Fit(Protocol):
    """Fine-tunes a network on the training part by the engine's own loop."""

    def __call__(self, network: nn.Module, task: Task | None = None, *, rate: float = 0.1, share: float = 1.0) -> None:
        """Leave in ``network`` the weights at the end of a short run that ends at a low rate, in eval mode.

        Args:
            network: asked as the task asks its own.
            task: whose losses are learned; the subject's own by default.
            rate: learning rate, as a share of the one the model was trained with.
            share: of the minutes or steps that the method may use.
        """
        ...


@dataclass(frozen=True)
class Subject:
    """A trained model, and all that a method may use to make it smaller.

    Attributes:
        network: images (B, C, h, w) -> tensors; in float32 and eval mode, on the processor.  Methods change a copy.
        task, recipe, card: that it was trained for, with and as.
        batches: training pictures as the network reads them when it judges, a few hundred at most, the same each time.
        pictures: the same ones as they were decoded, (1, H, W, C) each.
        exported: network -> an .onnx file of it, from decoded pictures to what is said, in float32.
        fit: fine-tunes; only for methods that say they train.
        wanted: settings by dotted key that the user has for the method, such as ``model.name`` of a student.
    """

    network: nn.Module
    task: Task
    recipe: Recipe
    card: Card
    batches: Callable[[], Iterator[Batch]]
    pictures: Callable[[], Iterator[Tensor]]
    exported: Callable[[nn.Module], Path]
    fit: Fit
    wanted: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """What a method proposes: a network, or what becomes of it in a file.

    Attributes:
        settings: that made it, by name, as the user reads them.
        network: in float32 and eval mode.
        rewritten: an .onnx file of it -> the one that is kept, which reads and says the same.  It is asked again once
            what decodes the answers is fitted to them.  Without it the network is kept, as .safetensors.
        architecture: of the network, by which it is built again.
        recipe: settings by dotted key in which it differs from those that trained the model.
    """

    settings: Mapping[str, Any]
    network: nn.Module
    rewritten: Callable[[Path], bytes] | None = None
    architecture: Architecture | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


Proposals: TypeAlias = Generator[Candidate, bool, None]


@dataclass(frozen=True)
class Compressor:
    """What a file of this folder offers as ``COMPRESSOR``.

    Attributes:
        propose: yields candidates and receives of each whether its drop is shown to be within the promise; it ends when
            further ones would save no more, as a rule with the first that keeps it.
        suffix: of what is kept: ``.onnx`` or ``.safetensors``.
        trains: it calls ``Subject.fit``, so it needs a budget and the training part.
        summary: one line for a listing.
        source: where it was published.
        check: refuses a task that ``propose`` would refuse, before anything is measured.
    """

    propose: Callable[[Subject], Proposals]
    suffix: str
    trains: bool
    summary: str
    source: str
    check: Callable[[Task], None] = lambda task: None


COMPRESSORS: Catalog[Compressor] = Catalog("visus.compressors", "COMPRESSOR")
