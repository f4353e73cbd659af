"""What becomes of a box that reaches beyond its picture, and how coordinates are written so that they come back."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1."""

DECIMALS = 6
"""To which coordinates in pixels are kept."""

SMALLEST = 0.1
"""Pixels: an object whose box is narrower or lower is left out."""


def on_picture(box: Box, size: tuple[int, int], slack: float = 0.0) -> tuple[Box | None, str, str]:
    """Cut a box at the edges of its picture: the one rule of all formats.

    Args:
        box: as a file states it, in pixels.
        size: height and width of the picture; 0 where one is not known, and nothing is cut there.
        slack: pixels by which a box may reach beyond the edge without a word, as rounding leaves it.

    Returns:
        What is left of the box, or None where that is narrower or lower than ``SMALLEST``; and status and reason for a
        ``Remark``, empty where there is nothing to say.
    """
    x0, y0, x1, y1 = (round(value, DECIMALS) for value in box)
    if min(x1 - x0, y1 - y0) < SMALLEST:
        return None, "skipped", f"the box is {x1 - x0:.6g} x {y1 - y0:.6g} pixels: {told((x0, y0, x1, y1))}"
    height, width = (float(side) if side else math.inf for side in size)
    picture = f"the picture ({size[1]} x {size[0]})" if all(size) else "the picture"
    cut = (max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height))
    if min(cut[2] - cut[0], cut[3] - cut[1]) < SMALLEST:
        return None, "skipped", f"the box lies outside {picture}: {told((x0, y0, x1, y1))}"
    beyond = max(-x0, -y0, x1 - width, y1 - height)
    if beyond <= slack:
        return cut, "", ""
    return cut, "clipped", f"the box reaches {beyond:.10g} pixels beyond {picture}"


def told(box: Box) -> str:
    """Return a box for a message: its two corners."""
    x0, y0, x1, y1 = box
    return f"({x0:.10g}, {y0:.10g}) to ({x1:.10g}, {y1:.10g})"


def decimal(value: float) -> str:
    """Return a coordinate to a millionth of a pixel, without an exponent: ``260``, ``12.34``."""
    return np.format_float_positional(round(value, DECIMALS), trim="-")
