"""Why a network says what it says, one method a file: ``grad_cam.py`` is "grad_cam".  Importing this loads no torch.

A method answers a ``Question`` with a map of signed evidence over the picture as the network reads it: what is above 0
speaks for what was asked about, what is below speaks against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from visus.core.catalog import Catalog

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Question:
    """Why does a network say this of a picture?

    Attributes:
        network: that says it.
        image: (1, C, H, W) as the network reads it: 0 is the usual level of each channel.
        value: (N, C, H, W) -> (N,) how much of it the network says of pictures; gradients flow through it.
        layer: name of the module at whose maps is looked, for methods that read one.
        seed: of everything random.
        batch: pictures asked about at once.
    """

    network: nn.Module
    image: Tensor
    value: Callable[[Tensor], Tensor]
    layer: str = ""
    seed: int = 0
    batch: int = 16


@dataclass(frozen=True)
class Explainer:
    """What a file of this folder offers as ``EXPLAINER``.

    Attributes:
        explain: question -> (h, w) evidence, evenly spread over the picture.
        reads: what it looks at: the maps of a ``layer``, ``gradients`` at the pixels, ``answers`` alone, or the
            ``attention`` of a transformer.
        summary: one line for a listing.
        source: where it was published.
    """

    explain: Callable[[Question], Tensor]
    reads: Literal["layer", "gradients", "answers", "attention"]
    summary: str
    source: str


EXPLAINERS: Catalog[Explainer] = Catalog("visus.explainers", "EXPLAINER")
