"""MixUp and CutMix: each picture is mixed with one partner, and so is what is known about it, in the same shares."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray as Array
from torch import Tensor

from visus.core.recipe import AugmentSettings
from visus.core.seeds import Draws


def mix(
    images: Float32[Tensor, "B C H W"], partners: Float32[Tensor, "B C H W"], augment: AugmentSettings, draws: Draws
) -> tuple[Float32[Tensor, "B C H W"], Float32[Tensor, "B"]]:
    """Mix pictures with their partners, in place, and return them with the share of each that is its own.

    A picture is left as it is with a chance of 1 - ``mix``, and its share is 1.

    MixUp adds the two, weighted by a number from Beta(alpha, alpha).  CutMix replaces a rectangle whose share of the
    area is that number, as far as it lies inside the picture; the share returned counts the pixels really kept.

    Args:
        images: normalised pictures.
        partners: the picture each is mixed with.
        augment: the chance ``mix`` and the alphas ``mixup`` and ``cutmix``; where both are given, a coin chooses for
            each picture.
        draws: the random numbers of each sample.

    Source:
        Zhang et al., mixup, ICLR 2018, section 2; Yun et al., CutMix, ICCV 2019, section 3.1, equations 1 and 2.
    """
    size = images.shape[-2], images.shape[-1]
    wanted, cut = draws.chance("mix_at_all", augment.mix), _cuts(augment, draws)
    own = np.ones(len(images))
    if (added := wanted & ~cut).any():
        own[added] = beta(augment.mixup, draws.uniform("mixup")[added, 0])
        rows = torch.from_numpy(np.flatnonzero(added))
        weight = torch.from_numpy(own[added]).float()[:, None, None, None]
        images[rows] = images[rows] * weight + partners[rows] * (1 - weight)
    for i, (x0, y0, x1, y1) in enumerate(cuts(size, augment, draws).tolist()):
        if x1 > x0 and y1 > y0:
            images[i, :, y0:y1, x0:x1] = partners[i, :, y0:y1, x0:x1]
            own[i] = 1 - (y1 - y0) * (x1 - x0) / (size[0] * size[1])
    return images, torch.from_numpy(own).float()


def cuts(size: tuple[int, int], augment: AugmentSettings, draws: Draws) -> Int64[Array, "B 4"]:
    """Return the xyxy box of each picture that CutMix takes from its partner; zeros where it takes nothing.

    Args:
        size: (height, width) of the pictures.
        augment: as of ``mix``.
        draws: as of ``mix``.
    """
    cut = draws.chance("mix_at_all", augment.mix) & _cuts(augment, draws)
    if not cut.any():
        return np.zeros((len(draws), 4), np.int64)
    area = 1 - beta(augment.cutmix, draws.uniform("cutmix")[:, 0])
    return np.where(cut[:, None], rectangles(size, area, draws.uniform("cutmix_place", 2)), 0)


def rectangles(size: tuple[int, int], area: Float64[Array, "B"], middle: Float64[Array, "B 2"]) -> Int64[Array, "B 4"]:
    """Return xyxy boxes of a picture's shape, rounded to whole pixels and cut at its edges.

    torchvision cuts each half side down to whole pixels, and so takes less than ``area``.

    Args:
        size: (height, width) of the picture.
        area: share of the picture that a box takes where it lies inside.
        middle: of the box, as shares of width and height.
    """
    sides = np.array([size[1], size[0]])
    half = np.sqrt(area)[:, None] * sides / 2
    low, high = np.floor(middle * sides - half + 0.5), np.floor(middle * sides + half + 0.5)
    return np.concatenate([low.clip(0, sides), high.clip(0, sides)], 1).astype(np.int64)


def beta(alpha: float, unit: Float64[Array, "n"]) -> Float64[Array, "n"]:
    """Return numbers from Beta(alpha, alpha), made from numbers in [0, 1) by the inverse of its distribution."""
    from scipy.special import betaincinv

    return np.asarray(betaincinv(alpha, alpha, unit), np.float64)


def _cuts(augment: AugmentSettings, draws: Draws) -> Bool[Array, "B"]:
    if augment.mixup and augment.cutmix:
        return draws.chance("mix", 0.5)
    return np.full(len(draws), bool(augment.cutmix))
