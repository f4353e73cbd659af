"""What augmentation costs a picture: visus.transforms against torchvision's transforms as a tutorial writes them.

All sides prepare the same pictures in turn, A B C A B C, in one process at one thread; figures are medians over rounds.
They draw from the same ranges, but hue is not the same operation: torchvision goes to HSV and back, visus turns colours
in YIQ as part of one matrix a picture.

    python benchmarks/augmentation.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms import v2

from visus.core.recipe import AugmentSettings, InputSettings
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.transforms.pipeline import build

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    report("random resized crop + flip + colour jitter with hue + normalise, 500 x 375 -> 224", photos(), 64, rounds)
    report("reflected pad 4 + random crop + flip + normalise, 512 pictures of 32 x 32", small(), 512, rounds)


def photos() -> Mapping[str, Callable[[], Tensor]]:
    """Return what prepares 64 photos: as decoded, in memory order (H, W, C), one after the other or all together."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(64, 3, 24, 32, generator=generator)
    levels = (torch.nn.functional.interpolate(coarse, (375, 500), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)
    images = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in levels]
    pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    ours = build(
        InputSettings(size=(224, 224), channels=3, mean=MEAN, std=STD),
        AugmentSettings(crop=(0.08, 1.0), flip=0.5, **JITTER),
    )
    second = v2.Compose([
        v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip(), v2.ColorJitter(**JITTER),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
    ])  # fmt: skip
    first = v1.Compose([
        v1.RandomResizedCrop(224), v1.RandomHorizontalFlip(), v1.ColorJitter(**JITTER), v1.ToTensor(),
        v1.Normalize(MEAN, STD),
    ])  # fmt: skip
    return {
        "visus": lambda: prepared(ours, images),
        "torchvision v2 on tensors": lambda: torch.stack([second(image) for image in images]),
        "torchvision v1 on PIL": lambda: torch.stack([first(image) for image in pil]),
    }


def small() -> Mapping[str, Callable[[], Tensor]]:
    """Return what prepares 512 small pictures that lie in memory."""
    images = torch.randint(0, 256, (512, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours = build(InputSettings(size=(32, 32), channels=3, mean=MEAN, std=STD), AugmentSettings(pad=4, flip=0.5))
    theirs = v2.Compose([
        v2.RandomCrop(32, padding=4, padding_mode="reflect"), v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
    ])  # fmt: skip
    return {
        "visus": lambda: prepared(ours, images),
        "torchvision v2 on tensors": lambda: torch.stack([theirs(image) for image in images]),
    }


def prepared(transform: Callable[[Samples, Draws], Samples], images: Tensor | list[Tensor]) -> Tensor:
    n = len(images)
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    samples = Samples(tuple(map(str, range(n))), torch.arange(n), images, {"label": torch.arange(n)}, frames)
    prepared.epoch += 1
    return torch.as_tensor(transform(samples, Draws(0, np.full(n, prepared.epoch), np.arange(n))).images)


prepared.epoch = 0


def report(title: str, sides: Mapping[str, Callable[[], Tensor]], n: int, rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if i:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    print(title)
    for name, took in seconds.items():
        ratio = statistics.median(t / own for t, own in zip(took, seconds["visus"], strict=True))
        print(
            f"  {name:26} {n / statistics.median(took):9,.0f} pictures/s"
            + f"   visus is {ratio:.1f}x" * (name != "visus")
        )


if __name__ == "__main__":
    main()
