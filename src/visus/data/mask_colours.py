"""Masks whose colours stand for classes: the number of each colour, and what to write where nothing states them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import DataError
from visus.data.paths import shown

LISTED = 12
"""Colours of a mask up to which all are told, as a list that can be copied."""
MOST = 255

_BAND = 1 << 20  # pixels that are looked at at once


def numbered(pixels: NDArray[np.uint8], code: NDArray[np.int64], path: Path) -> NDArray[np.uint8 | np.uint16]:
    """Return (H, W) the number of each pixel's colour.

    Args:
        pixels: (H, W, 3) of a mask.
        code: (N, 4) red, green, blue, and the number that stands for it; each colour once.
        path: of the mask, for the message.

    Raises:
        DataError: DATA-273, a colour stands for nothing.
    """
    keys = _packed(code)
    order = keys.argsort()
    keys, numbers = keys[order], code[order, 3]
    found = np.empty(pixels.shape[:2], np.uint8 if numbers.max() < 256 else np.uint16)
    for rows in _bands(pixels):
        packed = _packed(pixels[rows])
        at = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
        strays = packed[keys[at] != packed]
        if len(strays):
            colour = [int(strays[0]) >> shift & 255 for shift in (16, 8, 0)]
            raise DataError(
                "DATA-273", f"{shown(path)}: the colour {colour} stands for no class",
                where=f"{len(code):,} colours are stated",
                fix=f'name it in classes.json, or ignore it there: {{"classes": [...], "ignore": [{colour}]}}',
            )  # fmt: skip
        found[rows] = numbers[at]
    return found


def unstated(pixels: NDArray[np.uint8], bands: tuple[str, ...], path: Path) -> DataError:
    """Return the error of a mask of colours of which nothing says what they mean, with the list to write.

    Args:
        pixels: (H, W, 3) of the mask.
        bands: its channels, by name.
        path: of the mask.
    """
    colours = _colours(pixels)
    what = f"{shown(path)}: a mask has one number a pixel; this file has {len(bands)} channels ({', '.join(bands)})"
    if (np.ptp(colours, axis=1) == 0).all():
        return DataError("DATA-270", what, fix="its channels are equal: keep one of them, as grey PNG")
    if len(colours) > MOST:
        told = f"{len(colours):,} colours are too many for classes: was it smoothed, or saved as JPEG?"
        return DataError("DATA-270", what, where=told, fix="write the number of its class for each pixel, as grey PNG")
    some = colours[: LISTED if len(colours) <= LISTED else LISTED // 2].tolist()
    listed = json.dumps([{"name": f"class {k}", "color": colour} for k, colour in enumerate(some)])
    more = f", and so on for its {len(colours):,} colours" * (len(some) < len(colours))
    ignored = f'{{"classes": [...], "ignore": [{some[0]}]}}'
    return DataError(
        "DATA-270", f"{what} and {len(colours):,} colours, of which nothing says what they mean",
        fix=f"name them in classes.json: {listed}{more}; where one is no class: {ignored}",
    )  # fmt: skip


def _colours(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (N, 3) the colours of a picture."""
    keys = np.unique(np.concatenate([np.unique(_packed(pixels[rows])) for rows in _bands(pixels)]))
    return np.stack([keys >> shift & 255 for shift in (16, 8, 0)], 1).astype(np.int64)


def _bands(pixels: NDArray[np.uint8]) -> Iterator[slice]:
    """Yield some rows at a time, so that a large mask takes little memory."""
    rows = max(1, _BAND // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        yield slice(top, top + rows)


def _packed(colours: NDArray[np.uint8] | NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return one number for each colour of (..., 3 or more) channels."""
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    return red << np.uint32(16) | green << np.uint32(8) | blue
