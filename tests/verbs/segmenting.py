"""What test_segmenting.py trains, in this process, in one that is killed, and in the ranks of a torchrun."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import visus

TINY = {
    "model.name": "fast",
    "model.options": {"width": 16, "normalisation": "group"},
    "model.weights": "none",
    "input.size": 64,
    "batch": 8,
    "optim.lr": 0.005,
    "ema": 0.0,
    "augment.crop": [1, 1],
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
        "augment.crop": [0.5, 1], "augment.brightness": 0.2}  # fmt: skip
"""Settings with everything random that segmentation has."""

FALL = {"optim.name": "sgd", "optim.lr": 100.0, "optim.weight_decay": 0, "optim.clip": 0, "schedule.name": "constant",
        "schedule.warmup": 0}  # fmt: skip
"""Settings of steps along the gradient itself: what one moves is the gradient, a hundred times."""

STEPS = 18
CLASSES = ("ground", "red", "blue")
PALETTE = ((90, 90, 90), (220, 40, 40), (50, 80, 230))


def write_scenes(root, *, size=(48, 64), **pictures):
    """Write pictures with red and blue rectangles on grey, and palette masks: how many of a split; return the folder.

    Of every other picture, a part that grows from one to the next is ignored.
    """
    random = np.random.default_rng(0)
    height, width = size
    for split, count in pictures.items():
        for kind in ("images", "masks"):
            Path(root, kind, split).mkdir(parents=True)
        for i in range(count):
            pixels, classes = random.integers(90, 130, (height, width, 3), np.uint8), np.zeros(size, np.uint8)
            for _ in range(1 + i % 3):
                wide, high = random.integers(14, 29, 2).tolist()
                x, y = random.integers(0, (width - wide, height - high)).tolist()
                k = int(random.integers(1, 3))
                pixels[y : y + high, x : x + wide] = PALETTE[k]
                classes[y : y + high, x : x + wide] = k
            if i % 2:
                classes[: min(height - 8, 2 * i)] = 255
            Image.fromarray(pixels).save(Path(root, "images", split, f"{i:02d}.png"))
            mask = Image.fromarray(classes)
            mask.putpalette([level for colour in PALETTE for level in colour])
            mask.save(Path(root, "masks", split, f"{i:02d}.png"))
    Path(root, "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
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
