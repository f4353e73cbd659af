"""What a command prints on stdout when it is done: text for people, or one JSON document."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from visus.core.errors import plain, quoted
from visus.core.figures import Table

if TYPE_CHECKING:
    from visus.verbs.evaluate import Evaluation
    from visus.verbs.runs import Run

NAME = 40
"""Characters up to which the first column of a table is a name, which is not broken on a terminal."""

UNBROKEN = 1000
LISTED = 5
"""Unreadable pictures that are named; the rest are counted, and all are in the report and in ``--json``."""


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document; a number that JSON has not becomes null."""
    from visus.core.files import json_text

    print(json_text(document))


def print_run(run: Run, *, json: bool, files: str = "FILES") -> None:
    """Print what a run came to, and what to do next with which files; of several processes, only the leader prints."""
    from visus.verbs.runs import leads

    if not leads():
        return
    if json:
        print_json(run.json())
        return
    print(run.summary)
    print_notes(run.notes)
    _print_bad(run.bad)
    name = run.recipe.model.name
    code = f" --network {quoted(name)}" if name.startswith("hub:") or ".py:" in name else ""
    asks = run.command or f"visus predict {quoted(run.folder)} {files}{code}"
    print(f"report    {run.report}\nnext      {asks}")


def print_evaluation(found: Evaluation) -> None:
    """Print every score, then the five lines that matter."""
    if found.scores:
        _print([found.table(), *(found.tables() if found.results else ())])
    for table in found.explained.tables() if found.explained is not None else ():
        print_table(table)
    print(found.summary())
    if found.explained is not None:
        print(f"B - A     {found.explained.verdict}")
    print_notes(found.notes)
    _print_bad(found.bad)


def print_notes(notes: Sequence[str]) -> None:
    """Print what is to be known of the data that was judged, a line each."""
    _print_titled([("note", note) for note in notes])


def print_aside(title: str, line: str) -> None:
    """Print a line with a word before it on stderr, beside what the command prints on stdout."""
    print(f"{title:8}  {plain(line)}", file=sys.stderr)


def print_table(table: Table, piped: int = UNBROKEN) -> None:
    """Print a table; columns of numbers are set to the right.

    Args:
        table: to print.
        piped: width at which lines are folded where there is no terminal.
    """
    grid = Grid(box=None, pad_edge=False, show_header=any(table.columns), header_style="bold")
    for at, column in enumerate(table.columns):
        cells = [row[at] for row in table.rows if row[at] not in ("", None)]
        numeric = bool(cells) and all(isinstance(cell, int | float) for cell in cells)
        a_name = at == 0 and max((len(str(cell)) for cell in cells), default=0) <= NAME
        grid.add_column(Text(column), justify="right" if numeric else "left", overflow="fold", no_wrap=a_name)
    decimals = [_decimals(column) for column in zip(*table.rows, strict=True)]
    for row in table.rows:
        grid.add_row(*(Text(_cell(cell, digits)) for cell, digits in zip(row, decimals, strict=True)))
    _print(
        [*([Text(table.title, style="bold")] if table.title else []), grid, *([table.note] if table.note else [])],
        piped,
    )


def _print(parts: Sequence[Any], piped: int = UNBROKEN) -> None:
    """Print parts one below the other: wrapped to a terminal's width; a pipe or a file has none but ``piped``."""
    out = Console(highlight=False)
    if out.is_terminal:
        out.print(*parts, sep="\n")
        return
    wide = Console(highlight=False, soft_wrap=piped == UNBROKEN, width=piped)
    with wide.capture() as taken:
        wide.print(*parts, sep="\n")
    print("\n".join(line.rstrip() for line in taken.get().splitlines()))


def _print_bad(bad: tuple[tuple[str, str], ...]) -> None:
    _print_titled([("not read", f"{name}: {why}") for name, why in bad[:LISTED]])
    if len(bad) > LISTED:
        _print_titled([("", f"and {len(bad) - LISTED:,} more: all are in the report and in --json")])


def _print_titled(lines: Sequence[tuple[str, str]]) -> None:
    """Print lines with a word before each, set in like those of a summary."""
    grid = Grid(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    grid.add_column(min_width=8, no_wrap=True)
    grid.add_column(overflow="fold")
    for title, line in lines:
        grid.add_row(title, Text(plain(line)))
    if lines:
        _print([grid])


def _decimals(column: Sequence[object]) -> int:
    """Return the decimals of a column: four of shares and other small numbers, one of pixels."""
    largest = max((abs(cell) for cell in column if isinstance(cell, float) and abs(cell) < math.inf), default=0.0)
    return 4 if largest < 10 else 2 if largest < 100 else 1


def _cell(value: object, decimals: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{decimals}f}" if abs(value) < 1e4 else f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(str(value))
