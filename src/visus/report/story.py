"""Everything a report tells, in plain values, so that pages, terminals and JSON tell the same story."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from visus.core.figures import Figure
from visus.core.recipe import Recipe
from visus.core.scores import Score, WithoutLeaks

if TYPE_CHECKING:
    from visus.core.modelfile import Card  # it loads torch, which telling a story does not need

Level = Literal["problem", "caution", "note", "good"]


@dataclass(frozen=True)
class Picture:
    """One picture worth looking at.

    Attributes:
        title: of its group: "most confident mistakes".
        caption: what is shown and what was said about it.
        pixels: (H, W, 3) or (H, W), uint8.
    """

    title: str
    caption: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Finding:
    """One thing a reader should know, and the next command where there is one.

    Attributes:
        level: ``problem`` (do not trust this run before it is solved), ``caution``, ``note`` or ``good``.
        text: the fact with its numbers, in one or two sentences.
        fix: a command or an edit that helps.
    """

    level: Level
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Story:
    """What happened, how good it is, and how one knows.  Every part may be missing.

    Attributes:
        title: what a reader calls this run: "resnet18 on flowers".
        command: the line that repeats it.
        task: name of the task.
        score: name of the headline score in ``scores``.
        split: the part of the data that ``scores``, ``figures`` and ``gallery`` were measured on.
        scores: by name.
        without_leaks: also without judged pictures that other parts of the data give away.
        taken: what of the weights that it started from was not taken as it was: a sentence each.
        chosen: a model was judged whose weights are the best on the validation part, not anyone's answers in a file.
        figures: what the metric shows, in its order.
        log: rows of log.jsonl, oldest first.  A training row has ``step``, ``epoch``, ``loss``, ``loss/TERM``, ``lr``
            and ``gradient_norm``; a validation row has ``step`` and ``validation``, a mapping of quick scores.
        gallery: pictures; those with the same title stand together.
        legend: what colours on them mean, in words by ``right``, ``wrong`` and ``missed``.
        recipe: every setting with its origin.
        card: what the model file says of itself.
        data: ``name``, ``format``, ``evidence``, ``notes`` (sentences), ``items`` ({split: n}), ``carved``
            (the splits that visus carved), ``counts`` ({split: {class: n}}), ``bad`` ((id, reason) of unusable
            records), ``fingerprint``, ``licence``.
        seconds: where the time went, by stage, in their order; "training/forward" is a part of "training".
        events: what was healed: ``step``, ``kind``, ``what``.
        environment: versions, machine, threads, by name.
        findings: what ``visus.report.findings.findings`` derived from all this.
        unfinished: why the run is not complete and how to go on, in a sentence; empty for a complete one.
        path: where the page is written, for the terminal.
    """

    title: str
    command: str = ""
    task: str = ""
    score: str = ""
    split: str = "test"
    scores: Mapping[str, Score] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    log: Sequence[Mapping[str, Any]] = ()
    gallery: Sequence[Picture] = ()
    legend: Mapping[str, str] = field(default_factory=dict)
    recipe: Recipe | None = None
    card: Card | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    unfinished: str = ""
    path: str = ""
    without_leaks: WithoutLeaks | None = None
    taken: tuple[str, ...] = ()
    chosen: bool = True

    @property
    def headline(self) -> Score | None:
        """The score that picks the best weights, where it was measured."""
        return self.scores.get(self.score)
