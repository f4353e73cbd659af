"""Brightness, contrast, saturation and hue as one affine matrix a sample, and the way from levels to network input.

All arithmetic is elementwise, a multiplication or an addition at a time, so that a picture's numbers are the same in
any batch and at any number of threads; a matrix product chooses its kernel by the shape of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy import ndarray as Array
from torch import Tensor

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R BT.601, rounded as torchvision and MATLAB do."""

_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_BLOCK = 2**18  # numbers worked on at once: they stay in the cache between one operation and the next


def jitter(levels: Tensor, augment: AugmentSettings, draws: Draws) -> Float64[Array, "B C C+1"] | None:
    """Return each picture's random colour matrix, or None where the settings change no colour.

    Brightness, contrast and saturation are multiplied by 1 plus or minus up to the setting; hue turns by up to plus or
    minus the setting.

    Args:
        levels: (B, C, H, W) pictures, uint8, or float32 in [0, 1].
        augment: the ranges to draw from.
        draws: the random numbers of each sample.
    """
    if not (augment.brightness or augment.contrast or augment.saturation or augment.hue):
        return None
    return matrices(
        levels,
        brightness=draws.between("brightness", 1 - augment.brightness, 1 + augment.brightness),
        contrast=draws.between("contrast", 1 - augment.contrast, 1 + augment.contrast),
        saturation=draws.between("saturation", 1 - augment.saturation, 1 + augment.saturation),
        turns=draws.between("hue", -augment.hue, augment.hue),
    )


def matrices(
    levels: Tensor,
    brightness: Float64[Array, "B"],
    contrast: Float64[Array, "B"],
    saturation: Float64[Array, "B"],
    turns: Float64[Array, "B"],
) -> Float64[Array, "B C C+1"]:
    """Return (B, C, C + 1) matrices [A | b] that take colours x in [0, 1] to A x + b.

    In this order: brightness scales; contrast scales about the mean grey of the picture itself; saturation scales about
    each pixel's grey; hue turns about the grey axis.  Each of the first three equals torchvision's where nothing leaves
    [0, 1]; here values are cut to [0, 1] once, at the end.  Only pictures of three channels have a saturation and a
    hue; the grey of others is the mean of their channels.

    The hue is turned in the YIQ space, which keeps each pixel's luma, while torchvision's HSV hue is not linear and
    keeps the largest and smallest channel: there pure yellow turned by a tenth is as bright as green, here it stays as
    bright as yellow.  Averaged over the whole colour cube and the channels the two differ by 0.05 at a shift of 0.05
    turns and by 0.09 at 0.1, and at most by 0.26 and 0.39, for pure colours; greys are the same.

    Args:
        levels: (B, C, H, W) pictures, uint8, or float32 in [0, 1]; only their mean counts.
        brightness: factor of all channels.
        contrast: factor of the distance from the mean grey.
        saturation: factor of the distance from grey.
        turns: shift of hue, a whole turn being 1; red goes towards yellow.
    """
    C = levels.shape[1]
    weights = np.array(GREY) if C == 3 else np.full(C, 1 / C)
    eye, ones = np.eye(C), np.ones((C, 1))
    scale = (brightness * contrast)[:, None, None] * eye
    shift = ((1 - contrast) * brightness * (_means(levels) * weights).sum(1))[:, None, None] * ones
    if C != 3:
        return np.concatenate([scale, shift], 2)
    saturated = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * (ones * weights)
    turned = np.linalg.inv(_YIQ) @ _turns(turns) @ _YIQ
    linear = turned @ saturated
    return np.concatenate([linear @ scale, linear @ shift], 2)


def recolour(levels: Tensor, matrices: Float64[Array, "B C C+1"]) -> Float32[Tensor, "B C H W"]:
    """Return pictures with colours in [0, 1] moved by each one's matrix [A | b] and cut to [0, 1].

    Args:
        levels: (B, C, H, W) pictures, uint8, or float32 in [0, 1].
        matrices: (B, C, C + 1).
    """
    moved = torch.empty(levels.shape, dtype=torch.float32)
    factors = _factors(matrices, top(levels))
    for rows in _blocks(levels):
        _mix(levels[rows], factors[rows], moved[rows])
    return moved


