"""Fine-tuning the default backbone in 2 minutes against the loop of the tutorials, with the same weights, in 6.

Both get the same 1,000 training pictures (100 a class) of a folder of class folders at 96 pixels and are judged on
the same test pictures.  The tutorial's loop: efficientnet-lite0 with a new last layer, PIL loading in two workers,
RandomResizedCrop and flip, four pictures a step, SGD with momentum 0.9 at 0.001, the rate divided by 10 every 7
epochs, float32, default memory format, the weights of the best validation epoch kept.  visus: ``visus train DATA
--minutes 2 --model efficientnet_lite0 --size 96``.

    python benchmarks/fine_tuning.py DATA [--seeds 0 1 2 3 4] [--ours 2] [--theirs 6] [--batch 4] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from visus.core.recipe import ModelSettings
from visus.models.building import build

CLASS, VALID = 100, 10


def subset(source: Path, target: Path, seed: int) -> None:
    """Copy 100 training pictures a class, ten of them for validation, and the whole test part."""
    for folder in sorted((source / "train").iterdir()):
        files = sorted(folder.iterdir())
        chosen = random.Random(f"{seed} {folder.name}").sample(files, CLASS)
        for i, file in enumerate(chosen):
            place = target / ("val" if i < VALID else "train") / folder.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    shutil.copytree(source / "test", target / "test")


def tutorial(data: Path, minutes: float, seed: int, batch: int) -> tuple[float, int]:
    """Return the test accuracy of the loop that tutorials teach, given so many minutes, and the epochs it came to."""
    began = time.perf_counter()
    torch.manual_seed(seed)
    normal = transforms.Normalize([0.5] * 3, [0.5] * 3)
    learn = transforms.Compose(
        [transforms.RandomResizedCrop(96), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normal]
    )
    judge = transforms.Compose([transforms.Resize(96), transforms.CenterCrop(96), transforms.ToTensor(), normal])
    parts = {
        name: datasets.ImageFolder(data / name, learn if name == "train" else judge)
        for name in ("train", "val", "test")
    }
    loaders = {name: DataLoader(part, batch, shuffle=name == "train", num_workers=2) for name, part in parts.items()}
    model = build(
        ModelSettings(name="efficientnet_lite0", weights="default"), len(parts["train"].classes), 3, (96, 96), seed=seed
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=7, gamma=0.1)
    best, kept, epochs = -1.0, model.state_dict(), 0
    while time.perf_counter() - began < 60 * minutes:
        model.train()
        for images, labels in loaders["train"]:
            loss = F.cross_entropy(model(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        epochs += 1
        score = accuracy(model, loaders["val"])
        if score > best:
            best, kept = score, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(kept)
    return accuracy(model, loaders["test"]), epochs


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:  # type: ignore[type-arg]
    model.eval()
    right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    return right / len(loader.dataset)  # type: ignore[arg-type]


def ours(data: Path, minutes: float, seed: int, out: Path) -> float:
    """Return the test accuracy of ``visus train``."""
    command = [sys.executable, "-m", "visus", "train", str(data), "--model", "efficientnet_lite0", "--size", "96",
               "--minutes", str(minutes), "--seed", str(seed), "--out", str(out), "--json", "--quiet"]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return float(json.loads(done.stdout)["scores"]["accuracy"]["value"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--ours", type=float, default=2.0)
    parser.add_argument("--theirs", type=float, default=6.0)
    parser.add_argument("--batch", type=int, default=4, help="of the tutorial's loop")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pairs = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as base:
            subset(given.data, Path(base) / "data", seed)
            a = ours(Path(base) / "data", given.ours, seed, Path(base) / "run")
            b, epochs = tutorial(Path(base) / "data", given.theirs, seed, given.batch)
        pairs.append((a, b))
        print(f"seed {seed}: visus in {given.ours:g} min {100 * a:.2f} %, "
              f"tutorial in {given.theirs:g} min {100 * b:.2f} % ({epochs} epochs)", flush=True)  # fmt: skip
    differences = [100 * (a - b) for a, b in pairs]
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    means = [100 * statistics.mean(side) for side in zip(*pairs, strict=True)]
    print(f"visus {means[0]:.2f} %, tutorial {means[1]:.2f} %, "
          f"difference {statistics.mean(differences):+.2f} +- {spread:.2f} points over {len(pairs)} seeds")  # fmt: skip


if __name__ == "__main__":
    main()
