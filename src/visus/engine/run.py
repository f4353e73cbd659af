"""What a run holds while it trains, and the journal in which it writes down what it decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from visus.core.errors import BadDataLimit
from visus.core.modelfile import Card
from visus.core.recipe import Recipe
from visus.core.task import Condemned, Feed, Metric, Task
from visus.engine.device import Device
from visus.engine.folder import RunFolder
from visus.engine.schedule import Horizon
from visus.engine.state import Generations, State

Watch = Callable[[Mapping[str, Any]], None]

HAPPENED = ("reloaded", "damaged", "splitting_is_inexact")
"""Events that are written whenever they come; others are decisions, written once however often their step is done."""


@dataclass
class Run:
    """Everything a run holds while it trains.

    Attributes:
        task, recipe, device, folder: as their names say.
        state: what steps change.
        train, validation: feeds; ``validation`` None trains without judging.
        horizon: how long, at which rate.
        card: the card of a model file at a step, with its scores.
        pictures: in the whole data set, of which a share may be unreadable; 0 for those of the two feeds.
        frozen: names of parameters held until ``recipe.model.unfreeze`` of the run.
        still: modules that stay in eval mode while they are frozen.
        watch: told of every event, and of rows of the log at most ten times a second.
        record: told of every row of the log.
        started: ``time.perf_counter`` at which this command's clock began.
        judged: the best weights' metric on the validation part, where this process judged them.
        generations: the states on disk.
        micros: (step, rows) of decisions to look at fewer rows at once from a step on.
        bundles: folders of failed steps that can be seen again.
        decided: what the journal holds already.
        bad: why pictures could not be read, by part and id: another part may have one of the same id.
        condemned: by part and index, pictures that are read no more.
        seconds: spent on steps, validation and saving by this process; ``spent``: of the budget by those before it.
        saved_at, told_at: ``time.perf_counter`` of the last save, and of the last row that ``watch`` was told.
        reloads, reloaded_at: how often in a row, and at which step, the optimiser ran out of memory.
        held: names of the parameters that are frozen now; None before the first step.
        memory: for the state before a step of several players.
        split_before: this process has said what splitting a batch changes.
        autocast: makes the context of a forward pass.
    """

    task: Task
    recipe: Recipe
    device: Device
    folder: RunFolder
    state: State
    train: Feed
    validation: Feed | None
    horizon: Horizon
    card: Callable[[int, Mapping[str, float]], Card]
    pictures: int = 0
    frozen: frozenset[str] = frozenset()
    still: tuple[nn.Module, ...] = ()
    watch: Watch = lambda row: None
    record: Watch = lambda row: None
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.generations = Generations(self.folder.path)
        decisions = self.folder.decisions()
        self.micros = [(int(d["step"]), int(d["micro"])) for d in decisions if d["kind"] == "micro"]
        self.bundles = {str(d["bundle"]) for d in decisions if d.get("bundle")}
        changed = max((i for i, d in enumerate(decisions) if d["kind"] == "changed"), default=-1)
        decisions = decisions[changed + 1 :]  # what was said of files may not be so any more: they may be mended
        self.decided = {_identity(d["kind"], d["step"], d) for d in decisions}
        self.bad = {(str(d["part"]), str(d["id"])): str(d["why"]) for d in decisions if d["kind"] == "unreadable"}
        self.condemned: dict[str, dict[int, Condemned]] = {"train": {}, "val": {}}
        for d in decisions:
            if d["kind"] == "condemned":
                self.condemned[d["part"]][int(d["index"])] = Condemned(int(d["step"]), str(d["id"]), str(d["why"]))
        self.train.condemned.update(self.condemned["train"])
        if self.validation is not None:
            self.validation.condemned.update(self.condemned["val"])
        self.pictures = self.pictures or self.train.size + (self.validation.size if self.validation is not None else 0)
        self.seconds = {"steps": 0.0, "validation": 0.0, "saving": 0.0}
        self.saved_at = self.told_at = time.perf_counter()
        self.judged: Metric | None = None
        self.reloads, self.reloaded_at = 0, -1
        self.held: frozenset[str] | None = None
        self.memory: dict[str, Tensor] = {}
        self.split_before = False
        self.spent = self.state.progress.elapsed
        self.autocast: Callable[[], Any] = nullcontext if self.device.precision == "float32" else self.device.autocast

    def elapsed(self) -> float:
        """Return the seconds of the budget used, also by the processes that this one resumes."""
        return self.spent + time.perf_counter() - self.started

    def micro(self, step: int) -> int:
        """Return the rows of a forward pass: as the recipe says, or as want of memory decided at or before ``step``."""
        group = self.task.group
        if not group:
            return self.train.batch_size
        sizes = [self.recipe.micro or self.train.batch_size, *(micro for at, micro in self.micros if at <= step)]
        return max(group, min(sizes) // group * group)

    def smaller(self, micro: int) -> int:
        """Return about half as many rows as are looked at at once: whole groups of the task, at least one."""
        rows = -(-self.train.batch_size // self.device.world)
        group = self.task.group or rows
        return max(group, min(micro, rows) // 2 // group * group)

    def epoch(self, step: int) -> float:
        """Return how often the training part has been seen after ``step`` steps."""
        return round(step * self.train.batch_size / max(1, self.train.size), 4)

    def hold(self, step: int) -> None:
        """Freeze what is frozen at this step."""
        thaws = self.recipe.model.unfreeze
        due = self.frozen if (self.horizon.progress(step) if thaws <= 1 else step) < thaws else frozenset()
        if due != self.held:
            self.held = due
            self.state.flat.attach(due)
            self.state.model.train()
            for module in self.still if due or not self.frozen else ():
                module.eval()

    def load(self) -> None:
        """Put the newest whole state of the disk into this one; say so where a newer one is damaged."""
        for damage in self.generations.load(self.state):
            self.event("damaged", self.state.progress.step, why=damage)

    def event(self, kind: str, step: int, *, dying: bool = False, **values: Any) -> None:
        """Write a decision down, unless it stands there from the first time its step was done, and tell of it.

        Args:
            dying: this process ends now, and no other rank will know why.
        """
        decision = _identity(kind, step, values)
        if kind in HAPPENED or decision not in self.decided:
            self.folder.decide(kind, step, values, dying=dying)
            self.decided.add(decision)
        self.watch({"event": kind, "step": step, **values})

    def note_bad(self, bad: Sequence[tuple[str, str]], step: int, part: str) -> None:
        """Write down, once, which pictures of a part of the data could not be read."""
        for name, why in bad:
            if (part, name) not in self.bad:
                self.bad[part, name] = why
                self.event("unreadable", step, id=name, part=part, why=why)

    def note_condemned(self, found: Iterable[tuple[int, Condemned]], feed: Feed, part: str) -> None:
        """Write down which pictures are read no more, so that a resumed run leaves them out of the same steps."""
        for index, said in found:
            feed.condemned[index] = said
            if self.condemned[part].get(index) != said:
                self.condemned[part][index] = said
                self.event("condemned", said.since, id=said.id, index=index, part=part, why=said.why)

    def too_many_bad(self, done: str) -> BadDataLimit | None:
        """Return the error for more unreadable pictures than the recipe allows, or None while there are not."""
        limit = self.recipe.data.most_bad(self.pictures)
        if len(self.bad) <= limit:
            return None
        (_, name), why = list(self.bad.items())[-1]
        journal = self.folder.path / "decisions.jsonl"
        return BadDataLimit(
            "DATA-020", f"{len(self.bad):,} of {self.pictures:,} pictures cannot be read", where=f"{name}: {why}",
            done=f"at most {limit:,} may be left out ({self.recipe.data.max_bad:.1%}); {done}",
            fix=f"mend or remove them ({journal} has those met so far), or train anew with --set data.max_bad=SHARE",
        )  # fmt: skip


def _identity(kind: str, step: int, values: Mapping[str, Any]) -> tuple[str, int, str, str]:
    """Return what makes a decision the same one when its step is done again."""
    return kind, step, str(values.get("part", "")), str(values.get("id", values.get("micro", "")))
