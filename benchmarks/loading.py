"""What loading costs: visus.data against torchvision's DataLoader as a tutorial writes it.

Both sides deliver the same pictures in turn, A B A B, two threads or processes each.  Figures are medians over rounds:
images a second after the first batches, their ratio, and processor time an image, which a busy machine disturbs less.

    python benchmarks/loading.py [--photos DIR] [--small DIR] [--pictures 512] [--rounds 5] [--seconds 4]

DIR is a folder of class folders.  Without one, photos are made of shapes and grain (500 x 375, JPEG quality 90), and
small pictures are random.

Loading alone is 224 pixels from the middle of each picture, together in one tensor: normalised float32 from the
DataLoader, as its transforms give them; normalised, or the bytes as they are, from visus.  Training is a random crop, a
flip and normalisation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from visus.core.recipe import AugmentSettings, DataSettings, InputSettings
from visus.core.sample import Samples
from visus.core.task import Batch, Transform
from visus.data.cache import Plan, build
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.feed import Feed
from visus.data.formats import folder
from visus.transforms.pipeline import build as build_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORKERS = 2

Side = Callable[[], tuple[Iterator[Any], Callable[[], None]]]  # what begins to deliver batches, and what stops it


class Middle:
    """A transform that cuts the bytes out of the middle and does nothing else."""

    partners = 0

    def __call__(self, samples: Samples, draws: object, partners: object = ()) -> Samples:
        images = torch.empty(len(samples), 3, 224, 224, dtype=torch.uint8, memory_format=torch.channels_last)
        for image, target in zip(samples.images, images, strict=True):
            top, left = (image.shape[1] - 224) // 2, (image.shape[2] - 224) // 2
            target.copy_(image[:, top : top + 224, left : left + 224])
        return replace(samples, images=images)


class Arrays(MapDataset[tuple[torch.Tensor, int]]):
    """Pictures in memory, one at a time through Pillow, as ``torchvision.datasets.CIFAR10`` gives them."""

    def __init__(self, images: np.ndarray, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), i % 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="class folders of photos")
    parser.add_argument("--small", type=Path, help="class folders of pictures of one small size")
    parser.add_argument("--pictures", type=int, default=512, help="photos to make where none are given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each side in each round")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["VISUS_CACHE"] = str(Path(place, "cache"))
        photos = settings.photos or make_photos(Path(place, "photos"), settings.pictures)
        measure = partial(compare, rounds=settings.rounds, seconds=settings.seconds)
        report_photos(photos, measure)
        report_small(small_pictures(settings.small), measure)


def report_photos(photos: Path, measure: Callable[[str, dict[str, Side]], None]) -> None:
    """Print the comparisons for a folder of photos."""
    data = folder.read(photos, DataSettings(validation=0.01, test=0))
    everything = data.indices("all")
    middle = build_transform(InputSettings(size=(224, 224), mean=MEAN, std=STD), None)
    crop = AugmentSettings(crop=(0.08, 1.0), flip=0.5)
    training = build_transform(InputSettings(size=(224, 224), mean=MEAN, std=STD), crop)

    def tutorial(transform: Any) -> Side:
        return partial(loader, ImageFolder(str(photos), transform), 64)

    resize = v1.Compose([v1.Resize(224), v1.CenterCrop(224), v1.ToTensor(), v1.Normalize(MEAN, STD)])
    resize_v2 = v2.Compose([v2.Resize(224), v2.CenterCrop(224), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
                            v2.Normalize(MEAN, STD)])  # fmt: skip
    random = v1.Compose([v1.RandomResizedCrop(224), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(MEAN, STD)])

    whole, _ = build(Plan("disk", 0, "", 0, 3), data, everything)
    small, _ = build(Plan("disk", 0, "", 224, 3), data, everything)
    ours = partial(feed, data, everything, 64)
    measure(f"(a) folder of {len(data)} photos, loading alone (224 pixels, normalised)", {
        "DataLoader, v1": tutorial(resize), "DataLoader, v2": tutorial(resize_v2),
        "visus, threads": partial(ours, middle), "visus, processes": partial(ours, middle, workers=WORKERS),
    })  # fmt: skip
    measure("(a) folder of photos, training (crop, flip, normalised)", {
        "DataLoader, v1": tutorial(random),
        "visus, threads": partial(ours, training), "visus, processes": partial(ours, training, workers=WORKERS),
    })  # fmt: skip
    measure("(b) the same photos decoded once, loading alone", {
        "DataLoader, v1": tutorial(resize),
        "visus, stored at 224, bytes": partial(ours, Middle(), cache=small, stored=224),
        "visus, stored at 224, normalised": partial(ours, middle, cache=small, stored=224),
    })  # fmt: skip
    measure("(b) the same photos decoded once, training (crop, flip, normalised)", {
        "DataLoader, v1": tutorial(random),
        "visus, stored whole": partial(ours, training, cache=whole),
        "visus, stored at 224": partial(ours, training, cache=small, stored=224),
    })  # fmt: skip


def report_small(images: np.ndarray, measure: Callable[[str, dict[str, Side]], None]) -> None:
    """Print the comparison for an array of small pictures."""
    n, size = images.shape[:2]
    names = Strings([str(i) for i in range(n)])
    data = Dataset("small", Path(), "array", "", names, ArrayImages(images), {"label": np.arange(n) % 10},
                   np.zeros(n, np.uint8))  # fmt: skip
    pad = AugmentSettings(pad=4, flip=0.5)
    ours = build_transform(InputSettings(size=(size, size), mean=MEAN, std=STD), pad)
    steps = [v1.RandomCrop(size, padding=4, padding_mode="reflect"), v1.RandomHorizontalFlip(), v1.ToTensor(),
             v1.Normalize(MEAN, STD)]  # fmt: skip
    measure(f"(c) {n:,} pictures of {size} x {size}, training (pad and crop, flip, normalised)", {
        "DataLoader, v1": partial(loader, Arrays(images, v1.Compose(steps)), 512),
        "visus, threads": partial(feed, data, np.arange(n), 512, ours),
        "visus, processes": partial(feed, data, np.arange(n), 512, ours, workers=WORKERS),
    })  # fmt: skip


def compare(title: str, sides: dict[str, Side], rounds: int, seconds: float) -> None:
    """Print each side's images a second, its ratio to the first, and its processor time, medians over rounds."""
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    costs: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            speed, cost = measured(side, seconds)
            speeds[name].append(speed)
            costs[name].append(cost)
    print(title)
    first = next(iter(speeds))
    for name in sides:
        ratios = [mine / base for mine, base in zip(speeds[name], speeds[first], strict=True)]
        leaner = statistics.median(base / mine for mine, base in zip(costs[name], costs[first], strict=True))
        print(f"  {name:34} {statistics.median(speeds[name]):9,.0f} images/s  x{statistics.median(ratios):<7.2f}"
              f" ({min(ratios):.2f} to {max(ratios):.2f})"
              f"   {statistics.median(costs[name]):8.4f} ms of processor  x{leaner:.2f}", flush=True)  # fmt: skip


