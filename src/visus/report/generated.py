"""What a reader should know before believing a generator: whether it leaves kinds of pictures out, or copies some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visus.core.figures import Curve
from visus.core.scores import Score
from visus.report import history
from visus.report.story import Finding, Level, Story
from visus.report.words import interval_of, percent

REACHED = 0.2
"""Recall and coverage up to which most of what is real is never made, precision up to which little looks real."""

USUAL = 0.5
"""Share of its own pictures that a generator makes which has learned nothing by heart."""

LEARNED_BY_HEART = 0.3
"""Share of its own pictures up to which a generator copies."""

OVERFIT = 0.5
"""Of the way from pictures that the discriminator learned from to generated ones, how far new real ones lie."""


def mode_collapse(story: Story) -> Finding | None:
    """What is made is good, or not, but most of what is real is never made."""
    recall, coverage, precision = (_score(story, kind) for kind in ("recall", "coverage", "precision"))
    if recall is None or coverage is None or precision is None or max(recall.high, coverage.high) > REACHED:
        return None
    if precision.low <= max(REACHED, 2 * recall.value):
        text = (
            f"Generated pictures are not among the real ones: precision {_in(precision)}, recall {_in(recall)},"
            f" coverage {_in(coverage)}."
        )
        return Finding("problem", text, "train longer (--minutes)")
    text = (
        f"Mode collapse: generated pictures look real more often (precision {_in(precision)}) than they show what there"
        f" is to show (recall {_in(recall)}, coverage {_in(coverage)})."
    )
    return Finding("problem", text, "--set generate.r1=1, or a larger --batch")


def copying(story: Story) -> Finding | None:
    """Generated pictures lie nearer to training pictures than these lie to each other."""
    own = _score(story, "authenticity")
    if own is None or own.low > LEARNED_BY_HEART:
        return None
    level: Level = "caution" if own.high > LEARNED_BY_HEART else "problem"
    text = (
        f"Generated pictures copy training pictures, or nearly so: only {_in(own)} lie farther from the nearest one"
        f" than that one lies from the next; {percent(USUAL)} would, had nothing been learned by heart."
    )
    return Finding(level, text, "more pictures, or --set generate.augment=ada")


def rival_overfits(story: Story) -> Finding | None:
    """The discriminator takes new real pictures for generated ones: it knows its own by heart.

    Source:
        Karras et al., Training generative adversarial networks with limited data, NeurIPS 2020, eq. 1 (r_v).
    """
    share = overfit(story.log)
    if share is None or share < OVERFIT:
        return None
    text = (
        f"The discriminator knows its training pictures by heart: new real ones lie {percent(min(share, 1.0))} of"
        " the way from these to generated pictures, by its logits."
    )
    return Finding("caution", text, "--set generate.augment=ada, or more pictures")


def overfit(log: Sequence[Mapping[str, Any]]) -> float | None:
    """Return r_v, how far new real pictures lie on the way from those learned from to generated ones; None if unknown.

    At the last validation, against the mean of what training told since the one before.  Both kinds of real pictures
    are compared with the generated ones beside them: the averaged discriminator that judges may have another zero than
    the one that learns, for some losses know differences alone.
    """
    new, beside = (history.validation(log, f"{kind}_logits") for kind in ("real", "fake"))
    real, fake = (history.training(log, f"told/{kind}") for kind in ("real", "fake"))
    if not len(new) or not len(beside) or not len(real) or not len(fake):
        return None
    last = new.steps[-1]
    since = new.steps[-2] if len(new) > 1 else 0
    means = []
    for series in (real, fake):
        near = [value for step, value in zip(series.steps, series.values, strict=True) if since < step <= last]
        if not near:
            return None
        means.append(float(np.mean(near)))
    learned, made = means
    return 1 - float(new.values[-1] - beside.values[-1]) / (learned - made) if learned > made else None


def curves(log: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Return what the discriminator says of pictures over time, and how strongly it was made not to learn by heart."""
    said = [
        ("real, learned from", history.training(log, "told/real")),
        ("generated", history.training(log, "told/fake")),
        ("real, new to it", history.validation(log, "real_logits")),
    ]
    p = history.training(log, "told/p")
    drawn = [
        Curve("What the discriminator says", "step", "mean logit",
              [history.binned(name, series) for name, series in said if len(series)],
              note="Where new real pictures fall towards generated ones, it knows those it learned from by heart."),
        Curve("Chance of augmentation", "step", "p", [history.binned("", p)] if len(p) else []),
    ]  # fmt: skip
    return [curve for curve in drawn if curve.lines]


def _score(story: Story, kind: str) -> Score | None:
    """Return a score of features, whatever made them."""
    return next((score for name, score in story.scores.items() if name.startswith(f"{kind} (")), None)


def _in(score: Score) -> str:
    return f"{percent(score.value, 1)} [{interval_of(score, share=True)}]"
