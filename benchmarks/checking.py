"""What checking costs: one look at 60,000 small pictures, as one array and as files, and a whole check of the files.

One look decodes every picture, hashes its pixels, and takes what all other findings need: no more than hashes would
cost, but for the decoding.  A whole check also compares every picture with every other one, for near duplicates.

The pictures are Fashion-MNIST's where DATA is its folder, else random ones of the same size.  As files they are PNG in
ten class folders of a temporary folder.  Seconds are of the wall clock, after imports, on all cores.

    python benchmarks/checking.py [DATA] [--pictures 60000] [--look]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import visus
from visus.core.recipe import DataSettings
from visus.data.dataset import Dataset
from visus.data.looking import look
from visus.data.reading import open_data
from visus.data.workers import cores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--pictures", type=int, default=60_000)
    parser.add_argument("--look", action="store_true", help="no whole check")
    options = parser.parse_args()
    array, labels = pictures(options.data, options.pictures)
    with tempfile.TemporaryDirectory() as place:
        for i, (picture, label) in enumerate(zip(array, labels, strict=True)):
            folder = Path(place, "photos", str(label))
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{i:05d}.png")
        data = Path(place, "photos")
        opened = open_data(data, DataSettings(), carve=False)
        print(
            f"one look at {len(array):,} files, {cores()} cores: {seconds(opened):.1f} s (aim: 60 s on 2)", flush=True
        )
        if options.data:
            whole = open_data(options.data, DataSettings(), carve=False)
            print(f"one look at an array of {len(whole):,} pictures: {seconds(whole):.1f} s", flush=True)
        if not options.look:
            print(f"visus check, of the files: {visus.check(data).seconds:.1f} s", flush=True)


def pictures(data: Path | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, 28, 28) pictures and their labels."""
    if data is None:
        return np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count) % 10
    whole = open_data(data, DataSettings(), carve=False)
    return np.asarray(whole.images.array)[:count], np.asarray(whole.columns["label"])[:count]  # type: ignore[attr-defined]


def seconds(data: Dataset) -> float:
    """Return how long one look at a data set takes."""
    began = time.perf_counter()
    look(data)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
