from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.freezing import frozen, layers, still


def small() -> nn.Module:
    return build(
        ModelSettings(name="resnet_small", options={"widths": [8, 8], "blocks": [1, 0], "stem": 4}), 3, 3, (8, 8)
    )


def test_a_prefix_freezes_what_lies_below_it_and_nothing_that_only_starts_alike() -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 1), "ab": nn.Linear(1, 1)})
    assert frozen(model, ["a"]) == {"a.weight", "a.bias"}


def test_prefixes_add_up() -> None:
    assert frozen(small(), ["backbone", "head"]) == {name for name, _ in small().named_parameters()}


def test_an_unknown_prefix_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="stag") as caught:
        frozen(small(), ["stag"])
    assert caught.value.fix in {"did you mean 'stages'?", "did you mean 'stem'?"}


def test_frozen_normalisation_stands_still_and_the_rest_learns() -> None:
    model = small()
    held = still(model, frozen(model, ["stem"]))
    assert held == [model.get_submodule("stem.1")]


def test_with_what_is_still_in_eval_mode_a_frozen_trunk_does_not_move_at_all() -> None:
    model = small().train()
    held = frozen(model, ["backbone"])
    for module in still(model, held):
        module.eval()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items() if not key.startswith("head")}
    optimiser = torch.optim.SGD([p for name, p in model.named_parameters() if name not in held], lr=0.1)
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimiser.step()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items() if key in before)


def test_a_normalisation_without_parameters_follows_what_it_is_part_of() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, affine=False)), nn.Linear(2, 2))
    assert still(model, {"0.0.weight", "0.0.bias"}) == [model.get_submodule("0.1")]
    assert still(model, {"1.weight", "1.bias"}) == []


def test_nothing_stands_still_where_nothing_is_frozen() -> None:
    assert still(small(), set()) == []


def test_stages_go_from_the_picture_to_the_head() -> None:
    assert [stage[0] for stage in layers(small())] == [
        "stem.0.weight",
        "stages.0.0.weight",
        "stages.1.0.weight",
        "head.weight",
    ]


def test_stages_of_timm_are_those_it_states() -> None:
    model = timm.create_model("resnet18", num_classes=2)
    assert [stage[-1].split(".")[0] for stage in layers(model)] == ["bn1", "layer1", "layer2", "layer3", "layer4", "fc"]


def test_where_timm_states_fine_stages_alone_these_are_taken() -> None:
    with torch.device("meta"):
        model = timm.create_model("rdnet_tiny")
    stages = layers(model)
    assert sorted(name for stage in stages for name in stage) == sorted(name for name, _ in model.named_parameters())
    assert stages[0][0].startswith("stem")
    assert stages[-1][-1].startswith("head")


def test_many_sequences_are_stages_and_norms_join_the_stage_before_them() -> None:
    def stage() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))

    model = nn.Sequential()
    for name, module in {
        "layer1": stage(),
        "layer2": stage(),
        "layer3": stage(),
        "norm": nn.BatchNorm2d(1),
        "fc": nn.Linear(1, 1),
    }.items():
        model.add_module(name, module)
    assert [len(names) for names in layers(model)] == [4, 4, 4 + 2, 2]
