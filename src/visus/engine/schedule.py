"""How long a run is and how its learning rate goes: pure functions of the step number and of decisions written down."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from visus.core.errors import UsageError
from visus.core.recipe import Recipe, ScheduleSettings

Decide = Callable[[str, int, dict[str, Any]], None]


def shape(settings: ScheduleSettings, progress: float) -> float:
    """Return the share of the learning rate at ``progress`` in [0, 1] of what follows the warm-up, or of the decay.

    Source:
        cosine: Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5 without restarts.  one_cycle: Smith and Topin,
        Super-convergence, 2018: a rise over the first 30 % of the run, then a fall, both along cosines.
    """
    if settings.name == "constant":
        return 1.0
    if settings.name == "step":
        return settings.factor ** sum(progress >= m for m in settings.milestones)
    if settings.name == "linear":
        return 1 + (settings.final - 1) * progress
    if settings.name == "one_cycle":
        if progress < RISE:
            return settings.start + (1 - settings.start) * 0.5 * (1 - math.cos(math.pi * progress / RISE))
        progress = (progress - RISE) / (1 - RISE)
    return settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * progress))


RISE = 0.3
SHAPES = {
    "constant": "the same rate from the warm-up to the end",
    "cosine": "falls along half a cosine: slowly, fast, slowly",
    "linear": "falls along a straight line",
    "one_cycle": "rises over the first 30 % of the run, then falls, both along half a cosine; in minutes: cosine",
    "step": "falls by schedule.factor at each of schedule.milestones",
}
"""Schedule -> what it does with the learning rate."""


_TAKES = {
    "constant": {"warmup", "start"},
    "cosine": {"warmup", "start", "final"},
    "linear": {"warmup", "start", "final"},
    "one_cycle": {"start", "final"},
    "step": {"warmup", "start", "milestones", "factor"},
}
"""Schedule -> which settings it reads; with a budget in minutes, each of them also warms up and decays."""


def check(settings: ScheduleSettings, said: Iterable[str], timed: bool) -> None:
    """Refuse a setting that somebody asked for and the schedule does not read.

    Args:
        settings: with the schedule's name.
        said: keys that somebody asked for: ``["warmup"]``.
        timed: the run is bounded in minutes.

    Raises:
        UsageError: that is so.
    """
    reads = _TAKES[settings.name] | ({"name", "warmup", "decay"} if timed else {"name"})
    for key in said:
        if key not in reads:
            others = [name for name, keys in _TAKES.items() if key in keys]
            fix = f"leave it out, or --set schedule.name={others[0]}" if others else "a run of --minutes has one"
            raise UsageError("USE-039", f"the schedule {settings.name!r} has no {key}", fix=fix)


@dataclass
class Steps:
    """A run of a known number of steps.

    Args:
        recipe: its schedule, its evaluate_every.
        total: steps of the run.
        epoch: steps of an epoch, for ``evaluate_every``.
        judged: pictures of a validation.
    """

    recipe: Recipe
    total: int
    epoch: float
    judged: int = 0

    def decide(self, step: int, elapsed: float) -> None:
        """Decide nothing: every step follows from its number."""

    def progress(self, step: int) -> float:
        """Return the share of the run that lies behind ``step`` steps."""
        return min(1.0, step / self.total)

    def rate(self, step: int) -> float:
        """Return the share of the learning rate that step number ``step`` moves by."""
        settings = self.recipe.schedule
        warm = round(settings.warmup * self.total)
        if step < warm and settings.name != "one_cycle":
            return settings.start + (1 - settings.start) * (step + 1) / (warm + 1)
        if settings.name == "one_cycle":
            warm = 0
        return shape(settings, (step - warm) / max(1, self.total - warm))

    def ended(self, step: int) -> bool:
        """Tell whether ``step`` steps are all."""
        return step >= self.total

    def evaluates(self, step: int) -> bool:
        """Tell whether the model is judged after ``step`` steps.

        Where the recipe leaves it open: ten times in a run, but at most once an epoch, and so seldom that judging takes
        at most about CHEAP of the time, a picture that is judged costing a third of one that is learned from.  This is
        reckoned, not measured: the same recipe gives the same bits.
        """
        if self.ended(step):
            return True
        seldom = self.judged / 3 / CHEAP / self.recipe.batch
        every = self.recipe.evaluate_every * self.epoch or max(self.total / 10, self.epoch, seldom)
        return _passes(step, every)


@dataclass
class Minutes:
    """A run bounded by the clock, whose every decision is written down before it acts and never revisited.

    The rate rises, is constant, then decays over the last ``schedule.decay`` of the time.  It rises for ``warm`` steps,
    or for ``schedule.warmup`` of those that fit, once it shows how many, where that is less.  The decay is cut into
    SEGMENTS equal parts; at the start of each, the speed measured so far fixes how many steps it has: none, where no
    more fits.  One step is always made.  A resume reads the decisions and looks at no clock until they are used up.

    Args:
        recipe: its schedule and minutes.
        seconds: that training may use, from step 0 to the end of the last step.
        warm: most steps of the warm-up.
        write: called with (kind, step, values) before a decision acts.
        decisions: already written, in order: (kind, step, values).
        reserve: seconds kept for what follows training, as far as it is known.
        cost: seconds that a validation takes; one that would eat more than AFFORDABLE of the budget waits for the end.
        epoch: steps of an epoch, for ``evaluate_every``.
    """

    recipe: Recipe
    seconds: float
    warm: int
    write: Decide
    decisions: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    reserve: float = 0.0
    cost: float = 0.0
    epoch: float = 0.0

    def __post_init__(self) -> None:
        constant = 1 - self.recipe.schedule.decay
        marks = {0.5 * constant: True, constant: False}
        thaws = self.recipe.model.unfreeze
        if self.recipe.model.freeze and 0 < thaws < constant:  # as a share of the run; a step needs no mark
            marks.setdefault(float(thaws), False)
        self.marks = sorted(marks.items())
        self.segments: list[tuple[int, int]] = []
        self.judged: set[int] = set()
        self.passed: list[tuple[int, float]] = []
        timed = [d for d in self.decisions if d[0] in ("warmup", "mark", "segment")]
        self.pending = sorted(timed, key=lambda decision: decision[1])  # a run that went back wrote on from there
        self.warming = [(0, self.warm)]
        self.warmed = any(kind == "warmup" for kind, *_ in timed)
        self.since: tuple[int, float] | None = None
        self.first: tuple[int, float] | None = None
        self.told = False

    def decide(self, step: int, elapsed: float) -> int | None:
        """Take the decisions due before ``step``: those written down at their step, else by the clock.

        Returns:
            About how many steps the run will have, once, as soon as that shows; else None.
        """
        if self.since is None:
            self.since = step, elapsed
        elif self.first is None:
            self.first = step, elapsed
        while self.pending and self.pending[0][1] <= step:
            self._take(*self.pending.pop(0))
        while not self.pending and (decision := self._due(step, elapsed)) is not None:
            self.write(decision[0], step, decision[1])
            self._take(decision[0], step, decision[1])
        fits = None if self.told else self._fits(step, elapsed)
        self.told = fits is not None or self.told
        if fits is not None and not self.warmed:
            warm = min(self.warm, max(1, round(self.recipe.schedule.warmup * fits)))
            self.write("warmup", step, {"steps": warm})
            self._take("warmup", step, {"steps": warm})
        return fits

    def progress(self, step: int) -> float:
        """Return the share of the run behind ``step`` steps, as far as it has been decided."""
        constant = 1 - self.recipe.schedule.decay
        if self.segments:
            ends = [start for start, _ in self.segments] + [self.segments[-1][0] + self.segments[-1][1]]
            i = min(bisect_right(ends, step) - 1, len(self.segments) - 1)
            if i >= 0:
                start, steps = self.segments[i]
                within = min(1.0, (step - start) / steps) if steps else 1.0
                return constant + self.recipe.schedule.decay * (i + within) / SEGMENTS
        return max([share for at, share in self.passed if at <= step], default=0.0)

    def rate(self, step: int) -> float:
        """Return the share of the learning rate that step number ``step`` moves by."""
        settings = self.recipe.schedule
        warm = next(steps for at, steps in reversed(self.warming) if at <= step)
        if step < warm:
            return settings.start + (1 - settings.start) * (step + 1) / (warm + 1)
        constant = 1 - settings.decay
        into = (self.progress(step) - constant) / settings.decay
        if into <= 0 or settings.name == "constant":
            return 1.0
        if settings.name == "one_cycle":
            return settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * into))
        return shape(settings, into)

    def ended(self, step: int) -> bool:
        """Tell whether ``step`` steps are all."""
        return len(self.segments) == SEGMENTS and step >= sum(self.segments[-1])

    def evaluates(self, step: int) -> bool:
        """Tell whether the model is judged after ``step`` steps.

        Where the recipe leaves it open, that is half-way through the constant part, and at the start, the middle and
        the end of the decay.
        """
        return self.ended(step) or step in self.judged or _passes(step, self.recipe.evaluate_every * self.epoch)

    def _due(self, step: int, elapsed: float) -> tuple[str, dict[str, Any]] | None:
        available = self.seconds - self.reserve
        fit = (available - elapsed) * self._speed(step, elapsed)
        if step == 0 or (self.first == (step, elapsed) and fit >= NEARLY):
            return None  # the first step is slower than any other: no measure where another has room
        if not self.segments:
            for share, judged in self.marks[len(self.passed) :]:
                if elapsed >= share * available or fit < 1:
                    return "mark", {"share": share, "judge": judged and self._affordable()}
            if len(self.passed) < len(self.marks):
                return None
        elif len(self.segments) == SEGMENTS or step < sum(self.segments[-1]):
            return None
        steps = max(0, int(fit / (SEGMENTS - len(self.segments)) + 1e-6))
        judge = len(self.segments) in (0, SEGMENTS // 2) and self._affordable()
        return "segment", {"steps": steps, "judge": judge}

    def _affordable(self) -> bool:
        return not self.recipe.evaluate_every and self.cost <= AFFORDABLE * self.seconds

    def _speed(self, step: int, elapsed: float) -> float:
        """Return steps a second, all included, since this process made its first; before that, since the run began."""
        known = [begun for begun in (self.first, self.since) if begun is not None and begun[0] < step]
        begun = known[0] if known else (0, 0.0)
        return (step - begun[0]) / max(1e-9, elapsed - begun[1])

    def _fits(self, step: int, elapsed: float) -> int | None:
        """Return how many steps the run will have in all, once two of them or the end of its time show it."""
        left = self.seconds - self.reserve - elapsed
        if left <= 0 or self.ended(step):
            return max(1, step)
        return step + int(left * self._speed(step, elapsed)) if self.first and step > self.first[0] else None

    def _take(self, kind: str, step: int, values: dict[str, Any]) -> None:
        if kind == "warmup":
            self.warming.append((step, int(values["steps"])))
        elif kind == "segment":
            self.segments.append((step, int(values["steps"])))
        else:
            self.passed.append((step, float(values["share"])))
        if values.get("judge"):
            self.judged.add(step)


SEGMENTS = 8
AFFORDABLE = 0.03
NEARLY = 0.9  # of a step, for which a budget has room when it has for the rest
CHEAP = 0.1
Horizon = Steps | Minutes


def _passes(step: int, every: float) -> bool:
    """Tell whether step number ``step`` reaches a further multiple of ``every``; of 0, none."""
    return step > 0 and every > 0 and math.floor(step / every) > math.floor((step - 1) / every)
