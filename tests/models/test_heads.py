from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from visus.core.errors import UsageError
from visus.models.heads import feature_map, head_prefix, head_prefixes


def test_a_distilled_network_has_two_heads() -> None:
    assert head_prefixes(timm.create_model("deit_tiny_distilled_patch16_224")) == ("head", "head_dist")


def test_elsewhere_the_last_layer_defined_is_the_head() -> None:
    assert head_prefix(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 3), nn.Softplus())) == "2"


def test_a_network_without_layers_has_no_head() -> None:
    with pytest.raises(UsageError, match="no linear layer"):
        head_prefix(nn.Sequential(nn.Flatten()))


def test_tokens_are_laid_out_on_their_grid() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=(32, 48)).eval()
    images = torch.randn(1, 3, 32, 48)
    tokens, features = model.forward_features(images), feature_map(model, images)
    assert features.shape == (1, 192, 2, 3)
    assert torch.equal(features[0, :, 1, 2], tokens[0, -1])


def test_channels_last_maps_are_turned() -> None:
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, depths=(1, 1, 1, 1)).eval()
    assert feature_map(model, torch.zeros(1, 3, 64, 64)).shape == (1, 768, 2, 2)


def test_a_network_without_places_says_so() -> None:
    with pytest.raises(UsageError, match="keeps no map"):
        feature_map(nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Linear(3, 2)), torch.zeros(1, 3, 2, 2))
