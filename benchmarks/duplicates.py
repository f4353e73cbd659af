"""How many near duplicates are found, and how many untouched pictures are flagged as such.

Five in a hundred pictures of each data set are changed and added again: saved as JPEG (quality 50 to 90), mirrored, cut
by up to 5 % at each edge, made brighter or darker (0.75 to 1.3), of more or less contrast (0.75 to 1.3), or all of it.
Recall is the share of changed pictures found beside what they were made from.  Flagged are untouched pictures that are
in a pair with another untouched one; some of these pairs are real, so --pairs draws them to be looked at.

    python benchmarks/duplicates.py DATA [--seeds 0 1 2] [--pairs DIR]

DATA holds fashion_mnist, cifar10_jpg_subset and omniglot_small1.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from visus.core.recipe import DataSettings
from visus.data.dataset import ArrayImages, Dataset, Strings
from visus.data.looking import look
from visus.data.near import Pairs, near_pairs, twins_of
from visus.data.reading import open_data

SHARE = 0.05
SETS = ("cifar10_jpg_subset", "fashion_mnist", "omniglot_small1")
Numbers = np.random.Generator
Change = Callable[[Image.Image, Numbers], Image.Image]


def saved(picture: Image.Image, numbers: Numbers) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(numbers.integers(50, 91)))
    return Image.open(file)


def mirrored(picture: Image.Image, numbers: Numbers) -> Image.Image:
    return ImageOps.mirror(picture)


def cut(picture: Image.Image, numbers: Numbers) -> Image.Image:
    (width, height), (left, top, right, bottom) = picture.size, numbers.uniform(0, 0.05, 4)
    box = (left * width, top * height, width - right * width, height - bottom * height)
    return picture.resize((width, height), Image.Resampling.BILINEAR, box=box)


def brighter(picture: Image.Image, numbers: Numbers) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(numbers.uniform(0.75, 1.3))


def contrasted(picture: Image.Image, numbers: Numbers) -> Image.Image:
    return ImageEnhance.Contrast(picture).enhance(numbers.uniform(0.75, 1.3))


def everything(picture: Image.Image, numbers: Numbers) -> Image.Image:
    for change in (mirrored, cut, brighter, contrasted, saved):
        picture = change(picture, numbers)
    return picture


CHANGES: dict[str, Change] = {
    "saved again": saved, "mirrored": mirrored, "cut": cut, "brightness": brighter, "contrast": contrasted,
    "all of it": everything,
}  # fmt: skip


def planted(dataset: Dataset, seed: int) -> tuple[Dataset, NDArray[np.int64], list[str]]:
    """Return the pictures of a data set with changed ones behind them, what each is of, and how it was changed."""
    numbers = np.random.default_rng(seed)
    pictures = [dataset.images.read(i) for i in range(len(dataset))]
    origins = numbers.choice(len(pictures), round(SHARE * len(pictures)), replace=False)
    kinds = [list(CHANGES)[i % len(CHANGES)] for i in range(len(origins))]
    copies = [
        np.asarray(CHANGES[kind](Image.fromarray(pictures[i]), numbers)) for i, kind in zip(origins, kinds, strict=True)
    ]
    array = np.stack([*pictures, *copies])
    names = Strings([str(i) for i in range(len(array))])
    split = np.zeros(len(array), np.uint8)
    return dataset.with_(ids=names, images=ArrayImages(array), split=split, columns={}), origins, kinds


def measured(dataset: Dataset, seed: int) -> Pairs:
    """Plant, find, and print a line."""
    together, origins, kinds = planted(dataset, seed)
    began = time.perf_counter()
    seen = look(together)
    looked = time.perf_counter() - began
    firsts, twins = twins_of(np.arange(len(together)), seen.digest)
    pairs = near_pairs(seen.small[firsts])
    searched = time.perf_counter() - began - looked
    found = {
        *map(tuple, np.stack([firsts[pairs.first], firsts[pairs.second]], 1).tolist()),
        *map(tuple, twins.tolist()),
    }
    count = len(dataset)
    right = np.array([(int(i), count + k) in found for k, i in enumerate(origins)])
    by_kind = {kind: right[[other == kind for other in kinds]].mean() for kind in CHANGES}
    flagged = {i for pair in found if max(pair) < count for i in pair}
    exact = sum(b < count for _, b in twins.tolist())
    told = ", ".join(f"{kind} {share:.3f}" for kind, share in by_kind.items())
    print(f"{dataset.name} seed {seed}: recall {right.mean():.4f} ({told})")
    print(f"  flagged {len(flagged) / count:.4f} of {count:,} untouched ones, {exact} of them exactly twice")
    print(f"  look {looked:.1f} s, search {searched:.1f} s")
    ours = (firsts[pairs.second] < count).nonzero()[0]
    return Pairs(firsts[pairs.first[ours]], firsts[pairs.second[ours]], pairs.likeness[ours], pairs.symmetry[ours])


def drawn(dataset: Dataset, pairs: Pairs, most: int = 60) -> Image.Image:
    """Return untouched pictures that were found to be nearly the same, side by side, the least alike first."""
    order = np.argsort(pairs.likeness)[:most]
    sheet = Image.new("RGB", (10 * 150, 75 * -(-max(len(order), 1) // 10)), "white")
    for at, k in enumerate(order.tolist()):
        for side, i in enumerate((pairs.first[k], pairs.second[k])):
            picture = Image.fromarray(dataset.images.read(int(i))).resize((70, 70))
            sheet.paste(picture, (at % 10 * 150 + 72 * side, at // 10 * 75))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--pairs", type=Path, help="a folder for pictures of the pairs among untouched pictures")
    chosen = parser.parse_args()
    for name in chosen.sets:
        dataset = open_data(chosen.data / name, DataSettings(), carve=False)
        for seed in chosen.seeds:
            pairs = measured(dataset, seed)
        if chosen.pairs:
            chosen.pairs.mkdir(parents=True, exist_ok=True)
            drawn(dataset, pairs).save(chosen.pairs / f"{name}.png")


if __name__ == "__main__":
    main()
