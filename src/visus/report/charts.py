"""Curves as inline SVG: a few kB each, coloured by the page's style sheet, so that they follow dark mode and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from visus.core.figures import Curve, Line
from visus.core.scores import Score
from visus.report.words import number, plural

WIDTH, HEIGHT, SQUARE = 480, 280, 400
"""Of a chart, in its own units; about a pixel each on a desktop screen."""

COLOURS = 10
"""Lines that get a colour or a dash of their own; the rest is drawn thin and grey behind them."""

_TOP, _RIGHT, _BOTTOM, _STRIP, _LETTER = 10, 14, 42, 60, 6.4
_MOST_VERTICES, _MOST_POINTS, _MOST_TIPS, _MOST_LINES = 240, 3000, 40, 60

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """A place on the x axis worth a vertical line: the best step, a healed one."""

    x: float
    text: str
    kind: str = "event"
    label: str = ""


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` on pixels from ``start`` to ``stop``, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, values: Values) -> Values:
        """Return the pixel of each value."""
        low, high = self._scaled(np.array([self.low, self.high]))
        pixels: Values = self.start + (self._scaled(values) - low) / (high - low) * (self.stop - self.start)
        return pixels

    def ticks(self, about: int) -> list[float]:
        """Return round values on the axis, about as many as asked for."""
        if not self.log:
            return round_values(self.low, self.high, about)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        steps = (1, 2, 5) if last - first <= 2 else (1,)
        stride = max(1, round((last - first) / about))
        found = [m * 10.0**e for e in range(first, last + 1, stride) for m in steps]
        return [v for v in found if self.low <= v * (1 + 1e-9) and v <= self.high * (1 + 1e-9)]

    def _scaled(self, values: Values) -> Values:
        return np.log10(np.maximum(values, 1e-300)).astype(np.float64) if self.log else values


def round_values(low: float, high: float, about: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``, about as many as asked for."""
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def chart(curve: Curve, marks: Sequence[Mark] = (), *, log: bool = False) -> Markup:
    """Return a curve as one ``<svg>``; empty where it holds no finite point.

    Args:
        curve: its lines; NaN leaves a gap.  The first ``COLOURS`` lines are told apart by colour and dashes.
        marks: vertical lines.
        log: scale y by its logarithm; needs positive values.
    """
    lines = [_Drawn(line) for line in curve.lines][:_MOST_LINES]
    lines = [line for line in lines if line.x.size]
    if not lines:
        return Markup("")
    wide = SQUARE if curve.diagonal else WIDTH
    tall = (SQUARE if curve.diagonal else HEIGHT) + (_STRIP if len(curve.bars) else 0)
    x_low, x_high, y_low, y_high = _limits(lines, curve, log)
    bottom = tall - _BOTTOM - (_STRIP if len(curve.bars) else 0)
    y_axis = Axis(y_low, y_high, bottom, _TOP + 18, log)
    y_ticks = y_axis.ticks(5)
    left = 12 + _LETTER * max(len(_tick(value)) for value in y_ticks or [0.0])
    x_axis = Axis(x_low, x_high, left, wide - _RIGHT)
    parts = [_frame(curve, x_axis, y_axis, y_ticks)]
    if curve.diagonal:
        ends = np.array([max(x_low, y_low), min(x_high, y_high)])
        parts.append(_path(x_axis(ends), y_axis(ends), "diagonal"))
    parts += [_mark(mark, x_axis, bottom) for mark in marks if x_low <= mark.x <= x_high]
    for place, line in sorted(enumerate(lines), key=lambda entry: -entry[0]):
        parts += line.draw(f"s{place}" if place < COLOURS else "many", x_axis, y_axis, points=curve.points)
    if len(curve.bars):
        parts.append(_strip(curve, lines[0].x, x_axis, tall))
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        wide, tall, described(curve), Markup("").join(parts)
    )


def described(curve: Curve) -> str:
    """Return what a chart shows, in words for those who do not see it."""
    told = []
    for line in curve.lines[:COLOURS]:
        drawn = _Drawn(line)
        if not drawn.x.size:
            continue
        top, last = int(drawn.y.argmax()), drawn.y.size - 1
        name = line.name or curve.y_axis
        told.append(
            f"{name} goes from {number(float(drawn.y[0]))} at {number(float(drawn.x[0]))}"
            f" to {number(float(drawn.y[last]))} at {number(float(drawn.x[last]))},"
            f" highest {number(float(drawn.y[top]))} at {number(float(drawn.x[top]))}"
        )
    more = f"; and {len(curve.lines) - COLOURS:,} more lines" if len(curve.lines) > COLOURS else ""
    return f"{curve.title}: {curve.y_axis} over {curve.x_axis}. {'; '.join(told)}{more}."


