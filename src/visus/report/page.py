"""The page: one HTML text with everything inside it, no script, nothing loaded from anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from visus.core.errors import plain
from visus.core.figures import Curve, Matrix, Table
from visus.core.scores import UNBOUNDED, Score, is_share, kind_of
from visus.report import charts, generated, history, words
from visus.report.cards import model_card
from visus.report.findings import guess, stage_seconds
from visus.report.makers import bare, makers
from visus.report.matrix import confused, heat, is_confusion
from visus.report.pictures import data_uri
from visus.report.story import Picture, Story

MOST_PICTURES = 24
"""Pictures shown of one group."""

MOST_BYTES = 900_000
"""Of all pictures of a page together."""

NARROW, WIDE, LARGE = 256, 560, 320
"""Pixels of the longer side of a picture on the page, and of one drawn larger than ``LARGE``: there is much on it."""

STRIP, CLEAR, SMALL = 800, 96, 128
"""Pixels of the longer side of a row of small pictures, as a generated one beside the likest of training; of its height
on the page, at least; and of a picture's sides below which its pixels are shown as squares."""

FOLDED = 40
"""Rows beyond which a table is folded away behind its first ten."""

MOST_EVENTS = 200
"""Healed steps listed one by one."""


def render(story: Story) -> str:
    """Return the report of a story as one HTML document.

    It runs no script and loads nothing (a content security policy in its head forbids both), so a hostile class or file
    name can do no more than look odd.  Whatever a story does not tell is left out.
    """
    return plain(template("page.html.jinja").render(story=story, style=style(), **_view(story)))


def style() -> Markup:
    """Return the style sheet that all pages share."""
    return Markup(_resource("page.css"))


