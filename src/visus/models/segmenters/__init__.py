"""Networks that say a class of every pixel, one a file: ``fast.py`` is "fast".  Importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from visus.core.catalog import Catalog
from visus.models.whole import Whole


@dataclass(frozen=True)
class Segmenter(Whole):
    """What a file of this folder offers as ``SEGMENTER``: see ``Whole``; parameters are counted with 21 classes.

    The network is ``forward(images (B, C, H, W)) -> logits (B, K, h, w)``.  Sides are multiples of 32; the logits are
    at any fraction of the picture's size, evenly spread over it.
    """


SEGMENTERS: Catalog[Segmenter] = Catalog("visus.models.segmenters", "SEGMENTER")
