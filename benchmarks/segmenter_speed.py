"""Pictures a second of visus' ``fast`` against torchvision's ``lraspp_mobilenet_v3_large``.

Both at 480 x 360, in one process, in PyTorch eager mode, from normalised pictures to the class of every pixel: network,
scores brought to the picture's size, the largest of them.  visus extends 360 lines to 384, which its strides divide.
Each runs in float32 and under bfloat16 autocast, in channels-last, as visus loads every model, and torchvision's also
in the memory format it comes in.  All take turns; figures are medians over rounds.  Weights are random.

    python benchmarks/segmenter_speed.py [--threads 2] [--rounds 30] [--classes 11] [--out FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from visus.core.recipe import InputSettings, ModelSettings, Recipe
from visus.core.task import Batch
from visus.tasks import TASKS

SIZE = (360, 480)
FORMATS = {"channels last": torch.channels_last, "as it comes": torch.contiguous_format}
Answer = Callable[[Tensor], Tensor]


def ours(name: str, classes: int) -> tuple[Answer, int]:
    """Return what says the class of every pixel, and how many parameters it has."""
    recipe = Recipe(task="segment", model=ModelSettings(name=name), input=InputSettings(size=SIZE, fit="pad"))
    task = TASKS["segment"](recipe, [str(k) for k in range(classes)])
    model = task.model().eval().to(memory_format=torch.channels_last)

    def answer(images: Tensor) -> Tensor:
        rows = len(images)
        frames = torch.eye(3, dtype=torch.float64).expand(rows, 3, 3)
        return task.raw(model, Batch((images,), {}, ("",) * rows, torch.arange(rows), frames))["logits"].argmax(1)

    return answer, sum(parameter.numel() for parameter in model.parameters())


def theirs(classes: int) -> tuple[Answer, Answer, int]:
    """Return the same of torchvision's, as it comes and in channels-last."""
    model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=classes).eval()
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    count = sum(parameter.numel() for parameter in model.parameters())
    return lambda images: model(images)["out"].argmax(1), lambda images: other(images)["out"].argmax(1), count


@torch.inference_mode()
def timed(sides: dict[str, Answer], pictures: Tensor, rounds: int) -> dict[str, float]:
    """Return the median seconds of each side, all of them run in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-3, rounds):
        for name, answer in sides.items():
            _, memory, precision = name.split(", ")
            images = pictures.contiguous(memory_format=FORMATS[memory])
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                answer(images)
            if turn >= 0:  # the first ones warm up
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    mine, count = ours("fast", given.classes)
    comes, last, their_count = theirs(given.classes)
    theirs_told = f"torchvision lraspp_mobilenet_v3_large, {their_count / 1e6:.2f} M"
    print(f"visus fast, {count / 1e6:.2f} M parameters; {theirs_told}; {given.threads} threads")
    sides: dict[str, Answer] = {}
    for precision in ("float32", "bfloat16"):
        sides |= {f"visus, channels last, {precision}": mine, f"torchvision, channels last, {precision}": last,
                  f"torchvision, as it comes, {precision}": comes}  # fmt: skip
    row: dict[str, float] = {"threads": given.threads}
    for batch in given.batches:
        found = timed(sides, torch.randn(batch, 3, *SIZE), given.rounds)
        for side, seconds in found.items():
            quicker = seconds / found[f"visus, channels last, {side.rpartition(', ')[2]}"]
            times = f"visus {quicker:.2f} times" if side.startswith("torchvision") else ""
            told = f"batch {batch:2}  {side:38} {1e3 * seconds:8.1f} ms  {batch / seconds:8.1f} images/s  {times}"
            print(told.rstrip())
            row[f"{side}, batch {batch}"] = seconds
    if given.out:
        given.out.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
