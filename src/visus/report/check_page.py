"""The page of a check: what was found in a data set, the worst first, each with the pictures it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import plain
from visus.report.page import style, template
from visus.report.pictures import data_uri
from visus.report.words import listed, plural

MOST_BYTES = 4_000_000
"""Of all pictures of a page together."""

OPEN_ROWS = 12
"""Rows of a table that stands open; a longer one is folded away."""

MOST_ROWS = 500
"""Files of a finding that are listed by name; ``check.json`` has all."""

SIDE = 192
"""Pixels of the longer side of a picture of the page."""

STRIP = 320
"""Pixels of the longer side of a picture under the training transforms, where labels are drawn on it."""

_LEVELS = {"error": ("Errors", "problem"), "warning": ("Warnings", "caution"), "note": ("Notes", "note")}
_STATUSES = {
    "ok": "fine", "warned": "with a warning", "clipped": "with labels cut at the edge",
    "skipped": "left out of training", "refused": "that stop training",
}  # fmt: skip
STATED, SUSPECTED = (235, 140, 0), (40, 160, 255)
"""Colours of a box as the data has it, broken, and of one that a detector found in its place; as in ``page.css``."""

_LINE, _EDGE = (230, 60, 40), (15, 15, 15)


@dataclass(frozen=True)
class Picture:
    """One thing a finding is about: its file, the file it is compared with (or nothing), why, and their pixels.

    Attributes:
        images: (H, W, 3) uint8 each: none where it cannot be read, two for a pair.
    """

    file: str
    beside: str
    why: str
    images: Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Group:
    """A finding with its pictures.

    Attributes:
        level: ``error``, ``warning`` or ``note``.
        pictures: of the worst files; ``rows``: (file, status, why) of all.
        legend: what the colours of boxes on the pictures mean, by ``stated`` and ``suspected``.
    """

    level: str
    code: str
    title: str
    why: str
    fix: str
    pictures: Sequence[Picture]
    rows: Sequence[tuple[str, str, str]]
    legend: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """All that the page of a check tells.

    Attributes:
        name: of the data; ``recognised``: its format and the evidence for it.
        splits: pictures of each part; ``files``: pictures of each status.
        groups: the worst first.
        notes: sentences on how the data was read.
        seconds: the check took.
        augmented: pictures as training sees them, each beside itself as it is; ``proof``: that their labels followed;
            ``placed``: labels are drawn on them, which asks for larger pictures.
    """

    name: str
    recognised: str
    splits: Mapping[str, int]
    files: Mapping[str, int]
    groups: Sequence[Group]
    notes: Sequence[str]
    seconds: float
    augmented: Sequence[Picture] = ()
    proof: str = ""
    placed: bool = False


def render(page: Page) -> str:
    """Return the page as one HTML document, which runs no script and loads nothing."""
    levels = []
    budget = MOST_BYTES // max(1, sum(bool(group.pictures) for group in page.groups))
    for level, (title, colour) in _LEVELS.items():
        groups = [_group(group, budget) for group in page.groups if group.level == level]
        if groups:
            levels.append({"name": level, "title": title, "colour": colour, "groups": groups})
    total, side = sum(page.files.values()), STRIP if page.placed else SIDE
    view = {
        "page": page, "levels": levels, "verdict": _verdict(page), "style": style(), "total": total,
        "statuses": [(words, page.files.get(status, 0)) for status, words in _STATUSES.items() if status != "ok"],
        "strips": [(row.file, row.why, [data_uri(pixels, longest=side) for pixels in row.images],
                    max(row.images[0].shape[:2]) < 96, page.placed) for row in page.augmented],
        "fine": page.files.get("ok", 0), "open": OPEN_ROWS,
    }  # fmt: skip
    return plain(template("check.html.jinja").render(view))


def outlined(pixels: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return (H, W, 3) pixels with the outline of each box x0, y0, x1, y1, as far as it lies in the picture."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(pixels)
    pen, wide = ImageDraw.Draw(image), max(1, round(max(image.size) / 160))
    for x0, y0, x1, y1 in np.nan_to_num(boxes).tolist():
        pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=_LINE, width=wide)
    return np.asarray(image)


def ringed(pixels: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return (H, W, 3) pixels in which a line runs around a part of them, with a dark edge outside it."""
    from scipy.ndimage import binary_dilation

    wide = max(1, round(max(pixels.shape[:2]) / 110))
    near = binary_dilation(where, iterations=wide)
    drawn = pixels.copy()
    drawn[binary_dilation(near, iterations=max(1, wide // 2)) & ~near] = _EDGE
    drawn[near & ~where] = SUSPECTED
    return drawn


def _verdict(page: Page) -> str:
    """Return the headline: how many errors and warnings there are, or that there is nothing."""
    counts = [(level, sum(group.level == level for group in page.groups)) for level in ("error", "warning")]
    told = [plural(n, level) for level, n in counts if n]
    return f"{listed(told)} in {page.name}" if told else f"Nothing speaks against {page.name}"


def _group(group: Group, budget: int) -> dict[str, Any]:
    """Return a finding as the template reads it, its pictures within a number of bytes."""
    shown = []
    for picture in group.pictures:
        uris = [data_uri(pixels, longest=SIDE) for pixels in picture.images]
        budget -= sum(map(len, uris))
        if budget < 0:
            break
        if uris:
            small = all(max(pixels.shape[:2]) < 128 for pixels in picture.images)
            shown.append({"file": picture.file, "beside": picture.beside, "why": picture.why, "uris": uris,
                          "small": small})  # fmt: skip
    return {"finding": group, "pictures": shown, "twins": any(len(picture.images) > 1 for picture in group.pictures),
            "rows": group.rows[:MOST_ROWS], "more": len(group.rows) - MOST_ROWS}  # fmt: skip
