"""What ``visus compress --method int8`` makes of a ResNet-18 classifier, against the exported float32 file.

Both files run in onnxruntime in this process, with the same number of threads, on the same decoded validation pictures
of DATA, one at a time, and take turns picture by picture; the ratio is that of the two sums of a round, and the median
over rounds is told with the smallest and largest.  The drop and its 95 % interval are those of ``visus compress``: a
paired bootstrap over the validation pictures.  Last, both are judged once on the test part, where DATA has one.

    python benchmarks/compressing.py DATA [--model RUN | --minutes 20] [--threads 2] [--rounds 9] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

import visus
from visus.data.listing import list_pictures

PICTURES = 32
"""That a round times."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="class folders, with a test part if there is one")
    parser.add_argument("--model", type=Path, help="a run or a model file; by default a ResNet-18 is trained")
    parser.add_argument("--minutes", type=float, default=20.0, help="of that training")
    parser.add_argument("--max-drop", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or trained(given.data, Path(folder, "run"), given.minutes)
        whole, small = Path(folder, "whole.onnx"), Path(folder, "small.onnx")
        visus.export(model, to="onnx", data=given.data, out=whole)
        made = visus.compress(model, method="int8", data=given.data, out=small, max_drop=given.max_drop, watch=print)
        if made.path is None:
            raise SystemExit(made.verdict)
        one, other = visus.load(whole), visus.load(small)
        pictures = decoded(given.data, "L" if one.card.input.channels == 1 else "RGB")
        ratios = in_turns(one.network, other.network, pictures, given.rounds)
        drop, low, high = made.best.drop
        told = {
            "threads": given.threads, "settings": dict(made.best.settings),
            "throughput of int8 against float32": round(statistics.median(ratios), 2),
            "smallest and largest of a round": [round(min(ratios), 2), round(max(ratios), 2)],
            "bytes": {"float32": whole.stat().st_size, "int8": small.stat().st_size},
            "size of int8 against float32": round(small.stat().st_size / whole.stat().st_size, 3),
            f"drop of {made.score} on {made.whole.score.n} validation pictures": round(drop, 3),
            "95 % interval of the drop": [round(low, 3), round(high, 3)],
            "memory of a process": {"float32": made.whole.memory, "int8": made.best.memory},
            "test part": {name: scored(path, given.data, made.score)
                          for name, path in (("float32", whole), ("int8", small))},
        }  # fmt: skip
    print(json.dumps(told, indent=1))
    if given.out:
        given.out.write_text(json.dumps(told, indent=1) + "\n")


def trained(data: Path, folder: Path, minutes: float) -> Path:
    """Return the folder of a run of a ResNet-18 that reads 224 x 224 pixels."""
    settings = {"input.size": 224, "precision": "float32"}
    return visus.train(data, model="torchvision:resnet18", out=folder, minutes=minutes, set=settings).folder


def decoded(data: Path, mode: str) -> list[Tensor]:
    """Return the first pictures of the data as batches of one."""
    opened = (ImageOps.exif_transpose(Image.open(data / name)) for name in list_pictures(data).pictures[:PICTURES])
    arrays = [np.array(picture.convert(mode)) for picture in opened]
    return [torch.from_numpy(pixels.reshape(1, *pixels.shape[:2], len(mode))) for pixels in arrays]


def scored(file: Path, data: Path, score: str) -> dict[str, Any] | None:
    found = visus.evaluate(file, data)
    return found.scores[score].json() if found.split == "test" else None


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
