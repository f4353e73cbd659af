"""What a person sees while a command works, and what it prints at the end."""

from __future__ import annotations

import json as plain_json
import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from visus.core.figures import Table
from visus.core.recipe import Recipe
from visus.core.scores import Score

if TYPE_CHECKING:
    from visus.verbs.compare import Comparison
    from visus.verbs.predict import Predictions
    from visus.verbs.runs import Run

EVERY = 10.0  # seconds between plain lines where there is no terminal


class Progress:
    """Shows rows of the log as one live line on a terminal, else as a plain line every ten seconds; all of it on stderr."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.quiet = quiet
        self.live = (
            Live(console=self.console, refresh_per_second=8, transient=True)
            if self.console.is_terminal and not quiet
            else None
        )
        self.recipe: Recipe | None = None
        self.judged = ""
        self.said_at = -math.inf
        self.last: tuple[int, float] | None = None
        self.speed = 0.0

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take one row, event or note."""
        if self.quiet:
            return
        if "recipe" in row:
            self._recipe(row)
        elif "note" in row:
            self._say(str(row["note"]))
        elif "event" in row:
            self._event(row)
        elif "validation" in row:
            values = {k: v for k, v in row["validation"].items() if isinstance(v, float) and math.isfinite(v)}
            self.judged = "  ".join(f"{name} {value:.4f}" for name, value in list(values.items())[:2])
            self._say(f"step {row['step']:,}  epoch {row['epoch']:.1f}  validation: {self.judged}")
        elif "decoding" in row:
            self._line(f"decoding pictures {row['decoding']:,} of {row['of']:,}")
        else:
            self._line(self._step(row))

    def _step(self, row: Mapping[str, Any]) -> str:
        step, seconds = int(row["step"]), float(row["seconds"])
        if self.last and seconds > self.last[1] and self.recipe:
            now = (step - self.last[0]) * self.recipe.batch / (seconds - self.last[1])
            self.speed = now if not self.speed else 0.9 * self.speed + 0.1 * now
        self.last = step, seconds
        loss = next((v for k, v in row.items() if k.startswith("loss")), math.nan)
        parts = [f"step {step:,}", f"epoch {row['epoch']:.2f}", f"loss {loss:.4f}", self.judged]
        parts += [
            f"{self.speed:,.0f} images/s" if self.speed else "",
            f"waiting {row['waiting'] / max(seconds, 1e-9):.0%}",
        ]
        parts += [f"{row['memory'] / 1e9:.1f} GB" if row.get("memory") else "", self._left(row, seconds)]
        return "  ".join(part for part in parts if part)

    def _left(self, row: Mapping[str, Any], seconds: float) -> str:
        if self.recipe and self.recipe.minutes:
            left = self.recipe.minutes * 60 - seconds
        elif row.get("progress", 0) > 0.001:
            left = seconds * (1 - row["progress"]) / row["progress"]
        else:
            return ""
        left = max(0, round(left))
        return f"{left // 60}:{left % 60:02d} left"

    def _recipe(self, row: Mapping[str, Any]) -> None:
        recipe: Recipe = row["recipe"]
        self.recipe = recipe
        self._say(f"run in {row['folder']}")
        for key, why in recipe.origins.items():
            if why != "default":
                self._say(f"  {key} = {recipe.flat()[key]}: {why}")

    def _event(self, row: Mapping[str, Any]) -> None:
        if row["event"] in ("mark", "segment"):
            return
        ids = f" ({', '.join(row['ids'][:3])})" if row.get("ids") else f" ({row['id']})" if row.get("id") else ""
        self._say(f"step {row['step']:,}: {row['event'].replace('_', ' ')}{ids}: {row.get('why', '')}")

    def _say(self, text: str) -> None:
        self.console.print(Text(text))

    def _line(self, text: str) -> None:
        if self.live:
            self.live.update(Text(text))
        elif time.monotonic() - self.said_at > EVERY:
            self.said_at = time.monotonic()
            self._say(text)


def show_run(run: Run, *, json: bool) -> None:
    """Print what a run came to."""
    if json:
        print_json(run.json())
        return
    print_scores(f"measured on the {run.split} part", run.scores)
    print(f"model   {run.best}\nreport  {run.report}\nnext    visus predict {run.best} FILES")


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document; a number that JSON has not becomes null."""
    sys.stdout.write(plain_json.dumps(_plain(document), indent=1, ensure_ascii=True) + "\n")


def print_scores(title: str, scores: Mapping[str, Score]) -> None:
    """Print a line a score."""
    table = RichTable(title=title, title_justify="left", box=None, pad_edge=False)
    for column, side in (("score", "left"), ("value", "right"), ("95 % interval", "left"), ("n", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for name, score in scores.items():
        table.add_row(name, f"{score.value:.4f}", f"{score.low:.4f} to {score.high:.4f}", f"{score.n:,}")
    _out().print(table)


def print_table(table: Table) -> None:
    """Print a table."""
    shown = RichTable(
        title=Text(table.title), title_justify="left", box=None, pad_edge=False, show_header=any(table.columns)
    )
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    _out().print(shown)
    if table.note:
        print(table.note)


def print_predictions(found: Predictions) -> None:
    """Print a line a file."""
    rows = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in found.json()["predictions"]]
    columns = list(rows[0]) if rows else []
    if rows and columns == ["file"]:  # numbers: one column each
        rows = [{"file": row["file"], **row.get("values", {})} for row in found.json()["predictions"]]
        columns = list(rows[0])
    cells = [tuple(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()) for row in rows]
    print_table(Table("", tuple(columns), cells))


def print_comparison(found: Comparison) -> None:
    """Print the verdict and every difference."""
    rows = [(name, f"{found.scores_a[name].value:.4f}", f"{found.scores_b[name].value:.4f}", d.verdict)
            for name, d in found.differences.items()]  # fmt: skip
    print_table(
        Table(f"A {found.a}\nB {found.b}\non {found.split} of {found.data}", ("score", "A", "B", "B - A"), rows)
    )
    print(f"{found.score}: {found.verdict}")


def _out() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
