"""Vectors of one length, so that no part of what a generator is told drowns another."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def unit(vectors: Float[Tensor, "B Z"]) -> Float[Tensor, "B Z"]:
    """Return vectors divided by their root mean square: as long as latents are.

    Source:
        Karras et al., ICLR 2018, section 4.2.
    """
    return vectors * torch.rsqrt(vectors.square().mean(1, keepdim=True) + 1e-8)
