"""Objects drawn on a picture with their names, in the colour of a class, or of a verdict where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visus.core.annotations import Stated
from visus.core.boxes import pairwise_iou
from visus.core.run_lengths import decode, decompress
from visus.tasks._captions import RIGHT, WRONG, font, rgb

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw as Pen

Colour: TypeAlias = tuple[int, int, int]
Place: TypeAlias = tuple[float, float, float, float]

COLOURS: tuple[Colour, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 71, 142), (230, 180, 0), (86, 180, 233), (127, 60, 190),
    (150, 75, 20), (120, 160, 30), (230, 60, 60), (0, 170, 180), (110, 110, 200),
)  # fmt: skip
"""Of classes, in their order and again from the start; the first eight after Okabe and Ito, told apart by most eyes."""

MISSED: Colour = (235, 140, 0)
LONGEST, SHORTEST = 960, 360
"""Pixels of the longer side that a picture is brought to: one in between stays as it is."""
OVERLAP = 0.5
"""Intersection over union from which on an object counts as found."""

_DARK, _LIGHT = (15, 15, 15), (255, 255, 255)
_SMALLEST, _LARGEST = 9, 14  # pixels of a letter
_HIDDEN = 0.1  # share of a name that others may hide
_TINT = 0.4  # share of its colour in what a mask covers
_COVERED = 0.15  # share of the picture that names may hide


@dataclass(frozen=True)
class Drawn:
    """One object to draw.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the picture.
        words: of the plate on it, such as "cat 0.93"; empty for none.
        colour: (R, G, B) of its lines and its plate.
        dashed: a broken line, for what is stated rather than found, or a region of many.
        outline: (P, 2) polygons, drawn beside the box.
        mask: (H, W) pixels that are tinted.
    """

    box: Sequence[float]
    words: str = ""
    colour: Colour = COLOURS[0]
    dashed: bool = False
    outline: Sequence[NDArray[np.floating]] = ()
    mask: NDArray[np.bool_] | None = None


def boxed(
    image: Tensor,
    boxes: Tensor,
    labels: Sequence[str],
    scores: Tensor | None = None,
    classes: Sequence[str] = (),
    truth: Stated | None = None,
    runs: Sequence[str] = (),
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
        runs: (N,) masks as COCO's compressed run lengths of the picture; none where there are none.
    """
    shown = rgb(image)
    size = shown.shape[0], shown.shape[1]
    longer = max(shown.shape[:2])
    judged = truth is not None and len(classes) > 0
    right, missed = _verdict(boxes, labels, truth, classes) if truth is not None and judged else ([], [])
    certain = None if scores is None else scores.tolist()
    objects = [
        Drawn(
            box, label if certain is None else f"{label} {certain[i]:.2f}",
            (RIGHT if right[i] else WRONG) if judged else colour_of(label, classes),
            mask=decode(decompress(runs[i]), size) if runs else None,
        )
        for i, (box, label) in enumerate(zip(boxes.tolist(), labels, strict=True))
    ]  # fmt: skip
    objects += [Drawn(box, name, MISSED, dashed=True) for box, name in missed]
    return drawn(shown, objects, min(max(longer, SHORTEST), LONGEST))


def colour_of(name: str, classes: Sequence[str]) -> Colour:
    """Return the colour of a class by its place among all names."""
    return COLOURS[list(classes).index(name) % len(COLOURS) if name in classes else 0]


