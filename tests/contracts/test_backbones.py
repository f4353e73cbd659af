"""What every network keeps, ours by being in the folder and a sample of the libraries': shapes, head, stages, seeds."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from visus.core.errors import UsageError
from visus.core.recipe import Facts, ModelSettings
from visus.models.backbones import BACKBONES
from visus.models.building import build
from visus.models.freezing import frozen, layers
from visus.models.heads import feature_map, head_prefix
from visus.models.origins import own, timm_zoo
from visus.models.weights import card_of
from visus.tasks.classify import Classify

OWN = tuple(BACKBONES)
FOREIGN = ("resnet18", "convnextv2_atto", "vit_tiny_patch16_224", "mobilenetv3_small_050", "torchvision:squeezenet1_1")
OUTPUTS, SIZE = 5, (48, 32)
SMALL = (
    "test_", "zepto", "atto", "femto", "pico", "nano", "xx", "mini", "tiny", "_ti", "xs", "small", "_s", "_t",
)  # fmt: skip
"""What timm calls its small networks, the smallest first."""


def families() -> list[str]:
    """Return the names of timm's files of networks, by their text: collecting tests imports no timm."""
    spec = importlib.util.find_spec("timm")
    assert spec is not None and spec.submodule_search_locations
    files = sorted((Path(spec.submodule_search_locations[0]) / "models").glob("[!_]*.py"))
    return [file.stem for file in files if "\n@register_model" in file.read_text(encoding="utf-8")]


def smallest(family: str) -> str:
    """Return a small network of one of timm's families, as far as the names tell."""
    from timm import list_models

    def key(name: str) -> tuple[int, tuple[int, int], int, str]:
        rank = next((i for i, word in enumerate(SMALL) if word in name), len(SMALL))
        return rank, timm_zoo.usual(name).size, len(name), name

    return min(list_models(module=family), key=key)


@cache
def network(name: str) -> nn.Module:
    return build(ModelSettings(name=name), OUTPUTS, 3, SIZE)


