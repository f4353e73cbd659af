from __future__ import annotations

import pytest
import timm
from torch import nn

from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.describing import multiply_adds, suits_bfloat16, threads_beside_reading, unsafe_channels_last


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_100", "convnext_atto", "resnet18"])
def test_networks_that_bfloat16_makes_faster_suit_it(name: str) -> None:
    model = timm.create_model(name)
    assert suits_bfloat16(model, multiply_adds(model, 3, (128, 128)), 16)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "ghostnet_050"])
def test_networks_of_many_thin_layers_do_not(name: str) -> None:
    model = timm.create_model(name)
    assert not suits_bfloat16(model, multiply_adds(model, 3, (128, 128)), 16)


@pytest.mark.parametrize("name", ["cnn", "resnet_small", "cifar_resnet"])
def test_our_own_small_networks_suit_it_and_are_safe(name: str) -> None:
    model = build(ModelSettings(name=name), 10, 3, (32, 32))
    assert suits_bfloat16(model, multiply_adds(model, 3, (32, 32)), 256)
    assert unsafe_channels_last(model) == []


def test_a_strided_one_by_one_convolution_of_few_channels_is_unsafe() -> None:
    def layer(inputs: int, kernel: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, 8, kernel, stride))

    assert unsafe_channels_last(layer(3, 1, 2)) == ["0"]
    for safe in (layer(1, 1, 2), layer(16, 1, 2), layer(3, 1, 1), layer(3, 3, 2)):
        assert unsafe_channels_last(safe) == []


def test_the_network_that_was_seen_to_crash_is_recognised() -> None:
    assert unsafe_channels_last(timm.create_model("repvgg_a0"))


def test_multiply_adds_are_those_counted_by_hand() -> None:
    model = build(
        ModelSettings(name="cnn", options={"widths": [4], "normalisation": "none", "pooling": "none"}), 5, 3, (6, 7)
    )
    assert multiply_adds(model, 3, (6, 7)) == 6 * 7 * 4 * 3 * 9 + 4 * 5


def test_resnet18_costs_what_the_literature_says() -> None:
    assert multiply_adds(timm.create_model("resnet18"), 3, (224, 224)) / 1e9 == pytest.approx(1.82, abs=0.01)


def test_a_small_network_leaves_cores_to_what_prepares_its_batches() -> None:
    options = {"widths": [16, 32, 64], "stride": 2, "pooling": "none"}
    small = build(ModelSettings(name="cnn", options=options), 4, 3, (64, 64))
    chosen = [
        threads_beside_reading(small, multiply_adds(small, 3, (64, 64)), (64, 64), (375.0, 500.0), cores, cores)
        for cores in (1, 2, 8)
    ]
    assert chosen == [1, 1, 3]


def test_no_more_cores_are_left_than_there_are_to_prepare_batches() -> None:
    small = build(ModelSettings(name="cnn", options={"widths": [16, 32, 64], "stride": 2}), 4, 3, (64, 64))
    assert threads_beside_reading(small, multiply_adds(small, 3, (64, 64)), (64, 64), (375.0, 500.0), 64, 4) == 60


def test_a_network_without_a_weight_costs_nothing_and_is_counted_all_the_same() -> None:
    assert threads_beside_reading(nn.AdaptiveAvgPool2d(1), 0, (64, 64), (375.0, 500.0), 2, 2) == 1


@pytest.mark.parametrize(("name", "side"), [("resnet18", 224), ("efficientnet_lite0", 96), ("cnn", 64)])
def test_a_network_that_takes_most_of_the_time_computes_on_every_core(name: str, side: int) -> None:
    model = build(ModelSettings(name=name), 4, 3, (side, side))
    assert threads_beside_reading(model, multiply_adds(model, 3, (side, side)), (side, side), (375.0, 500.0), 2, 2) == 2