def drawn(pixels: NDArray[np.uint8], objects: Sequence[Drawn], side: int = 0) -> NDArray[np.uint8]:
    """Return an (H, W, 3) picture with objects drawn on it.

    Lines have a thin dark edge and names stand on plates, so both are seen on any ground.  A plate goes above its box,
    below it, or inside, where it hides least of the plates before.  Where there is no room, or where plates would hide
    much of the picture, it is left out, and the colour alone tells the class: so name the surest objects first.

    Args:
        pixels: (H, W, 3).
        objects: in the order of their importance.
        side: length of the longer side of the result; the picture is brought to it first, so that letters and lines
            keep their size.  0 for the size it has.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(_tinted(pixels, objects))
    scale = side / max(picture.size) if side else 1.0
    if scale != 1:
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.NEAREST if scale >= 3 else Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture)
    wide = max(1, round(max(picture.size) / 220))
    for one in reversed(objects):  # the first ones lie on top
        box = np.asarray(one.box, np.float64) * scale
        _frame(pen, box.tolist(), one.colour, wide, one.dashed)
        for part in one.outline:
            points = [(float(x), float(y)) for x, y in part * scale]
            pen.line([*points, points[0]], fill=one.colour, width=wide)
    letter = min(_LARGEST, max(_SMALLEST, round(max(picture.size) / 32)))
    taken: list[Place] = []
    for one in objects:
        if one.words:
            _plate(pen, np.asarray(one.box, np.float64) * scale, one, letter, picture.size, taken)
    return np.asarray(picture)


def _tinted(pixels: NDArray[np.uint8], objects: Sequence[Drawn]) -> NDArray[np.uint8]:
    """Return a picture whose pixels below masks have some of their colour, and the masks' edges all of it."""
    tinted = pixels
    for one in reversed(objects):
        if one.mask is not None:
            tinted = tinted.copy() if tinted is pixels else tinted
            inner = np.pad(one.mask, 1)
            inner = one.mask & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
            colour = np.array(one.colour, np.float64)
            tinted[inner] = ((1 - _TINT) * tinted[inner] + _TINT * colour).astype(np.uint8)
            tinted[one.mask & ~inner] = one.colour
    return tinted


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


def _frame(pen: Pen, box: Place, colour: Colour, wide: int, dashed: bool) -> None:
    """Draw a rectangle inside a box, with a dark edge around it."""
    x0, y0, x1, y1 = box
    x1, y1 = max(x0, x1 - 1), max(y0, y1 - 1)
    if not dashed:
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_DARK, width=1)
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=min(wide, int(1 + min(x1 - x0, y1 - y0) / 4)))
        return
    dash = 5 * wide
    for start, end, across in (
        ((x0, y0), x1, True),
        ((x0, y1), x1, True),
        ((x0, y0), y1, False),
        ((x1, y0), y1, False),
    ):
        at, step = start[0] if across else start[1], 0
        while at < end:
            stop = min(at + dash, end)
            line = (at, start[1], stop, start[1]) if across else (start[0], at, start[0], stop)
            pen.line(line, fill=colour if step % 2 == 0 else _LIGHT, width=wide)
            at, step = at + dash, step + 1


def _plate(
    pen: Pen, box: NDArray[np.float64], one: Drawn, letter: int, size: tuple[int, int], taken: list[Place]
) -> None:
    """Write the words of an object on a plate of its colour, at the place where it hides least of others."""
    kind = font(letter)
    words = one.words.encode("utf-8", "replace").decode().replace("\n", " ")
    wide, high = kind.getlength(words) + 6, letter + 5
    x0, y0, x1, y1 = box.tolist()
    places = [
        _within((x, y, x + wide, y + high), size)
        for x, y in (
            (x0 - 1, y0 - high), (x1 + 1 - wide, y0 - high), (x0 - 1, y1), (x1 + 1 - wide, y1),
            (x0 + 1, y0 + 1), (x0 + 1, y1 - high - 1),
        )
    ]  # fmt: skip
    hidden = [sum(_shared(place, other) for other in taken) / (wide * high) for place in places]
    best = min(range(len(places)), key=lambda i: (hidden[i] > 0, round(hidden[i], 2), i))
    covered = wide * high * (len(taken) + 1)
    if hidden[best] > _HIDDEN or wide > size[0] or (taken and covered > _COVERED * size[0] * size[1]):
        return
    place = places[best]
    taken.append(place)
    pen.rectangle(place, fill=one.colour, outline=_DARK)
    bright = 0.299 * one.colour[0] + 0.587 * one.colour[1] + 0.114 * one.colour[2]
    pen.text((place[0] + 3, place[1] + 1), words, fill=_DARK if bright > 140 else _LIGHT, font=kind)


def _within(place: Place, size: tuple[int, int]) -> Place:
    """Return a plate moved into the picture."""
    x0, y0, x1, y1 = place
    x = min(max(x0, 0), max(0, size[0] - 1 - (x1 - x0)))
    y = min(max(y0, 0), max(0, size[1] - 1 - (y1 - y0)))
    return (x, y, x + x1 - x0, y + y1 - y0)


def _shared(a: Place, b: Place) -> float:
    """Return the area that two plates share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
