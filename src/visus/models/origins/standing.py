"""Networks that stand on a backbone, their own or one after a colon: ``models/detectors``, ``models/segmenters``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models import smp_parts, torchvision_parts, transformers_parts, trunks
from visus.models.heads import below, head_prefixes
from visus.models.origins import backbone_of, origin_of, own, upper_of
from visus.models.origins.torchvision_zoo import PREFIX
from visus.models.reading import read_tensors
from visus.models.weights import WeightCard, missing

BODY = "backbone.body."


def network(name: str, outputs: int, channels: int, size: tuple[int, int], options: Mapping[str, Any]) -> nn.Module:
    """Return the network with fresh weights.

    Raises:
        UsageError: an option that it does not have, a value of the wrong type, or a backbone that does not do.
    """
    upper, backbone = backbone_of(name)
    if backbone and not upper_of(upper).backbone:
        raise UsageError("MODEL-024", f"{upper} stands on nothing but its own", fix=f"--model {upper}")
    return own.built(upper_of(upper).build, name, (outputs, channels, size, backbone), options)


def usual(name: str) -> WeightCard:
    """Return the card for fresh weights: what pictures the network, or its backbone, is usually given."""
    upper, backbone = backbone_of(name)
    if not backbone or backbone in upper_of(upper).own:
        return WeightCard("none", "", True, "", **upper_of(upper).usual)
    return replace(origin_of(backbone).usual(backbone), size=(320, 320), margin=1.0)


def card(name: str) -> WeightCard:
    """Return the card of the default weights: the whole network's if they are on this machine, or the backbone's.

    Raises:
        UsageError: there are neither.
    """
    upper, backbone = backbone_of(name)
    if not backbone:
        raise UsageError("MODEL-025", f"{upper} comes without weights", fix="--set model.weights=FILE, or none")
    whole = _published(name)
    if whole is not None and whole.file is not None:
        return whole
    try:
        lower = origin_of(backbone).card(backbone)
    except UsageError:
        if whole is None:
            raise
        return whole
    return whole if whole is not None and lower.file is None else lower


def read(name: str, card: WeightCard) -> dict[str, Tensor]:
    """Return the default weights as their publisher named them.

    Raises:
        UsageError: they are not on this machine.
    """
    whole = _published(name)
    if whole is None or card.name != whole.name:
        backbone = backbone_of(name)[1]
        return origin_of(backbone).read(backbone, card)
    if card.file is None:
        upper, backbone = backbone_of(name)
        theirs = backbone in upper_of(upper).own
        raise missing(card, transformers_parts.place() if theirs else torchvision_parts.place(card.source))
    return read_tensors(card.file)


def renamed(name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the network's own names: those of the whole network, or those of a backbone alone below it.

    What the backbone needs for whole pictures only, its last layers, is left out without a word.
    """
    upper, backbone = backbone_of(name)
    if torchvision_parts.is_theirs(tensors) or smp_parts.is_theirs(tensors):
        return upper_of(upper).renamed(tensors)
    if any(key.startswith(BODY) for key in tensors):
        return dict(tensors)
    if not backbone or backbone in upper_of(upper).own:
        return upper_of(upper).renamed(tensors)
    body = trunks.whole(backbone)
    named = origin_of(backbone).renamed(backbone, body, tensors)
    needed = set(model.state_dict())
    heads = head_prefixes(body)
    spare = {key for key in body.state_dict() if BODY + key not in needed} | {
        key for key in named if any(below(key, head) for head in heads)
    }
    return {BODY + key: tensor for key, tensor in named.items() if key not in spare}


def _published(name: str) -> WeightCard | None:
    """Return the card of weights that were published for the whole network, or None."""
    upper, backbone = backbone_of(name)
    if repository := upper_of(upper).own.get(backbone):
        return transformers_parts.card(repository)
    published = upper_of(upper).published.get(backbone.removeprefix(PREFIX))
    return torchvision_parts.card(published) if published else None
