"""The small parts that networks share."""

from __future__ import annotations

import torch
from torch import nn

from visus.models.blocks import PooledNorm, with_pooled_norms


def test_one_picture_pooled_to_one_place_is_normalised_by_running_statistics() -> None:
    layer = PooledNorm(2).train()
    layer.running_mean.copy_(torch.tensor([1.0, 2.0]))
    answer = layer(torch.tensor([3.0, 2.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(answer.flatten(), torch.tensor([2.0, 0.0]), rtol=1e-4, atol=1e-4)
    assert layer.running_mean.tolist() == [1.0, 2.0]


def test_several_pictures_are_normalised_as_ever() -> None:
    images = torch.rand(4, 3, 1, 1)
    torch.testing.assert_close(PooledNorm(3).train()(images), nn.BatchNorm2d(3).train()(images))


def test_only_what_follows_a_pooling_to_one_place_is_exchanged() -> None:
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    parts = nn.ModuleList([pooled, nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.BatchNorm2d(3))])
    names = list(parts.state_dict())
    with_pooled_norms(parts)
    assert [isinstance(parts[i][-1], PooledNorm) for i in range(2)] == [True, False]
    assert list(parts.state_dict()) == names
