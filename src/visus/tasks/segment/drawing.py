"""A picture under the colours of its classes, with a legend; where the truth is known, beside it and the mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visus.core.pixels import IGNORE
from visus.tasks._captions import WRONG, font, rgb
from visus.tasks._drawing import LONGEST, SHORTEST, Colour
from visus.tasks.segment.regions import Regions

PANEL = 400
"""Pixels of the longer side of each of the four pictures where the truth is known."""
TINT = 0.55
"""Share of a class's colour in what covers the picture."""

Value = TypeVar("Value", bound=np.generic)

_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_LETTER, _ROW, _SWATCH, _GAP = 18, 26, 16, 7  # of four pictures side by side, which a page shows at half their size
_PANELS = ("picture", "answer", "truth", "mistakes")


def painted(image: Tensor, said: Regions, truth: Tensor | None = None) -> NDArray[np.uint8]:
    """Return an (H, W, 3) picture of what is said of the pixels, with the classes that are shown below it.

    Where the truth is known, the picture itself stands before it, and below them stand the truth, in which what nothing
    is stated of is left as it is, and where the two differ, red on grey.

    Args:
        image: (C, H, W), uint8, uint16 or float32 in [0, 1].
        said: of that picture.
        truth: (h, w) uint8 class of each pixel, 255 where none is stated.
    """
    pixels = _brought(rgb(image), truth is not None)
    answer = fitted(said.class_map.numpy(), pixels.shape)
    whole = tinted(pixels, answer, said.palette)
    shown = np.unique(said.class_map.numpy())
    if truth is not None:
        stated = fitted(truth.cpu().numpy(), pixels.shape)
        grey = np.repeat(pixels.mean(2, keepdims=True), 3, 2) / 2 + 110
        grey[(answer != stated) & (stated != IGNORE)] = WRONG
        panels = [pixels, whole, tinted(pixels, stated, said.palette), grey.clip(0, 255).astype(np.uint8)]
        panels = [_titled(panel, words) for panel, words in zip(panels, _PANELS, strict=True)]
        whole = np.concatenate([np.concatenate(panels[:2], 1), np.concatenate(panels[2:], 1)])
        shown = np.union1d(shown, np.unique(stated))
    classes = [int(k) for k in shown if k < len(said.names)]
    legend = _legend([(said.names[k], said.palette[k]) for k in classes], whole.shape[1])
    return np.concatenate([whole, legend])


def tinted(pixels: NDArray[np.uint8], classes: NDArray[np.uint8], palette: Sequence[Colour]) -> NDArray[np.uint8]:
    """Return (H, W, 3) pixels under the colours of the classes of a map of their size.

    Args:
        pixels: of the picture.
        classes: (H, W); of a number that stands for no class, such as 255, the picture is left as it is.
        palette: (R, G, B) of each class.
    """
    colours = np.zeros((256, 3), np.float32)
    colours[: len(palette)] = palette
    share = np.zeros((256, 1), np.float32)
    share[: len(palette)] = TINT
    mixed = pixels * (1 - share[classes]) + colours[classes] * share[classes]
    return np.asarray(mixed.round().astype(np.uint8))


def fitted(classes: NDArray[Value], shape: Sequence[int]) -> NDArray[Value]:
    """Return a map (h, w) at another size, by nearest neighbour."""
    rows = (2 * np.arange(shape[0]) + 1) * classes.shape[0] // (2 * shape[0])
    columns = (2 * np.arange(shape[1]) + 1) * classes.shape[1] // (2 * shape[1])
    return classes[np.ix_(rows, columns)]


def _titled(pixels: NDArray[np.uint8], words: str) -> NDArray[np.uint8]:
    """Return a picture with words on a plate in its upper left corner."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, int(font(_LETTER).getlength(words)) + 2 * _GAP, _ROW), fill=_INK)
    pen.text((_GAP, 2), words, fill=_PAPER, font=font(_LETTER))
    return np.asarray(image)


def _brought(pixels: NDArray[np.uint8], judged: bool) -> NDArray[np.uint8]:
    """Return a picture at a size at which it can be seen."""
    from PIL import Image

    longer = max(pixels.shape[:2])
    side = PANEL if judged else min(max(longer, SHORTEST), LONGEST)
    if side == longer:
        return pixels
    height, width = (max(1, round(part * side / longer)) for part in pixels.shape[:2])
    how = Image.Resampling.NEAREST if side >= 3 * longer else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize((width, height), how))


def _legend(entries: Sequence[tuple[str, Colour]], width: int) -> NDArray[np.uint8]:
    """Return a strip of colours with names, in as many rows as they need."""
    from PIL import Image, ImageDraw

    rows = list(_rows(entries, width))
    strip = Image.new("RGB", (width, len(rows) * _ROW + _GAP), _PAPER)
    pen = ImageDraw.Draw(strip)
    for i, row in enumerate(rows):
        top = _GAP // 2 + i * _ROW
        for left, name, colour in row:
            pen.rectangle((left, top + 3, left + _SWATCH, top + 3 + _SWATCH), fill=colour, outline=_INK)
            pen.text((left + _SWATCH + _GAP, top + 1), name, fill=_INK, font=font(_LETTER))
    return np.asarray(strip)


def _rows(entries: Sequence[tuple[str, Colour]], width: int) -> Iterator[list[tuple[int, str, Colour]]]:
    """Yield the rows of a legend: from where on, name and colour of each entry."""
    row: list[tuple[int, str, Colour]] = []
    left = _GAP
    for name, colour in entries:
        text = name.encode("utf-8", "replace").decode().replace("\n", " ")
        needed = _SWATCH + 3 * _GAP + int(font(_LETTER).getlength(text))
        if row and left + needed > width:
            yield row
            row, left = [], _GAP
        row.append((left, text, colour))
        left += needed
    if row:
        yield row
