"""How many wrong masks ``visus check --labels`` finds: mistakes of three kinds are planted in a copy of the masks.

Of some pictures, drawn at random, one region gets another class of the same picture; of as many others one is erased,
so that nothing is stated of it; of as many others the whole map is moved by 4 to 8 % of its side.  Regions are
connected parts of one class, of 1 to 20 % of the picture; no picture gets two mistakes.

Printed for each kind: how many were planted, how many doubts are listed, how many of the planted ones are among them
(recall), how many of those listed first, as many as were planted, are planted ones (precision at the top), and the same
of all that is listed.  A region counts where half of it, or more, is doubted.  Mistakes that the data has of its own
are no hits here, so precision is a lower bound.

    python benchmarks/mask_label_errors.py DATA [--seed 0] [--share 0.05] [--most 200] [--set KEY=VALUE ...]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from visus.checks._mask_doubts import Doubt, Kind
from visus.cli.options import settings
from visus.core.pixels import IGNORE
from visus.core.recipe import Choice, DataSettings
from visus.core.run_lengths import decode, decompress
from visus.data.dataset import SPLITS, Dataset, Strings
from visus.data.mask_door import read_map
from visus.data.objects import ClassMaps
from visus.data.reading import open_data
from visus.tasks.segment.drawing import fitted
from visus.verbs.choosing import LENGTHS, resolve
from visus.verbs.out_of_fold import masks_out_of_fold

KINDS: tuple[Kind, ...] = ("class", "missing", "moved")


def plant(classes: NDArray[np.uint8], kind: Kind, random: np.random.Generator) -> NDArray[np.bool_] | None:
    """Make a mistake in a map, in place; return which pixels it is about, or None where there is no fitting region."""
    if kind == "moved":
        angle, far = random.uniform(0, 2 * np.pi), random.uniform(0.04, 0.08) * max(classes.shape)
        down, right = (round(far * way) for way in (np.sin(angle), np.cos(angle)))
        moved = np.full_like(classes, IGNORE)
        height, width = classes.shape
        inside = np.s_[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
        source = np.s_[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
        moved[inside] = classes[source]
        classes[:] = moved
        return np.ones(classes.shape, np.bool_)
    shown = [k for k in np.unique(classes).tolist() if k != IGNORE]
    regions = []
    for k in shown:
        parts, count = ndimage.label(classes == k)
        shares = np.bincount(parts.ravel())[1:] / classes.size
        regions += [(k, parts == i + 1) for i in range(count) if 0.01 <= shares[i] <= 0.2]
    if not regions or len(shown) < 2:
        return None
    k, region = regions[int(random.integers(len(regions)))]
    classes[region] = IGNORE if kind == "missing" else random.choice([other for other in shown if other != k])
    return region


def mistaken(dataset: Dataset, at: NDArray[np.int64], share: float, seed: int, folder: Path) -> tuple[
    ClassMaps, dict[Kind, dict[int, NDArray[np.bool_]]]
]:  # fmt: skip
    """Return the maps with mistakes, written anew into a folder, and of each kind the pixels by record."""
    assert dataset.maps is not None
    random = np.random.default_rng(seed)
    order, each = iter(random.permutation(at).tolist()), round(share * len(at))
    paths = list(dataset.maps.paths)
    planted: dict[Kind, dict[int, NDArray[np.bool_]]] = {kind: {} for kind in KINDS}
    for kind, found in planted.items():
        while len(found) < each and (i := next(order, None)) is not None:
            classes = read_map(dataset.maps, i).copy()
            if (where := plant(classes, kind, random)) is not None:
                found[i] = where
                values = np.append(dataset.maps.values, np.zeros(256 - len(dataset.maps.values), np.int64))
                stored = np.where(classes == IGNORE, dataset.maps.ignore[0], values[classes]).astype(np.uint8)
                Image.fromarray(stored).save(folder / f"{i}.png")
                paths[i] = str(folder / f"{i}.png")
    return replace(dataset.maps, paths=Strings(paths)), planted


def hit(doubt: Doubt, where: NDArray[np.bool_] | None) -> bool:
    """Return whether a doubt is of the planted pixels of its picture."""
    if where is None or doubt.mask is None:
        return where is not None
    held = fitted(decode(decompress(doubt.mask.counts), doubt.mask.size), where.shape)
    return bool((held & where).sum() >= 0.5 * where.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--most", type=int, help="look at so many pictures, drawn at random, instead of all")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset = open_data(given.data, DataSettings(), carve=False)
    assert dataset.maps is not None, "these data have no masks"
    labelled = np.flatnonzero([bool(path) for path in dataset.maps.paths])
    at = np.sort(np.random.default_rng(0).permutation(labelled)[: given.most])
    wanted = [*settings(given.set), Choice("seed", given.seed, "--seed")]
    with tempfile.TemporaryDirectory() as place:
        maps, planted = mistaken(dataset, at, given.share, given.seed, Path(place))
        part = np.full(len(dataset), len(SPLITS), np.uint8)
        part[at] = SPLITS.index("train")
        noisy = dataset.with_(maps=maps, split=part)
        timed = any(key in LENGTHS for choice in wanted for key in choice.sets())
        began = time.perf_counter()
        found = masks_out_of_fold(noisy, resolve(noisy, wanted), at, lambda row: None, timed=timed)
    usual = ", ".join(f"{name} {t:.2f}" for name, t in zip(dataset.classes, found.thresholds, strict=True))
    print(f"{dataset.name}: {len(found.judged):,} of {len(at):,} maps in {time.perf_counter() - began:.0f} s; "
          f"agreement beyond chance {found.agreement:.2f}; usual probabilities {usual}")  # fmt: skip
    for kind in KINDS:
        wrong = planted[kind]
        right = np.array([hit(doubt, wrong.get(doubt.record)) for doubt in found.of[kind]], np.bool_)
        caught = {doubt.record for doubt, is_hit in zip(found.of[kind], right, strict=True) if is_hit}
        top = right[: len(wrong)]
        recall = len(caught) / max(1, len(wrong))
        print(f"  {kind:8} {len(wrong):3} planted, {len(right):4} listed, recall {recall:.2f}, "
              f"precision at the top {top.mean() if len(top) else 0:.2f}, of all "
              f"{right.mean() if len(right) else 0:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
