"""Small real data and a network that learns it in a second: handwritten digits as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

import visus

TINY = {
    "model.name": "cnn",
    "model.options.widths": [8, 16],
    "model.options.normalisation": "group",
    "model.options.flatten": True,
    "augment.pad": 0,
    "optim.name": "adam",
    "optim.lr": 0.003,
    "schedule.name": "constant",
    "batch": 16,
    "resamples": 30,
    "evaluate_every": 1000,
    "precision": "float32",
    "data.leaks": False,
}
"""Settings of a run that takes a second; judged once, at its end, and not compared with the other parts."""

NAMES = {"one": 1, "two": 2, "six": 6}


def digits():
    """Return (1797, 16, 16) uint8 pictures of handwritten digits, and which digit each shows."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    levels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return levels.repeat(2, 1).repeat(2, 2), bunch.target


def write_classes(root, each=40, names=NAMES, first=0, mode=lambda pixels: Image.fromarray(pixels)):
    """Write pictures into class folders: ``each`` of a class, from the ``first`` on; return the folder."""
    images, labels = digits()
    for name, digit in names.items():
        folder = Path(root, name)
        folder.mkdir(parents=True, exist_ok=True)
        for i in np.flatnonzero(labels == digit)[first : first + each]:
            mode(images[i]).save(folder / f"{i:04d}.png")
    return Path(root)


def coloured(pixels):
    """Return a digit in colours, wider than high."""
    return Image.fromarray(np.stack([pixels, 255 - pixels, pixels // 2 + 40], -1)).resize((23, 17))


def write_splits(root, **pictures):
    """Write ``train``, ``val`` and ``test`` with other pictures in each; ``pictures``: how many of a class."""
    first = 0
    for split, each in pictures.items():
        write_classes(Path(root, split), each, first=first)
        first += each
    return Path(root)


def write_table(root, rows, header):
    """Write ``labels.csv`` beside pictures: rows of (pixels, fields ...), the first column being the path."""
    root.mkdir(parents=True)
    lines = [",".join(["path", *header])]
    for i, (pixels, *fields) in enumerate(rows):
        Image.fromarray(pixels).save(root / f"{i:04d}.png")
        lines.append(",".join([f"{i:04d}.png", *map(str, fields)]))
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


TINY_DETECTOR = {
    "model.name": "anchor_free",
    "model.weights": "none",
    "model.options": {"width": 8, "normalisation": "group"},
    "input.size": 64,
    "optim.lr": 0.003,
    "schedule.name": "constant",
    "batch": 4,
    "resamples": 30,
    "ema": 0,
    "evaluate_every": 1000,
    "precision": "float32",
    "data.leaks": False,
}
"""Settings of a detector that a step trains in a tenth of a second; judged once."""


def write_boxes(root, *, splits=("train",) * 8 + ("val",) * 3 + ("test",) * 3, size=(60, 80), each=3):
    """Write grey pictures with bright and dark squares on them, and ``labels.csv`` with their boxes; return the folder.

    Args:
        splits: of each picture.
        size: (height, width) of each.
        each: squares a picture, side by side.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    lines = ["path,label,xmin,ymin,xmax,ymax,split"]
    draw = np.random.default_rng(0)
    height, width = size
    for i, split in enumerate(splits):
        pixels = draw.integers(110, 140, (height, width, 3), dtype=np.uint8)
        for k in range(each):
            side = int(draw.integers(min(8, width // each - 1), width // each))
            x, y = k * width // each, int(draw.integers(0, height - side))
            bright = bool(draw.integers(2))
            pixels[y : y + side, x : x + side] = 250 if bright else 5
            lines.append(f"{i:03d}.png,{'bright' if bright else 'dark'},{x},{y},{x + side},{y + side},{split}")
        Image.fromarray(pixels).save(root / f"{i:03d}.png")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def train_detector(data, out, *, steps=2, settings=None, **arguments):
    """Train a detector briefly; ``settings`` win over TINY_DETECTOR."""
    return visus.train(data, out=out, steps=steps, set={**TINY_DETECTOR, **(settings or {})}, **arguments)


def train(data, out, *, steps=30, settings=None, **arguments):
    """Train briefly; ``settings`` win over TINY."""
    return visus.train(data, out=out, steps=steps, set={**TINY, **(settings or {})}, **arguments)


def tensors(file):
    """Return the tensors of a model file."""
    from visus.core.modelfile import read_model

    return read_model(Path(file))[0]


def same_bits(a, b):
    """Tell whether two runs have the same best and last weights, and logged the same losses."""
    import torch

    for name in ("best.safetensors", "last.safetensors"):
        one, other = tensors(Path(a, name)), tensors(Path(b, name))
        if one.keys() != other.keys() or not all(torch.equal(one[key], other[key]) for key in one):
            return False
    return losses(a) == losses(b)


def losses(run):
    """Return (step, loss) of each training row of a run's log."""
    rows = map(json.loads, Path(run, "log.jsonl").read_text().splitlines())
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]
