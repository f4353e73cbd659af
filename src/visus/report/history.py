"""The log of a run as curves: loss, validation scores, learning rate and gradient norm over steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visus.core.figures import Curve, Line
from visus.report.charts import Mark
from visus.report.words import label

_BINS = 200
_LOSSES = ("loss", "log_loss")


@dataclass(frozen=True)
class Series:
    """One logged value over steps, in order, each step once and finite."""

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.steps)

    def best(self) -> tuple[int, float]:
        """Return the first step with the largest value, and that value."""
        at = int(np.argmax(self.values))
        return self.steps[at], self.values[at]


def training(log: Sequence[Mapping[str, Any]], key: str) -> Series:
    """Return what training rows say of ``key``; of a step logged twice (after a roll-back) the last word counts."""
    return _series((row.get("step"), row.get(key)) for row in log if "validation" not in row)


def validation(log: Sequence[Mapping[str, Any]], key: str) -> Series:
    """Return what validations say of ``key``."""
    rows = [(row.get("step"), row["validation"]) for row in log if isinstance(row.get("validation"), Mapping)]
    return _series((step, scores.get(key)) for step, scores in rows)


def validation_loss(log: Sequence[Mapping[str, Any]]) -> Series:
    """Return the loss of the validations, under whichever of its names they give it."""
    return next((found for name in _LOSSES if len(found := validation(log, name))), Series((), ()))


def curves(log: Sequence[Mapping[str, Any]], score: str) -> list[tuple[Curve, bool]]:
    """Return what is worth drawing of a log, each with whether y is better scaled by its logarithm."""
    rates, norms, scores = _keys(log, "lr"), _keys(log, "gradient_norm"), _scores(log, score)
    players = [key.replace("gradient_norm", "loss") for key in norms if "/" in key]
    losses = [binned("training", training(log, "loss")), _line("validation", validation_loss(log))]
    losses += [binned(_last(key, players), training(log, key)) for key in players]
    parts = [key for key in _keys(log, "loss/") if key not in players]
    terms = [binned(key.removeprefix("loss/"), training(log, key)) for key in parts]
    many = len(scores) > 1
    judged = [_line(label(name) if many else "", validation(log, name)) for name in scores]
    drawn = [
        _curve("Loss", "loss", losses),
        _curve("Validation scores" if many else f"Validation: {label(score)}", "score", judged),
        _curve("Terms of the loss", "loss", terms if len(terms) > 1 else []),
        _curve("Learning rate", "rate", [_line(_last(key, rates), training(log, key)) for key in rates]),
        _curve("Gradient norm", "L2 norm", [binned(_last(key, norms), training(log, key)) for key in norms]),
    ]
    return [(curve, curve.y_axis in ("loss", "L2 norm") and _wide(curve)) for curve in drawn if curve.lines]


def binned(name: str, series: Series) -> Line:
    """Return a noisy series as means of neighbouring steps within a band from their lowest to their highest."""
    if len(series) <= 2 * _BINS:
        return _line(name, series)
    steps = np.array_split(np.array(series.steps, np.float64), _BINS)
    values = np.array_split(np.array(series.values), _BINS)
    return Line(
        name,
        [float(s.mean()) for s in steps],
        [float(v.mean()) for v in values],
        [float(v.min()) for v in values],
        [float(v.max()) for v in values],
    )


def marks(log: Sequence[Mapping[str, Any]], score: str, events: Sequence[Mapping[str, Any]]) -> list[Mark]:
    """Return the best step and the healed ones as places on the step axis."""
    found = [
        Mark(float(event["step"]), f"step {event['step']}: {event.get('kind', '')} {event.get('what', '')}")
        for event in events
        if isinstance(event.get("step"), (int, float))
    ]
    scores = validation(log, score)
    if len(scores):
        step, value = scores.best()
        found.append(Mark(float(step), f"best {label(score)}: {value:.4g} at step {step:,}", "best", "kept"))
    return found


def _series(pairs: Iterable[tuple[Any, Any]]) -> Series:
    said = {step: float(value) for step, value in pairs if isinstance(step, int) and _finite(value)}
    steps = sorted(said)
    return Series(tuple(steps), tuple(said[step] for step in steps))


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _keys(log: Sequence[Mapping[str, Any]], prefix: str) -> list[str]:
    """Return the logged names that are ``prefix``, or begin with it and a slash."""
    stem = prefix.removesuffix("/")
    return sorted({k for row in log for k in row if k.startswith(f"{stem}/") or (k == stem and stem == prefix)})


def _validated(log: Sequence[Mapping[str, Any]]) -> list[str]:
    return list({k: None for row in log if isinstance(row.get("validation"), Mapping) for k in row["validation"]})


def _scores(log: Sequence[Mapping[str, Any]], score: str, most: int = 5) -> list[str]:
    """Return the headline score and those that can share its axis, from 0 to 1."""
    chief = [score] if len(validation(log, score)) else []
    if chief and not _unit(validation(log, score)):
        return chief
    others = [name for name in _validated(log) if name not in (score, *_LOSSES) and _unit(validation(log, name))]
    return (chief + others)[:most]


def _unit(series: Series) -> bool:
    return bool(series.values) and min(series.values) >= 0 and max(series.values) <= 1


def _last(key: str, keys: Sequence[str]) -> str:
    return key.rpartition("/")[2] if len(keys) > 1 else ""


def _curve(title: str, y_axis: str, lines: Iterable[Line]) -> Curve:
    return Curve(title, "step", y_axis, [line for line in lines if line.x])


def _line(name: str, series: Series) -> Line:
    return Line(name, series.steps, series.values)


def _wide(curve: Curve) -> bool:
    """Tell whether positive values span so much that an even scale would hide most of them."""
    values = np.concatenate([np.asarray(line.y, np.float64) for line in curve.lines])
    if not (values > 0).all():
        return False
    low, high = np.quantile(values, [0.1, 0.95])
    return bool(high > 20 * low)
