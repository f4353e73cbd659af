"""What is known of pretrained weights: their licence, where they come from, and what pictures they expect to see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings

PERMISSIVE = frozenset(
    {"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "cc-by-4.0", "unlicense"}
)
"""Licences, by SPDX name in lower case, under which weights may be used for anything, sold products included."""


@dataclass(frozen=True)
class WeightCard:
    """Weights one can start from.

    Attributes:
        name: ``resnet18.a1_in1k``, ``none``, or the user's file.
        licence: the SPDX name, or what the publisher calls it; ``unknown`` where nobody says; empty where there are
            none.
        commercial: the licence is known to allow commercial use without terms of its own.
        source: package, address or file they come from.
        mean, std: of each channel, for pixels in [0, 1].
        size: (height, width) they were trained at.
        interpolation, margin: how pictures were resized, and the share of the shorter side that was kept, when they
            were judged.
        outputs: classes they were trained to tell apart; 0 where that is not known.
        trained_on: the data.
        parameters: of the whole network; 0 where that is not known without building it.
        file: where they lie on this machine, or None.
        sha256: of that file, where its publisher fixed it.
        bytes: size of the file, about; 0 where that is not known.
    """

    name: str
    licence: str
    commercial: bool
    source: str
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    size: tuple[int, int] = (224, 224)
    interpolation: str = "bilinear"
    margin: float = 1.0
    outputs: int = 0
    trained_on: str = ""
    parameters: int = 0
    file: Path | None = None
    sha256: str = ""
    bytes: int = 0

    def statistics(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and std for pictures of so many channels.

        Where the weights saw another number, every channel takes the average of theirs.  Grey pictures whose first
        layer was summed over RGB are then seen exactly as RGB ones where the three statistics are equal.
        """
        return _spread(self.mean, channels), _spread(self.std, channels)


def card_of(settings: ModelSettings) -> WeightCard:
    """Return what is known of the weights that the settings start from; it may name a file that is not on this machine.

    Raises:
        UsageError: there is no such network, or it carries no weights of its own.
    """
    from visus.models.origins import origin_of

    origin = origin_of(settings.name)
    if settings.weights == "default":
        return origin.card(settings.name)
    usual = origin.usual(settings.name)
    if settings.weights == "none":
        return usual
    file = Path(settings.weights)
    return as_published(file, settings.name) or _of_file(file, usual)


def as_published(file: Path, network: str) -> WeightCard | None:
    """Return the card of the network's default weights where a user's file is theirs, else None.

    torchvision and timm put the first digits of a file's SHA-256 into its name, by which it is told.
    """
    from dataclasses import replace
    from hashlib import file_digest

    from visus.models.origins import origin_of

    digits = re.search(r"-([0-9a-f]{8})\.pth$", file.name)
    if digits is None or not file.is_file():
        return None
    try:
        published = origin_of(network).card(network)
    except UsageError:  # it has none
        return None
    if Path(published.source).name != file.name:
        return None
    with file.open("rb") as opened:
        same = file_digest(opened, "sha256").hexdigest().startswith(digits[1])
    return replace(published, file=file) if same else None


def permits(licence: str) -> bool:
    """Tell whether a licence is known to allow commercial use without terms of its own."""
    return licence.lower() in PERMISSIVE


def check_licence(card: WeightCard, accept: Sequence[str]) -> None:
    """Refuse weights whose licence is not known to allow commercial use, unless the user accepted it.

    Args:
        card: of the weights.
        accept: ``nc`` accepts any licence; otherwise names of licences.

    Raises:
        UsageError: the licence was not accepted.
    """
    if card.commercial or "nc" in accept or card.licence in accept:
        return
    raise UsageError(
        "MODEL-014",
        f"the weights {card.name} are under the licence {card.licence!r}, which is not known to allow commercial use",
        where=card.source,
        fix="other weights, or if your use is allowed: --set data.accept=[nc]",
    )


def missing(card: WeightCard, folder: Path, fix: str = "") -> UsageError:
    """Return the error for weights that are not on this machine: what, from where, how large, and where to put it."""
    size = f" ({card.bytes / 1e6:,.1f} MB)" if card.bytes else ""
    return UsageError(
        "MODEL-013",
        f"the weights {card.name} are not on this machine, and visus downloads nothing by itself",
        where=f"{card.source}{size}",
        looked=str(folder),
        fix=fix
        or "put the file there, or start fresh: --set model.weights=none, or name one: --set model.weights=FILE",
    )


def _of_file(file: Path, usual: WeightCard) -> WeightCard:
    """Return the card of a user's file: its own where visus wrote it, else what is usual for the network."""
    from dataclasses import replace

    from visus.core.errors import DataError
    from visus.core.modelfile import read_card

    mine = replace(usual, name=file.name, licence="yours", commercial=True, source=str(file), file=file, outputs=0)
    if file.suffix != ".safetensors" or not file.is_file():
        return mine
    try:
        card = read_card(file)
    except DataError:  # safetensors without a card of ours
        return mine
    stated = [licence for what, licence in card.licences.items() if what.startswith("weights")]
    strict = [licence for licence in stated if licence not in ("unknown", "yours") and not permits(licence)]
    licence = next(iter(strict or stated), "yours")
    return replace(
        mine, mean=card.input.mean, std=card.input.std, size=card.input.size, interpolation=card.input.interpolation,
        licence=licence, commercial=not strict, outputs=card.architecture.outputs,
        trained_on=str(card.data.get("name", "")),
    )  # fmt: skip


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values if len(values) in (1, channels) else (sum(values) / len(values),) * channels
