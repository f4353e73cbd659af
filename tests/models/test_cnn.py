from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build


def cnn(size: tuple[int, int] = (8, 8), **options: Any) -> nn.Module:
    return build(ModelSettings(name="cnn", options=options), 3, 1, size)


def test_the_classic_network_has_the_parameters_counted_by_hand() -> None:
    model = cnn(
        (28, 28), widths=[32, 64], flatten=True, hidden=[128], normalisation="none", padding=0, dropout=0.5
    )  # 28 -> 26 -> 13 -> 11 -> 6
    by_hand = (32 * 9 + 32) + (64 * 32 * 9 + 64) + (64 * 6 * 6 * 128 + 128) + (128 * 3 + 3)
    assert sum(parameter.numel() for parameter in model.parameters()) == by_hand


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"pooling": "max"}, nn.MaxPool2d),
        ({"pooling": "average"}, nn.AvgPool2d),
        ({"normalisation": "batch"}, nn.BatchNorm2d),
        ({"normalisation": "group"}, nn.GroupNorm),
        ({"normalisation": "layer"}, nn.GroupNorm),
        ({"activation": "gelu"}, nn.GELU),
        ({"hidden": [7]}, nn.Linear),
    ],
)
def test_an_option_puts_its_layer_into_the_network(options: dict[str, Any], kind: type[nn.Module]) -> None:
    assert any(isinstance(module, kind) for module in cnn(**options).modules())


def test_without_pooling_and_normalisation_neither_is_there() -> None:
    kinds = {type(module) for module in cnn(pooling="none", normalisation="none").modules()}
    assert not kinds & {nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d, nn.GroupNorm}


def test_each_block_may_have_its_own_kernel_stride_and_pool() -> None:
    model = cnn((32, 32), widths=[4, 8], kernel=[5, 3], stride=[2, 1], pool=[1, 4])
    assert model.forward_features(torch.zeros(1, 1, 32, 32)).shape == (1, 8, 4, 4)  # type: ignore[operator]


def test_a_collapse_names_the_kernel_the_block_and_the_shape_it_met() -> None:
    with pytest.raises(
        UsageError, match=r"kernel=5 with padding=0 leaves nothing of \(64, 4, 4\) in block 3 of 3"
    ) as caught:
        cnn((28, 28), kernel=5, padding=0)
    assert caught.value.code == "MODEL-012"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"widths": []}, "widths"),
        ({"widths": [0]}, "widths"),
        ({"widths": 32}, "widths"),
        ({"kernel": [3, 3]}, "kernel has 2 numbers, but widths has 3"),
        ({"pooling": "mean"}, "'max', 'average' or 'none'"),
        ({"dropout": 1.5}, "dropout"),
        ({"hidden": "many"}, "hidden"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match="cnn") as caught:
        cnn(**options)
    assert said in str(caught.value)


def test_pooling_rounds_up_so_that_no_border_is_lost() -> None:
    model = cnn((5, 5), widths=[2], normalisation="none", activation="relu").eval()
    images = torch.zeros(1, 1, 5, 5)
    blank = model(images)
    images[..., 4, 4] = 10.0
    assert not torch.equal(model(images), blank)


def test_dropout_acts_in_training_alone() -> None:
    model = cnn(dropout=0.5)
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(model.eval()(images), model(images))
    assert not torch.equal(model.train()(images), model(images))
