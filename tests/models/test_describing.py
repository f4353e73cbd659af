from __future__ import annotations

import pytest
import timm
from torch import nn

from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.describing import describe, is_dense, threads_beside_reading, unsafe_channels_last


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "densenet121", "regnetx_002", "vit_tiny_patch16_224"])
def test_networks_that_bfloat16_makes_faster_are_dense(name: str) -> None:
    assert is_dense(timm.create_model(name))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "convnext_atto", "ghostnet_050"])
def test_networks_of_depthwise_convolutions_are_not(name: str) -> None:
    assert not is_dense(timm.create_model(name))


@pytest.mark.parametrize("name", ["cnn", "resnet_small", "cifar_resnet"])
def test_our_own_small_networks_are_dense_and_safe(name: str) -> None:
    model = build(ModelSettings(name=name), 10, 3, (32, 32))
    assert is_dense(model)
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
    described = describe(model, 3, (6, 7))
    assert described.multiply_adds == 6 * 7 * 4 * 3 * 9 + 4 * 5
    assert described.parameters == 4 * 3 * 9 + 4 + 4 * 5 + 5
    assert (described.layers, described.depthwise, described.head) == (2, 0, "head")


def test_resnet18_costs_what_the_literature_says() -> None:
    assert describe(timm.create_model("resnet18"), 3, (224, 224)).multiply_adds / 1e9 == pytest.approx(1.82, abs=0.01)


def test_a_small_network_leaves_cores_to_what_prepares_its_batches() -> None:
    options = {"widths": [16, 32, 64], "stride": 2, "pooling": "none"}
    small = build(ModelSettings(name="cnn", options=options), 4, 3, (64, 64))
    chosen = [threads_beside_reading(small, 3, (64, 64), (375.0, 500.0), cores, cores) for cores in (1, 2, 8)]
    assert chosen == [1, 1, 3]


def test_no_more_cores_are_left_than_there_are_to_prepare_batches() -> None:
    small = build(ModelSettings(name="cnn", options={"widths": [16, 32, 64], "stride": 2}), 4, 3, (64, 64))
    assert threads_beside_reading(small, 3, (64, 64), (375.0, 500.0), 64, 4) == 60


def test_a_network_without_a_weight_costs_nothing_and_is_counted_all_the_same() -> None:
    assert threads_beside_reading(nn.AdaptiveAvgPool2d(1), 3, (64, 64), (375.0, 500.0), 2, 2) == 1


@pytest.mark.parametrize(("name", "side"), [("resnet18", 224), ("efficientnet_lite0", 96), ("cnn", 64)])
def test_a_network_that_takes_most_of_the_time_computes_on_every_core(name: str, side: int) -> None:
    model = build(ModelSettings(name=name), 4, 3, (side, side))
    assert threads_beside_reading(model, 3, (side, side), (375.0, 500.0), 2, 2) == 2
