"""Networks that paint a picture in a style in one pass, one a file: ``johnson.py`` is "johnson".  It loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from visus.core.catalog import Catalog


@dataclass(frozen=True)
class Stylizer:
    """What a file of this folder offers as ``STYLIZER``.

    Pictures are (B, 3, H, W) in [-1, 1], of any size from 16 pixels a side.  What depends on all places of a picture
    goes through ``_moments.Moments``, and ``reach`` is how many pixels far it sees
    otherwise, so that a large one can be painted in tiles without a seam.

    - A network of one style is ``forward(images) -> images``; its buffer ``painting`` (3, H, W) uint8 holds that style.
    - A network of any style is ``forward(images, paintings) -> images``, a painting for each picture;
      ``described(paintings)`` is all that it takes from them, and ``painted(images, described)`` the rest.

    Attributes:
        build: ``(outputs, channels, size, *, options) -> network`` with fresh weights; ``outputs`` means nothing to
            it.  Its keyword-only arguments, with their types and defaults, are what ``model.options`` may hold.
        description: one line for a listing.
        any_style: of which of the two kinds it is.
        defaults: settings of the recipe that are its own.
        licence: of the code.
    """

    build: Callable[..., Any]
    description: str
    any_style: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"


STYLIZERS: Catalog[Stylizer] = Catalog("visus.models.stylizers", "STYLIZER")
