"""RandAugment and TrivialAugment: a few of fourteen operations drawn anew for each picture and epoch.

Operations that move pixels become part of the one matrix of a sample, in the picture's own pixels.  Those that change
colours are applied, in the order drawn, to the picture of the network's size: always after what moves pixels, so that
"equalize, then rotate" equalizes what the rotation and the crop left, where torchvision equalizes the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped
from numpy import ndarray as Array
from torch import Tensor

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws
from visus.transforms import colour, geometry

BINS = 30
"""Magnitudes are given out of this many."""


@dataclass(frozen=True)
class Operation:
    """One thing a policy may do.

    Attributes:
        name: as in the papers.
        narrow: strength at magnitude 0 and at the largest, for RandAugment.
        wide: the same for TrivialAugment's wide space.
        signed: the strength is negated with a chance of one half.
        colours: moves colours: (n, C, H, W) levels and their strengths to new levels; None where none move.
        pixels: moves pixels: strengths and (n, 2) sizes to matrices; None where none move.
    """

    name: str
    narrow: tuple[float, float] = (0.0, 0.0)
    wide: tuple[float, float] = (0.0, 0.0)
    signed: bool = False
    colours: Callable[[Tensor, Float64[Array, "n"]], Tensor] | None = None
    pixels: Callable[[Float64[Array, "n"], Int64[Array, "n 2"]], Float64[Array, "n 3 3"]] | None = None


@dataclass(frozen=True)
class Policy:
    """What was drawn for B pictures: ``n`` operations each.

    Attributes:
        chosen: (B, n) index into OPERATIONS.
        strength: (B, n) of each.
    """

    chosen: Int64[Array, "B n"]
    strength: Float64[Array, "B n"]

    def matrices(self, sizes: Int64[Array, "B 2"]) -> Float64[Array, "B 3 3"]:
        """Return what the policy does to the pixels of pictures of these (height, width)."""
        moved = geometry.identities(len(sizes))
        for operation, rows, strength in self._turns():
            if operation.pixels is not None:
                moved[rows] = operation.pixels(strength, sizes[rows]) @ moved[rows]
        return moved

    def recolour(self, levels: Tensor) -> Tensor:
        """Return (B, C, H, W) pictures (uint8, or float32 in [0, 1]) after what the policy does to their colours."""
        levels = levels.clone()
        for operation, rows, strength in self._turns():
            if operation.colours is not None:
                at = torch.from_numpy(rows)
                levels.index_copy_(0, at, operation.colours(levels.index_select(0, at), strength))
        return levels

    def rows(self, keep: Int64[Array, "n"]) -> Policy:
        """Return what was drawn for some of the pictures."""
        return Policy(self.chosen[keep], self.strength[keep])

    def _turns(self) -> Iterator[tuple[Operation, Int64[Array, "n"], Float64[Array, "n"]]]:
        """Yield, one turn after the other, each operation with the pictures that drew it and its strength there."""
        for turn in range(self.chosen.shape[1]):
            for index, operation in enumerate(OPERATIONS):
                rows = np.flatnonzero(self.chosen[:, turn] == index)
                if len(rows):
                    yield operation, rows, self.strength[rows, turn]


def draw(augment: AugmentSettings, draws: Draws) -> Policy | None:
    """Return what a policy does to each picture, or None where the settings name no policy.

    RandAugment applies ``operations`` operations, chosen uniformly with replacement, all at ``magnitude``.
    TrivialAugment applies one, at a magnitude drawn uniformly from 0 to 30.

    Args:
        augment: names the policy.
        draws: the random numbers of each sample.

    Source:
        Cubuk et al., RandAugment, NeurIPS 2020; Müller and Hutter, TrivialAugment, ICCV 2021 (the wide space).
    """
    if augment.policy == "none":
        return None
    trivial = augment.policy == "trivialaugment"
    n = 1 if trivial else augment.operations
    unit = draws.uniform("policy", 3 * n)
    chosen = np.floor(unit[:, :n] * len(OPERATIONS)).astype(np.int64)
    magnitude = np.floor(unit[:, n : 2 * n] * (BINS + 1)) if trivial else np.full(chosen.shape, augment.magnitude)
    ends = np.array([operation.wide if trivial else operation.narrow for operation in OPERATIONS])[chosen]
    signed = np.array([operation.signed for operation in OPERATIONS])[chosen] & (unit[:, 2 * n :] < 0.5)
    strength = ends[..., 0] + (ends[..., 1] - ends[..., 0]) * magnitude / BINS
    return Policy(chosen, np.where(signed, -strength, strength))


def _affine(levels: Tensor, **factors: Float64[Array, "n"]) -> Tensor:
    """Return levels recoloured by some factors of ``colour.matrices``, the others being neutral."""
    n = len(levels)
    neutral = {"brightness": np.ones(n), "contrast": np.ones(n), "saturation": np.ones(n), "turns": np.zeros(n)}
    moved = colour.recolour(levels, colour.matrices(levels, **{**neutral, **factors}))
    return _levels(moved * colour.top(levels), levels)


def _sharpen(levels: Tensor, factors: Float64[Array, "n"]) -> Tensor:
    """Return levels moved away from (factor above 1) or towards their 3 x 3 blur with weights 1 and 5; edges stay."""
    if min(levels.shape[-2:]) < 3:
        return levels
    x = levels.float()
    rows = x[..., :-2] + x[..., 1:-1] + x[..., 2:]
    middle = x[..., 1:-1, 1:-1]
    blurred = (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :] + 4 * middle) / 13
    if levels.dtype == torch.uint8:
        blurred.round_()
    sharp = x.clone()
    sharp[..., 1:-1, 1:-1] = blurred + (middle - blurred) * torch.from_numpy(factors).float()[:, None, None, None]
    return _levels(sharp.clamp_(0, colour.top(levels)), levels)


def _kernel(name: str, levels: Tensor, *settings: int | float) -> Tensor:
    """Return what torchvision's kernel of this name makes of each channel of each picture."""
    from torchvision.transforms.v2 import functional

    moved: Tensor = getattr(functional, name)(levels.reshape(-1, 1, *levels.shape[-2:]), *settings)
    return moved.reshape(levels.shape)


