"""How good a detector the plain command trains in a given time: ``visus train DATA --minutes M``, nothing else.

Each seed is a process of its own; the test part is read once, by the final evaluation.  Prints mAP50 of every seed
with its interval, and the wall time of the whole command from its start to its exit.

With ``--against`` the same budget is spent by torchvision's reference loop on torchvision's detector, on the same
training pictures and the same machine, and its last weights are judged by the same metric on the same test pictures.
No weights of theirs are at hand here, so it starts from random ones (``weights=None, weights_backbone=None``); ours
starts as it is shipped, from a backbone that has seen ImageNet, and ``--set model.weights=none`` starts it from random
weights too.  The loop is that of torchvision's ``references/detection``: SGD with momentum 0.9, a left-right flip, a
warm-up over the first epoch, the rate divided by 10 after 16 and 22 of 26 parts of the run (ssdlite: along a cosine),
and proportional to the batch; boxes come from the same reader and pixels from the same decoder.  Its clock begins with
the first step: loading, and judging at the end, are not counted against it.

    python benchmarks/detection.py DATA [--minutes 45] [--seeds 0] [--against] [--set KEY=VALUE ...] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import detection

from visus.core.recipe import DataSettings
from visus.core.scores import Score
from visus.data.dataset import Dataset
from visus.data.marked import columns
from visus.data.pixels import pictures
from visus.data.reading import open_data
from visus.metrics.detection import Detection

THEIRS = {
    # name: learning rate of the reference, the batch it is for, weight decay
    "fasterrcnn_mobilenet_v3_large_320_fpn": (0.02, 16, 1e-4),
    "ssdlite320_mobilenet_v3_large": (0.15, 192, 4e-5),
}
WORKERS = 2


class Pictures(torch.utils.data.Dataset[Any]):
    """The pictures of one part, as torchvision's detectors want them: class 0 is the background."""

    def __init__(self, dataset: Dataset, split: str, flip: bool) -> None:
        self.dataset, self.indices, self.flip = dataset, dataset.indices(split), flip
        self.source = pictures(dataset.images, 3)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[Tensor, dict[str, Tensor], Any, int]:
        index = self.indices[place : place + 1]
        taken = self.source.take(index, lambda _: None)
        image = taken.images[0].float() / 255
        size = (int(taken.originals[0, 0]), int(taken.originals[0, 1]))
        stated = columns(self.dataset.objects, index, taken.originals, [size])["stated"][0]
        real = (stated.labels >= 0) & ~stated.crowd & (stated.boxes[:, 2:] > stated.boxes[:, :2]).all(1)
        boxes, labels = stated.boxes[real].float(), stated.labels[real] + 1
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
            boxes[:, [0, 2]] = size[1] - boxes[:, [2, 0]]
        return image, {"boxes": boxes, "labels": labels}, stated, int(index[0])


def network(name: str, classes: int) -> nn.Module:
    """Return torchvision's detector with random weights."""
    made: nn.Module = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=classes + 1)
    return made


def reference(name: str, dataset: Dataset, minutes: float, seed: int, batch: int) -> tuple[nn.Module, float]:
    """Return torchvision's detector after its reference loop ran for so many minutes, and the epochs it came to."""
    torch.manual_seed(seed)
    model = network(name, len(dataset.classes)).train()
    data = Pictures(dataset, "train", flip=True)
    loader = DataLoader(data, batch, shuffle=True, drop_last=True, num_workers=WORKERS, collate_fn=list)
    usual, of, decay = THEIRS[name]
    optimiser = torch.optim.SGD(model.parameters(), lr=usual * batch / of, momentum=0.9, weight_decay=decay)
    steps, began = 0, time.perf_counter()
    while True:
        for rows in loader:
            gone = (time.perf_counter() - began) / (60 * minutes)
            if gone >= 1:
                return model, steps / len(loader)
            if name.startswith("ssd"):
                share = (1 + math.cos(math.pi * gone)) / 2
            else:
                share = 0.1 ** ((gone >= 16 / 26) + (gone >= 22 / 26))
            warm = min(1.0, 1e-3 + steps / min(1000, len(loader)))
            for group in optimiser.param_groups:
                group["lr"] = usual * batch / of * share * warm
            losses: dict[str, Tensor] = model([row[0] for row in rows], [row[1] for row in rows])
            loss = torch.stack(list(losses.values())).sum()
            if not math.isfinite(loss.item()):
                raise SystemExit(f"{name}: the loss is {loss.item()} at step {steps}")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps += 1


@torch.no_grad()
def judged(model: nn.Module, dataset: Dataset, split: str = "test") -> dict[str, Score]:
    """Return the scores of torchvision's detector by visus' metric."""
    model.eval()
    metric = Detection(dataset.classes)
    for image, _, stated, index in Pictures(dataset, split, flip=False):
        said = model([image])[0]
        metric.remember(
            index, found=(said["boxes"].double(), said["scores"], said["labels"] - 1),
            truth=(stated.boxes, stated.labels, stated.crowd, stated.area),
        )  # fmt: skip
    return metric.compute()


def trained(data: str, minutes: float, seed: int, out: Path, settings: list[str]) -> tuple[dict[str, Any], float]:
    """Return what ``visus train`` told, and its wall time."""
    sets = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "visus", "train", data, "--minutes", str(minutes), "--seed", str(seed),
               "--out", str(out), "--json", "--quiet", *sets]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout), time.perf_counter() - began


def shown(score: Score) -> str:
    low, high = 100 * score.low, 100 * score.high
    return f"mAP50 {100 * score.value:.2f} % [{low:.2f}, {high:.2f}], n = {score.n:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="KEY=VALUE", help="of visus train")
    parser.add_argument("--against", nargs="?", const=next(iter(THEIRS)), choices=list(THEIRS),
                        help="also train torchvision's, by default its Faster R-CNN")  # fmt: skip
    parser.add_argument("--theirs-alone", action="store_true", help="with --against: leave ours out, it was run before")
    parser.add_argument("--batch", type=int, default=8, help="of torchvision's loop")
    parser.add_argument("--threads", type=int, default=2, help="of torchvision's loop")
    parser.add_argument("--keep", type=Path, help="folder for the model files of both sides")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    settings = "".join(f" --set {setting}" for setting in given.set)
    words = f"visus train {Path(given.data).name} --minutes {given.minutes:g}{settings}"
    for seed in given.seeds:
        if not given.theirs_alone:
            with tempfile.TemporaryDirectory() as base:
                run = Path(base) / "run"
                told, wall = trained(given.data, given.minutes, seed, run, given.set)
                if given.keep:
                    given.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(run / "best.safetensors", given.keep / f"visus-{seed}.safetensors")
            print(f"seed {seed}: {words}: {shown(Score(**told['scores']['map50']))}, {told['steps']:,} steps, "
                  f"{wall:.0f} s of {60 * given.minutes:.0f}", flush=True)  # fmt: skip
        if not given.against:
            continue
        dataset = open_data(given.data, DataSettings(), seed=seed)
        model, epochs = reference(given.against, dataset, given.minutes, seed, given.batch)
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            kept = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
            save_file(kept, given.keep / f"{given.against}-{seed}.safetensors")
        score = judged(model, dataset)["map50"]
        print(f"seed {seed}: torchvision {given.against} from random weights: {shown(score)}, {epochs:.1f} epochs",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
