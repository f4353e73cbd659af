"""Networks of visus itself, one a file: ``resnet_small.py`` is "resnet_small".  Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from visus.core.catalog import Catalog
from visus.models.weights import WeightCard


@dataclass(frozen=True)
class Backbone:
    """What a file of this folder offers as ``BACKBONE``.

    The network it builds is a plain ``nn.Module``: ``forward(images (B, C, H, W)) -> (B, outputs)``, with
    ``forward_features(images) -> (B, D, h, w)`` and a last linear layer that ``heads.head_prefix`` finds.

    Attributes:
        build: ``(outputs, channels, size, *, options) -> network`` with fresh weights.  Its keyword-only arguments,
            with their types and defaults, are what ``model.options`` may hold.
        summary: one line for a listing.
        licence: of the code.
        mean, std: of each channel, for pixels in [0, 1]: what its usual weights expect.
        size: (height, width) it is usually trained at.
        weights: what it carries without a network, the default first; ``read``: card -> tensors as the publisher
            named them.
        renamed: (tensors as a publisher named them, the network's own names in order) -> the same tensors by the
            network's own names; called with tensors that already bear them, it returns them.
        implied: tensors by the network's own names -> the options they can only belong to.
    """

    build: Callable[..., Any]
    summary: str
    licence: str = "Apache-2.0"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    size: tuple[int, int] = (32, 32)
    weights: tuple[WeightCard, ...] = ()
    read: Callable[[WeightCard], dict[str, Any]] | None = None
    renamed: Callable[[Mapping[str, Any], tuple[str, ...]], dict[str, Any]] = lambda tensors, names: dict(tensors)
    implied: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda tensors: {}


BACKBONES: Catalog[Backbone] = Catalog("visus.models.backbones", "BACKBONE")
