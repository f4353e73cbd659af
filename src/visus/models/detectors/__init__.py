"""Networks that find objects, one a file: ``anchor_free.py`` is "anchor_free".  Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from visus.core.catalog import Catalog
from visus.models.whole import Whole


@dataclass(frozen=True)
class Detector(Whole):
    """What a file of this folder offers as ``DETECTOR``: see ``Whole``; parameters are counted with 80 classes.

    The network is ``forward(images (B, C, H, W)) -> tensors of B rows``.

    Attributes:
        reading: how its answer is learned from and read: the name of a file of ``tasks/detect``.
        settings: of the recipe, found for it by its authors: ``{"detect.overlap": 0.3}``.
        judging: settings of the recipe by which the publisher of those weights reads their answers.
        masks: it says which pixels an object covers, and learns from such.
    """

    reading: str
    _: KW_ONLY
    settings: Mapping[str, Any] = field(default_factory=dict)
    judging: Mapping[str, Any] = field(default_factory=dict)
    masks: bool = False


DETECTORS: Catalog[Detector] = Catalog("visus.models.detectors", "DETECTOR")
