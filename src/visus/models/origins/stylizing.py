"""Networks that paint in a style: the files of ``models/stylizers``, and those that plug-ins offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models.origins import own
from visus.models.stylizers import STYLIZERS
from visus.models.weights import WeightCard

TASK = "stylize"
"""Which alone can train them."""


def network(name: str, outputs: int, channels: int, size: tuple[int, int], options: Mapping[str, Any]) -> nn.Module:
    """Return the network with fresh weights.

    Raises:
        UsageError: MODEL-028, pictures of other channels than three; an option that it does not have, or a value of the
            wrong type.
    """
    if channels != 3:
        raise UsageError("MODEL-028", f"{name} paints in colour: it reads 3 channels, not {channels}",
                         fix="--set input.channels=3; grey pictures are read as coloured ones")  # fmt: skip
    return own.built(STYLIZERS[name].build, name, (outputs, channels, size), options)


def usual(name: str) -> WeightCard:
    """Return the card for fresh weights: pictures in [-1, 1]."""
    return WeightCard("none", "", True, "", size=(256, 256))


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
    """Return the weights as they are: none are known under other names."""
    return dict(tensors)
