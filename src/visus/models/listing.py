"""What networks there are: how large, their weights' licence, and whether those are on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec

import torch

from visus.core.errors import UsageError
from visus.models.backbones import BACKBONES
from visus.models.detectors import DETECTORS
from visus.models.generators import GENERATORS, Generator
from visus.models.origins import origin_of, own, timm_zoo, torchvision_zoo
from visus.models.segmenters import SEGMENTERS
from visus.models.stylizers import STYLIZERS, Stylizer
from visus.models.whole import Whole

COUNTED = 12
"""Up to so many foreign networks are built (without memory) to count parameters; a longer list would take minutes."""


@dataclass(frozen=True)
class Listed:
    """One line of ``visus list models``.

    Attributes:
        name: as ``model.name``.
        origin: ``visus``, ``timm`` or ``torchvision``.
        parameters: with its default options and as many outputs as its weights have (1,000 without); None where not
            counted.
        weights: name of the default weights; empty where there are none.
        licence: of the weights.
        commercial: that licence is known to allow commercial use.
        present: the weights are on this machine.
        summary: one line, for our own.
    """

    name: str
    origin: str
    parameters: int | None
    weights: str = ""
    licence: str = ""
    commercial: bool = True
    present: bool = False
    summary: str = ""


def available(pattern: str = "") -> list[Listed]:
    """Return the networks whose name holds the pattern (``*`` and ``?`` allowed).

    Without a pattern only our own are listed, and timm is not imported; ``*`` lists everything, ``torchvision:`` that
    library's.
    """
    mine = [_own(name) for name in BACKBONES if _matches(name, pattern)]
    mine += [_standing(name, DETECTORS[name], 80) for name in DETECTORS if _matches(name, pattern)]
    mine += [_standing(name, SEGMENTERS[name], 21) for name in SEGMENTERS if _matches(name, pattern)]
    mine += [_maker(name, GENERATORS[name]) for name in GENERATORS if _matches(name, pattern)]
    mine += [_maker(name, STYLIZERS[name]) for name in STYLIZERS if _matches(name, pattern)]
    if not pattern:
        return mine
    foreign = (
        [] if pattern.startswith(torchvision_zoo.PREFIX) else [n for n in timm_zoo.names() if _matches(n, pattern)]
    )
    vision = [name for name in torchvision_zoo.names() if _matches(name, pattern)]
    count = len(foreign) + len(vision) <= COUNTED
    return [*mine, *_foreign("timm", foreign, count), *_foreign("torchvision", vision, count)]


def _own(name: str) -> Listed:
    backbone = BACKBONES[name]
    if not backbone.weights:
        return Listed(name, "visus", _parameters(name, 1000), summary=backbone.summary)
    card = own.card(name)
    parameters = card.parameters or _parameters(name, card.outputs)
    present = card.file is not None and card.file.is_file()
    return Listed(name, "visus", parameters, card.name, card.licence, card.commercial, present, backbone.summary)


def _standing(name: str, upper: Whole, classes: int) -> Listed:
    summary = upper.summary + (f"; on {upper.backbone}, or {name}:BACKBONE" if upper.backbone else "")
    if upper.own:
        summary += f"; its authors' own: {', '.join(upper.own)}"
    if upper.library and find_spec(upper.library) is None:
        summary += f"; needs visus[{upper.extra}]"
    return Listed(name, "visus", upper.parameters or _parameters(name, classes), summary=summary)


def _maker(name: str, makes: Generator | Stylizer) -> Listed:
    return Listed(name, "visus", _parameters(name, 0), summary=makes.description)


def _foreign(origin: str, names: list[str], count: bool) -> Iterator[Listed]:
    zoo = timm_zoo if origin == "timm" else torchvision_zoo
    for name in names:
        parameters = _parameters(name, 1000) if count else None
        try:
            card = zoo.card(name)
        except UsageError:  # nobody has published weights for it
            yield Listed(name, origin, parameters)
            continue
        yield Listed(name, origin, parameters, card.name, card.licence, card.commercial, card.file is not None)


def _parameters(name: str, outputs: int) -> int:
    """Return the number of parameters, from shapes alone."""
    origin = origin_of(name)
    with torch.device("meta"):
        model = origin.network(name, outputs, 3, origin.usual(name).size, {})
    return sum(parameter.numel() for parameter in model.parameters())


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, f"*{pattern}*") or name == pattern
