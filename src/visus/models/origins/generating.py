"""Networks that make pictures: the files of ``models/generators``, and those that plug-ins offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models.generators import GENERATORS
from visus.models.origins import own
from visus.models.weights import WeightCard

TASK = "generate"
"""Which alone can train them."""


def network(name: str, outputs: int, channels: int, size: tuple[int, int], options: Mapping[str, Any]) -> nn.Module:
    """Return the network with fresh weights; ``outputs`` is how many classes of pictures it makes, 0 for no classes.

    Raises:
        UsageError: an option that it does not have, a value of the wrong type, or a size that it cannot make.
    """
    return own.built(GENERATORS[name].build, name, (outputs, channels, size), options)


def usual(name: str) -> WeightCard:
    """Return the card for fresh weights: pictures in [-1, 1]."""
    return WeightCard("none", "", True, "", size=(32, 32))


def card(name: str) -> WeightCard:
    """Refuse: nobody's weights come with it.

    Raises:
        UsageError: always.
    """
    raise UsageError("MODEL-025", f"{name} comes without weights", fix="--set model.weights=FILE, or none")


def read(name: str, card: WeightCard) -> dict[str, Tensor]:
    """Refuse, as ``card`` does.

    Raises:
        UsageError: always.
    """
    raise UsageError("MODEL-025", f"{name} comes without weights", fix="--set model.weights=FILE, or none")


def renamed(name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a known publisher by the network's own names."""
    return GENERATORS[name].renamed(tensors)
