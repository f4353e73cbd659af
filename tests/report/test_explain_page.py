"""The page of explanations: it loads nothing, believes no name, and its headline says what was measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from visus.core.scores import Score
from visus.report.explain_page import Curves, Page, Shown, render

HOSTILE = "<script>alert(1)</script>"
PIXELS = np.full((40, 60, 3), 99, np.uint8)
SHARES = np.linspace(0, 1, 5)


def page(**changes):
    rows = np.linspace(1, 0, 5)[None].repeat(2, 0)
    curves = Curves(SHARES, rows, rows[:, ::-1], rows[:, None].repeat(3, 1), rows[:, None, ::-1].repeat(3, 1))
    shown = Shown(f"{HOSTILE} 0.9", f"{HOSTILE}.png", [("layer", HOSTILE)], PIXELS, PIXELS, [(HOSTILE, PIXELS)])
    usual = {"gain": Score(0.4, 0.3, 0.5, 8), "correlation": Score(0.1, 0.0, 0.2, 8), "curves": curves}
    return render(
        Page("model", "grad_cam", "as asked", "maps", "a paper", "1 is most", [shown], **{**usual, **changes})
    )


def test_it_runs_no_script_and_loads_nothing_whatever_the_names():
    told = page(warnings=(HOSTILE,), notes=(HOSTILE,), problems=((HOSTILE, HOSTILE),))
    assert "<script" not in told and "default-src 'none'" in told and "http" not in told.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ({}, "The maps mark what the answers depend on"),
        ({"warnings": ("they do not",)}, "Do not believe these maps yet"),
        ({"gain": None, "correlation": None, "curves": None}, "Why 1 answer was given"),
    ],
)
def test_the_headline_follows_what_was_measured(changes, headline):
    assert f"<h1>{headline}</h1>" in page(**changes)


def test_too_few_pictures_have_no_interval_and_the_page_says_so():
    assert "too few for an interval" in page(gain=Score(0.4, math.nan, math.nan, 2))


def test_a_page_that_would_become_too_large_counts_what_it_leaves_out():
    noise = np.random.default_rng(0).integers(0, 256, (420, 420, 3), np.uint8)
    shown = [Shown("a", "b.png", [], noise, noise)] * 60
    told = render(Page("model", "grad_cam", "as asked", "maps", "a paper", "1 is most", shown))
    assert "more are in the folder" in told and len(told) < 4_500_000
