"""Curves are drawn where their numbers are, and whatever the numbers are."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visus.core.figures import Curve, Line
from visus.core.scores import Score
from visus.report.charts import Axis, Mark, chart, described, round_values, whisker

NAN, INF = float("nan"), float("inf")


def _curve(*lines: Line, **more: object) -> Curve:
    return Curve("title", "step", "loss", lines, **more)  # type: ignore[arg-type]


def _points(svg: str, kind: str) -> list[tuple[float, float]]:
    path = re.search(rf'<path class="{kind}" d="M([^"]*)"', svg)
    assert path
    return [(float(x), float(y)) for x, y in (point.split() for point in path[1].split("L"))]


def test_an_axis_maps_its_ends_to_its_pixels():
    axis = Axis(-1, 3, 100, 20)
    assert axis(np.array([-1.0, 1.0, 3.0])).tolist() == [100, 60, 20]


def test_a_logarithmic_axis_gives_each_decade_the_same_room():
    assert Axis(0.01, 1, 0, 100, log=True)(np.array([0.01, 0.1, 1.0])) == pytest.approx([0, 50, 100])


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_are_round_inside_and_about_as_many_as_asked(low, width, about):
    ticks = round_values(low, low + width, about)
    steps = np.diff(ticks)
    assert about / 2.5 - 1 <= len(ticks) <= 2.5 * about + 1
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)
    assert len(steps) == 0 or steps == pytest.approx(np.full(len(steps), steps[0]), rel=1e-3)


def test_a_higher_value_is_drawn_higher():
    points = _points(chart(_curve(Line("", range(50), range(50)))), "line s0")
    assert all(after[0] > before[0] and after[1] < before[1] for before, after in pairwise(points))


def test_a_diagonal_joins_equal_values_of_both_axes():
    svg = chart(_curve(Line("", [0.2, 0.9], [0.2, 0.9]), diagonal=True))
    (x0, y0), (x1, y1) = _points(svg, "diagonal")
    for x, y in _points(svg, "line s0"):
        assert (x - x0) / (x1 - x0) == pytest.approx((y - y0) / (y1 - y0), abs=2e-3)


def test_axes_of_shares_go_from_0_to_1_whatever_the_line():
    drawn = chart(_curve(Line("", (0.5, 0.6), (0.9, 0.95)), unit=True))
    assert drawn.count(">0<") == drawn.count(">1<") == 2


def test_a_gap_of_nan_breaks_the_line():
    svg = chart(_curve(Line("", range(9), [1, 2, 3, NAN, 5, 6, INF, 8, 9])))
    assert svg.count('class="line s0"') == 3


def test_a_long_line_keeps_its_extremes_in_few_points():
    y = np.sin(np.arange(100_000) / 50)
    y[54_321] = 7
    svg = chart(_curve(Line("", range(100_000), y.tolist())))
    points = _points(svg, "line s0")
    assert len(points) < 1000 and len(svg) < 20_000
    assert min(py for _, py in points) < np.median([py for _, py in points]) - 50


@pytest.mark.parametrize(
    "line",
    [
        Line("one", [3], [4]), Line("flat", [0, 1], [2, 2]), Line("still", [1, 1], [1, 2]), Line("zero", [0], [0]),
        Line("band", [0, 1], [1, 2], [NAN, 0], [INF, 9]), Line("short", [0, 1, 2], [1]),
        Line("huge", [0, 1], [1e30, -1e30]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [{}, {"points": True}, {"diagonal": True}, {"bars": [1, 2]}, {"bars": [0]}])
def test_odd_lines_are_drawn_without_a_number_that_is_none(line, kind):
    svg = chart(_curve(line, **kind))
    assert svg.startswith("<svg") and "nan" not in svg and "inf" not in svg


@pytest.mark.parametrize("lines", [[], [Line("", [], [])], [Line("", [0, 1], [NAN, NAN])]])
def test_nothing_finite_is_not_drawn(lines):
    assert chart(_curve(*lines)) == ""


def test_a_mark_stands_on_its_step():
    svg = chart(_curve(Line("", [0, 100], [0, 1])), [Mark(100, "best", "best")])
    at = re.search(r'class="mark best" d="M([\d.]+)', svg)
    assert at and float(at[1]) == pytest.approx(max(x for x, _ in _points(svg, "line s0")), abs=0.1)


def test_bars_say_what_they_count():
    svg = chart(_curve(Line("", [0.1, 0.2], [1, 2]), bars=[1, 40], counted="pixel"))
    assert "bars: pixels behind each point" in svg and "<title>1 pixel</title>" in svg


def test_bars_are_as_high_as_their_counts():
    svg = chart(_curve(Line("", [0.1, 0.2, 0.3], [1, 2, 3]), bars=[10, 0, 40]))
    found = re.search(r'class="count" d="([^"]*)"', svg)
    heights = [float(f) - float(t) for f, t in re.findall(r" ([\d.]+)V([\d.]+)H", found[1])] if found else []
    assert len(heights) == 2 and heights[1] == pytest.approx(4 * heights[0], abs=0.2)


def test_a_chart_is_told_to_those_who_do_not_see_it():
    told = described(_curve(Line("training", [1, 2, 3], [0.5, 0.9, 0.7])))
    assert "training goes from 0.5 at 1 to 0.7 at 3, highest 0.9 at 2" in told


@pytest.mark.parametrize(("axis", "between"), [("step", False), ("share", True)])
def test_there_is_no_step_between_two(axis, between):
    drawn = chart(Curve("", axis, "loss", (Line("loss", np.arange(1.0, 5), np.full(4, 7.0)),)))
    assert (">1.5<" in drawn) is between and ">2<" in drawn


def test_a_whisker_spans_its_interval():
    assert "--l:20.0;--w:40.0;--v:50.0" in whisker(Score(0.5, 0.2, 0.6, 9), 0, 1)
    assert whisker(Score(NAN, NAN, NAN, 0), 0, 1) == ""