def normalise(
    levels: Tensor, mean: Sequence[float], std: Sequence[float], matrices: Float64[Array, "B C C+1"] | None = None
) -> Float32[Tensor, "B C H W"]:
    """Return (x - mean) / std of pictures with x in [0, 1], one mean and std a channel or one for all.

    Args:
        levels: (B, C, H, W) pictures, uint8, or float32 in [0, 1].
        mean: of each channel.
        std: of each channel.
        matrices: recolour the pictures first.
    """
    unit = top(levels) if matrices is None else 1
    centre = (torch.tensor(mean, dtype=torch.float64)[:, None, None] * unit).float()
    spread = (torch.tensor(std, dtype=torch.float64)[:, None, None] * unit).float()
    factors = None if matrices is None else _factors(matrices, top(levels))
    normal = torch.empty(levels.shape, dtype=torch.float32)
    for rows in _blocks(levels):
        if factors is None:
            normal[rows].copy_(levels[rows])
        else:
            _mix(levels[rows], factors[rows], normal[rows])
        normal[rows].sub_(centre).div_(spread)
    return normal


def grey(levels: Tensor) -> Tensor:
    """Return (..., 1, H, W) grey pictures of (..., 3, H, W) ones, in the same dtype."""
    red, green, blue = levels.float().unbind(-3)
    mixed = (red * GREY[0] + green * GREY[1] + blue * GREY[2]).unsqueeze(-3)
    return mixed.round_().to(torch.uint8) if levels.dtype == torch.uint8 else mixed


def top(levels: Tensor) -> int:
    """Return the level that means 1: 255 for uint8, 1 for floats."""
    return 255 if levels.dtype == torch.uint8 else 1


def _means(levels: Tensor) -> Float64[Array, "B C"]:
    """Return each channel's mean in [0, 1], summed row by row; the sums of uint8 are exact in float32."""
    sums = [levels[rows].float().sum(-1).double() for rows in _blocks(levels)]
    total = torch.cat(sums).numpy().sum(-1) if sums else np.zeros(levels.shape[:2])
    return np.asarray(total / (levels.shape[-2] * levels.shape[-1] * top(levels)))


def _factors(matrices: Float64[Array, "B C C+1"], unit: int) -> Float32[Tensor, "B C C+1 1 1"]:
    """Return matrices for levels of which ``unit`` means 1."""
    factors = torch.from_numpy(matrices).clone()
    factors[:, :, :-1] /= unit
    return factors.float()[..., None, None]


def _mix(levels: Tensor, factors: Float32[Tensor, "N C C+1 1 1"], moved: Float32[Tensor, "N C H W"]) -> None:
    """Write the levels times their factors, cut to [0, 1], into ``moved``."""
    pixels, used = levels.float(), (factors != 0).any(0)
    for c, new in enumerate(moved.unbind(1)):
        torch.mul(pixels[:, c], factors[:, c, c], out=new)
        for k in range(levels.shape[1]):
            if k != c and used[c, k]:
                new.add_(pixels[:, k] * factors[:, c, k])
        new.add_(factors[:, c, -1])
    moved.clamp_(0, 1)


def _turns(turns: Float64[Array, "B"]) -> Float64[Array, "B 3 3"]:
    """Return the rotations of the two colour axes of YIQ."""
    angle = -2 * np.pi * turns
    rotations = np.tile(np.eye(3), (len(turns), 1, 1))
    rotations[:, 1, 1] = rotations[:, 2, 2] = np.cos(angle)
    rotations[:, 2, 1] = np.sin(angle)
    rotations[:, 1, 2] = -rotations[:, 2, 1]
    return rotations


def _blocks(levels: Tensor) -> list[slice]:
    n = max(1, _BLOCK // max(1, levels[0].numel())) if len(levels) else 1
    return [slice(i, i + n) for i in range(0, len(levels), n)]