def _kernels(name: str, levels: Tensor, settings: Shaped[Array, "n"]) -> Tensor:
    """Return what torchvision's kernel makes of pictures with a setting each."""
    moved = torch.empty_like(levels)
    for setting in np.unique(settings).tolist():
        at = torch.from_numpy(np.flatnonzero(settings == setting))
        moved[at] = _kernel(name, levels[at], setting)
    return moved


def _levels(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.round_().to(torch.uint8) if like.dtype == torch.uint8 else numbers


def _pixels(by: Float64[Array, "n"], side: Int64[Array, "n"]) -> Float64[Array, "n"]:
    """Return whole pixels: strengths up to 1 are shares of the side, larger ones pixels, and no more than the side."""
    pixels: Float64[Array, "n"] = np.where(np.abs(by) <= 1, by * side, np.clip(by, -side, side))
    return np.asarray(np.trunc(pixels.round(6)))  # 150 / 331 of 331 pixels are 150, whatever the last bit says


def _rotate(by: Float64[Array, "n"], sizes: Int64[Array, "n 2"]) -> Float64[Array, "n 3 3"]:
    """Return the matrices that turn pictures about their middle, counter-clockwise on the screen."""
    x, y = sizes[:, 1] / 2, sizes[:, 0] / 2
    return np.asarray(geometry.translations(x, y) @ geometry.rotations(-by) @ geometry.translations(-x, -y))


_SHEAR, _MOVE, _STRONG, _WIDE = (0.0, 0.3), (0.0, 150 / 331), (0.0, 0.9), (0.0, 0.99)

OPERATIONS: tuple[Operation, ...] = (
    Operation("identity"),
    Operation("shear_x", _SHEAR, _WIDE, True, pixels=lambda by, sizes: geometry.shears(-by, 0 * by)),
    Operation("shear_y", _SHEAR, _WIDE, True, pixels=lambda by, sizes: geometry.shears(0 * by, -by)),
    Operation("translate_x", _MOVE, (0.0, 32.0), True,
              pixels=lambda by, sizes: geometry.translations(_pixels(by, sizes[:, 1]), 0 * by)),
    Operation("translate_y", _MOVE, (0.0, 32.0), True,
              pixels=lambda by, sizes: geometry.translations(0 * by, _pixels(by, sizes[:, 0]))),
    Operation("rotate", (0.0, math.radians(30)), (0.0, math.radians(135)), True, pixels=_rotate),
    Operation("brightness", _STRONG, _WIDE, True, lambda x, by: _affine(x, brightness=1 + by)),
    Operation("saturation", _STRONG, _WIDE, True, lambda x, by: _affine(x, saturation=1 + by)),
    Operation("contrast", _STRONG, _WIDE, True, lambda x, by: _affine(x, contrast=1 + by)),
    Operation("sharpness", _STRONG, _WIDE, True, lambda x, by: _sharpen(x, 1 + by)),
    Operation("posterize", (8.0, 4.0), (8.0, 2.0),
              colours=lambda x, bits: _kernels("posterize", x, np.rint(bits).astype(np.int64))),
    Operation("solarize", (1.0, 0.0), (1.0, 0.0), colours=lambda x, by: _kernels("solarize", x, by * colour.top(x))),
    Operation("autocontrast", colours=lambda x, by: _kernel("autocontrast", x)),
    Operation("equalize", colours=lambda x, by: _kernel("equalize", x)),
)  # fmt: skip
"""The fourteen of both papers.  A strength is a tangent, a share of the side (RandAugment) or pixels (TrivialAugment),
radians, a relative change, bits that are kept, or a level.  A shear leaves the left top corner where it is, as in the
code of both papers and in torchvision."""
