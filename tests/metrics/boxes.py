"""Pictures with objects and detections, and what pycocotools says of them."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from visus.metrics.detection import Detection

NAMES_OF_STATS = (
    "map", "map50", "map75", "map_small", "map_medium", "map_large",
    "mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large",
)  # fmt: skip


def judged(pictures, n_classes, **settings):
    """Return a metric that has seen pictures.

    Each is a pair: detections (box, score, label), and objects (box, label) or (box, label, crowd, area).
    """
    metric = Detection([f"class {k}" for k in range(n_classes)], **({"resamples": 20} | settings))
    for i, (found, truth) in enumerate(pictures):
        whole = [(box, label, *(rest or (False, area(box)))) for box, label, *rest in truth]
        metric.remember(i, columns(found, (4,), (), ()), columns(whole, (4,), (), (), ()))
    return metric


def columns(rows, *shapes):
    """Return rows as one tensor a column."""
    found = []
    for c, shape in enumerate(shapes):
        held = np.array([row[c] for row in rows]).reshape(-1, *shape)
        found.append(torch.from_numpy(held if len(rows) else held.astype(np.float64)))
    if not rows:
        kinds = (torch.float64, torch.float64, torch.int64) if len(shapes) == 3 else (
            torch.float64, torch.int64, torch.bool, torch.float64)  # fmt: skip
        found = [column.to(kind) for column, kind in zip(found, kinds, strict=True)]
    return tuple(found)


def area(box):
    width, height = sides(box)
    return width * height


def sides(box):
    """Return width and height as a file states them."""
    x0, y0, x1, y1 = map(float, box)
    return round(x1 - x0, 6), round(y1 - y0, 6)


def pycocotools(pictures, n_classes):
    """Return what pycocotools says: the twelve numbers by name, and (T, R, K, A, M) precision."""

    def stated(box, image, label, number, **more):
        corner_and_sides = [*map(float, box[:2]), *sides(box)]
        return {"id": number, "image_id": image, "category_id": label, "bbox": corner_and_sides,
                "iscrowd": 0, "area": area(box)} | more  # fmt: skip

    truth, found = [], []
    for i, (boxes, objects) in enumerate(pictures):
        for box, label, *rest in objects:
            crowd, size = rest or (False, area(box))
            truth.append(stated(box, i, label, len(truth) + 1, iscrowd=int(crowd), area=size))
        for box, score, label in boxes:
            found.append(stated(box, i, label, len(found) + 1, score=score))
    both = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (truth, found):
            coco = COCO()
            images, categories = ([{"id": i} for i in range(count)] for count in (len(pictures), n_classes))
            coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
            coco.createIndex()
            both.append(coco)
        evaluation = COCOeval(*both, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES_OF_STATS, evaluation.stats, strict=True)), evaluation.eval["precision"]
