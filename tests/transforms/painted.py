"""Pictures whose objects are painted, each in a colour of its own, so that they are found again after any move."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from visus.core.annotations import Boxes
from visus.core.sample import Samples
from visus.core.seeds import Draws
from visus.core.task import Transform

STEP = 40
COLOURS = [(r, g, 240 - r - g) for r in range(0, 241, STEP) for g in range(0, 241 - r, STEP)]
"""28 of one brightness, so that none of them fades into another one towards black."""

CELLS = 7
"""Objects of a picture, none of which touches another."""


def painted(n: int, first: int, height: int = 160, width: int = 240, seed: int = 0) -> Samples:
    """Return pictures with up to seven rectangles, coloured from the ``first`` colour on; every fifth has none."""
    generator = np.random.default_rng(seed + first)
    images, boxes = torch.zeros(n, 3, height, width, dtype=torch.uint8), []
    for i in range(n):
        objects = []
        for cell in range(CELLS if i % 5 else 0):
            left, top = cell % 4 * width // 4, cell // 4 * height // 2
            wide, high = generator.integers(20, width // 4 - 8), generator.integers(20, height // 2 - 8)
            x, y = left + 3 + generator.integers(width // 4 - 6 - wide), top + 3 + generator.integers(high // 8 + 1)
            objects.append([x, y, x + wide, y + high])
            colour = torch.tensor(COLOURS[first + cell], dtype=torch.uint8)
            images[i, :, y : y + high, x : x + wide] = colour[:, None, None]
        boxes.append(Boxes(torch.tensor(objects).float().reshape(-1, 4), first + torch.arange(len(objects))))
    frames = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    ids = tuple(f"{first}-{i}.png" for i in range(n))
    return Samples(ids, 1000 * first + torch.arange(n), images, {"boxes": boxes}, frames)


def draws(of: Samples, epoch: int = 0) -> Draws:
    return Draws(0, np.full(len(of), epoch), of.indices.numpy())


def run(move: Transform, n: int = 20, epoch: int = 0, **shape: Any) -> Samples:
    """Return pictures under a transform, their partners painted in other colours."""
    of = painted(n, 0, **shape)
    partners = [
        painted(n, CELLS * (1 + k % 3), seed=k, **shape).rows(np.roll(range(n), k)) for k in range(move.partners)
    ]
    return move(of, draws(of, epoch), [(other, draws(other, epoch)) for other in partners])


def found(image: Tensor, label: int) -> tuple[int, list[int]]:
    """Return how many pixels show a colour, at half its brightness or more, and the tight box around them."""
    colour, light = torch.tensor(COLOURS[label])[:, None, None] / 255, image.sum(0) * 255 / 240
    same = (image / light.clamp(min=0.1) - colour).abs().amax(0) < STEP / 3 / 255
    mask = same & (light >= 0.5)
    y, x = mask.nonzero(as_tuple=True)
    if not len(x):
        return 0, [0, 0, 0, 0]
    return len(x), [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]


def overlap(a: list[float], b: list[float]) -> float:
    """Return the area that two boxes share over that of both."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def held(image: Tensor, label: int, box: list[float]) -> float:
    """Return which share of the pixels of a colour lie in a box, or on its edge."""
    part = torch.zeros_like(image)
    at = slice(int(box[1]), int(box[3]) + 1), slice(int(box[0]), int(box[2]) + 1)
    part[:, at[0], at[1]] = image[:, at[0], at[1]]
    return found(part, label)[0] / found(image, label)[0]


def large(box: list[float], side: float = 20) -> bool:
    """Tell whether half a pixel at each edge is less than a tenth of a box."""
    return min(box[2] - box[0], box[3] - box[1]) >= side
