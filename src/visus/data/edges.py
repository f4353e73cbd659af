"""What becomes of a box that reaches beyond its picture, and how coordinates are written so that they come back."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1."""

DECIMALS = 6
"""To which coordinates in pixels are kept."""


def on_picture(box: Box, size: tuple[int, int], slack: float = 0.0) -> tuple[Box | None, str, str]:
    """Cut a box at the edges of its picture.

    Args:
        box: as a file states it, in pixels.
        size: height and width of the picture; 0 where they are not known, and nothing is cut.
        slack: pixels by which a box may reach beyond the edge without a word, as rounding leaves it.

    Returns:
        What is left of the box, or None; and status and reason for a ``Remark``, empty where there is nothing to say.
    """
    x0, y0, x1, y1 = (round(value, DECIMALS) for value in box)
    if x1 <= x0 or y1 <= y0:
        return None, "skipped", f"the box has no area: {told((x0, y0, x1, y1))}"
    height, width = size
    if not height or not width:
        return (x0, y0, x1, y1), "", ""
    cut = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if cut[2] <= cut[0] or cut[3] <= cut[1]:
        return None, "skipped", f"the box lies outside the picture ({width} x {height}): {told((x0, y0, x1, y1))}"
    beyond = max(-x0, -y0, x1 - width, y1 - height)
    if beyond <= slack:
        return cut, "", ""
    return cut, "clipped", f"the box reaches {beyond:.10g} pixels beyond the picture ({width} x {height})"


def told(box: Box) -> str:
    """Return a box for a message: its two corners."""
    x0, y0, x1, y1 = box
    return f"({x0:.10g}, {y0:.10g}) to ({x1:.10g}, {y1:.10g})"


def decimal(value: float) -> str:
    """Return a coordinate to a millionth of a pixel, without an exponent: ``260``, ``12.34``."""
    return np.format_float_positional(round(value, DECIMALS), trim="-")
