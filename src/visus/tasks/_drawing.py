"""A picture with boxes drawn on it: each object in the colour of its class, or, where the truth is known, of a verdict.

Lines and letters are drawn after the picture was brought to the size it is looked at, so that they stay sharp.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visus.core.annotations import Stated
from visus.core.boxes import pairwise_iou
from visus.tasks._captions import RIGHT, WRONG, font, rgb

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

MISSED = (235, 140, 0)
LONGEST, SHORTEST = 960, 360
"""Pixels of the longer side that a picture is brought to: one in between stays as it is."""
OVERLAP = 0.5
"""Intersection over union from which on an object counts as found."""
_INK = (255, 255, 255)


def boxed(
    image: Tensor,
    boxes: Tensor,
    labels: Sequence[str],
    scores: Tensor | None = None,
    classes: Sequence[str] = (),
    truth: Stated | None = None,
) -> NDArray[np.uint8]:
    """Return an (H, W, 3) picture with boxes, names and scores on it.

    Where the truth is known, what is right is green, what is wrong red, and what was missed dashed orange; otherwise
    each class has a colour.

    Args:
        image: (C, H, W), uint8, uint16 or float32 in [0, 1].
        boxes: (N, 4) xyxy in its pixels.
        labels: (N,) names.
        scores: (N,) in [0, 1], falling; none are written where there are none.
        classes: all names, in the order that gives them their colours.
        truth: what there is.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(rgb(image))
    longer = max(picture.size)
    factor = SHORTEST / longer if longer < SHORTEST else min(1.0, LONGEST / longer)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    picture = picture.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    judged = truth is not None and len(classes) > 0
    right, missed = _verdict(boxes, labels, truth, classes) if truth is not None and judged else ([], [])
    for box, name in missed:
        _rectangle(pen, [side * factor for side in box], MISSED, dashed=True)
        _plate(pen, [side * factor for side in box], name, MISSED, picture.size, below=True)
    certain = None if scores is None else scores.tolist()
    for i in range(len(labels) - 1, -1, -1):  # the surest comes first, and is drawn on top
        at = [side * factor for side in boxes[i].tolist()]
        colour = (RIGHT if right[i] else WRONG) if judged else colour_of(labels[i], classes)
        _rectangle(pen, at, colour)
        text = labels[i] if certain is None else f"{labels[i]} {certain[i]:.2f}"
        _plate(pen, at, text, colour, picture.size)
    return np.asarray(picture)


def colour_of(name: str, classes: Sequence[str]) -> tuple[int, int, int]:
    """Return the colour of a class: neighbours in the list are far apart on the circle of hues, and all are dark."""
    place = list(classes).index(name) if name in classes else 0
    red, green, blue = colorsys.hls_to_rgb((0.6 + place * 0.618034) % 1, 0.38, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def _verdict(
    boxes: Tensor, labels: Sequence[str], truth: Stated, classes: Sequence[str]
) -> tuple[list[bool], list[tuple[list[float], str]]]:
    """Return whether each box is right, and the objects that were missed; the boxes come by falling score."""
    real = (truth.labels >= 0) & ~truth.crowd
    there, names = truth.boxes[real], [classes[k] for k in truth.labels[real].tolist()]
    overlaps = pairwise_iou(boxes.double(), there.double()).tolist()
    free, right = [True] * len(names), []
    for i, label in enumerate(labels):
        fits = [m for m in range(len(names)) if free[m] and names[m] == label and overlaps[i][m] >= OVERLAP]
        best = max(fits, key=lambda m: overlaps[i][m], default=None)
        right.append(best is not None)
        if best is not None:
            free[best] = False
    return right, [(there[m].tolist(), names[m]) for m in range(len(names)) if free[m]]


def _rectangle(pen: ImageDraw, box: Sequence[float], colour: tuple[int, int, int], *, dashed: bool = False) -> None:
    x0, y0, x1, y1 = box
    if not dashed:
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=2)
        return
    for (ax, ay), (bx, by) in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        steps = max(1, round(max(abs(bx - ax), abs(by - ay)) / 6))
        for step in range(0, steps, 2):
            a, b = step / steps, min(1.0, (step + 1) / steps)
            pen.line((ax + a * (bx - ax), ay + a * (by - ay), ax + b * (bx - ax), ay + b * (by - ay)), colour, 2)


def _plate(
    pen: ImageDraw,
    box: Sequence[float],
    text: str,
    colour: tuple[int, int, int],
    size: tuple[int, int],
    *,
    below: bool = False,
) -> None:
    """Write a name on a plate at the upper edge of its box (or the lower one), inside the picture."""
    letters: Any = font()
    text = text.encode("utf-8", "replace").decode().replace("\n", " ")
    wide, high = round(letters.getlength(text)) + 6, 16
    left = min(max(0.0, box[0]), max(0, size[0] - wide))
    top = box[3] if below else box[1] - high
    top = min(max(0.0, top), max(0, size[1] - high))
    pen.rectangle((left, top, left + wide, top + high), fill=colour)
    pen.text((left + 3, top), text, fill=_INK, font=letters)