def whisker(score: Score, low: float, high: float) -> Markup:
    """Return a score and its interval as a mark in a band, on an axis from ``low`` to ``high``; empty if undefined."""
    if not (math.isfinite(score.value) and high > low):
        return Markup("")
    known = math.isfinite(score.low) and math.isfinite(score.high)
    ends = (score.low, score.high) if known else (score.value, score.value)
    start, stop, at = (100 * min(max((v - low) / (high - low), 0), 1) for v in (*ends, score.value))
    return Markup('<i class="w" style="--l:{:.1f};--w:{:.1f};--v:{:.1f}"></i>').format(start, stop - start, at)


class _Drawn:
    """The finite points of a line."""

    def __init__(self, line: Line) -> None:
        n = min(len(line.x), len(line.y))
        x, y = np.asarray(line.x[:n], np.float64), np.asarray(line.y[:n], np.float64)
        banded = len(line.low) >= n and len(line.high) >= n > 0
        low = np.asarray(line.low[:n], np.float64) if banded else y
        high = np.asarray(line.high[:n], np.float64) if banded else y
        finite = np.isfinite(x) & np.isfinite(y)
        self.name, self.banded = line.name, banded
        self.x, self.y = x[finite], y[finite]
        self.low = np.where(np.isfinite(low[finite]), low[finite], self.y)
        self.high = np.where(np.isfinite(high[finite]), high[finite], self.y)
        self.breaks = np.flatnonzero(np.diff(np.flatnonzero(finite)) > 1) + 1

    def draw(self, kind: str, x_axis: Axis, y_axis: Axis, *, points: bool) -> list[Markup]:
        clip = (min(y_axis.start, y_axis.stop), max(y_axis.start, y_axis.stop))
        x = x_axis(self.x)
        y, low, high = (np.clip(y_axis(v), *clip) for v in (self.y, self.low, self.high))
        parts: list[Markup] = []
        rising = bool((np.diff(self.x) > 0).all())
        if self.banded and points:
            at = [f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in zip(x, low, high, strict=True)]
            parts.append(Markup('<path class="bar {}" d="{}"/>').format(kind, "".join(at[:_MOST_POINTS])))
        elif self.banded:
            parts += [_band(x[s], low[s], high[s], kind) for s in self._runs()]
        if not points:
            parts += [_path(*_thin(x[s], y[s]), f"line {kind}") for s in self._runs()]
        if points or (rising and x.size <= _MOST_TIPS // 2):
            parts.append(_dots(x, y, kind))
        if x.size <= _MOST_TIPS and kind != "many":
            parts += [self._tip(a, b, i) for i, (a, b) in enumerate(zip(x, y, strict=True))]
        return parts

    def _runs(self) -> list[slice]:
        edges = [0, *self.breaks.tolist(), self.x.size]
        return [slice(a, b) for a, b in pairwise(edges)]

    def _tip(self, x: float, y: float, i: int) -> Markup:
        value = number(float(self.y[i]))
        if self.banded:
            value += f" ({number(float(self.low[i]))} to {number(float(self.high[i]))})"
        name = f"{self.name}: " if self.name else ""
        return Markup('<circle class="tip" cx="{:.1f}" cy="{:.1f}" r="7"><title>{}{} at {}</title></circle>').format(
            x, y, name, value, number(float(self.x[i]))
        )


def _limits(lines: Sequence[_Drawn], curve: Curve, log: bool) -> tuple[float, float, float, float]:
    if curve.unit:
        return 0.0, 1.0, 0.0, 1.0
    diagonal = curve.diagonal
    x = np.concatenate([line.x for line in lines])
    y = np.concatenate([part for line in lines for part in (line.y, line.low, line.high)])
    if log:
        y = y[y > 0]
    x_low, x_high, y_low, y_high = float(x.min()), float(x.max()), float(y.min()), float(y.max())
    if diagonal:
        x_low = y_low = min(x_low, y_low)
        x_high = y_high = max(x_high, y_high)
        if x_low >= 0 and x_high <= 1:
            x_low, y_low, x_high, y_high = 0.0, 0.0, 1.0, 1.0
    if x_low == x_high:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    elif curve.points and not diagonal and any(line.banded for line in lines):
        x_low, x_high = x_low - 0.05 * (x_high - x_low), x_high + 0.05 * (x_high - x_low)  # room for the outermost bars
    if log:
        return x_low, x_high, y_low / 1.1, y_high * 1.1
    room = 0.06 * (y_high - y_low) or abs(y_high) or 0.5
    within = diagonal and y_low == 0 and y_high == 1
    low = y_low if within else max(y_low - room, 0) if y_low >= 0 else y_low - room
    high = y_high if within else min(y_high + room, 1) if y_low >= 0 and 0.5 < y_high <= 1 else y_high + room
    return x_low, x_high, low, high


def _frame(curve: Curve, x_axis: Axis, y_axis: Axis, y_ticks: Sequence[float]) -> Markup:
    left, right, bottom = x_axis.start, x_axis.stop, y_axis.start
    heights = y_axis(np.array(y_ticks, np.float64))
    grid = "".join(f"M{left:.1f} {at:.1f}H{right:.1f}" for at in heights)
    parts = [
        Markup('<path class="grid" d="{}"/>').format(grid),
        Markup('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>').format(left, bottom, right),
        _text(2, _TOP + 2, curve.y_axis, "start", "title"),
        _text(right, bottom + 35, curve.x_axis, "end", "title"),
    ]
    parts += [_text(left - 6, at + 4, _tick(value), "end") for at, value in zip(heights, y_ticks, strict=True)]
    widest = max((len(_tick(value)) for value in x_axis.ticks(6)), default=1) * _LETTER
    x_ticks = x_axis.ticks(max(2, min(6, int((right - left) / (widest + 10)) - 1)))
    if curve.x_axis == "step":
        x_ticks = [value for value in x_ticks if value.is_integer()]  # there is none between two
    for at, value in zip(x_axis(np.array(x_ticks, np.float64)), x_ticks, strict=True):
        edge = right + _RIGHT - 2
        over = at + _LETTER * len(_tick(value)) / 2 > edge
        parts.append(_text(edge if over else at, bottom + 16, _tick(value), "end" if over else "middle"))
    return Markup("").join(parts)


def _strip(curve: Curve, x: Values, x_axis: Axis, tall: float) -> Markup:
    """Return the bars below a chart that say how many items stand behind each x."""
    counts = np.nan_to_num(np.asarray(curve.bars, np.float64))
    left, right, floor, high = x_axis.start, x_axis.stop, tall - 20, _STRIP - 28
    if counts.size == x.size:
        centres = x_axis(x)
        wide = float(np.median(np.abs(np.diff(centres)))) if x.size > 1 else (right - left) / 10
    else:
        wide = (right - left) / counts.size
        centres = np.linspace(left + wide / 2, right - wide / 2, counts.size)
    wide = max(1.0, 0.8 * wide)
    path, tips = "", []
    for centre, count in zip(centres, counts, strict=True):
        start, stop = max(centre - wide / 2, left), min(centre + wide / 2, right)
        top = floor - high * count / max(float(counts.max()), 1e-12)
        path += f"M{start:.1f} {floor:.1f}V{top:.1f}H{stop:.1f}V{floor:.1f}Z" if count > 0 else ""
        tips.append(
            Markup(
                '<rect class="tip" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}"><title>{}</title></rect>'
            ).format(start, floor - high, stop - start, high, plural(int(count), curve.counted))
        )
    told = f"bars: {curve.counted}s behind each point, up to {number(int(counts.max()))}"
    drawn = Markup('<path class="count" d="{}"/>').format(path) + _text(left, tall - 5, told, "start")
    return drawn + Markup("").join(tips if counts.size <= _MOST_TIPS else [])


def _mark(mark: Mark, x_axis: Axis, bottom: float) -> Markup:
    at = float(x_axis(np.array([mark.x]))[0])
    near_end = at > x_axis.stop - 20
    name = _text(x_axis.stop if near_end else at, _TOP + 9, mark.label, "end" if near_end else "middle", "tick")
    return Markup('<path class="mark {}" d="M{:.1f} {}V{:.1f}"><title>{}</title></path>{}').format(
        mark.kind, at, _TOP + 14, bottom, mark.text, name if mark.label and at > x_axis.start + 50 else ""
    )


def _path(x: Values, y: Values, kind: str) -> Markup:
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)]
    return Markup('<path class="{}" d="{}"/>').format(kind, "M" + "L".join(points) if len(points) > 1 else "")


