"""Tiny networks whose explanations are known by hand, and how they are asked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from visus.explainers import Question


class Averaged(nn.Module):
    """Maps, their means, and a linear layer: the network of the class activation maps of Zhou et al., CVPR 2016."""

    def __init__(self, classes=3, width=5):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.maps = nn.Sequential(nn.Conv2d(2, width, 3, stride=2, padding=1), nn.ReLU())
        self.linear = nn.Linear(width, classes)
        for weights in self.parameters():
            weights.data = torch.randn(weights.shape, generator=generator) / 3

    def forward(self, images):
        return self.linear(self.maps(images).mean((2, 3)))


class Linear(nn.Module):
    """A weight for every pixel of every channel."""

    def __init__(self, size=(16, 16)):
        super().__init__()
        self.weights = nn.Parameter(torch.randn((2, *size), generator=torch.Generator().manual_seed(2)))

    def forward(self, images):
        return (images * self.weights).sum((1, 2, 3))[:, None]


class PatchFinder(nn.Module):
    """Says class 1 as surely as the patch is anywhere in the picture, by comparing every place with it."""

    def __init__(self, patch):
        super().__init__()
        self.match = nn.Conv2d(patch.shape[0], 4, patch.shape[-1] + 1, padding=patch.shape[-1] // 2, bias=False)
        noise = torch.randn(self.match.weight.shape, generator=torch.Generator().manual_seed(3)) * 0.02
        self.match.weight.data = noise
        self.match.weight.data[0, :, :-1, :-1] += patch / patch.square().sum()
        self.relu = nn.ReLU()

    def forward(self, images):
        matched = self.relu(self.match(images) - 0.3)
        found = 25 * F.avg_pool2d(matched[:, :1], 3, 1).amax((2, 3))
        return torch.cat([torch.full_like(found, 2), found], 1)


def picture(size=(16, 16), channels=2, seed=0):
    return torch.randn((1, channels, *size), generator=torch.Generator().manual_seed(seed))


def question(network, image, k=0, **settings):
    """Return why the network says output ``k``."""
    return Question(network, image, lambda images: network(images)[:, k], **settings)
