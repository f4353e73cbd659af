"""A generator and the discriminator that it learns from, as one module."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Pair(nn.Module):
    """Two networks that learn from each other; asked as one, it is the generator.

    Args:
        generator: (latents, labels) -> images; ``latent`` is the length of a latent.
        discriminator: (images, labels) -> logits; ``group``, where it has one, is how many rows see each other.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator

    def forward(self, latents: Float[Tensor, "B Z"], labels: Int[Tensor, "B"]) -> Float[Tensor, "B C H W"]:
        """Return the pictures of latents, in [-1, 1]."""
        images: Tensor = self.generator(latents, labels)
        return images

    def example(self, rows: int) -> tuple[Tensor, Tensor]:
        """Return what it can be asked for so many pictures, to measure what asking costs."""
        length = self.generator.latent
        assert isinstance(length, int)
        device = next(self.parameters()).device
        return torch.zeros(rows, length, device=device), torch.zeros(rows, dtype=torch.int64, device=device)
