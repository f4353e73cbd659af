"""Pictures a second of visus' nano ``anchor_free`` against torchvision's ``ssdlite320_mobilenet_v3_large``.

Both at 320 x 320, in one process, in PyTorch eager mode and float32, from pictures in [0, 1] to boxes, labels and
scores: normalisation, network, decoding and suppression included; torchvision's forward also brings pictures to its
size, which they have.  visus runs in channels-last with batch normalisation folded, as it does wherever it predicts;
``as learned`` is the same without folding.  torchvision runs in the memory format it comes in, and in channels-last,
which its users may choose.  All take turns on the same pictures; times are medians over rounds, ratios are of the same
round, given as their median and the two quartiles.

Weights are random, with as many classes on both sides; then nearly every candidate goes on to suppression, the most
there can be.  ``--trained OURS THEIRS`` takes model files that ``benchmarks/detection.py --keep`` wrote, shows them the
test pictures of DATA, and prints mAP50 of both beside their speed; ours is that of the very network that is timed.

    python benchmarks/detector_speed.py [DATA --trained OURS THEIRS] [--threads 2] [--rounds 30] [--out FILE]
    python benchmarks/detector_speed.py --set layers=1 width=48    (of our network, with random weights)
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from detection import Pictures, judged, network, shown
from safetensors.torch import load_file
from torch import Tensor, nn

import visus
from visus.core.recipe import DataSettings, InputSettings, LossSettings, ModelSettings, Recipe
from visus.core.task import Batch
from visus.data.reading import open_data
from visus.models.folding import folded
from visus.tasks import TASKS

NAME = "ssdlite320_mobilenet_v3_large"
SIDE = 320
FORMATS = {"channels last": torch.channels_last, "as it comes": torch.contiguous_format}
Answer = Callable[[Tensor], Any]


def ours_random(classes: int, options: dict[str, Any]) -> tuple[Any, nn.Module]:
    """Return task and network with random weights."""
    recipe = Recipe(
        task="detect", model=ModelSettings(name="anchor_free", options=options), loss=LossSettings(name="varifocal"),
        input=InputSettings(size=(SIDE, SIDE), fit="squash"),
    )  # fmt: skip
    task = TASKS["detect"](recipe, [str(k) for k in range(classes)])
    return task, task.model()


def ours(task: Any, model: nn.Module) -> Answer:
    """Return what answers pictures (B, 3, H, W) in [0, 1] with visus' predictions."""
    settings = task.recipe.input
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (settings.mean, settings.std))

    def answer(images: Tensor) -> Any:
        rows, size = len(images), torch.tensor([images.shape[2:]])
        frames = torch.eye(3, dtype=torch.float64).expand(rows, 3, 3)
        batch = Batch(((images - mean) / std,), {}, ("",) * rows, torch.arange(rows), frames,
                      originals=size.expand(rows, 2))  # fmt: skip
        return task.decode(task.raw(model, batch))

    return answer


def theirs(model: Any) -> Answer:
    """Return what answers pictures with torchvision's predictions."""
    return lambda images: model(list(images))


@torch.inference_mode()
def timed(sides: dict[str, Answer], inputs: list[Tensor], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each side in each round, all of them run in turn on the same pictures, others each time."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(-3, rounds):
        for name, answer in sides.items():
            images = inputs[turn % len(inputs)].contiguous(memory_format=FORMATS[name.rpartition(", ")[2]])
            began = time.perf_counter()
            answer(images)
            if turn >= 0:  # the first ones warm up
                seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--trained", nargs=2, type=Path, metavar=("OURS", "THEIRS"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--classes", type=int, default=3, help="where weights are random")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=NUMBER", help="of our network, random weights")
    given = parser.parse_args()
    if bool(given.trained) != bool(given.data):
        parser.error("DATA and --trained go together")
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    row: dict[str, Any] = {"threads": given.threads}
    if given.trained:
        dataset = open_data(given.data, DataSettings())
        loaded = visus.load(given.trained[0], precision="float32")
        loaded.network, learned = loaded.asked, loaded.network
        task, mine = loaded.task, loaded.network
        other = network(NAME, len(dataset.classes))
        other.load_state_dict(load_file(given.trained[1]))
        mine_score, their_score = visus.evaluate(loaded, given.data).scores["map50"], judged(other, dataset)["map50"]
        row |= {"visus_map50": mine_score.value, "torchvision_map50": their_score.value}
        print(f"visus        {shown(mine_score)}")
        print(f"torchvision  {shown(their_score)}")
        test = Pictures(dataset, "test", flip=False)
        size = task.recipe.input.size
        pictures = torch.cat([F.interpolate(test[i][0][None], size) for i in range(min(len(test), 64))])
    else:
        options = {key: int(value) for key, _, value in (word.partition("=") for word in given.set)}
        options = {"scale": "nano", **options}
        task, learned = ours_random(given.classes, options)
        learned = learned.eval().to(memory_format=torch.channels_last)
        mine = folded(learned, torch.zeros(1, 3, SIDE, SIDE))
        other = network(NAME, given.classes)
        pictures = torch.rand(64, 3, SIDE, SIDE)
    other = other.eval()
    print(f"visus anchor_free, {sum(p.numel() for p in learned.parameters()) / 1e6:.2f} M parameters; torchvision "
          f"{NAME}, {sum(p.numel() for p in other.parameters()) / 1e6:.2f} M; {given.threads} threads")  # fmt: skip
    sides: dict[str, Answer] = {
        "visus, channels last": ours(task, mine),
        "visus as learned, channels last": ours(task, learned),
        "torchvision, as it comes": theirs(other),
        "torchvision, channels last": theirs(copy.deepcopy(other).to(memory_format=torch.channels_last)),
    }
    for batch in given.batches:
        found = timed(sides, [part for part in pictures.split(batch) if len(part) == batch], given.rounds)
        for side, seconds in found.items():
            usual = statistics.median(seconds)
            times = [there / here for there, here in zip(seconds, found["visus, channels last"], strict=True)]
            low, middle, high = statistics.quantiles(times, n=4)
            told = f"visus {middle:.2f} times [{low:.2f}, {high:.2f}]" * (side != "visus, channels last")
            print(f"batch {batch:2}  {side:32} {1e3 * usual:8.1f} ms  {batch / usual:8.1f} images/s  {told}".rstrip())
            row[f"{side}, batch {batch}"] = {"seconds": usual, "times": [low, middle, high]}
    if given.out:
        given.out.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
