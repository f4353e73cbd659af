"""A story on a terminal: five lines at the end of a run, and tables for the verbs that show things."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from visus.core.errors import plain
from visus.core.figures import Table
from visus.core.scores import Score, is_share
from visus.report.cards import model_card
from visus.report.findings import waited
from visus.report.makers import bare, makers
from visus.report.story import Story
from visus.report.words import (
    duration,
    interval_of,
    label,
    number,
    overall,
    part,
    percent,
    plural,
    shared_decimals,
    value_of,
)

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as Grid

    from visus.core.modelfile import Card


def summary(story: Story) -> str:
    """Return at most five lines: score with interval, worst classes, speed, what was measured, where the report is.

    What a story does not tell is left out; what makes a run not to be trusted follows, a line each.
    """
    name, _, maker = label(story.score).partition(" (")  # of features, named last lest all lines be moved to the right
    lines = {
        name or "score": _headline(story) + (f", by {maker.removesuffix(')')}" if maker else ""),
        "worst": _worst(story),
        "speed": _speed(story),
        "measured": _measured(story),
        "report": story.path,
    }
    wide = max((len(name) for name, text in lines.items() if text), default=0)
    told = [f"{plain(name):{wide}}  {plain(text)}" for name, text in lines.items() if text]
    told += [f"problem: {plain(found.text)}" for found in story.findings if found.level == "problem"]
    return "\n".join(told)


def score_table(scores: Mapping[str, Score], title: str = "") -> Grid:
    """Return the scores of everything together, with their intervals and what they were measured on."""
    by = makers(scores)
    rows = [
        (bare(label(name), by), value_of(score, share=is_share(name)), interval_of(score, share=is_share(name)),
         number(score.n))
        for name, score in overall(scores).items()
    ]  # fmt: skip
    return listing(("score", "value", "95 % interval", "n"), rows, title, f"by {by}" if by else "")


def figure_table(table: Table, most: int = 20) -> Grid:
    """Return the first rows of a table of a metric, and how many more there are."""
    columns = zip(*table.rows[:most], strict=True)
    digits = [shared_decimals(cell for cell in column if isinstance(cell, Score)) for column in columns]
    rows = [
        [
            value_of(cell, digits=d) if isinstance(cell, Score) else number(cell)
            for cell, d in zip(row, digits, strict=True)
        ]
        for row in table.rows[:most]
    ]
    more = len(table.rows) - len(rows)
    return listing(table.columns, rows, table.title, f"and {plural(more, 'more row')}" if more else "")


def card_table(card: Card) -> Group:
    """Return a model card, a table a section."""
    from rich.console import Group

    return Group(*(listing(("", ""), rows, title) for title, rows in model_card(card)))


def listing(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", note: str = "") -> Grid:
    """Return plain rows as a table; nothing in them is read as markup, and nothing can move the cursor.

    A column whose every cell begins like a number is set to the right.
    """
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(
        title=Text(plain(title)) if title else None,
        caption=Text(plain(note)) if note else None,
        title_style="bold",
        title_justify="left",
        caption_justify="left",
        show_header=any(columns),
        box=box.SIMPLE_HEAD,
    )
    for c, name in enumerate(columns):
        numeric = bool(rows) and all(not row[c] or row[c][0] in "0123456789−–∞<" for row in rows) and c > 0
        grid.add_column(Text(plain(name)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(plain(cell)) for cell in row))
    return grid


def _headline(story: Story) -> str:
    score = story.headline
    if score is None:
        undefined = "not defined by what was judged" if story.score and story.scores else "nothing was measured"
        return story.unfinished or undefined
    share = is_share(story.score)
    interval = interval_of(score, share=share)
    told = f"{value_of(score, share=share)}" + (f", 95 % interval {interval}" if interval else "")
    return f"{told}, n = {score.n:,}" + (f" ({story.unfinished})" if story.unfinished else "")


def _worst(story: Story, most: int = 3) -> str:
    """Return the classes of the lowest F1 or IoU, or of whatever the table of classes ends with; of one class, nothing.

    The table of classes is the first one whose rows have names and scores.
    """
    for table in story.figures:
        if not isinstance(table, Table) or not table.rows:
            continue
        scored = [c for c in range(len(table.columns)) if any(isinstance(row[c], Score) for row in table.rows)]
        if not scored or not all(isinstance(row[0], str) for row in table.rows):
            continue
        if len(table.rows) < 2:
            break
        by = next((c for c in scored if table.columns[c].lower() in ("f1", "iou")), scored[-1])
        known = [
            (cell, row[0]) for row in table.rows if isinstance(cell := row[by], Score) and not math.isnan(cell.value)
        ]
        known.sort(key=lambda pair: pair[0].value)
        digits = shared_decimals(score for score, _ in known[:most])
        return f"{table.columns[by]}: " + ", ".join(
            f"{name} {value_of(score, digits=digits)}" for score, name in known[:most]
        )
    return ""


def _speed(story: Story) -> str:
    parts = []
    rows = [row for row in story.log if "validation" not in row and "seconds" in row and "step" in row]
    steps, seconds = np.diff([row["step"] for row in rows]), np.diff([row["seconds"] for row in rows])
    used = (steps > 0) & (seconds > 0)
    if story.recipe is not None and used.any():
        rate = story.recipe.batch / float(np.median(seconds[used] / steps[used]))
        parts.append(f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s")
    lost, whole = waited(story.seconds)
    if whole > 0:
        parts.append(f"{duration(whole)} of training, {percent(lost / whole)} of it waiting for data")
    return "; ".join(parts)


def _measured(story: Story) -> str:
    if not story.scores:
        return ""
    name = story.data.get("name", "")
    chosen = ", on which the best weights were chosen" if story.split == "val" and story.chosen else ""
    return f"on {part(story.split)}" + (f" of {name}" if name else "") + chosen
