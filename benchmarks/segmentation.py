"""How good a segmenter the plain command trains in a given time: ``visus train DATA --minutes M``, nothing else.

DATA is CamVid as SegNet's authors split it (``train``, ``trainannot``, ``val``, ``valannot``).  Its validation part
takes the place of the test part here: read once, by the final evaluation; weights are picked on a tenth of the training
part.  Each seed is a process of its own.  Prints mIoU with its interval and the wall time of the whole command.

With ``--against`` the same budget is spent by torchvision's reference loop on torchvision's segmenter, on the whole
training part and the same machine, and its last weights are judged by the same metric on the same pictures.  No weights
of theirs are at hand here, so it starts from random ones; ours starts as it is shipped, and ``--set model.name=fast``
starts it from random weights too.  The loop is that of torchvision's ``references/segmentation``: SGD with momentum
0.9, rate 0.01 for a batch of 32 and in proportion to the batch, falling as a polynomial of power 0.9, pictures resized
by 0.5 to 2, a left-right flip, a crop of 12/13 of the shorter side, batch normalisation in the network.  Its clock
begins with the first step: loading, and judging at the end, are not counted against it.

    python benchmarks/segmentation.py DATA [--minutes 90] [--seeds 0] [--against] [--set KEY=VALUE ...] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from detection import trained
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import segmentation

from visus.core.pixels import IGNORE
from visus.core.recipe import DataSettings
from visus.core.scores import Score
from visus.data.dataset import Dataset
from visus.data.mask_door import read_map
from visus.data.pixels import pictures
from visus.data.reading import open_data
from visus.metrics.segmentation import Segmentation

THEIRS = {
    # name: weight decay of the reference
    "lraspp_mobilenet_v3_large": 1e-6,
    "deeplabv3_mobilenet_v3_large": 1e-6,
}
WORKERS = 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pictures(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Normalised pictures (3, H, W) of one part and the classes (H, W) of their pixels, moved if they are to train."""

    def __init__(self, dataset: Dataset, split: str, moved: bool) -> None:
        assert dataset.maps is not None
        self.maps, self.indices, self.moved = dataset.maps, dataset.indices(split), moved
        self.source = pictures(dataset.images, 3)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        index = self.indices[place : place + 1]
        image = self.source.take(index, lambda _: None).images[0].float() / 255
        image = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        classes = torch.from_numpy(read_map(self.maps, int(index[0])))
        return self.move(image, classes) if self.moved else (image, classes)

    def move(self, image: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return a random crop of a random size, mirrored half the time."""
        shorter = min(classes.shape)
        crop, factor = round(shorter * 12 / 13), float(torch.empty(()).uniform_(0.5, 2))
        size = [round(side * factor) for side in classes.shape]
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        classes = F.interpolate(classes[None, None], size, mode="nearest")[0, 0]
        if torch.rand(()) < 0.5:
            image, classes = image.flip(-1), classes.flip(-1)
        down, right = (max(0, crop - side) for side in size)
        image, classes = F.pad(image, (0, right, 0, down)), F.pad(classes, (0, right, 0, down), value=IGNORE)
        top, left = (int(torch.randint(side - crop + 1, ())) for side in classes.shape)
        return image[:, top : top + crop, left : left + crop], classes[top : top + crop, left : left + crop]


def reference(name: str, dataset: Dataset, minutes: float, seed: int, batch: int) -> tuple[nn.Module, float]:
    """Return torchvision's segmenter after its reference loop ran for so many minutes, and the epochs it came to."""
    torch.manual_seed(seed)
    model: nn.Module = getattr(segmentation, name)(
        weights=None, weights_backbone=None, num_classes=len(dataset.classes)
    ).train()
    data = Pictures(dataset, "train", moved=True)
    loader = DataLoader(data, batch, shuffle=True, drop_last=True, num_workers=WORKERS)
    usual = 0.01 * batch / 32
    optimiser = torch.optim.SGD(model.parameters(), lr=usual, momentum=0.9, weight_decay=THEIRS[name])
    steps, began = 0, time.perf_counter()
    while True:
        for images, classes in loader:
            gone = (time.perf_counter() - began) / (60 * minutes)
            if gone >= 1:
                return model, steps / len(loader)
            optimiser.param_groups[0]["lr"] = usual * (1 - gone) ** 0.9
            loss = F.cross_entropy(model(images)["out"], classes.long(), ignore_index=IGNORE)
            if not math.isfinite(loss.item()):
                raise SystemExit(f"{name}: the loss is {loss.item()} at step {steps}")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps += 1


@torch.no_grad()
def judged(model: nn.Module, dataset: Dataset, split: str = "test") -> dict[str, Score]:
    """Return the scores of torchvision's segmenter by visus' metric."""
    model.eval()
    metric = Segmentation(dataset.classes)
    data = Pictures(dataset, split, moved=False)
    for place, index in enumerate(data.indices.tolist()):
        image, classes = data[place]
        metric.remember(index, classes, model(image[None])["out"][0].argmax(0).to(torch.uint8))
    return metric.compute()


def arranged(data: Path, folder: Path) -> Path:
    """Return a copy of CamVid whose validation part is called its test part."""
    for part, name in (("train", "train"), ("val", "test")):
        for kind in ("", "annot"):
            shutil.copytree(data / f"{part}{kind}", folder / f"{name}{kind}")
    for extra in data.glob("*.txt"):
        shutil.copy(extra, folder)
    return folder


def shown(score: Score) -> str:
    low, high = 100 * score.low, 100 * score.high
    return f"mIoU {100 * score.value:.2f} % [{low:.2f}, {high:.2f}], n = {score.n:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="KEY=VALUE", help="of visus train")
    parser.add_argument("--against", nargs="?", const=next(iter(THEIRS)), choices=list(THEIRS),
                        help="also train torchvision's, by default its LR-ASPP")  # fmt: skip
    parser.add_argument("--theirs-alone", action="store_true", help="with --against: leave ours out, it was run before")
    parser.add_argument("--batch", type=int, default=8, help="of torchvision's loop")
    parser.add_argument("--threads", type=int, default=2, help="of torchvision's loop")
    parser.add_argument("--keep", type=Path, help="folder for the model files of both sides")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    words = " ".join(
        ["visus train", given.data.name, f"--minutes {given.minutes:g}", *(f"--set {s}" for s in given.set)]
    )
    with tempfile.TemporaryDirectory() as base:
        data = arranged(given.data, Path(base) / "data")
        for seed in given.seeds:
            if not given.theirs_alone:
                run = Path(base) / f"run{seed}"
                told, wall = trained(str(data), given.minutes, seed, run, given.set)
                if given.keep:
                    shutil.copy(run / "best.safetensors", given.keep / f"visus-{seed}.safetensors")
                print(f"seed {seed}: {words}: {shown(Score(**told['scores']['miou']))}, {told['steps']:,} steps, "
                      f"{wall:.0f} s of {60 * given.minutes:.0f}", flush=True)  # fmt: skip
            if given.against:
                dataset = open_data(data, DataSettings(), carve=False)
                model, epochs = reference(given.against, dataset, given.minutes, seed, given.batch)
                if given.keep:
                    kept = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
                    save_file(kept, given.keep / f"{given.against}-{seed}.safetensors")
                print(f"seed {seed}: torchvision {given.against} from random weights: "
                      f"{shown(judged(model, dataset)['miou'])}, {epochs:.1f} epochs", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
