"""A picture with what was said about it: enlarged until it can be seen, framed by the verdict, captioned."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

RIGHT, WRONG, UNJUDGED = (46, 139, 87), (200, 40, 50), (110, 110, 110)
SIDE = 192
_FRAME, _LETTER, _MARGIN = 4, 13, 5
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def captioned(image: Tensor, lines: Sequence[str], frame: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return an (H, W, 3) picture in a coloured frame with lines of text below it.

    Args:
        image: (C, H, W), uint8, uint16 or float32 in [0, 1].
        lines: what is written; a line too long for the picture ends in three dots.
        frame: (R, G, B) of the frame.
    """
    from PIL import Image, ImageDraw

    picture = _enlarged(rgb(image))
    width, height = picture.width + 2 * _FRAME, picture.height + 2 * _FRAME
    row = _LETTER + 4
    card = Image.new("RGB", (width, height + len(lines) * row + _MARGIN), _PAPER)
    card.paste(frame, (0, 0, width, height))
    card.paste(picture, (_FRAME, _FRAME))
    pen = ImageDraw.Draw(card)
    for i, line in enumerate(lines):
        text = _shortened(line, width - 2 * _MARGIN)
        pen.text((_MARGIN, height + 2 + i * row), text, fill=_INK, font=font())
    return np.asarray(card)


def rgb(image: Tensor) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 of (C, H, W): grey is repeated, and of other channels the first three are shown."""
    if image.is_floating_point():
        pixels = (image.clamp(0, 1) * 255).round()
    else:
        pixels = image.float() / 257 if str(image.dtype) == "torch.uint16" else image.float()
    shown = pixels[:3] if len(pixels) >= 3 else pixels[:1].expand(3, -1, -1)
    return shown.round().byte().permute(1, 2, 0).numpy()


def _enlarged(pixels: NDArray[np.uint8]):  # type: ignore[no-untyped-def]  # a PIL image, which is imported late
    """Return a picture whose longer side is about 192: small ones by whole factors, so that pixels stay pixels."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    longest = max(picture.size)
    if longest <= SIDE // 2:
        factor = SIDE // longest
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    scale = SIDE / longest
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _shortened(line: str, width: int) -> str:
    """Return one line that fits into ``width`` pixels, without what cannot be drawn."""
    line = line.encode("utf-8", "replace").decode().replace("\n", " ")
    if font().getlength(line) <= width:
        return line
    while line and font().getlength(line + "...") > width:
        line = line[:-1]
    return line + "..."


@cache
def font(letter: int = _LETTER) -> FreeTypeFont | ImageFont:
    """Return DejaVu Sans, which matplotlib brings and which knows most alphabets, in a size in pixels."""
    from PIL import ImageFont

    found = find_spec("matplotlib")
    if found is not None and found.origin:
        file = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(str(file), letter)
    return ImageFont.load_default(letter)
