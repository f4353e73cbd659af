"""What the loop costs a step: visus.engine against a bare PyTorch loop that seeds, clips and averages likewise.

Both sides train the same tiny network on the same batches in turn, A B A B, in one process at one thread; the figure
is the median over rounds of the difference in microseconds a step, of the processor's time of that thread, which other
work on the machine disturbs least.

    python benchmarks/overhead.py [--rounds 9] [--steps 2000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visus.core.modelfile import Architecture, Card
from visus.core.recipe import Choice, Draft, InputSettings, Recipe
from visus.core.task import Batch, Condemned, Term
from visus.engine.device import opened
from visus.engine.folder import RunFolder
from visus.engine.loop import Run, fit
from visus.engine.schedule import Steps
from visus.engine.state import new_state

BATCH, CLASSES = 32, 10


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))


class Fixed:
    """A feed that always gives the same batch, so that only the loop is measured."""

    size = batch_size = BATCH
    waiting = 0.0

    def __init__(self) -> None:
        self.condemned: dict[int, Condemned] = {}
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(BATCH, 16, generator=generator)
        labels = torch.randint(CLASSES, (BATCH,), generator=generator)
        self.made = Batch((images,), {"label": labels}, tuple(map(str, range(BATCH))), torch.arange(BATCH),
                          torch.eye(3).expand(BATCH, 3, 3), 1, 0, BATCH)  # fmt: skip

    def batch(self, step: int, without: frozenset[int] = frozenset()) -> Batch:
        return self.made

    def sweep(self) -> Iterator[Batch]:
        yield self.made

    def close(self) -> None:
        pass


class Tiny:
    name, score, group = "tiny", "", 1
    players: Mapping[str, str] = {"model": ""}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"image": torch.tensor(len(batch))}

    def losses(self, model: nn.Module, batch: Batch, player: str, step: int) -> dict[str, Term]:
        return {
            "cross_entropy": Term(
                F.cross_entropy(model(*batch.inputs), batch.targets["label"], reduction="sum"), "image"
            )
        }


def bare(recipe: Recipe, feed: Fixed, steps: int) -> float:
    """Return seconds of a loop that a careful person writes: seed, forward, backward, clip, check, step, average."""
    model = network()
    matrices, vectors = ([p for p in model.parameters() if (p.dim() > 1) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=float(recipe.optim.lr), fused=True)
    average = [p.detach().clone() for p in model.parameters()]
    parameters = list(model.parameters())
    images, labels = feed.made.inputs[0], feed.made.targets["label"]
    began = time.thread_time()
    for step in range(steps):
        torch.default_generator.manual_seed(step)
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * (1 - step / steps)
        loss = F.cross_entropy(model(images), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.optim.clip, foreach=True)
        if not torch.isfinite(norm):
            raise ArithmeticError(step)
        optimiser.step()
        torch._foreach_lerp_(average, parameters, 1 - recipe.ema)
        loss.item()
    return time.thread_time() - began


def ours(recipe: Recipe, feed: Fixed, steps: int, folder: Path) -> float:
    """Return seconds of the same steps in the engine's loop, log and signals and all."""
    with opened(recipe) as device, RunFolder(folder) as held:
        task: Any = Tiny()
        state = new_state(network(), recipe, task.players)
        state.progress.evaluated = steps
        card = Card(
            visus="0",
            task="tiny",
            architecture=Architecture(name="tiny", outputs=10),
            classes=(),
            input=InputSettings(),
        )
        run = Run(task, recipe, device, held, state, feed, None, Steps(recipe, steps, 1.0), lambda step, scores: card)
        run.generations.save(state, wait=True)  # the first and the last one are not a step's
        began = time.thread_time()
        fit(run)
        return time.thread_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args()
    wanted = {"steps": given.steps, "batch": BATCH, "ema": 0.99, "save_every": 1e9, "threads": 1}
    recipe = Draft(Choice(k, v, "benchmark") for k, v in wanted.items()).finish()
    feed, differences, plain = Fixed(), [], []
    torch.set_num_threads(1)
    for _ in range(given.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            a, b = ours(recipe, feed, given.steps, Path(folder)), bare(recipe, feed, given.steps)
        differences.append((a - b) / given.steps * 1e6)
        plain.append(b / given.steps * 1e6)
    differences, plain = differences[1:], plain[1:]
    print(f"bare loop {statistics.median(plain):.0f} us a step; visus adds {statistics.median(differences):.1f} us "
          f"(min {min(differences):.1f}, max {max(differences):.1f}, {given.rounds} rounds of {given.steps} steps, "
          f"torch {torch.__version__}, 1 thread)")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
