"""Training from JPEG files of 500 x 375: images a second of ``visus.train`` against the tutorial's loop, in turn.

Both sides train the same network on the same files at the same size with the same optimiser (SGD, momentum 0.9,
weight decay 1e-4) and batch, with RandomResizedCrop, flip and colour jitter, of which hue is the cheaper operation on
our side: a rotation in YIQ instead of the way to HSV and back.  The tutorial's: ImageFolder with PIL, torchvision's
transforms, a DataLoader with two workers, float32, default memory format.  Ours: the engine's loop as the verb
assembles it, with its cache, its checks, its log and its saves.  The first round, which makes the cache, and our
validations are left out.  ResNet-18 at 224 pixels (batch 32), and two plain networks at 64 (batch 128): loading rules
in the small one, computing in the wider one.  Also says how long training waited for data once the cache was made.

    python benchmarks/training.py [--pictures 1024] [--steps 24] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

import visus
from visus.core.recipe import ModelSettings
from visus.models.building import build

CLASSES = 4


@dataclass(frozen=True)
class Case:
    """What is trained: a network by name, at a size in pixels, on so many pictures a step."""

    title: str
    name: str
    size: int
    batch: int
    options: dict[str, object]


CASES = (
    Case("ResNet-18 at 224", "resnet18", 224, 32, {}),
    Case("small network (cnn, strides of 2) at 64", "cnn", 64, 128,
         {"widths": [16, 32, 64], "stride": 2, "pooling": "none"}),
    Case("wider network (cnn, widths 32 to 128, max pooling) at 64", "cnn", 64, 128, {"widths": [32, 64, 128]}),
)  # fmt: skip


def make(folder: Path, pictures: int) -> None:
    """Write JPEG files whose frequencies fall off as in photographs."""
    generator = np.random.default_rng(0)
    for i in range(pictures):
        layers = [generator.normal(size=(375 // s + 1, 500 // s + 1, 3)) * s for s in (1, 4, 16, 64)]
        planes = [
            np.kron(layer, np.ones((s, s, 1)))[:375, :500] for layer, s in zip(layers, (1, 4, 16, 64), strict=True)
        ]
        pixels = np.clip(128 + 1.2 * sum(planes), 0, 255).astype(np.uint8)
        place = folder / ("test" if i % 8 == 7 else "train") / f"class{i % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:05d}.jpg", quality=90)


class Tutorial:
    """The loop of the tutorials, kept going so that each round starts warm."""

    def __init__(self, data: Path, case: Case) -> None:
        size, self.batch = case.size, case.batch
        learn = transforms.Compose([
            transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.05), transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ])  # fmt: skip
        self.loader = DataLoader(datasets.ImageFolder(data / "train", learn), case.batch, shuffle=True, num_workers=2,
                                 drop_last=True, persistent_workers=True)  # fmt: skip
        settings = ModelSettings(name=case.name, options=case.options, weights="none")
        self.model = build(settings, CLASSES, 3, (size, size)).train()
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def rate(self, steps: int) -> float:
        """Return images a second over so many steps; the first two are not counted."""
        done, began = 0, 0.0
        while done < steps + 2:
            for images, labels in self.loader:
                if done == 2:
                    began = time.perf_counter()
                loss = F.cross_entropy(self.model(images), labels)
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                done += 1
                if done == steps + 2:
                    break
        return steps * self.batch / (time.perf_counter() - began)


def ours(data: Path, case: Case, steps: int, out: Path) -> tuple[float, float]:
    """Return images a second and the share of the time spent waiting for data, the first two steps not counted."""
    jitter = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}
    settings = {
        "batch": case.batch, "input.size": [case.size, case.size], "model.weights": "none",
        "model.options": case.options, "optim.name": "momentum", "optim.lr": 0.01, "optim.weight_decay": 1e-4,
        "augment.crop": [0.08, 1.0], "augment.flip": 0.5, **{f"augment.{k}": v for k, v in jitter.items()},
        "loss.smoothing": 0.0, "ema": 0.0, "data.cache": "disk",
    }  # fmt: skip
    run = visus.train(data, model=case.name, steps=steps + 2, set=settings, out=out)
    rows = [row for row in run.log() if "loss" in row]
    first, last = rows[1], rows[-1]
    seconds = last["seconds"] - first["seconds"]
    judged = sum(row["took"] for row in run.log() if "validation" in row and row["step"] < last["step"])
    return steps * case.batch / (seconds - judged), (last["waiting"] - first["waiting"]) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, nargs="+", default=list(range(len(CASES))), help="which, from 0")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        data = Path(base) / "photos"
        make(data, given.pictures)
        for number in given.cases:
            case = CASES[number]
            theirs, ratios, waits, speeds = Tutorial(data, case), [], [], []
            for turn in range(given.rounds + 1):
                out = Path(base) / f"run-{number}-{turn}"
                mine, waiting = ours(data, case, given.steps, out)
                other = theirs.rate(given.steps)
                if turn:  # the first round makes the cache and starts the workers
                    ratios.append(mine / other)
                    waits.append(waiting)
                    speeds.append((mine, other))
            mine, other = (statistics.median(column) for column in zip(*speeds, strict=True))
            print(f"{case.title}: visus {mine:.0f} images/s, tutorial {other:.0f}; "
                  f"ratio {statistics.median(ratios):.2f} "
                  f"({min(ratios):.2f} to {max(ratios):.2f}, {given.rounds} rounds of {given.steps} steps); "
                  f"waiting for data {statistics.median(waits):.1%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
