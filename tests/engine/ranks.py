"""What test_ranks.py runs in every rank of one torchrun: the toy in one trouble after another, and what ranks tell."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.engine.test_loop import Hungry, Sick
from tests.engine.toy import Points, Toy, network, recipe, train
from visus.engine import loop
from visus.engine.device import opened
from visus.engine.loop import Run

torch.set_num_threads(1)
TROUBLES = ("none", "hungry", "sick", "norm", "small", "unreadable")


class Unreadable(Points):
    """One picture of the second rank cannot be read."""

    def batch(self, step, without=frozenset()):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        given = super().batch(step, without)
        return replace(given, bad=(("point 63", "torn"),)) if self.rank == self.world - 1 else given


def exercise(folder: Path, trouble: str, rank: int, world: int) -> None:
    """Train; write the gradient of step 0, the final weights and the final buffers."""
    folder.mkdir(parents=True, exist_ok=True)
    gradient = loop.gradient

    def noted(run: Run, batch, counts, player, step):  # type: ignore[no-untyped-def]
        found = gradient(run, batch, counts, player, step)
        if step == 0:
            save_file({"gradient": run.state.flat.gradients.clone()}, folder / f"gradient-{rank}.safetensors")
        return found

    loop.gradient = noted
    task = {"hungry": Hungry(3) if rank == 1 else Toy(), "sick": Sick(sample=3)}.get(trouble, Toy())
    batch = 1 if trouble == "small" else 15
    feed = Unreadable(batch=15, rank=rank, world=world) if trouble == "unreadable" else None
    settings = recipe(steps=12, batch=batch, **{"data.max_bad": 0.5})
    run = train(folder / "run", settings, model=network(norm=trouble == "norm"), task=task, feed=feed)
    loop.gradient = gradient
    kept = {"weights": run.state.flat.weights, **{f"buffer{i}": b for i, b in enumerate(run.state.buffers)}}
    save_file({name: tensor.clone() for name, tensor in kept.items()}, folder / f"weights-{rank}.safetensors")


def speak(folder: Path) -> None:
    """Write what a rank is told of the others."""
    with opened(recipe()) as device:
        rows = torch.arange(3 * device.rank, dtype=torch.float32).reshape(-1, 3)
        told = device.gather({"rows": rows, "seen": torch.ones(device.rank + 1, dtype=torch.bool)})
        kept = {f"{name}{rank}": part[name].contiguous() for rank, part in enumerate(told) for name in part}
        save_file(kept, folder / f"gathered-{device.rank}.safetensors")
        (folder / f"texts-{device.rank}.txt").write_text(
            "|".join([*device.texts(f"rank {device.rank}"), device.agreed(f"from {device.rank}")])
        )


if __name__ == "__main__":
    dist.init_process_group("gloo")
    for name in TROUBLES:
        exercise(Path(sys.argv[1]) / name, name, dist.get_rank(), dist.get_world_size())
    speak(Path(sys.argv[1]))
    dist.destroy_process_group()
