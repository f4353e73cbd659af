"""The page of explanations: what the model looks at, picture by picture, and whether the maps can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visus.core.errors import plain
from visus.core.figures import Curve, Line
from visus.core.scores import Score
from visus.report import charts
from visus.report.page import style, template
from visus.report.pictures import data_uri
from visus.report.words import interval_of, plural

MOST_BYTES = 4_000_000
"""Of all pictures of a page together."""

SIDE = 420
"""Pixels of the longer side of a picture of the page."""


@dataclass(frozen=True)
class Curves:
    """How answers fell and rose, a row an explanation: (N, S) each, and of random maps."""

    shares: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    random_deletion: NDArray[np.float64]
    random_insertion: NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """One explanation as the page shows it.

    Attributes:
        title: what is said, such as "cat 0.93"; ``file``: of which picture.
        facts: (name, value) of what was measured.
        picture, overlay: (H, W, 3) uint8.
        neighbours: (caption, picture) of the nearest training pictures.
    """

    title: str
    file: str
    facts: Sequence[tuple[str, str]]
    picture: NDArray[np.uint8]
    overlay: NDArray[np.uint8]
    neighbours: Sequence[tuple[str, NDArray[np.uint8]]] = ()


@dataclass(frozen=True)
class Page:
    """All that the page tells.

    Attributes:
        model: that was asked; ``method``: how, ``why`` it was chosen, ``summary`` and ``source`` of it.
        convention: what the values of a map mean.
        gain, correlation: of all maps together, where they were measured.
        like: rank correlation from which on a map does not depend on the model.
        warnings, notes: sentences.
        problems: (file, why) of what was not explained.
        shown: the explanations.
        curves: of all of them, where they were measured.
        unit: the answer is a share, so its axis ends at 1.
    """

    model: str
    method: str
    why: str
    summary: str
    source: str
    convention: str
    shown: Sequence[Shown]
    gain: Score | None = None
    correlation: Score | None = None
    like: float = 1.0
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    problems: Sequence[tuple[str, str]] = ()
    curves: Curves | None = None
    unit: bool = True


def render(page: Page) -> str:
    """Return the page as one HTML document, which runs no script and loads nothing."""
    view: dict[str, Any] = {
        "page": page, "style": style(), "verdict": _verdict(page), "cards": _cards(page),
        "charts": _charts(page.curves, page.unit) if page.curves is not None else [],
        "files": len({one.file for one in page.shown}),
        "gain": f"{page.gain.value:.2f}" if page.gain is not None else "",
        "interval": interval_of(page.gain, share=False) if page.gain is not None else "",
    }  # fmt: skip
    return plain(template("explain.html.jinja").render(view))


def _verdict(page: Page) -> str:
    """Return the headline."""
    if page.warnings:
        return "Do not believe these maps yet"
    if page.gain is None:
        return f"Why {plural(len(page.shown), 'answer')} {'was' if len(page.shown) == 1 else 'were'} given"
    return "The maps mark what the answers depend on"


def _cards(page: Page) -> list[dict[str, Any]]:
    """Return the explanations as long as there is room, and how many were left out."""
    left, cards = MOST_BYTES, list[dict[str, Any]]()
    for one in page.shown:
        uris = [data_uri(pixels, longest=SIDE) for pixels in (one.picture, one.overlay)]
        near = [(caption, data_uri(pixels, longest=SIDE // 3), max(pixels.shape[:2]) < 96)
                for caption, pixels in one.neighbours]  # fmt: skip
        left -= sum(map(len, uris)) + sum(len(uri) for _, uri, _ in near)
        if left < 0:
            break
        cards.append({"shown": one, "uris": uris, "small": max(one.picture.shape[:2]) < 128, "near": near})
    return cards


def _charts(curves: Curves, unit: bool) -> list[dict[str, Any]]:
    """Return the two curves: the mean over explanations, and the band that holds the means of random maps."""
    found = []
    for title, own, random, note in (
        ("Covered, the most important first", curves.deletion, curves.random_deletion, "a true map falls early"),
        ("Shown, the most important first", curves.insertion, curves.random_insertion, "a true map rises early"),
    ):
        band = random.mean(0)  # (R, S): the mean over explanations of each random map
        x = curves.shares.tolist()
        lines = [
            Line("these maps", x, own.mean(0).tolist()),
            Line("random maps, as smooth", x, band.mean(0).tolist(), band.min(0).tolist(), band.max(0).tolist()),
        ]
        curve = Curve(title, "share of the picture", "answer", lines, unit=unit)
        found.append({"title": title, "svg": charts.chart(curve), "note": note,
                      "legend": [(f"s{i}", line.name) for i, line in enumerate(lines)]})  # fmt: skip
    return found
