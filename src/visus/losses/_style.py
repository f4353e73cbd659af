"""What a picture's features say of its style and its content: distances of feature maps, one value a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-5
ROUGH = 1e-3
"""Least total variation that a painting is taken to have: of one colour, it has none."""


def gram(maps: Float[Tensor, "B C H W"], weight: Float[Tensor, "B 1 H W"] | None = None) -> Float[Tensor, "B C C"]:
    """Return the mean product of each pair of channels: what textures there are, wherever they are.

    Args:
        maps: features.
        weight: how much each place counts, at least 0; all alike where it is not given.  A picture of which no place
            counts has a Gram matrix of zeros.

    Source:
        Gatys, Ecker and Bethge, Image style transfer using convolutional neural networks, CVPR 2016, eq. 3, divided by
        the number of places, so that pictures of any size compare.
    """
    if maps.requires_grad:
        maps.register_hook(_dense)  # type: ignore[no-untyped-call]
    if weight is None:
        flat = maps.flatten(2)
        return flat @ flat.mT / flat.shape[2]
    flat, weights = maps.flatten(2), weight.flatten(2)
    return (flat * weights) @ flat.mT / weights.sum(2, keepdim=True).clamp(min=EPSILON)


def style(grams: Sequence[Float[Tensor, "B _ _"]], targets: Sequence[Float[Tensor, "_ _ _"]]) -> Float[Tensor, "B"]:
    """Return the squared distance of Gram matrices, in units of the target's own square, averaged over the layers.

    Args:
        grams: of each layer, as ``gram`` gives them.
        targets: of a painting, one for all pictures or one each.

    Returns:
        0 where the style is the painting's; 1 for a picture without any features.

    Source:
        Gatys et al., CVPR 2016, eq. 4 and 5; the unit stands for the weight of each layer, which there is fixed.
    """
    each = [
        (found - wanted).square().sum((1, 2)) / wanted.square().sum((1, 2)).clamp(min=EPSILON)
        for found, wanted in zip(grams, targets, strict=True)
    ]
    return torch.stack(each).mean(0)


def content(maps: Float[Tensor, "B C H W"], target: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    """Return the mean squared distance of features, in units of the variance of the target's over its places.

    Source:
        Gatys et al., CVPR 2016, eq. 1; the unit is ours, so that networks with features of any scale weigh alike.
    """
    around = target - target.mean((2, 3), keepdim=True)
    return (maps - target).square().mean((1, 2, 3)) / around.square().mean((1, 2, 3)).clamp(min=EPSILON)


def total_variation(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    """Return the mean squared step from a pixel to the next, across and down; pictures have two pixels a side at least.

    Source:
        Mahendran and Vedaldi, Understanding deep image representations by inverting them, CVPR 2015, section 2.
    """
    across = images[..., 1:] - images[..., :-1]
    down = images[..., 1:, :] - images[..., :-1, :]
    return across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))


def alike(maps: Float[Tensor, "B C H W"], other: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    """Return the correlation of two pictures' features over places and channels, each channel about its mean."""
    one, two = ((each - each.mean((2, 3), keepdim=True)).flatten(1) for each in (maps, other))
    return F.cosine_similarity(one, two, dim=1)


def _dense(slope: Tensor | None) -> Tensor | None:
    """Return a gradient in the usual order: batch normalisation in eval mode misreads a transposed one (torch 2.15)."""
    return None if slope is None else slope.contiguous()
