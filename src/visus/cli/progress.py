"""What a person sees while a command works: one live line on a terminal, else plain lines now and then."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from visus.core.errors import plain
from visus.core.recipe import Recipe

EVERY = 10.0
"""Seconds between plain lines where there is no terminal."""

BAR = 10
"""Characters of the bar that shows how much of a run is done."""


LOG = logging.getLogger("visus")


class Progress(logging.Handler):
    """Shows rows of the log, events, notes and what visus logs, each line of the last once; all of it on stderr.

    Args:
        quiet: show nothing.
        console: where to; stderr by default.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        from visus.verbs.runs import leads

        super().__init__()
        self.console = console or Console(stderr=True, highlight=False)
        self.quiet = quiet or not leads()  # of several processes, one talks
        self.live: Live | None = None
        self.recipe: Recipe | None = None
        self.judged: dict[str, float] = {}
        self.said_at = -math.inf
        self.first: tuple[float, float] | None = None
        self.last: tuple[int, float] | None = None
        self.speed = 0.0
        self.logged: set[str] = set()

    def __enter__(self) -> Self:
        LOG.addHandler(self)
        if self.console.is_terminal and not self.quiet:
            self.live = Live(console=self.console, refresh_per_second=8, transient=True)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        LOG.removeHandler(self)
        if self.live is not None:
            self.live.stop()

    def emit(self, record: logging.LogRecord) -> None:
        """Take what visus logs."""
        if (said := record.getMessage()) not in self.logged:
            self.logged.add(said)
            self({"note": said})

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Take one row, event or note."""
        if self.quiet:
            return
        if "recipe" in row:
            self.recipe = row["recipe"]
            self._say(f"run in {row['folder']}")
            self._show_choices(row["recipe"])
        elif "note" in row:
            self._say(str(row["note"]))
        elif "event" in row:
            self._show_event(row)
        elif "validation" in row:
            self.judged = {k: v for k, v in row["validation"].items() if isinstance(v, float) and math.isfinite(v)}
            self._say(
                f"step {row['step']:,}  {self._epoch(row)}  validation: {self._judged(2) or 'nothing was measured'}"
            )
        elif "decoding" in row:
            done, of = row["decoding"], row["of"]
            self._line([bar(done / max(1, of)), f"decoding pictures {done:,} of {of:,}"])
        elif "painting" in row:
            self._line([bar(row["done"] / max(1, row["of"])), f"painting {row['painting']}"])
        elif "seeking" in row:
            self._line([bar(row["done"] / max(1, row["of"])), f"seeking {row['seeking']} among what can be made"])
        elif "making" in row:
            done, of = row["making"], row["of"]
            self._line([bar(done / max(1, of)), f"making pictures {done:,} of {of:,}"])
        else:
            self._line(self._parts(row))

    def _parts(self, row: Mapping[str, Any]) -> list[str]:
        """Return what a row of the log says, the most important first."""
        step, seconds = int(row["step"]), float(row["seconds"])
        if self.last and seconds > self.last[1] and self.recipe:
            now = (step - self.last[0]) * self.recipe.batch / (seconds - self.last[1])
            self.speed = now if not self.speed else 0.9 * self.speed + 0.1 * now
        self.last = step, seconds
        loss = next((value for name, value in row.items() if name.startswith("loss")), math.nan)
        parts = [
            bar(row["progress"]) if "progress" in row else "",
            self._left(row, seconds),
            f"step {step:,}",
            f"loss {loss:.4f}",
            self._judged(1),
            f"{self.speed:,.0f} images/s" if self.speed else "",
            f"waiting {row['waiting'] / max(seconds, 1e-9):.0%}",
            f"{row['memory'] / 1e9:.1f} GB" if row.get("memory") else "",
            self._epoch(row),
        ]
        return [part for part in parts if part]

    def _epoch(self, row: Mapping[str, Any]) -> str:
        """Return the epoch; the last step of a run may take a few pictures of the next one, which nobody asked for."""
        of = self.recipe.epochs if self.recipe else None
        return f"epoch {min(row['epoch'], of):.1f} of {of:g}" if of else f"epoch {row['epoch']:.1f}"

    def _left(self, row: Mapping[str, Any], seconds: float) -> str:
        if self.recipe and self.recipe.minutes:
            left = self.recipe.minutes * 60 - seconds
        else:
            progress = float(row.get("progress", 0))
            since, from_there = self.first = self.first or (seconds, progress)  # what came before was getting ready
            if progress - from_there < 0.001:
                return ""
            left = (seconds - since) * (1 - progress) / (progress - from_there)
        left = max(0, round(left))
        return f"{left // 60}:{left % 60:02d} left"

    def _judged(self, most: int) -> str:
        return "  ".join(f"{name} {value:.4f}" for name, value in list(self.judged.items())[:most])

    def _show_choices(self, recipe: Recipe) -> None:
        """Show what was chosen and why: a line each, cut to a terminal's width; recipe.yaml has it whole."""
        values = recipe.flat()
        chosen = [(key, str(values[key]), why) for key, why in recipe.origins.items() if why != "default"]
        keys = max((len(key) for key, *_ in chosen), default=0)
        room = max(8, self.console.width - keys - 6) // 3
        for key, value, why in chosen:
            if self.console.is_terminal:
                cut = value if len(value) <= room else value[: room - 1] + "…"
                line = Text.assemble(f"  {key:{keys}}  {cut:{room}}  ", (why, "dim"))
                self.console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
            else:
                self._say(f"  {key} = {value}: {why}")

    def _show_event(self, row: Mapping[str, Any]) -> None:
        from visus.verbs.runs import ROUTINE

        if row["event"] not in ROUTINE:
            ids = row.get("ids") or ([row["id"]] if row.get("id") else [])
            named = f" ({', '.join(map(str, ids[:3]))})" if ids else ""
            self._say(f"step {row['step']:,}: {row['event'].replace('_', ' ')}{named}: {row.get('why', '')}")

    def _say(self, text: str) -> None:
        """Print a line for good; only a terminal breaks it."""
        self.console.print(Text(plain(text)), soft_wrap=not self.console.is_terminal)

    def _line(self, parts: list[str]) -> None:
        """Show what is so at the moment: as many parts as the line holds, or all of them every ten seconds."""
        if self.live is not None:
            while len(parts) > 1 and len("  ".join(parts)) >= self.console.width:
                parts = parts[:-1]
            self.live.update(Text("  ".join(parts), no_wrap=True, overflow="ellipsis"))
        elif time.monotonic() - self.said_at > EVERY:
            self.said_at = time.monotonic()
            self._say("  ".join(parts))


def bar(share: float) -> str:
    """Return a bar with its percentage: ``━━━━────── 40%``."""
    done = min(BAR, max(0, int(share * BAR)))
    return f"{'━' * done}{'─' * (BAR - done)} {min(1.0, max(0.0, share)):.0%}"
