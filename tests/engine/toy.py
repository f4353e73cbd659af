"""A small honest task on made-up tensors, and what it takes to run it: for tests of the engine alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visus.core.modelfile import Architecture, Card
from visus.core.recipe import Choice, Draft, InputSettings, Recipe
from visus.core.scores import Score
from visus.core.seeds import derive, permutation
from visus.core.task import Batch, Condemned, Term
from visus.engine.device import opened
from visus.engine.folder import RunFolder
from visus.engine.loop import Run, fit
from visus.engine.schedule import Minutes, Steps
from visus.engine.state import new_state

FEATURES, CLASSES = 6, 3


class Rows:
    """A metric that counts right answers."""

    def __init__(self) -> None:
        self.right: list[Tensor] = [torch.zeros(0)]

    def update(self, raw: Mapping[str, Tensor], batch: Batch) -> None:
        self.right.append((raw["logits"].argmax(1) == batch.targets["label"]).float())

    def state(self) -> dict[str, Tensor]:
        return {"right": torch.cat(self.right)}

    def load(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        self.right = [state["right"] for state in states]

    def quick(self) -> dict[str, float]:
        return {"accuracy": float(torch.cat(self.right).mean())}

    def compute(self) -> dict[str, Score]:
        value = self.quick()["accuracy"]
        return {"accuracy": Score(value, value, value, len(torch.cat(self.right)))}


class Toy:
    """Classes of points; label -1 is not known and counts nowhere."""

    name, score, group = "toy", "accuracy", 1
    players: Mapping[str, str] = {"model": ""}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"point": (batch.targets["label"] >= 0).sum()}

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        logits = model(*batch.inputs)
        return {
            "cross_entropy": Term(
                F.cross_entropy(logits, batch.targets["label"], ignore_index=-1, reduction="sum"), "point"
            )
        }

    def raw(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"logits": model(*batch.inputs)}

    def metric(self) -> Rows:
        return Rows()


class Points:
    """A feed over tensors: the step number gives the rows."""

    waiting = 0.0

    def __init__(
        self,
        n: int = 64,
        batch: int = 16,
        seed: int = 0,
        *,
        rank: int = 0,
        world: int = 1,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        generator = torch.Generator().manual_seed(7)
        self.x = torch.randn(n, FEATURES, generator=generator, dtype=torch.float64).to(dtype)
        self.y = (self.x[:, 0] > 0).long() + (self.x[:, 1] > 0.3).long()
        self.y[::5] = -1
        self.condemned: dict[int, Condemned] = {}
        self.batch_size, self.size, self.seed, self.rank, self.world = batch, n, seed, rank, world

    def _rows(self, at: np.ndarray, step_seed: int, start: int, whole: int) -> Batch:
        index = torch.as_tensor(at)
        return Batch((self.x[index],), {"label": self.y[index]}, tuple(f"point {i}" for i in at), index,
                     torch.eye(3, dtype=torch.float64).expand(len(at), 3, 3), step_seed, start, whole)  # fmt: skip

    def batch(self, step: int, without: frozenset[int] = frozenset()) -> Batch:
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        start, stop = self.batch_size * self.rank // self.world, self.batch_size * (self.rank + 1) // self.world
        at = np.array(
            [permutation(self.seed, p // self.size, self.size)[p % self.size] for p in places[start:stop]],
            dtype=np.int64,
        )
        kept = np.array([i for i in at if int(i) not in without], dtype=np.int64)
        return self._rows(kept, derive(self.seed, "step", step), start, self.batch_size)

    def sweep(self) -> Iterator[Batch]:
        n = len(self.x)
        mine = np.arange(n * self.rank // self.world, n * (self.rank + 1) // self.world)
        for i in range(0, len(mine), self.batch_size):
            yield self._rows(mine[i : i + self.batch_size], 0, 0, 0)

    def close(self) -> None:
        pass


def network(
    seed: int = 0, *, dropout: float = 0.2, norm: bool = False, dtype: torch.dtype = torch.float32
) -> nn.Sequential:
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(16)] if norm else []
    return nn.Sequential(nn.Linear(FEATURES, 16), *middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, CLASSES)).to(
        dtype
    )


def recipe(**settings: Any) -> Recipe:
    wanted = {
        "steps": 12,
        "batch": 16,
        "optim.name": "adamw",
        "optim.lr": 0.01,
        "ema": 0.9,
        "save_every": 0.0,
        **settings,
    }
    return Draft(Choice(key, value, "test") for key, value in wanted.items()).finish()


def card(step: int, scores: Mapping[str, float]) -> Card:
    return Card(visus="0", task="toy", architecture=Architecture(name="toy", outputs=CLASSES), classes=("a", "b", "c"),
                input=InputSettings(), step=step)  # fmt: skip


def train(
    folder: Path, settings: Recipe | None = None, *, model: nn.Module | None = None, task: Any = None, feed: Any = None,
    change: Callable[[Run], None] = lambda run: None, seconds: float = 5.0,
) -> Run:  # fmt: skip
    """Train (or resume) the toy in a folder; ``change`` may tamper with the run before it starts."""
    settings = settings or recipe()
    with opened(settings) as device, RunFolder(folder, leader=device.rank == 0) as held:
        task, feed = (
            task or Toy(),
            feed or Points(batch=settings.batch, seed=settings.seed, rank=device.rank, world=device.world),
        )
        state = new_state(model if model is not None else network(), settings, task.players)
        decisions = [(d["kind"], d["step"], d) for d in held.decisions()]
        horizon = (
            Minutes(settings, seconds, 2, held.decide if device.rank == 0 else lambda *a: None, decisions)
            if settings.minutes
            else Steps(settings, settings.steps or 12, feed.size / feed.batch_size)
        )
        run = Run(task, settings, device, held, state, feed, feed, horizon, card)
        if run.generations.steps():
            run.generations.load(state)
            held.cut(state.progress.step, state.progress.evaluated)
            run.spent = state.progress.elapsed
        change(run)
        fit(run)
        return run
