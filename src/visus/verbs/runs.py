"""A run as the user holds it: a folder, its scores, and the model file in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visus.core.errors import UsageError
from visus.core.recipe import Recipe
from visus.core.scores import Score


@dataclass(frozen=True)
class Run:
    """A trained, judged model and the folder that tells how it came about.

    Attributes:
        folder: holds recipe.yaml, environment.json, log.jsonl, best and last.safetensors, report.html.
        recipe: every setting, with its origin.
        split: what the scores were measured on.
        scores: by the field's names, each with its interval.
        steps: taken in all.
        seconds: where the time went.
        resumed: the run had already ended; nothing was trained now.
    """

    folder: Path
    recipe: Recipe
    split: str
    scores: Mapping[str, Score]
    steps: int
    seconds: Mapping[str, float] = field(default_factory=dict)
    finished_before: bool = False

    @property
    def best(self) -> Path:
        """The model file to use."""
        return self.folder / "best.safetensors"

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.folder / "report.html"

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of log.jsonl."""
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "run": str(self.folder), "model": str(self.best), "report": str(self.report), "split": self.split,
            "steps": self.steps, "scores": {name: score.json() for name, score in self.scores.items()},
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
        except (OSError, ValueError) as error:
            raise UsageError("RUN-001", f"{folder}: no finished run", fix=f"visus resume {folder}") from error
        recipe = Recipe.read((folder / "recipe.yaml").read_text(encoding="utf-8"), str(folder / "recipe.yaml"))
        scores = {name: Score(**values) for name, values in told["scores"].items()}
        return cls(folder, recipe, told["split"], scores, told["steps"], told["seconds"], finished_before=True)
