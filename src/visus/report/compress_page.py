"""The page of a compression: which forms of a model were tried, what each costs and what each loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visus.core.errors import plain
from visus.core.figures import Curve, Line, Table
from visus.report import charts
from visus.report.page import style, template

GENERATOR = "visus compress"
"""What a page says it was written by, so that it may be written anew; within its first ``HEAD`` bytes."""
HEAD = 1024


@dataclass(frozen=True)
class Form:
    """A form of a model as the page shows it.

    Attributes:
        name: of the method.
        score: value and the ends of its interval.
        milliseconds: a picture; ``megabytes``: on disk.
    """

    name: str
    score: tuple[float, float, float]
    milliseconds: float
    megabytes: float


@dataclass(frozen=True)
class Page:
    """All that the page tells.

    Attributes:
        model: that was made smaller; ``verdict``: whether the promise is kept; ``kept``: the file, or empty.
        promise: what was asked for, in a phrase.
        score: name of the score.
        table: of all forms; ``forms``: the same for the charts, the float32 model first.
        facts: (name, value) about the one that is kept, or comes nearest.
        notes: sentences.
    """

    model: str
    verdict: str
    kept: str
    promise: str
    score: str
    table: Table
    forms: Sequence[Form]
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()


def render(page: Page) -> str:
    """Return the page as one HTML document, which runs no script and loads nothing."""
    view: Mapping[str, Any] = {
        "page": page, "style": style(), "generator": GENERATOR,
        "headline": "A smaller model that keeps the promise" if page.kept else "No smaller model keeps the promise",
        "charts": [
            _chart(page, "Score against latency", "milliseconds a picture", lambda form: form.milliseconds),
            _chart(page, "Score against size", "megabytes on disk", lambda form: form.megabytes),
        ],
    }  # fmt: skip
    return plain(template("compress.html.jinja").render(view))


def is_page(file: Path) -> bool:
    """Tell whether a file is such a page."""
    with file.open("rb") as opened:
        return f'content="{GENERATOR}"'.encode() in opened.read(HEAD)


def _chart(page: Page, title: str, axis: str, cost: Any) -> dict[str, Any]:
    """Return a chart of all forms, a colour for each method."""
    lines = []
    for name in dict.fromkeys(form.name for form in page.forms):
        forms = sorted((form for form in page.forms if form.name == name), key=cost)
        value, low, high = zip(*(form.score for form in forms), strict=True)
        lines.append(Line(name, [cost(form) for form in forms], value, low, high))
    curve = Curve(title, axis, page.score, lines, points=True)
    legend = [(f"s{i}" if i < charts.COLOURS else "many", line.name) for i, line in enumerate(lines)]
    return {"title": title, "svg": charts.chart(curve), "legend": legend}
