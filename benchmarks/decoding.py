"""What reading one picture costs: visus.data against Pillow and torchvision's Resize, as a tutorial writes them.

Both sides read the same JPEG files and shrink them to a shorter side of 224 pixels, uint8, one thread each, in turn,
A B A B, picture by picture.  Printed for each size are the median of the rounds' ratios, both sides' milliseconds a
picture, and how far their pixels lie apart in levels of 255: the mean over a picture, of the picture where it is
largest.

A picture of at least twice the size is decoded at a half, a quarter or an eighth of it, as the cache of small pictures
does that training can read from; ``whole`` is without that.

    python benchmarks/decoding.py [--rounds 5] [--size 224]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.transforms import v2

from visus.data.dataset import FileImages, Strings
from visus.data.decode import decode
from visus.data.pixels import Pictures, fit, pictures

SIZES = {(500, 375): 64, (1500, 1000): 16, (4000, 3000): 4}
"""Width and height, and how many pictures of it are read in a round."""

Reader = Callable[[Path], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=224, help="of the shorter side that is kept")
    given = parser.parse_args()
    torch.set_num_threads(1)
    resize = v2.Compose([v2.Resize(given.size), v2.PILToTensor()])

    def tutorial(path: Path) -> torch.Tensor:
        with Image.open(path) as opened:
            shrunk: torch.Tensor = resize(opened.convert("RGB"))
        return shrunk

    def whole(path: Path) -> torch.Tensor:
        return fit(decode(path).pixels, 3, given.size).permute(2, 0, 1)

    with tempfile.TemporaryDirectory() as place:
        for size, count in SIZES.items():
            paths = make(Path(place, "x".join(map(str, size))), size, count)
            kept = pictures(FileImages(paths[0].parent, Strings([path.name for path in paths])), 3, stored=given.size)

            def visus(path: Path, kept: Pictures = kept) -> torch.Tensor:
                return kept.take(np.array([int(path.stem)]), lambda i: None).images[0]

            for name, reader in (("visus", visus), ("visus, whole", whole)):
                compare(f"JPEG {size[0]} x {size[1]} to {given.size}, {name}", paths, tutorial, reader, given.rounds)


def compare(title: str, paths: list[Path], theirs: Reader, ours: Reader, rounds: int) -> None:
    """Print the ratio of speeds, the milliseconds of both sides, and the mean difference of their pixels."""
    apart = max(float((theirs(path).int() - ours(path).int()).abs().float().mean()) for path in paths)
    times = []
    for _ in range(rounds):
        pairs = [(clock(theirs, path), clock(ours, path)) for path in paths]
        times.append([sum(side) / len(paths) for side in zip(*pairs, strict=True)])
    ratios = [slow / fast for slow, fast in times]
    slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{title}: x{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f});"
        f" tutorial {slow:.2f} ms, visus {fast:.2f} ms; mean difference at most {apart:.2f}/255",
        flush=True,
    )


def clock(reader: Reader, path: Path) -> float:
    """Return the milliseconds a picture takes."""
    began = time.perf_counter()
    reader(path)
    return 1000 * (time.perf_counter() - began)


def make(place: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Write pictures that decode like photos: smooth colours, sharp shapes, a little grain."""
    random = np.random.default_rng(0)
    place.mkdir()
    paths = [place / f"{i}.jpg" for i in range(count)]
    for path in paths:
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = coarse.resize(size, Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(12):
            x, y, width, height = (random.random(4) * (*size, *size) / 1.25).astype(int).tolist()
            draw.ellipse((x, y, x + width, y + height), fill=tuple(random.integers(0, 256, 3).tolist()))
        grain = np.asarray(picture) + random.normal(0, 6, (size[1], size[0], 3)).astype(np.int16)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


if __name__ == "__main__":
    main()
