"""What test_outlining.py trains, in this process and in one that is killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import visus
from visus.core.run_lengths import box, compress, encode

TINY = {
    "model.name": "mask_rcnn:csp",
    "model.options": {"width": 32, "hidden": 64, "smallest": 12.0, "proposals": 60, "layers": 2},
    "input.size": 64,
    "batch": 6,
    "detect.drawn": 32,
    "optim.lr": 0.002,
    "ema": 0.9,
    "augment.mosaic": 0.3,
    "augment.copy_paste": 0.3,
    "augment.erase": 0.2,
    "precision": "float32",
    "resamples": 20,
    "evaluate_every": 4,
    "save_every": 0.1,
    "data.leaks": False,
}
"""Settings of a network that learns rings and pairs of triangles, with everything random that masks go through."""


def write_shapes(root, **pictures):
    """Write 64-pixel pictures with red rings, which are masks with a hole, and blue pairs of rectangles, polygons."""
    random = np.random.default_rng(0)
    (Path(root) / "annotations").mkdir(parents=True)
    y, x = np.mgrid[:64, :64] + 0.5
    for split, count in pictures.items():
        (Path(root) / split).mkdir()
        images, objects = [], []
        for i in range(count):
            pixels, taken = random.integers(90, 130, (64, 64, 3), np.uint8), np.zeros((64, 64), bool)
            for k in random.integers(0, 2, 2).tolist():
                side = int(random.integers(20, 30))
                left, top = random.integers(0, 64 - side, 2).tolist()
                at = np.s_[top : top + side, left : left + side]
                if taken[at].any():
                    continue
                taken[at] = True
                if k == 0:
                    away = np.hypot(x - left - side / 2, y - top - side / 2)
                    mask = (away < side / 2) & (away > side / 5)
                    stated = {"size": [64, 64], "counts": compress(encode(mask))}
                else:
                    third, right, low = side // 3, left + side, top + side
                    stated = [
                        [left, top, left + third, top, left + third, low, left, low],
                        [right - third, top, right, top, right, low, right - third, low],
                    ]
                    mask = np.zeros((64, 64), bool)
                    mask[at] = True
                    mask[:, left + third : right - third] = False
                pixels[mask] = ((220, 40, 40), (50, 80, 230))[k]
                x0, y0, x1, y1 = box(encode(mask), 64)
                objects.append({
                    "id": len(objects), "image_id": i, "category_id": k, "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(mask.sum()), "iscrowd": 0, "segmentation": stated,
                })  # fmt: skip
            Image.fromarray(pixels).save(Path(root, split, f"{split}_{i:02d}.png"))
            images.append({"id": i, "file_name": f"{split}/{split}_{i:02d}.png", "width": 64, "height": 64})
        classes = [{"id": k, "name": name} for k, name in enumerate(("ring", "pair"))]
        page = {"images": images, "annotations": objects, "categories": classes}
        Path(root, "annotations", f"instances_{split}.json").write_text(json.dumps(page))
    return Path(root)


def train(data, out, steps=10, **settings):
    """Train with TINY, or with what is given on top of it."""
    return visus.train(data, out=out, steps=steps, set={**TINY, **settings})


if __name__ == "__main__":
    train(*sys.argv[1:3])
