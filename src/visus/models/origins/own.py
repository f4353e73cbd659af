"""Our own networks: the files of ``models/backbones``, and those that plug-ins offer."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call
from torch import Tensor, nn

from visus.core.errors import UsageError, did_you_mean
from visus.models.backbones import BACKBONES
from visus.models.weights import WeightCard


def network(name: str, outputs: int, channels: int, size: tuple[int, int], options: Mapping[str, Any]) -> nn.Module:
    """Return the network with fresh weights.

    Raises:
        UsageError: an option that it does not have, or a value of the wrong type.
    """
    return built(BACKBONES[name].build, name, (outputs, channels, size), options)


def built(build: Callable[..., nn.Module], name: str, given: tuple[Any, ...], options: Mapping[str, Any]) -> nn.Module:
    """Return what a file of ours builds, its options checked.

    Args:
        build: of the file.
        name: of the network, for messages.
        given: positional arguments.
        options: keyword arguments.

    Raises:
        UsageError: an option that it does not have, or a value of the wrong type.
    """
    known = options_of(build)
    for key in options:
        if key not in known:
            raise UsageError("MODEL-011", f"{name} has no option {key!r}", fix=did_you_mean(key, known))
    try:
        checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(build)
        model: nn.Module = checked(*given, **options)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise UsageError(
            "MODEL-011", f"{name}: {key} = {first['input']!r}: {first['msg'].lower()}",
            fix=f"its default: --set model.options.{key}={json.dumps(known.get(key))}",
        ) from error  # fmt: skip
    return model


def options_of(build: Callable[..., nn.Module]) -> dict[str, Any]:
    """Return every option of a network with its default."""
    parameters = inspect.signature(build).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def usual(name: str) -> WeightCard:
    """Return the card for fresh weights."""
    backbone = BACKBONES[name]
    return WeightCard("none", "", True, "", mean=backbone.mean, std=backbone.std, size=backbone.size)


def card(name: str) -> WeightCard:
    """Return the card of the weights that come with the network.

    Raises:
        UsageError: none do.
    """
    backbone = BACKBONES[name]
    if not backbone.weights:
        raise UsageError(
            "MODEL-016", f"{name} carries no pretrained weights",
            fix="--set model.weights=none to start fresh, or a network that has some: efficientnet_lite0",
        )  # fmt: skip
    return replace(backbone.weights[0])


def read(name: str, card: WeightCard) -> dict[str, Tensor]:
    """Return the weights that come with the network."""
    read_from = BACKBONES[name].read
    assert read_from is not None, f"{name} offers a weight card but no way to read it"
    return read_from(card)


def renamed(name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a known publisher by the network's own names."""
    return BACKBONES[name].renamed(tensors, tuple(model.state_dict()))
