"""What a network takes from all places of a picture at once: the mean and the deviation of each channel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-5


class Moments(nn.Module):
    """Mean and deviation of each channel over the places of each picture; nothing of it learns.

    Where a picture is looked at in tiles these are no tile's own: ``held`` says then what they are of the whole.

    Attributes:
        held: (1, C, 1, 1) mean and deviation that are given instead, or None.
    """

    held: tuple[Tensor, Tensor] | None = None

    def forward(self, maps: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "_ C 1 1"], Float[Tensor, "_ C 1 1"]]:
        """Return mean and deviation."""
        if self.held is not None:
            return self.held
        mean = maps.mean((2, 3), keepdim=True)
        variance = (maps - mean).square().mean((2, 3), keepdim=True)  # many times as fast as torch.var_mean
        return mean, (variance + EPSILON).sqrt()


class InstanceNorm(nn.Module):
    """Each channel of each picture at mean 0 and deviation 1, then at learned ones.

    Source:
        Ulyanov, Vedaldi and Lempitsky, Improved texture networks, CVPR 2017, eq. 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.moments = Moments()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the maps, normalised."""
        mean, deviation = self.moments(maps)
        scale = self.weight / deviation
        return torch.addcmul(self.bias - mean * scale, maps, scale)
