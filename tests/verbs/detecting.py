"""What test_detecting.py trains, in this process, in one that is killed, and in the ranks of a torchrun."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import visus

TINY = {
    "model.name": "anchor_free",
    "model.options": {"width": 32, "layers": 1, "normalisation": "group"},
    "input.size": 64,
    "batch": 8,
    "optim.lr": 0.003,
    "ema": 0.0,
    "augment.scale": [1, 1],
    "augment.brightness": 0,
    "augment.contrast": 0,
    "augment.saturation": 0,
    "precision": "float32",
    "resamples": 30,
    "evaluate_every": 1000,
    "data.leaks": False,
}
"""Settings of a network that learns coloured rectangles in seconds; judged once, at its end."""

RICH = {**TINY, "ema": 0.9, "evaluate_every": 4, "augment.scale": [0.8, 1.25], "augment.rotate": 0.2,
        "augment.mosaic": 0.5, "augment.copy_paste": 0.5, "augment.brightness": 0.2}  # fmt: skip
"""Settings with everything random that detection has."""

FALL = {"optim.name": "sgd", "optim.lr": 100.0, "optim.weight_decay": 0, "optim.clip": 0, "schedule.name": "constant",
        "schedule.warmup": 0}  # fmt: skip
"""Settings of steps along the gradient itself: what one moves is the gradient, a hundred times."""

STEPS = 18


def write_rectangles(root, **pictures):
    """Write 64-pixel pictures with up to three red or blue rectangles each, as COCO: how many of a split."""
    random = np.random.default_rng(0)
    (Path(root) / "annotations").mkdir(parents=True)
    for split, count in pictures.items():
        (Path(root) / split).mkdir()
        images, objects = [], []
        for i in range(count):
            pixels, taken = random.integers(90, 130, (64, 64, 3), np.uint8), np.zeros((64, 64), bool)
            for _ in range(i % 4):
                wide, high = random.integers(14, 29, 2).tolist()
                x, y = random.integers(0, (64 - wide, 64 - high)).tolist()
                at, k = np.s_[y : y + high, x : x + wide], int(random.integers(2))
                if not taken[at].any():
                    pixels[at], taken[at] = ((220, 40, 40), (50, 80, 230))[k], True
                    objects.append({"id": len(objects), "image_id": i, "category_id": k, "bbox": [x, y, wide, high],
                                    "area": wide * high, "iscrowd": 0})  # fmt: skip
            Image.fromarray(pixels).save(Path(root, split, f"{split}_{i:02d}.png"))
            images.append({"id": i, "file_name": f"{split}/{split}_{i:02d}.png", "width": 64, "height": 64})
        classes = [{"id": k, "name": name} for k, name in enumerate(("red", "blue"))]
        page = {"images": images, "annotations": objects, "categories": classes}
        Path(root, "annotations", f"instances_{split}.json").write_text(json.dumps(page))
    return Path(root)


def train(data, out, steps=STEPS, **settings):
    """Train with TINY, or with what is given on top of it."""
    return visus.train(data, out=out, steps=steps, set={**TINY, **settings})


if __name__ == "__main__":
    what, data, out, *workers = sys.argv[1:]
    if what == "killed":
        train(data, out, **RICH, **{"data.workers": int(workers[0]), "save_every": 0.1})
    else:
        train(data, out, steps=1, **FALL)
