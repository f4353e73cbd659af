"""``visus info``: what a model file, a run folder, a data set or a picture says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visus.core.errors import DataError
from visus.core.figures import Table


@dataclass(frozen=True)
class Info:
    """Sections of named facts about one file or folder."""

    kind: str
    path: str
    sections: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"kind": self.kind, "path": self.path, **{title: dict(rows) for title, rows in self.sections}}

    def tables(self) -> list[Table]:
        """Return a table a section."""
        return [Table(title, ("", ""), rows) for title, rows in self.sections]


def info(path: str | Path) -> Info:
    """Look at a model file, a run folder, a data set or a picture.

    Raises:
        DataError: there is nothing there, or nothing visus knows.
    """
    place = Path(path)
    if (place / "recipe.yaml").is_file():
        return _run(place)
    if place.suffix == ".safetensors":
        return _model(place)
    if place.is_file() and place.suffix.lower() not in (".csv", ".tsv"):
        return _picture(place)
    return _data(path)


def _model(path: Path) -> Info:
    from visus.core.modelfile import read_card
    from visus.report.cards import model_card

    sections = tuple((title, tuple((str(k), str(v)) for k, v in rows)) for title, rows in model_card(read_card(path)))
    return Info("model", str(path), sections)


def _run(folder: Path) -> Info:
    from visus.core.recipe import Recipe
    from visus.verbs.runs import Run

    recipe = Recipe.read((folder / "recipe.yaml").read_text(encoding="utf-8"), str(folder / "recipe.yaml"))
    lines = _lines(folder / "log.jsonl")
    steps = [row for row in lines if "validation" not in row]
    judged = [row for row in lines if "validation" in row]
    ended = (folder / "result.json").exists()
    rows = [("state", "ended" if ended else f"not ended; go on with: visus resume {folder}"),
            ("steps logged", str(steps[-1]["step"] if steps else 0)),
            ("last loss", str(steps[-1].get("loss")) if steps else ""),
            ("last validation", ", ".join(f"{k} {v:.4f}" for k, v in judged[-1]["validation"].items() if v is not None) if judged else "")]  # fmt: skip
    sections = [("run", tuple(rows))]
    if ended:
        run = Run.read(folder)
        sections.append((f"scores on {run.split}", tuple((name, str(score)) for name, score in run.scores.items())))
    decided = [d for d in _lines(folder / "decisions.jsonl") if d["kind"] not in ("mark", "segment")]
    if decided:
        sections.append(
            ("what was healed", tuple((f"step {d['step']}", f"{d['kind']}: {d.get('why', '')}") for d in decided))
        )
    sections.append(
        ("settings", tuple((key, f"{value}  ({recipe.origins.get(key, '')})") for key, value in recipe.flat().items()))
    )
    return Info("run", str(folder), tuple(sections))


def _picture(path: Path) -> Info:
    from visus.data.decode import decode

    found = decode(path)
    rows = (("format", found.format), ("pixels", " x ".join(map(str, found.pixels.shape))), ("depth", str(found.pixels.dtype)),
            ("EXIF orientation", str(found.orientation)), ("warnings", "; ".join(found.warnings) or "none"))  # fmt: skip
    return Info("picture", str(path), (("picture", rows),))


def _data(path: str | Path) -> Info:
    import numpy as np

    from visus.core.recipe import DataSettings
    from visus.data.dataset import SPLITS
    from visus.data.reading import open_data

    data = open_data(path, DataSettings())
    rows = [("format", f"{data.format}: {data.evidence}"), ("pictures", f"{len(data):,}")]
    rows += [(split, f"{len(data.indices(split)):,}") for split in SPLITS]
    rows += [("note", note) for note in data.notes] + [("unusable", f"{len(data.bad)}")]
    sections = [("data", tuple(rows))]
    if "label" in data.columns:
        labels = data.columns["label"]
        counts = np.bincount(labels[labels >= 0].astype(np.int64), minlength=len(data.classes))
        sections.append(("classes", tuple((n, f"{c:,}") for n, c in zip(data.classes, counts.tolist(), strict=True))))
    if not len(data):
        raise DataError("DATA-002", f"{path}: nothing that visus knows")
    return Info("data", str(path), tuple(sections))


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
