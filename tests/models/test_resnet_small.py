from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.backbones.resnet_small import Block
from visus.models.blocks import drop_path
from visus.models.building import build


def small(**options: Any) -> nn.Module:
    return build(ModelSettings(name="resnet_small", options=options), 4, 3, (16, 16))


def images() -> torch.Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", ["batch", "group", "layer", "none"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_block_starts_as_the_identity(norm: str, layers: int) -> None:
    block = Block(8, layers, norm, "relu", "after", True, 0.0).train()  # type: ignore[arg-type]
    features = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(block(features), features)


def test_a_block_that_joins_before_does_not_start_dead() -> None:
    block = Block(8, 2, "batch", "relu", "before", True, 0.0).train()
    block(torch.rand(2, 8, 5, 5)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"downsample": "average"},
        {"downsample": "stride"},
        {"downsample": "none", "widths": [8], "blocks": [1]},
        {"join": "before", "summary": "both"},
        {"summary": "max", "scale": 0.125},
        {"stem": 8, "stem_kernel": 5, "stem_stride": 2, "widths": [16, 16], "blocks": [0, 2]},
        {"normalisation": "group", "activation": "gelu"},
        {"normalisation": "none", "layers": 1},
        {"drop_path": 0.3, "dropout": 0.3},
        {"stem": 0, "widths": [8, 16], "blocks": [1, 1], "join": "before"},
    ],
)
def test_every_option_builds_a_network_that_learns(options: dict[str, Any]) -> None:
    model = small(**options)
    labels = torch.arange(6) % 4
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(model(images()), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-4:]) < losses[0]


def test_each_stage_halves_the_map() -> None:
    model = small()
    assert model.forward_features(images()).shape[2:] == (2, 2)  # type: ignore[operator]


def test_without_batch_statistics_a_picture_does_not_feel_its_batch_even_in_training() -> None:
    model = small(normalisation="group").train()
    alone = torch.cat([model(image[None]) for image in images()])
    torch.testing.assert_close(model(images()), alone, rtol=1e-4, atol=1e-5)


def test_widths_and_blocks_must_agree() -> None:
    with pytest.raises(UsageError, match="blocks has 2 numbers, widths has 3"):
        small(blocks=[1, 1])


def test_drop_path_keeps_the_mean_and_drops_whole_pictures() -> None:
    dropped = drop_path(torch.ones(4000, 2, 3, 3), 0.25, training=True)
    rows = dropped.flatten(1)
    assert rows.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert bool((rows == rows[:, :1]).all())
    assert dropped.mean().item() == pytest.approx(1, abs=4 * (0.25 / 0.75 / 4000) ** 0.5)


def test_drop_path_is_off_when_judging() -> None:
    ones = torch.ones(8, 2)
    assert torch.equal(drop_path(ones, 0.9, training=False), ones)
