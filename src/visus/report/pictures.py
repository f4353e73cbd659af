"""Pictures inside the page: small files as data URIs, and many pictures on one sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SHARP, FLAT = 96, 1024
"""Pictures up to this many pixels a side, or of at most so many colours, are kept exactly (PNG); others become JPEG."""


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture, (H, W), (H, W, 1) or (H, W, 3) uint8, as a PNG file."""
    from PIL import Image

    return _file(Image.fromarray(_rgb(pixels)), "PNG", optimize=True)


def palette_png(classes: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]) -> bytes:
    """Return a map of classes, (H, W) uint8, as a PNG file that holds their numbers and is seen in their colours."""
    from PIL import Image

    image = Image.fromarray(classes)
    levels = [level for colour in palette for level in colour]
    image.putpalette(levels + [0] * (3 * 256 - len(levels)))  # of fewer colours, larger numbers would be cut
    return _file(image, "PNG")  # optimising would number the colours anew


def data_uri(pixels: NDArray[np.uint8], longest: int = 256, quality: int = 82) -> str:
    """Return a picture as a ``data:`` URI, so that the page needs no second file.

    Args:
        pixels: (H, W), (H, W, 1) or (H, W, 3), uint8.
        longest: side in pixels beyond which it is shrunk, antialiased.
        quality: of the JPEG, 1 to 95.
    """
    from PIL import Image

    image = Image.fromarray(_rgb(pixels))
    if max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if max(image.size) <= SHARP or image.getcolors(FLAT):
        kind, file = "png", _file(image, "PNG", optimize=True)
    else:
        kind, file = "jpeg", _file(image, "JPEG", optimize=True, quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]], columns: int = 8, side: int = 96, gap: int = 4, paper: int = 255
) -> NDArray[np.uint8]:
    """Return one (H, W, 3) picture of many, row by row, each fitted into a square without changing its shape.

    Args:
        pictures: (H, W), (H, W, 1) or (H, W, 3), uint8, of any sizes.
        columns: of the sheet; fewer where there are fewer pictures.
        side: of a square, in pixels.
        gap: between squares and around the sheet, in pixels.
        paper: grey value of what is empty.
    """
    from PIL import Image

    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    sheet = np.full((gap + rows * (side + gap), gap + columns * (side + gap), 3), paper, np.uint8)
    for place, pixels in enumerate(pictures):
        image = Image.fromarray(_rgb(pixels))
        scale = side / max(image.size)
        fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(fitted, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)
        top = gap + (place // columns) * (side + gap) + (side - image.height) // 2
        left = gap + (place % columns) * (side + gap) + (side - image.width) // 2
        sheet[top : top + image.height, left : left + image.width] = np.asarray(image)
    return sheet


def _file(image: Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