def images(channels: int = 3, n: int = 4) -> torch.Tensor:
    return torch.randn(n, channels, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", OWN + FOREIGN)
def test_a_batch_is_answered_by_one_row_a_picture_in_training_as_in_judging(name: str) -> None:
    model = build(ModelSettings(name=name), OUTPUTS, 3, SIZE)
    for training in (True, False):
        answer = model.train(training)(images())
        assert type(answer) is torch.Tensor
        assert answer.shape == (4, OUTPUTS)


@pytest.mark.parametrize("name", OWN + FOREIGN)
def test_a_picture_is_judged_the_same_alone_and_in_a_batch(name: str) -> None:
    model = network(name).eval()
    with torch.no_grad():
        together, alone = model(images()), torch.cat([model(image[None]) for image in images()])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("name", [*OWN, "resnet18", "torchvision:squeezenet1_1"])
def test_any_number_of_channels_is_read(name: str, channels: int) -> None:
    model = build(ModelSettings(name=name), OUTPUTS, channels, SIZE).eval()
    assert model(images(channels)).shape == (4, OUTPUTS)


@pytest.mark.parametrize("name", OWN + FOREIGN)
def test_the_head_is_the_layer_that_gives_the_outputs(name: str) -> None:
    head = network(name).get_submodule(head_prefix(network(name)))
    assert isinstance(head, nn.Linear | nn.Conv2d)
    assert head.weight.shape[0] == OUTPUTS


@pytest.mark.parametrize("name", OWN)
def test_our_own_networks_give_their_map_of_features(name: str) -> None:
    features = network(name).eval().forward_features(images())  # type: ignore[operator]
    assert features.dim() == 4
    assert len(features) == 4


@pytest.mark.parametrize("name", OWN + FOREIGN)
def test_the_map_of_features_keeps_the_shape_of_the_picture(name: str) -> None:
    features = feature_map(network(name).eval(), images())
    assert features.dim() == 4
    assert features.shape[2] >= features.shape[3]  # the pictures are higher than wide


@pytest.mark.parametrize("name", OWN + FOREIGN)
def test_the_stages_hold_every_parameter_once_and_end_with_the_head(name: str) -> None:
    model = network(name)
    stages = layers(model)
    listed = [parameter for stage in stages for parameter in stage]
    assert sorted(listed) == sorted(key for key, _ in model.named_parameters())
    assert f"{head_prefix(model)}.weight" in stages[-1]
    assert len(stages) >= 3


@pytest.mark.parametrize("name", OWN + FOREIGN)
def test_freezing_the_backbone_leaves_the_head_alone_to_learn(name: str) -> None:
    model = network(name)
    free = {key for key, _ in model.named_parameters()} - frozen(model, ["backbone"])
    assert free == {f"{head_prefix(model)}.weight", f"{head_prefix(model)}.bias"}


@pytest.mark.parametrize("name", OWN + FOREIGN)
def test_fresh_weights_depend_on_the_seed_alone_and_draw_nothing_from_the_global_generator(name: str) -> None:
    torch.default_generator.manual_seed(3)
    before = torch.default_generator.get_state()
    first = build(ModelSettings(name=name), OUTPUTS, 3, SIZE, seed=1).state_dict()
    assert torch.equal(torch.default_generator.get_state(), before)
    torch.default_generator.manual_seed(4)
    again = build(ModelSettings(name=name), OUTPUTS, 3, SIZE, seed=1).state_dict()
    other = build(ModelSettings(name=name), OUTPUTS, 3, SIZE, seed=2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", OWN + FOREIGN)
def test_building_leaves_no_trace_in_running_statistics(name: str) -> None:
    for key, buffer in build(ModelSettings(name=name), OUTPUTS, 3, SIZE).named_buffers():
        if key.endswith("num_batches_tracked"):
            assert buffer.item() == 0
        elif key.endswith("running_mean"):
            assert not buffer.any()


@pytest.mark.parametrize("name", OWN)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = build(ModelSettings(name=name), OUTPUTS, 3, SIZE).train()
    model(images()).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", OWN)
def test_every_option_has_a_default_and_an_unknown_one_is_answered_with_the_nearest(name: str) -> None:
    options = own.options_of(BACKBONES[name].build)
    known = next(iter(options))
    with pytest.raises(UsageError) as caught:
        build(ModelSettings(name=name, options={f"{known}x": 1}), OUTPUTS, 3, SIZE)
    assert caught.value.code == "MODEL-011"
    assert known in caught.value.fix


@pytest.mark.parametrize("name", [name for name in OWN if BACKBONES[name].weights])
def test_a_backbone_with_weights_says_where_they_come_from_and_what_they_may_be_used_for(name: str) -> None:
    card = card_of(ModelSettings(name=name, weights="default"))
    assert card.licence
    assert card.source
    assert card.outputs > 0
    assert len(card.mean) == len(card.std) == 3


@pytest.mark.parametrize("name", ["cnn", "resnet_small"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (28, 28), (33, 65)])
def test_the_networks_for_small_pictures_read_any_size(name: str, size: tuple[int, int]) -> None:
    model = build(ModelSettings(name=name), OUTPUTS, 1, size).eval()
    assert model(torch.zeros(2, 1, *size)).shape == (2, OUTPUTS)


@pytest.mark.parametrize("name", [name for name in OWN if BACKBONES[name].weights])
def test_a_card_counts_the_parameters_of_its_network(name: str) -> None:
    card = card_of(ModelSettings(name=name, weights="default"))
    model = build(ModelSettings(name=name), card.outputs, len(card.mean), card.size)
    assert card.parameters in {0, sum(parameter.numel() for parameter in model.parameters())}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_fine_tuning_chooses_for_small_pictures_lets_every_stage_learn(name: str) -> None:
    wanted = {"model.name": name, "model.weights": "default"}
    facts = Facts("label", ("ant", "bee"), (4, 4), 8, ((64, 64),) * 8, 3, wanted=wanted)
    chosen = {choice.key: choice.value for choice in Classify.defaults(facts)}
    assert chosen["input.size"] == [96, 96]
    assert chosen["model.layer_decay"] == 0.7
    model = build(ModelSettings(name=name), OUTPUTS, 3, (96, 96))
    model(torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    parameters = dict(model.named_parameters())
    for stage in layers(model):
        assert any(gradient.any() for key in stage if (gradient := parameters[key].grad) is not None), stage


@pytest.mark.slow
@pytest.mark.parametrize("family", families())
def test_a_network_of_every_family_of_timm_answers_by_one_row_a_picture_and_has_a_head_and_stages(family: str) -> None:
    name = smallest(family)
    side = timm_zoo.usual(name).size[0]
    side = side if side < 384 else 224
    model = build(ModelSettings(name=name), OUTPUTS, 3, (side, side))  # refuses another answer, judging or training
    head = model.get_submodule(head_prefix(model))
    assert isinstance(head.weight, torch.Tensor)
    assert head.weight.shape[0] == OUTPUTS
    assert sorted(key for stage in layers(model) for key in stage) == sorted(key for key, _ in model.named_parameters())
