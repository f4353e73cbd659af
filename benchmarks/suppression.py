"""Suppression of 100,000 candidates of a picture: what the top-k first costs, and what each method costs after it.

The candidates are those of a dense head: around 100 objects of 80 classes in a picture of 640 x 640, many boxes an
object, scores as skewed as a detector's.  Beside visus stands torchvision's ``batched_nms`` over the same candidates,
whole and after the same top-k.  Every side runs in turn, in one process at one thread; the figure is the median over
rounds.

    python benchmarks/suppression.py [--rounds 5] [--candidates 1000 10000 100000] [--out suppression.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from visus.core.suppression import SUPPRESSIONS, best, suppress

KEPT = 1000
"""Candidates after the top-k, the default of ``suppress``."""


def dense(n: int, objects: int = 100, classes: int = 80, extent: float = 640.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return n candidates around objects: boxes (n, 4), scores (n,) and labels (n,)."""
    generator = torch.Generator().manual_seed(0)
    corners = extent * torch.rand(objects, 2, generator=generator)
    truth = torch.cat([corners, corners + 16 + 112 * torch.rand(objects, 2, generator=generator)], 1)
    of = torch.randint(objects, (n,), generator=generator)
    boxes = truth[of] + 4 * torch.randn(n, 4, generator=generator)
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    scores = torch.rand(n, generator=generator) ** 4
    return boxes.clamp(0, extent), scores, torch.randint(classes, (objects,), generator=generator)[of]


def torchvision_whole(boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    return batched_nms(boxes, scores, labels, 0.5)[:300]


def torchvision_after(boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    rows = scores.topk(min(KEPT, len(scores))).indices
    return rows[batched_nms(boxes[rows], scores[rows], labels[rows], 0.5)][:300]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sides: dict[str, Callable[..., Any]] = {"visus top-k alone": lambda b, s, k: best(s, KEPT)}
    for name in SUPPRESSIONS:
        sides[f"visus {name}"] = lambda b, s, k, name=name: suppress(b, s, k, name, candidates=KEPT)
    sides |= {"torchvision, top-k first": torchvision_after, "torchvision, whole": torchvision_whole}
    rows = []
    for n in arguments.candidates:
        given = dense(n)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(arguments.rounds + 1):
            for name, method in sides.items():
                began = time.perf_counter()
                method(*given)
                if turn:  # the first warms up
                    seconds[name].append(time.perf_counter() - began)
        rows += [{"candidates": n, "side": name, "ms": 1e3 * statistics.median(s)} for name, s in seconds.items()]

    print(f"{'':28}" + "".join(f"{n:>12,}" for n in arguments.candidates) + f"   candidates, {KEPT:,} after the top-k")
    for name in sides:
        print(f"{name:28}" + "".join(f"{row['ms']:9.2f} ms" for row in rows if row["side"] == name))
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
