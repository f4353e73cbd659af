"""What test_ranks.py runs in every rank of a torchrun: the toy, with a trouble of the caller's choice."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.engine.test_loop import Hungry, Sick
from tests.engine.toy import Toy, network, recipe, train
from visus.engine import loop
from visus.engine.loop import Run

torch.set_num_threads(1)


def main(folder: Path, trouble: str) -> None:
    """Train; write the gradient of step 0 and the final weights."""
    rank = int(os.environ.get("RANK", "0"))

    def note_first_gradient(run: Run) -> None:
        gradient = loop._gradient

        def noted(run: Run, batch, counts, player, step):  # type: ignore[no-untyped-def]
            found = gradient(run, batch, counts, player, step)
            if step == 0:
                save_file({"gradient": run.state.flat.gradients.clone()}, folder / f"gradient-{rank}.safetensors")
            return found

        loop._gradient = noted

    task = {"none": Toy(), "hungry": Hungry(3) if rank == 1 else Toy(), "sick": Sick(sample=3)}[trouble]
    settings = recipe(steps=12, batch=15, **({"minutes": 1, "steps": None} if trouble == "minutes" else {}))
    run = train(folder / "run", settings, model=network(), task=task, change=note_first_gradient)
    save_file({"weights": run.state.flat.weights.clone()}, folder / f"weights-{rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
