"""Asking a task about pictures made from one: with parts covered, blurred, noisy, or half shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.seeds import derive
from visus.core.task import Batch, Raw, Target, Task


@dataclass(frozen=True)
class Asking:
    """One picture as a network reads it, which can be asked about in other versions.

    Attributes:
        task: that reads the answers.
        network: that gives them.
        batch: of the one picture.
        at_once: versions asked about at once.
    """

    task: Task
    network: nn.Module
    batch: Batch
    at_once: int = 16

    @property
    def image(self) -> Float[Tensor, "1 C H W"]:
        """The picture itself."""
        return self.batch.inputs[0]

    def raw(self, images: Float[Tensor, "N C H W"]) -> Raw:
        """Return what the task says of versions of the picture; gradients flow back to them."""
        n = len(images)
        many = Batch(
            (images,), {}, self.batch.ids * n, self.batch.indices.repeat(n), self.batch.frames.repeat(n, 1, 1),
            originals=self.batch.originals.repeat(n, 1),
        )  # fmt: skip
        return self.task.raw(self.network, many)

    def value(self, target: Target, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N"]:
        """Return how much of a target is said of versions of the picture, through which gradients flow."""
        return target.value(self.raw(images))

    @torch.no_grad()
    def strengths(self, target: Target, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N"]:
        """Return how strongly a target is said of versions of the picture, some of them at a time."""
        parts = torch.split(images, self.at_once)
        return torch.cat([target.strength(self.raw(part)).double().cpu() for part in parts])

    def of(self, network: nn.Module) -> Asking:
        """Return the same picture for another network."""
        return replace(self, network=network)


def shuffled(network: nn.Module, seed: int) -> nn.Module:
    """Return the network with the numbers of each of its weights in another order: it has learned nothing.

    Their distribution stays as it was, so what flows through the network keeps its scale.

    Args:
        network: as it was trained, which is left as it is.
        seed: of the order.
    """
    from copy import deepcopy

    other = deepcopy(network)
    with torch.no_grad():
        for i, weights in enumerate(other.parameters()):
            order = torch.randperm(weights.numel(), generator=torch.Generator().manual_seed(derive(seed, "shuffle", i)))
            weights.copy_(weights.flatten()[order.to(weights.device)].view_as(weights))
    return other.eval()
