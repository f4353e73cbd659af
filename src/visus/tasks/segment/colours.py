"""The colours of classes: the data's own, or ones that most eyes tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from colorsys import hsv_to_rgb

from visus.core.errors import UsageError
from visus.tasks._drawing import COLOURS, Colour

_TURN = 0.6180339887  # of the circle of hues between one colour and the next: no two of many come close


def palette_of(stated: Sequence[str], classes: int) -> tuple[Colour, ...]:
    """Return (R, G, B) of each class.

    Args:
        stated: ``#rrggbb`` of each class; none for twelve that colour-blind eyes tell apart too, and from then on ever
            other hues, dark and bright by turns.
        classes: how many there are.

    Raises:
        UsageError: there are not as many as classes.
    """
    if stated and len(stated) != classes:
        raise UsageError("TASK-002", f"segment.palette has {len(stated)} colours for {classes} classes",
                         fix=f"give {classes} of them, or none")  # fmt: skip
    if stated:
        return tuple((int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)) for text in stated)
    more = [
        hsv_to_rgb(i * _TURN % 1, (0.9, 0.55)[i % 2], (0.6, 0.95)[i // 2 % 2]) for i in range(classes - len(COLOURS))
    ]
    return (*COLOURS[:classes], *((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in more))


def written(colours: Sequence[Colour]) -> list[str]:
    """Return ``#rrggbb`` of each colour."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours]
