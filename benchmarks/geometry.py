"""Whether pixels, masks, outlines and boxes go to the same place.

For each of N random affine and perspective warps a clover leaf is drawn as a mask and as a polygon of 60 corners.  The
mask is warped as pixels; the polygon is warped as corners and then drawn.  Printed are the intersection over union of
the two masks, and how far the box made of the outline lies beside the tight box of the warped mask: the intersection
over union of the two, and the largest distance of a side in new pixels, and in the larger one of an old and a new pixel
at that place.  Warps that show less than SMALLEST pixels are drawn anew: of less, those along the edge are too large a
part.  Last, boxes of a crowded picture all at once and polygon by polygon, in time and in pixels.

    python benchmarks/geometry.py [--warps 500] [--seed 0]

Exit code 1 where an IoU of masks is below 0.98, a box lies more than APART of the larger pixel beside (the mask is
rounded to pixels twice, before and after the move), or boxes at once are others than one by one.
"""

from __future__ import annotations

import argparse
import math
import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from visus.core.annotations import Boxes, Masks, move_points, warp_polygon
from visus.transforms import geometry

SIZE = (320, 400)
"""Height and width of the old picture and of the new one."""
SMALLEST, FINE, WANTED, APART = 8000, 8, 0.98, 1.5
Matrix = NDArray[np.float64]


def affine(numbers: np.random.Generator) -> Matrix:
    """Return a turn by any angle, a zoom of 0.6 to 1.6, a shear of up to 0.4 and a shift of up to a quarter."""
    angle, zoom = np.array([numbers.uniform(-math.pi, math.pi)]), np.array([numbers.uniform(0.6, 1.6)])
    shear, shift = numbers.uniform(-0.4, 0.4, (2, 1)), numbers.uniform(-0.25, 0.25, (2, 1)) * [[SIZE[1]], [SIZE[0]]]
    about = geometry.rotations(angle) @ geometry.shears(*shear) @ geometry.scalings(zoom, zoom)
    return np.asarray((geometry.translations(*shift) @ geometry.about_middle(about, SIZE))[0])


def perspective(numbers: np.random.Generator) -> Matrix:
    """Return a perspective that shifts each corner by up to a quarter of the sides."""
    return np.asarray(geometry.corner_shifts(numbers.uniform(-0.25, 0.25, (1, 8)), SIZE)[0])


def clover(numbers: np.random.Generator) -> torch.Tensor:
    """Return the outline of a clover leaf in the middle of the picture, (60, 2)."""
    angles, phase, radius = np.linspace(0, 2 * np.pi, 60, endpoint=False), *numbers.uniform((0, 80), (2 * np.pi, 120))
    radii = radius * (1 + 0.25 * np.sin(3 * angles + phase))
    return torch.from_numpy(np.stack([200 + radii * np.cos(angles), 160 + radii * np.sin(angles)], 1)).float()


def raster(polygon: torch.Tensor) -> torch.Tensor:
    """Return the mask of pixels whose centre lies in a polygon, drawn by Pillow on a finer raster."""
    picture = Image.new("L", (SIZE[1] * FINE, SIZE[0] * FINE))
    if len(polygon):
        ImageDraw.Draw(picture).polygon([(x * FINE - 0.5, y * FINE - 0.5) for x, y in polygon.tolist()], fill=1)
    return torch.from_numpy(np.array(picture)[FINE // 2 :: FINE, FINE // 2 :: FINE]).bool()


def tight(mask: torch.Tensor) -> torch.Tensor:
    y, x = mask.nonzero(as_tuple=True)
    return torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the intersection over union of two masks."""
    return float((a & b).sum() / (a | b).sum())


def beside(
    matrix: torch.Tensor, outline: torch.Tensor, box: torch.Tensor, expected: torch.Tensor
) -> tuple[float, float]:
    """Return by how many new pixels a box lies beside another one, and by how many of the larger pixel there."""
    apart = float((box - expected).abs().max())
    steps = torch.stack([move_points(outline + step, matrix) - move_points(outline, matrix) for step in torch.eye(2)])
    return apart, apart / max(1.0, float(steps.norm(dim=-1).max()))


def compare(kind: str, warps: int, seed: int) -> bool:
    """Print the figures of one kind of warp, and return whether they are as they should be."""
    numbers = np.random.default_rng((seed, kind == "perspective"))
    masks, boxes, pixels, larger, cut, drawn = [], [], [], [], 0, 0
    while len(masks) < warps:
        drawn += 1
        matrix = torch.from_numpy((affine if kind == "affine" else perspective)(numbers))
        outline = clover(numbers)
        polygon = raster(warp_polygon(outline, matrix, SIZE))
        if int(polygon.sum()) < SMALLEST:
            continue
        mask = Masks(raster(outline)[None], torch.tensor([0])).warp(matrix, SIZE).masks[0]
        box = torch.cat([outline.amin(0), outline.amax(0)])[None]
        moved = Boxes(box, torch.tensor([0]), ((outline,),)).warp(matrix, SIZE).xyxy[0]
        masks.append(overlap(mask, polygon))
        there = tight(mask)
        boxes.append(_iou(moved, there))
        apart = beside(matrix, outline, moved, there)
        pixels.append(apart[0])
        larger.append(apart[1])
        cut += bool((there <= 0)[:2].any() or (there[2:] >= torch.tensor(SIZE[::-1])).any())
    print(
        f"{kind:12} {warps:,} warps ({cut:,} cut at the frame, {drawn - warps:,} drawn anew)\n"
        f"  warped mask, mask of warped polygon   IoU  lowest {min(masks):.4f}  median {np.median(masks):.4f}\n"
        f"  box of outline, box of warped mask    IoU  lowest {min(boxes):.4f}  median {np.median(boxes):.4f}\n"
        f"  farthest side of the two boxes  new pixels  largest {max(pixels):.2f}  median {np.median(pixels):.2f}"
        f"  of the larger pixel {max(larger):.2f}"
    )
    return min(masks) >= WANTED and max(larger) <= APART


def crowded(n: int, seed: int) -> bool:
    """Print how long n boxes take all at once and one polygon after another, and how far the results are apart."""
    numbers = np.random.default_rng(seed)
    low = numbers.uniform(-40, (SIZE[1], SIZE[0]), (n, 2))
    boxes = torch.from_numpy(np.concatenate([low, low + numbers.uniform(4, 80, (n, 2))], 1))
    matrix = torch.from_numpy(affine(numbers))
    began = time.perf_counter()
    once = Boxes(boxes, torch.arange(n)).warp(matrix, SIZE)
    between = time.perf_counter()
    polygons = [warp_polygon(box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2), matrix, SIZE) for box in boxes]
    ended = time.perf_counter()
    each = {i: torch.cat([points.amin(0), points.amax(0)]) for i, points in enumerate(polygons) if len(points)}
    apart = max(float((box - each[i]).abs().max()) for i, box in zip(once.labels.tolist(), once.xyxy, strict=True))
    print(
        f"{n:,} boxes     at once {1000 * (between - began):.2f} ms, one by one {1000 * (ended - between):.1f} ms,"
        f" {apart:.1e} pixels apart"
    )
    return apart < 1e-6


def _iou(a: torch.Tensor, b: torch.Tensor) -> float:
    shared = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--warps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    torch.set_num_threads(1)
    crowded(10, said.seed + 1)  # once to warm up
    good = [compare(kind, said.warps, said.seed) for kind in ("affine", "perspective")]
    good += [crowded(n, said.seed) for n in (10, 100, 1000)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