def _band(x: Values, low: Values, high: Values, kind: str) -> Markup:
    if x.size < 2:
        return Markup("")
    outline = [f"{a:.1f} {b:.1f}" for a, b in zip([*x, *x[::-1]], [*high, *low[::-1]], strict=True)]
    return Markup('<path class="band {}" d="M{}Z"/>').format(kind, "L".join(outline))


def _dots(x: Values, y: Values, kind: str) -> Markup:
    """Return all points as one path of round dots; thinned evenly where there are thousands."""
    keep = np.unique(np.linspace(0, x.size - 1, min(x.size, _MOST_POINTS)).round().astype(np.int64))
    size = "few" if x.size <= _MOST_TIPS else "dense" if x.size > 400 else "some"
    path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x[keep], y[keep], strict=True))
    return Markup('<path class="dots {} {}" d="{}"/>').format(size, kind, path)


def _thin(x: Values, y: Values) -> tuple[Values, Values]:
    """Return few enough vertices: of each stretch of a line its first, lowest and highest point, and the very last."""
    if x.size <= 3 * _MOST_VERTICES:
        return x, y
    edges = np.linspace(0, x.size, _MOST_VERTICES + 1).astype(np.int64)
    keep = [(a, a + y[a:b].argmin(), a + y[a:b].argmax()) for a, b in pairwise(edges)]
    at = np.unique([*np.ravel(keep), x.size - 1])
    return x[at], y[at]


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)


def _tick(value: float) -> str:
    return number(int(value) if float(value).is_integer() and abs(value) < 1e9 else float(value))