@cache
def template(name: str) -> Template:
    """Return a template of this room, which escapes what it is given, and writes numbers as every page does."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": words.number, "percent": words.percent, "duration": words.duration, "plural": words.plural,
        "label": words.label, "spoken": words.spoken, "meaning": words.meaning,
        "bare": bare, "makers": makers, "text": _text,
    }  # fmt: skip
    return environment.from_string(_resource(name))


def _view(story: Story) -> dict[str, Any]:
    """Return what the template reads, and which sections there are."""
    view: dict[str, Any] = {
        "headline": _headline(story),
        "facts": _facts(story),
        "scores": _scores(story.scores),
        "fewer": _scores(story.without_leaks.scores) if story.without_leaks is not None else [],
        "figures": _figures(story.figures),
        "galleries": _galleries(story.gallery),
        "curves": _curves(story),
        "stages": _stages(story.seconds),
        "events": [_event(event) for event in story.events[:MOST_EVENTS]],
        "more_events": max(0, len(story.events) - MOST_EVENTS),
        "counts": _counts(story.data),
        "bad": list(story.data.get("bad", ())),
        "settings": _settings(story),
        "card": model_card(story.card) if story.card else [],
    }
    view["sections"] = [
        (name, title)
        for name, title, there in (
            ("scores", "Scores", view["scores"]), ("details", "In detail", view["figures"]),
            ("pictures", "Pictures", view["galleries"]), ("training", "Training", view["curves"]),
            ("time", "Time", view["stages"]), ("healing", "Healing", story.events), ("data", "Data", story.data),
            ("settings", "Settings", view["settings"]), ("card", "Model card", view["card"]),
            ("repeat", "Repeat it", story.command or story.environment),
        ) if there
    ]  # fmt: skip
    return view


@dataclass(frozen=True)
class Headline:
    """The one number of a page and what is needed to judge it; ``always``: what the commonest class would score."""

    name: str
    value: str
    interval: str
    n: int
    split: str
    share: bool
    band: Markup
    always: tuple[str, float] | None


def _headline(story: Story) -> Headline | None:
    score = story.headline
    if score is None:
        return None
    share = is_share(story.score)
    return Headline(
        name=words.label(story.score),
        value=words.value_of(score, share=share),
        interval=words.interval_of(score, share=share),
        n=score.n,
        split=words.spoken(story.split),
        share=share,
        band=charts.whisker(score, 0, 1) if _in_unit(story.score, score.value) else Markup(""),
        always=guess(story) if story.score == "accuracy" else None,
    )


def _facts(story: Story) -> list[tuple[str, str]]:
    """Return the few things a reader wants to know first."""
    data, items = story.data, story.data.get("items", {})
    facts = [("data", str(data.get("name", "")))]
    facts += [("pictures", " · ".join(f"{n:,} {words.spoken(split)}" for split, n in items.items() if n))]
    if story.card:
        facts.append(("classes", f"{len(story.card.classes):,}" if story.card.classes else ""))
        facts.append(("network", story.card.architecture.name))
        facts.append(("started from", ": ".join([story.card.weights or "random weights", *story.taken])))
        facts.append(("steps", f"{story.card.step:,}" if story.card.step else ""))
    if story.seconds:
        facts.append(("time", words.duration(_total(story.seconds))))
    facts.append(("machine", _machine(story.environment)))
    return [(name, text) for name, text in facts if text]


def _machine(environment: Mapping[str, Any]) -> str:
    parts = [str(environment.get("processor") or environment.get("machine", ""))]
    parts += [str(environment["device"])] if environment.get("device", "cpu") != "cpu" else []
    parts += [words.plural(environment["threads"], "thread")] if isinstance(environment.get("threads"), int) else []
    return ", ".join(filter(None, parts))


def _scores(scores: Mapping[str, Score]) -> list[dict[str, Any]]:
    """Return a row a score; where one class is shown a picture, pooled scores are the accuracy and share its row."""
    same = [name for name, score in scores.items() if name.endswith("_micro") and score == scores.get("accuracy")]
    rows = [_score(name, score) for name, score in words.overall(scores).items() if name not in same]
    return [{**row, "same": same if row["name"] == "accuracy" else []} for row in rows]


def _score(name: str, score: Score) -> dict[str, Any]:
    share = is_share(name)
    unit = _in_unit(name, score.value) and not (score.low < 0 or score.high > 1)
    return {
        "name": name,
        "value": words.value_of(score, share=share),
        "interval": words.interval_of(score, share=share),
        "n": score.n,
        "whisker": charts.whisker(score, 0, 1) if unit else "",
        "exact": str(score),
    }


def _in_unit(name: str, value: float) -> bool:
    """Tell whether a score lies on a scale from 0 to 1, and does not only happen to be so small."""
    return 0 <= value <= 1 and kind_of(name) not in UNBOUNDED


def _figures(figures: Sequence[Table | Matrix | Curve]) -> list[list[dict[str, Any]]]:
    """Return figures in groups: neighbouring curves stand side by side, everything else alone.

    A table of mistakes by the axes of a confusion matrix is left out: the matrix is shown with its own.
    """
    told = [(f.row_axis, f.column_axis) for f in figures if isinstance(f, Matrix) and is_confusion(f)]
    kept = [f for f in figures if not (isinstance(f, Table) and f.columns[:2] in told)]
    groups: list[list[dict[str, Any]]] = []
    for shown in filter(None, map(_figure, kept)):
        if groups and shown["kind"] == groups[-1][-1]["kind"] == "curve":
            groups[-1].append(shown)
        else:
            groups.append([shown])
    return groups


def _figure(figure: Table | Matrix | Curve) -> dict[str, Any] | None:
    """Return how a figure is shown, or None when it holds nothing."""
    if isinstance(figure, Curve):
        svg = charts.chart(figure)
        return {"kind": "curve", "figure": figure, "svg": svg, "legend": _legend(figure)} if svg else None
    if isinstance(figure, Matrix):
        body, square = heat(figure), is_confusion(figure)
        pairs = confused(figure) if square and len(figure.rows) > 2 else []
        return {"kind": "matrix", "figure": figure, "body": body, "confusion": square, "pairs": pairs} if body else None
    return _table(figure) if figure.rows or figure.note else None


def _table(table: Table) -> dict[str, Any]:
    """Return a table as cells that know how they are written; scores between 0 and 1 share an axis over all columns."""
    values = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    spans = [_span([value for value in column if isinstance(value, Score)]) for column in values]
    shares = [span for span in spans if span and span[1] == 1.0]
    least = min((low for low, _ in shares), default=0.0)
    columns = [
        _column(name, column, (least, 1.0) if span in shares else span)
        for name, column, span in zip(table.columns, values, spans, strict=True)
    ]
    rows = [[_cell(value, columns[c]) for c, value in enumerate(row)] for row in table.rows]
    return {"kind": "table", "figure": table, "columns": columns, "rows": rows, "folded": len(rows) > FOLDED}


def _column(name: str, values: Sequence[object], span: tuple[float, float] | None) -> dict[str, Any]:
    """Return how a column is written: all its scores share an axis and their number of decimals."""
    scores = [value for value in values if isinstance(value, Score)]
    return {
        "name": name, "numeric": all(_is_number(value) for value in values), "span": span,
        "low": words.number(span[0]) if span else "", "high": words.number(span[1]) if span else "",
        "digits": words.shared_decimals(scores),
    }  # fmt: skip


def _span(scores: Sequence[Score]) -> tuple[float, float] | None:
    """Return the round ends of the axis that all intervals of a column share, or None for a column without scores."""
    ends = [end for score in scores for end in (score.low, score.high, score.value) if math.isfinite(end)]
    if not ends:
        return None
    low, high = min(ends), max(ends)
    if low >= 0 and high <= 1:
        return math.floor(10 * low - 1e-9) / 10 if low > 0.1 else 0.0, 1.0
    room = (high - low) or 1.0
    return low - 0.05 * room, high + 0.05 * room


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float, Score)) and not isinstance(value, bool))


def _cell(value: object, column: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(value, Score):
        return {"text": _text(value), "title": "", "whisker": ""}
    whisker = charts.whisker(value, *column["span"]) if column["span"] else ""
    return {"text": words.value_of(value, digits=column["digits"]), "title": str(value), "whisker": whisker}


def _legend(curve: Curve) -> list[tuple[str, str]]:
    """Return (style, name) of each line that has a colour, and how many have none."""
    if len(curve.lines) < 2 and not any(line.name for line in curve.lines):
        return []
    named = [(f"s{i}", line.name) for i, line in enumerate(curve.lines[: charts.COLOURS])]
    more = len(curve.lines) - charts.COLOURS
    return [*named, ("many", f"{more:,} more")] if more > 0 else named


def _curves(story: Story) -> list[dict[str, Any]]:
    marks = history.marks(story.log, story.score, story.events)
    return [
        {"title": curve.title, "svg": charts.chart(curve, marks, log=log), "legend": _legend(curve), "log": log}
        for curve, log in [*history.curves(story.log, story.score), *((c, False) for c in generated.curves(story.log))]
    ]


def _galleries(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Return the groups of pictures, each a fair part of ``MOST_BYTES``, and how many were left out."""
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        if picture.pixels.size:
            groups.setdefault(picture.title, []).append(picture)
    shown = []
    for title, group in groups.items():
        left, uris = MOST_BYTES // len(groups), []
        longest = max(max(picture.pixels.shape[:2]) for picture in group)
        wide = longest > LARGE
        strips = all(_is_strip(picture) for picture in group)
        for picture in group[:MOST_PICTURES]:
            if strips:
                uri = data_uri(picture.pixels, STRIP, quality=92)
            else:
                uri = data_uri(picture.pixels, WIDE if wide else NARROW)
            if len(uri) > left:
                break
            left -= len(uri)
            uris.append(
                {"uri": uri, "caption": picture.caption, "small": strips or max(picture.pixels.shape[:2]) < SMALL}
            )
        shape = min(picture.pixels.shape[1] / picture.pixels.shape[0] for picture in group)
        column = min(4 * longest // 5, 384) if wide else 0
        if strips:
            column = longest * math.ceil(CLEAR / max(picture.pixels.shape[0] for picture in group))
        shown.append({"title": title, "pictures": uris, "more": len(group) - len(uris), "column": column,
                      "strips": strips, "shape": shape if strips else min(max(shape, 0.6), 1.5)})  # fmt: skip
    return shown


def _is_strip(picture: Picture) -> bool:
    """Tell whether a picture is a row of small ones, of which nothing would be seen in a column of the gallery."""
    height, width = picture.pixels.shape[:2]
    return bool(height < SMALL and width >= 3 * height)


def _total(seconds: Mapping[str, float]) -> float:
    return sum(stage_seconds(seconds, stage) for stage in {name.partition("/")[0] for name in seconds})


def _stages(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the stages of a run in their order, each with its parts and what no part accounts for."""
    total = _total(seconds)
    if not total > 0:
        return []
    stages = []
    for colour, stage in enumerate(dict.fromkeys(name.partition("/")[0] for name in seconds)):
        spent = stage_seconds(seconds, stage)
        parts = {name.partition("/")[2]: value for name, value in seconds.items() if name.startswith(f"{stage}/")}
        rest = spent - sum(parts.values())
        if parts and rest > 0.01 * spent:
            parts["other"] = rest
        stages.append(
            {
                "name": stage,
                "seconds": spent,
                "share": spent / total,
                "colour": colour % 8,
                "parts": [{"name": name, "seconds": value, "share": value / total} for name, value in parts.items()],
            }
        )
    return stages


def _counts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return pictures by class and split, and the longest bar; the rarest class first where there are many."""
    counts: Mapping[str, Mapping[str, int]] = data.get("counts", {})
    splits = [split for split in counts if counts[split]]
    names = list(dict.fromkeys(name for split in splits for name in counts[split]))
    rows = [(name, [int(counts[split].get(name, 0)) for split in splits]) for name in names]
    if len(rows) > FOLDED:
        rows.sort(key=lambda row: row[1][0])
    most = max((max(numbers) for _, numbers in rows), default=0)
    return {"splits": splits, "rows": rows, "most": most, "folded": len(rows) > FOLDED}


def _event(event: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return (step, kind, what was done); a row without a sentence is told by its other values."""
    rest = {key: value for key, value in event.items() if key not in ("step", "kind", "what", "at")}
    return (
        words.number(event.get("step")),
        str(event.get("kind", "")).replace("_", " "),
        _text(event.get("what") or rest),
    )


def _settings(story: Story) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return every setting as (key, value, origin): first what was chosen, then what was left at its default.

    Of the user's files, only names are shown, as in the model file: a page is passed on.
    """
    if story.recipe is None:
        return []
    named = story.card.recipe if story.card is not None else {}
    rows = []
    for key, value in story.recipe.flat().items():
        shown, origin = named.get(key, value), story.recipe.origins.get(key, "default")
        rows.append((key, _setting(shown), origin if shown == value else origin.replace(str(value), str(shown))))
    chosen, left = [row for row in rows if row[2] != "default"], [row for row in rows if row[2] == "default"]
    return [(title, rows) for title, rows in (("Chosen", chosen), ("Left at their defaults", left)) if rows]


def _setting(value: object) -> str:
    """Return a setting as one would write it after ``--set KEY=``."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_setting(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_setting(part) for part in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _text(value: object) -> str:
    """Return any plain value for people."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(_text(part) for part in value)
    return words.number(value)


def _resource(name: str) -> str:
    return (files("visus.report") / name).read_text(encoding="utf-8")
