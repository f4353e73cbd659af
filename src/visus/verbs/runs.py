"""A run as the user holds it: a folder, its scores, and the model file in it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visus.core.errors import IntegrityError, UsageError, quoted
from visus.core.recipe import Recipe
from visus.core.scores import Score, WithoutLeaks

ROUTINE = ("warmup", "mark", "segment", "condemned")
"""Decisions that a run bounded in minutes takes as a matter of course, and those that another one tells of as well."""


@dataclass(frozen=True)
class Run:
    """A trained, judged model and the folder that tells how it came about.

    Attributes:
        folder: holds recipe.yaml, environment.json, log.jsonl, best and last.safetensors, report.html.
        recipe: every setting, with its origin.
        split: what the scores were measured on: ``test``, or ``val`` where the data has no test part.
        scores: by the field's names, each with its interval.
        steps: taken in all.
        without_leaks: the scores also without judged pictures that other parts of the data give away.
        seconds: where the time went, by stage.
        bad: (id, reason) of pictures that could not be used.
        summary: the five lines that matter, for a terminal.
        finished_before: the run had already ended; nothing was trained now.
    """

    folder: Path
    recipe: Recipe
    split: str
    scores: Mapping[str, Score]
    steps: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    bad: tuple[tuple[str, str], ...] = ()
    summary: str = ""
    finished_before: bool = False
    without_leaks: WithoutLeaks | None = None

    @property
    def best(self) -> Path:
        """The model file to use."""
        return self.folder / "best.safetensors"

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.folder / "report.html"

    @property
    def command(self) -> str:
        """What its model is asked by, as it is typed, where that is not ``visus predict``."""
        from visus.core.modelfile import read_card
        from visus.core.task import Showing
        from visus.tasks import TASKS

        task = TASKS[self.recipe.task](self.recipe, read_card(self.best).classes)
        return task.command.format(model=quoted(self.folder)) if isinstance(task, Showing) else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known before the scores are believed, a sentence each."""
        from visus.report.words import few, leaking

        leaks = leaking(self.without_leaks, self.split) if self.without_leaks is not None else ""
        return tuple(filter(None, [few(self.scores, self.split), leaks]))

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of log.jsonl."""
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]

    def json(self) -> dict[str, Any]:
        """Return ``{"scores": {name: {value, low, high, n}}, ...}``."""
        return {
            "run": str(self.folder), "model": str(self.best), "report": str(self.report), "split": self.split,
            "steps": self.steps, "scores": {name: score.json() for name, score in self.scores.items()},
            "without_leaks": self.without_leaks.json() if self.without_leaks is not None else None,
            "bad": [{"file": name, "why": why} for name, why in self.bad], "notes": list(self.notes),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }  # fmt: skip

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Return a finished run from its folder.

        Raises:
            UsageError: there is no finished run in it.
        """
        try:
            told = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            scores = {name: _score(values) for name, values in told["scores"].items()}
            bad = tuple((one["file"], one["why"]) for one in told["bad"])
            leaks = told.get("without_leaks")
            if leaks is not None:
                kept = {name: _score(values) for name, values in leaks["scores"].items()}
                leaks = WithoutLeaks(**{**leaks, "scores": kept})
            return cls(
                folder, read_recipe(folder), told["split"], scores, told["steps"], told["seconds"], bad,
                told["summary"], finished_before=True, without_leaks=leaks,
            )  # fmt: skip
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UsageError("RUN-001", f"{folder}: no finished run", fix=f"visus resume {quoted(folder)}") from error


def ended(folder: Path) -> Run | None:
    """Return a run that needs nothing more: it was judged, and its model and report are there."""
    try:
        run = Run.read(folder)
    except UsageError:
        return None
    return run if run.report.is_file() and run.best.is_file() else None


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of a run folder.

    Raises:
        UsageError: there is no run in it, or its recipe was edited into none.
    """
    place = folder / "recipe.yaml"
    if not place.is_file():
        raise UsageError(
            "RUN-001",
            f"{folder}: there is no run in this folder",
            looked=place.name,
            fix=f"visus train DATA --out {folder}",
        )
    return Recipe.read(place.read_text(encoding="utf-8", errors="replace"), str(place))


def read_document(path: Path) -> dict[str, Any]:
    """Return what a run wrote about itself as one JSON document.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict):
            raise TypeError("no JSON object")
    except (OSError, ValueError, TypeError) as error:
        raise IntegrityError(
            "RUN-009", f"{path}: what the run wrote about itself is missing or damaged", where=str(error),
            fix="put the file back from a copy, or train again in another folder",
        ) from error  # fmt: skip
    return told


def sentence(decision: Mapping[str, Any]) -> str:
    """Return a row of decisions.jsonl in words."""
    known = {k: v for k, v in decision.items() if k not in ("kind", "step", "at", "why") and v not in ("", [], None)}
    told = ", ".join(f"{name} {', '.join(map(str, v)) if isinstance(v, list) else v}" for name, v in known.items())
    return " - ".join(part for part in (str(decision.get("why") or ""), told) if part)


def silent(row: Mapping[str, Any]) -> None:
    """Tell nobody what happens."""


def leads() -> bool:
    """Tell whether this process is the one of a ``torchrun`` that writes and talks."""
    return int(os.environ.get("RANK", "0")) == 0


def _score(told: Mapping[str, Any]) -> Score:
    """Return a score as JSON keeps it, which has no NaN."""
    value, low, high = (math.nan if told[name] is None else float(told[name]) for name in ("value", "low", "high"))
    return Score(value, low, high, int(told["n"]))
