"""Judging boxes: visus.metrics against pycocotools on 5,000 pictures of 80 classes, equal numbers in less time.

The pictures are made up: objects of all sizes, some in crowds; detections are objects moved a little, some called
another class, and boxes on nothing, about 100 a picture as COCO allows.  Both sides start from what they are made from,
arrays here and ``COCO`` objects there, and give the twelve numbers of COCO; then visus gives every score, the table of
classes and the cost of mistakes with intervals of 1,000 resamples, which pycocotools has not.

    python benchmarks/detection_metrics.py [--rounds 3] [--images 5000] [--out detection_metrics.json]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visus.metrics.detection import JudgedDetections

NAMES = (
    "map", "map50", "map75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large",
)  # fmt: skip
CLASSES = 80

Columns = dict[str, np.ndarray[Any, Any]]


def made_up(images: int, objects: float = 7.3, boxes: int = 100) -> Columns:
    """Return objects and detections of pictures, as the columns of ``Detection``."""
    random = np.random.default_rng(0)
    image = np.repeat(np.arange(images), random.poisson(objects, images))
    n = len(image)
    size = np.exp(random.uniform(np.log(8), np.log(400), (n, 2))).round(2)
    corner = random.uniform(0, 400, (n, 2)).round(2)
    box = np.concatenate([corner, corner + size], 1)
    label = (CLASSES * random.random(n) ** 2).astype(np.int64)  # some classes are frequent, some are rare
    columns = {
        "index": np.arange(images), "truth_index": image, "truth_label": label, "truth_box": box,
        "truth_crowd": random.random(n) < 0.01, "truth_area": size.prod(1) * random.uniform(0.5, 1, n),
    }  # fmt: skip
    of = np.repeat(np.arange(n), random.integers(0, 4, n))
    moved = box[of] + random.normal(0, 0.1, (len(of), 4)) * np.tile(size[of], 2)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    said = np.where(random.random(len(of)) < 0.9, label[of], random.integers(0, CLASSES, len(of)))
    rest = max(0, images * boxes - len(of))
    corner, size = random.uniform(0, 400, (rest, 2)), np.exp(random.uniform(np.log(8), np.log(400), (rest, 2)))
    found = {
        "found_index": np.concatenate([image[of], random.integers(0, images, rest)]),
        "found_label": np.concatenate([said, random.integers(0, CLASSES, rest)]),
        "found_score": np.concatenate([random.beta(4, 2, len(of)), random.beta(1, 4, rest)]).round(4),
        "found_box": np.concatenate([moved, np.concatenate([corner, corner + size], 1)]).round(2),
    }
    order = np.argsort(found["found_index"], kind="stable")
    return columns | {name: column[order] for name, column in found.items()}


def coco(columns: Columns, part: str) -> COCO:
    """Return one side as pycocotools wants it."""
    box = columns[f"{part}_box"]
    side = box[:, 2:] - box[:, :2]
    area = columns.get(f"{part}_area", side.prod(1))
    crowd = columns.get(f"{part}_crowd", np.zeros(len(box), np.bool_))
    score = columns.get(f"{part}_score", np.ones(len(box)))
    rows = zip(columns[f"{part}_index"].tolist(), columns[f"{part}_label"].tolist(), box[:, :2].tolist(),
               side.tolist(), area.tolist(), crowd.astype(int).tolist(), score.tolist(), strict=True)  # fmt: skip
    made = COCO()
    made.dataset = {
        "images": [{"id": i} for i in range(len(columns["index"]))],
        "categories": [{"id": k} for k in range(CLASSES)],
        "annotations": [
            {"id": m + 1, "image_id": i, "category_id": k, "bbox": [*xy, *wh], "area": a, "iscrowd": c, "score": s}
            for m, (i, k, xy, wh, a, c, s) in enumerate(rows)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        made.createIndex()
    return made


def theirs(truth: COCO, found: COCO) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats.tolist(), strict=True))


def ours(columns: Columns) -> dict[str, float]:
    items = JudgedDetections({name: torch.from_numpy(c) for name, c in columns.items()}, CLASSES, 1000)
    return {name: float(value[0]) for name, value in items.weighted(np.ones((items.n, 1)), NAMES).items()}


def with_intervals(columns: Columns) -> int:
    items = JudgedDetections({name: torch.from_numpy(c) for name, c in columns.items()}, CLASSES, 1000)
    return sum(np.size(value) for value, _, _ in items.measures.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--boxes", type=int, default=100, help="detections a picture")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    columns = made_up(arguments.images, boxes=arguments.boxes)
    sides = coco(columns, "truth"), coco(columns, "found")
    seconds: dict[str, list[float]] = {"visus": [], "pycocotools": [], "intervals": []}
    difference, numbers = 0.0, 0
    for _ in range(arguments.rounds):
        began = time.perf_counter()
        mine = ours(columns)
        seconds["visus"].append(time.perf_counter() - began)
        began = time.perf_counter()
        other = theirs(*sides)
        seconds["pycocotools"].append(time.perf_counter() - began)
        began = time.perf_counter()
        numbers = with_intervals(columns)
        seconds["intervals"].append(time.perf_counter() - began)
        difference = max(abs(mine[name] - other[name]) for name in NAMES)
    row = {
        "images": arguments.images, "classes": CLASSES, "objects": len(columns["truth_label"]),
        "detections": len(columns["found_label"]),
        **{f"{name}_s": statistics.median(values) for name, values in seconds.items()},
        "ratio": statistics.median(
            b / a for a, b in zip(seconds["visus"], seconds["pycocotools"], strict=True)
        ),
        "largest_difference": difference, "numbers_with_intervals": numbers,
    }  # fmt: skip
    print(f"{row['images']:,} images x {CLASSES} classes, {row['objects']:,} objects, {row['detections']:,} detections")
    print(f"visus        {row['visus_s']:8.2f} s")
    print(f"pycocotools  {row['pycocotools_s']:8.2f} s, {row['ratio']:.1f} times as long; "
          f"largest difference of the twelve numbers {difference:.1e}")  # fmt: skip
    print(f"visus        {row['intervals_s']:8.2f} s for {numbers:,} numbers with intervals, 1,000 resamples")
    if arguments.out:
        arguments.out.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
