"""Judging every pixel: visus.metrics against torchmetrics' JaccardIndex, equal numbers in less time.

The pictures are made up: smooth regions, answers that are a little off along their edges and wrong in some regions, a
strip that is ignored.  All sides see the same maps in turn, in one process at one thread, and the figures are medians
over rounds.  Three pairs are timed, each the update of one picture:

- counts: class maps in, mean IoU out at the end.  Ours is the count of confusions, theirs ``update`` as it comes, which
  looks through both maps for values that are no class, and without that look;
- everything that is counted of class maps: with contours, which theirs has no score for;
- the whole way from logits of half the picture's size: ours also brings home probabilities for the calibration, theirs
  is ``F.interpolate`` and then ``update`` with logits.

Last, what all scores with intervals of 1,000 resamples cost at the end of a run.

    python benchmarks/segmentation_metrics.py [--rounds 5] [--out segmentation_metrics.json]
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
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from visus.core.pixels import IGNORE
from visus.core.task import Batch
from visus.metrics.segmentation import Segmentation, confusion

SETTINGS = ((360, 480, 11, 24), (1024, 2048, 19, 4))
"""Height, width, classes, pictures."""


def made_up(height: int, width: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the classes of a picture, uint8, and logits (k, height / 2, width / 2) of a fair network."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, k, height // 60, width // 60, generator=generator)
    truth = F.interpolate(coarse, (height, width), mode="bicubic")[0].argmax(0).to(torch.uint8)
    said = coarse + 0.25 * torch.randn(coarse.shape, generator=generator)
    logits = 6 * F.interpolate(said, (height // 2, width // 2), mode="bicubic")[0]
    truth[: height // 20] = IGNORE
    return truth, logits + 0.05 * torch.randn(logits.shape, generator=generator)


def home(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the logits at the pixels of the truth: (1, k, height, width)."""
    return F.interpolate(logits[None], truth.shape, mode="bilinear", align_corners=False)


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(height: int, width: int, k: int, n: int, rounds: int) -> dict[str, Any]:
    """Return milliseconds a picture of each side, and how far their mean IoU differs."""
    pairs = [made_up(height, width, k, seed) for seed in range(n)]
    answers = [home(logits, truth)[0].argmax(0).to(torch.uint8) for truth, logits in pairs]
    names = [str(c) for c in range(k)]
    frame = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))
    batches = [
        Batch((), {"stated": [truth]}, (str(i),), torch.tensor([i]), frame[None])
        for i, (truth, _) in enumerate(pairs)
    ]  # fmt: skip
    said: dict[str, float] = {}

    def counts() -> None:
        total = torch.zeros(k, k + 1, dtype=torch.int64)
        for (truth, _), answer in zip(pairs, answers, strict=True):
            total += confusion(truth, answer, k)

    def classes() -> None:
        metric = Segmentation(names)
        for i, ((truth, _), answer) in enumerate(zip(pairs, answers, strict=True)):
            metric.remember(i, truth, answer)
        said["visus"] = metric.quick()["miou"]

    def whole() -> Segmentation:
        metric = Segmentation(names)
        for (_, logits), batch in zip(pairs, batches, strict=True):
            metric.update({"logits": logits[None]}, batch)
        said["visus from logits"] = metric.quick()["miou"]
        return metric

    def theirs(validated: bool) -> None:
        metric = MulticlassJaccardIndex(k, ignore_index=IGNORE, validate_args=validated)
        for (truth, _), answer in zip(pairs, answers, strict=True):
            metric.update(answer[None], truth[None])
        said["torchmetrics"] = metric.compute().item()

    def their_whole() -> None:
        metric = MulticlassJaccardIndex(k, ignore_index=IGNORE, validate_args=False)
        for truth, logits in pairs:
            metric.update(home(logits, truth), truth[None])
        said["torchmetrics from logits"] = metric.compute().item()

    sides: dict[str, Callable[[], Any]] = {
        "counts": counts, "theirs": lambda: theirs(True), "theirs unchecked": lambda: theirs(False),
        "with contours": classes, "from logits": whole, "theirs from logits": their_whole,
    }  # fmt: skip
    for work in sides.values():
        work()  # once unmeasured
    seconds: dict[str, list[float]] = {name: [] for name in (*sides, "intervals")}
    for _ in range(rounds):
        for name, work in sides.items():
            seconds[name].append(timed(work) / n)
        metric = whole()
        seconds["intervals"].append(timed(metric.compute))

    def ratio(theirs: str, ours: str) -> float:
        return statistics.median(b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True))

    return {
        "height": height, "width": width, "classes": k, "pictures": n,
        "ms": {name: 1e3 * statistics.median(values) for name, values in seconds.items()},
        "ratio": {
            "counts": ratio("theirs", "counts"), "counts, unchecked": ratio("theirs unchecked", "counts"),
            "with contours": ratio("theirs", "with contours"),
            "from logits": ratio("theirs from logits", "from logits"),
        },
        "miou": said, "largest_difference": max(said.values()) - min(said.values()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measured(*setting, arguments.rounds) for setting in SETTINGS]
    for row in rows:
        ms, ratio = row["ms"], row["ratio"]
        print(f"{row['width']} x {row['height']}, {row['classes']} classes, {row['pictures']} pictures; "
              f"mean IoU {row['miou']['visus']:.4f}, largest difference {row['largest_difference']:.1e}")  # fmt: skip
        for what, mine, other in (
            ("counts", "counts", "theirs"), ("counts, unchecked", "counts", "theirs unchecked"),
            ("with contours", "with contours", "theirs"), ("from logits", "from logits", "theirs from logits"),
        ):  # fmt: skip
            print(
                f"  {what:18} visus {ms[mine]:8.2f} ms a picture, torchmetrics {ms[other]:8.2f}, {ratio[what]:6.1f} x"
            )
        print(f"  intervals          visus {ms['intervals']:8.0f} ms at the end, 1,000 resamples of every score")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
