"""What ``visus compress --method int8`` makes of a ResNet-18 classifier, against the exported float32 file.

Both files run in onnxruntime in this process, with the same number of threads, on the same 32 validation pictures of
DATA, spread over all of them and decoded before, one at a time, and take turns picture by picture.  The throughput is
told as the ratio of the sums of a round: the median over rounds, the smallest and the largest.  The drop and its
interval are those of ``visus compress``, on all validation pictures it judges, wide enough to hold at 95 % for all
forms that it tried at once.  Last, both files are judged once on the test part, where DATA has one.

    python benchmarks/compressing.py DATA RUN [--minutes 20] [--seed 0] [--threads 2] [--rounds 9] [--out FILE]

RUN is a run or a model file; where it is not there yet, a ResNet-18 that reads 224 x 224 pixels is trained into it.
Aimed at: int8 has twice the throughput, 0.3 of the size, and loses half a point at most; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import visus
from visus.data.pixels import pictures as decoding
from visus.data.reading import open_data
from visus.verbs.assembly import spread
from visus.verbs.parts import part_for

PICTURES = 32
"""That a round times."""

FASTER, SMALLER, DROP = 2.0, 0.3, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="class folders, with a test part if there is one")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run or a model file; trained where it is not there")
    parser.add_argument("--minutes", type=float, default=20.0, help="of that training")
    parser.add_argument("--seed", type=int, default=0, help="of that training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if not given.run.exists():
        train(given.data, given.run, given.minutes, given.seed)
    model = visus.load(given.run, precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder, "whole.onnx"), Path(folder, "small.onnx")
        data = pooled(model, given.data, Path(folder, "data"))
        visus.export(model, to="onnx", data=data, out=whole)
        made = visus.compress(model, method="int8", data=data, out=small, max_drop=DROP, watch=print)
        if made.path is None:
            raise SystemExit(made.verdict)
        one, other = visus.load(whole), visus.load(small)
        ratios = in_turns(one.network.runtime, other.network.runtime, validation(model, data), given.rounds)
        faster, size = statistics.median(ratios), small.stat().st_size / whole.stat().st_size
        drop, low, high = made.best.drop
        told = {
            "command": shlex.join(["python", *sys.argv]), "threads": given.threads,
            "network": model.card.architecture.name, "seed of its training": model.recipe.seed,
            "throughput of int8 against float32": round(faster, 2),
            "smallest and largest of a round": [round(min(ratios), 2), round(max(ratios), 2)],
            "bytes": {"float32": whole.stat().st_size, "int8": small.stat().st_size},
            "size of int8 against float32": round(size, 3),
            "form": made.best.name, "forms tried": len(made.tried),
            f"drop of {made.score} in points on {made.whole.score.n:,} pictures": round(drop, 3),
            f"{made.score} before and after": [round(made.whole.score.value, 4), round(made.best.score.value, 4)],
            "interval of the drop, at 95 % for all forms at once": [round(low, 3), round(high, 3)],
            "memory of a process": {"float32": made.whole.memory, "int8": made.best.memory},
            "met": {f"throughput >= {FASTER:g}": faster >= FASTER, f"size <= {SMALLER:g}": size <= SMALLER,
                    f"drop <= {DROP:g} at the upper end": high <= DROP},
        }  # fmt: skip
    print(json.dumps(told, indent=1))
    if given.out:
        given.out.write_text(json.dumps(told, indent=1) + "\n")
    raise SystemExit(0 if all(told["met"].values()) else 1)


def train(data: Path, run: Path, minutes: float, seed: int) -> None:
    """Train a ResNet-18 that reads 224 x 224 pixels."""
    settings = {"input.size": 224, "precision": "float32", "seed": seed}
    visus.train(data, model="torchvision:resnet18", out=run, minutes=minutes, set=settings)


def pooled(model: Any, data: Path, out: Path) -> Path:
    """Write class folders whose validation part is that of the data and its test part together."""
    dataset = open_data(data, model.recipe.data, seed=model.recipe.seed)
    for part, into in (("train", "train"), ("val", "val"), ("test", "val")):
        for i in dataset.indices(part).tolist():
            place = out / into / dataset.classes[dataset.columns["label"][i]]
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(data / dataset.ids[i], place / f"{part}-{i}.jpg")
    return out


def validation(model: Any, data: Path) -> list[Tensor]:
    """Return validation pictures of the data, (1, H, W, C) each: of those on which the drop is measured."""
    dataset = part_for(model, data, "val").dataset
    source = decoding(dataset.images, model.card.input.channels)
    shown = (source.take(np.array([i]), lambda index: None).images for i in spread(dataset.indices("val"), PICTURES))
    return [image.movedim(0, -1)[None].contiguous() for images in shown for image in images]


def in_turns(
    one: Callable[[Tensor], Any], other: Callable[[Tensor], Any], pictures: list[Tensor], rounds: int
) -> list[float]:
    """Return seconds of one over seconds of the other, a round each, after one that is not counted."""
    ratios = []
    for turn in range(rounds + 1):
        seconds = [0.0, 0.0]
        for i, picture in enumerate(pictures):
            for side in (0, 1) if (turn + i) % 2 else (1, 0):
                began = time.perf_counter()
                (one, other)[side](picture)
                seconds[side] += time.perf_counter() - began
        ratios.append(seconds[0] / seconds[1])
    return ratios[1:]


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
