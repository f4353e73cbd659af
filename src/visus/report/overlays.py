"""A map of evidence laid over the picture it is about, with a bar that says what its colours mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visus.report.pictures import contact_sheet
from visus.tasks._captions import font
from visus.tasks._drawing import Drawn, drawn

LONGEST, SHORTEST = 960, 384
"""Pixels of the longer side that a picture is brought to: one in between stays as it is."""

BAR = 34
"""Pixels of the height of the bar."""

_MOST = 0.8  # of the picture is covered where the map is 1
_COLOURS = np.array(
    [(0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39),
     (252, 255, 164)], np.float64,
)  # fmt: skip  # every seventh of matplotlib's inferno, by Smith and van der Walt, CC0
_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_OUTLINE = (255, 255, 255)


def coloured(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the colours of values in [0, 1], (..., 3): even steps look evenly far apart, and brighter is more."""
    places = np.linspace(0, 1, len(_COLOURS))
    found = np.stack([np.interp(values, places, _COLOURS[:, channel]) for channel in range(3)], -1)
    return found.round().astype(np.uint8)


def overlay(
    pixels: NDArray[np.uint8],
    values: NDArray[np.floating],
    words: str,
    box: Sequence[float] | None = None,
    region: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Return the picture, faded to grey, under the colours of a map, with a bar below.

    Args:
        pixels: (H, W, 3).
        values: (H, W) in [0, 1]; where they are 0 the picture is left to be seen.
        words: what is explained, such as "cat 0.93".
        box: x0, y0, x1, y1 of it, where it is an object.
        region: (H, W), where it is some of the pixels; its edge is drawn.
    """
    from PIL import Image

    grey = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    faded = 0.25 * pixels + 0.75 * grey[..., None]
    mixed = _laid(faded, values)
    if region is not None:
        mixed[_edge(region)] = _OUTLINE
    longer = max(pixels.shape[:2])
    side = min(max(longer, SHORTEST), LONGEST)
    objects = [] if box is None else [Drawn(box, "", _OUTLINE)]
    shown = drawn(mixed.round().astype(np.uint8), objects, side)
    sheet = Image.new("RGB", (shown.shape[1], shown.shape[0] + BAR), _PAPER)
    sheet.paste(Image.fromarray(shown), (0, 0))
    sheet.paste(Image.fromarray(_bar(shown.shape[1], words)), (0, shown.shape[0]))
    return np.asarray(sheet)


def filter_sheet(weights: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the filters (N, C, k, k) of a first layer on one sheet: of three channels in colour, grey is 0."""
    shown = weights if weights.shape[1] == 3 else weights.mean(1, keepdims=True)
    scale = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
    levels = (127.5 + 127.5 * shown / np.maximum(scale, 1e-12)).round().astype(np.uint8)
    return contact_sheet([each.transpose(1, 2, 0) for each in levels], side=64)


def map_sheet(maps: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return maps (N, h, w) on one sheet, each from its lowest to its highest value."""
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return contact_sheet(list(coloured((maps - low) / np.maximum(high - low, 1e-12))), side=128)


def _laid(pixels: NDArray[np.float64], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return pixels under the colours of a map, which cover them the more the higher it is."""
    share = (_MOST * values)[..., None]
    found: NDArray[np.float64] = pixels * (1 - share) + coloured(values) * share
    return found


def _bar(width: int, words: str) -> NDArray[np.uint8]:
    """Return the bar, (BAR, width, 3): the colours from 0 to 1, and what speaks for what."""
    from PIL import Image, ImageDraw

    sheet = Image.new("RGB", (width, BAR), _PAPER)
    strip = _laid(np.full((10, width, 3), 190.0), np.broadcast_to(np.linspace(0, 1, width), (10, width)))
    sheet.paste(Image.fromarray(strip.round().astype(np.uint8)), (0, 0))
    pen, kind = ImageDraw.Draw(sheet), font(13)
    name = words.encode("utf-8", "replace").decode().replace("\n", " ")
    right = f"speaks for {name}"
    while name and kind.getlength(right) > 0.68 * width:
        name = name[:-1]
        right = f"speaks for {name}..."
    pen.text((4, 14), "says nothing", fill=_INK, font=kind)
    pen.text((width - 4 - kind.getlength(right), 14), right, fill=_INK, font=kind)
    return np.asarray(sheet)


def _edge(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a region that touch what is not of it."""
    inside = region.copy()
    inside[1:] &= region[:-1]
    inside[:-1] &= region[1:]
    inside[:, 1:] &= region[:, :-1]
    inside[:, :-1] &= region[:, 1:]
    found: NDArray[np.bool_] = region & ~inside
    return found