def measured(side: Side, seconds: float) -> tuple[float, float]:
    """Return the images a second that a side delivers once it runs, and the processor milliseconds each cost in all."""
    before = processor()
    batches, stop = side()
    warm = sum(rows(next(batches)) for _ in range(3))
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        count += rows(next(batches))
    took = time.perf_counter() - began
    stop()
    return count / took, 1000 * (processor() - before) / (warm + count)


def rows(batch: Any) -> int:
    return len(batch) if isinstance(batch, Batch) else len(batch[1])


def processor() -> float:
    """Return the processor seconds of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def loader(data: MapDataset[Any], batch: int) -> tuple[Iterator[Any], Callable[[], None]]:
    """Begin to read as tutorials do: shuffled, two workers, epoch after epoch without a pause for new workers."""
    forever = torch.utils.data.RandomSampler(data, replacement=True, num_samples=10**9)  # type: ignore[arg-type]
    batches = iter(DataLoader(data, batch_size=batch, sampler=forever, num_workers=WORKERS, drop_last=True))
    return batches, batches._shutdown_workers  # type: ignore[attr-defined]


def feed(
    data: Dataset, indices: np.ndarray, batch: int, transform: Transform, **options: Any
) -> tuple[Iterator[Batch], Callable[[], None]]:
    """Begin to read as visus does."""
    made = Feed(data, indices, transform, collate, batch=batch, seed=0, train=True, channels=3, **options)
    return map(made.batch, range(10**9)), made.close


def collate(samples: Samples) -> Batch:
    images = samples.images if isinstance(samples.images, torch.Tensor) else torch.stack(samples.images)
    return Batch((images,), samples.columns, samples.ids, samples.indices, samples.frames)


def make_photos(place: Path, count: int) -> Path:
    """Write pictures that decode like photos: smooth colours, sharp shapes, a little grain."""
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = coarse.resize((500, 375), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(12):
            x, y, width, height = random.integers(0, 400, 4).tolist()
            draw.ellipse((x, y, x + width, y + height), fill=tuple(random.integers(0, 256, 3).tolist()))
        grain = np.asarray(picture).astype(np.int16) + random.normal(0, 6, (375, 500, 3)).astype(np.int16)
        target = place / f"class_{i % 2}" / f"{i:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(target, quality=90)
    return place


def small_pictures(place: Path | None) -> np.ndarray:
    """Return (N, H, W, 3) pictures of one size."""
    if place is None:
        return np.random.default_rng(0).integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
    data = folder.read(place, DataSettings(validation=0.01, test=0))
    return np.stack([data.images.read(int(i)) for i in data.indices("all")])  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
