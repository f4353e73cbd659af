"""Where networks come from: our own files, timm, torchvision, and the user's code.  A name says which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from visus.core.errors import UsageError, nearest
from visus.models.backbones import BACKBONES
from visus.models.detectors import DETECTORS
from visus.models.generators import GENERATORS
from visus.models.segmenters import SEGMENTERS
from visus.models.stylizers import STYLIZERS
from visus.models.weights import WeightCard
from visus.models.whole import Whole

if TYPE_CHECKING:
    from torch import Tensor, nn


@runtime_checkable
class Origin(Protocol):
    """What a module of this folder offers; ``name`` is always the whole ``model.name``."""

    def network(
        self, name: str, outputs: int, channels: int, size: tuple[int, int], options: Mapping[str, Any]
    ) -> nn.Module:
        """Return the network with fresh weights."""
        ...

    def usual(self, name: str) -> WeightCard:
        """Return the card for weights of no file: what pictures such a network is usually given."""
        ...

    def card(self, name: str) -> WeightCard:
        """Return the card of the weights the name carries by default; its ``file`` is None where they are not here."""
        ...

    def read(self, name: str, card: WeightCard) -> dict[str, Tensor]:
        """Return those weights as their publisher named them.  Touches no network; what is not here is an error."""
        ...

    def renamed(self, name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of some publisher by the network's own names, as far as they are known."""
        ...


def origin_of(name: str) -> Origin:
    """Return where a network's name belongs.

    Raises:
        UsageError: nobody knows the name; it is answered with the nearest one.
    """
    from visus.models.origins import generating, own, standing, stylizing, timm_zoo, torchvision_zoo, user_code

    if backbone_of(name)[0]:
        return standing
    if name.startswith("torchvision:"):
        return torchvision_zoo
    if user_code.is_code(name):
        return user_code
    if name in BACKBONES:
        return own
    if name in GENERATORS:
        return generating
    if name in STYLIZERS:
        return stylizing
    if timm_zoo.knows(name):
        return timm_zoo
    if torchvision_zoo.knows(name):
        return torchvision_zoo
    raise UsageError("MODEL-010", f"there is no network named {name!r}", looked=_looked(name), fix=_fix(name))


def backbone_of(name: str) -> tuple[str, str]:
    """Return what stands on a backbone, and which: ``anchor_free:resnet18``, ``fast:csp``; two empty ones for neither.

    The first is a detector or a segmenter; the second is its usual one where none is named.
    """
    upper, _, backbone = name.partition(":")
    return (upper, backbone or upper_of(upper).backbone) if upper in DETECTORS or upper in SEGMENTERS else ("", "")


def upper_of(name: str) -> Whole:
    """Return the detector or segmenter of a name without a backbone."""
    return SEGMENTERS[name] if name in SEGMENTERS else DETECTORS[name]


def _looked(name: str) -> str:
    here = f", and {name}.py" if Path(f"{name}.py").is_file() else ""
    ours = ", ".join([*BACKBONES, *DETECTORS, *SEGMENTERS, *GENERATORS, *STYLIZERS])
    return f"our own ({ours}), timm's and torchvision's names{here}"


def _fix(name: str) -> str:
    from visus.models.origins import timm_zoo

    if name.endswith(".py"):
        return f"name the class in it too: {name}:MyNet"
    guess = (
        nearest(name, [*BACKBONES, *DETECTORS, *SEGMENTERS, *GENERATORS, *STYLIZERS])
        or nearest(name, timm_zoo.names())
        or nearest(name.partition(".")[0], timm_zoo.names())
    )
    return f"did you mean {guess!r}?" if guess else "visus list models"
