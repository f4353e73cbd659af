"""What every segmenter keeps because its file is there: logits of every pixel at a whole fraction of its size."""

from __future__ import annotations

import pytest
import torch

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.freezing import frozen, layers
from visus.models.heads import below, head_prefixes, outputs_of
from visus.models.origins import standing
from visus.models.segmenters import SEGMENTERS

OUTPUTS = 5
STANDING = [name for name in SEGMENTERS if SEGMENTERS[name].backbone]
"""Those that stand on any backbone."""


def network(name: str, size: tuple[int, int] = (96, 64), **settings: object) -> torch.nn.Module:
    channels = int(settings.pop("channels", 3))  # type: ignore[call-overload]
    return build(ModelSettings(name=name, **settings), OUTPUTS, channels, size)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("size", [(96, 64), (64, 160)])
def test_logits_are_a_whole_fraction_of_the_picture_in_training_as_in_judging(name: str, size: tuple[int, int]) -> None:
    model = network(name, size)
    images = torch.rand(2, 3, *size)
    trained, judged = model.train()(images), model.eval()(images)
    assert trained.shape == judged.shape and judged.shape[:2] == (2, OUTPUTS)
    height, width = judged.shape[2:]
    assert size[0] % height == 0 and size[0] // height == size[1] // width


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("channels", [1, 2, 16])
def test_pictures_of_1_to_16_channels_are_read(name: str, channels: int) -> None:
    assert network(name, channels=channels).eval()(torch.rand(1, channels, 64, 64)).shape[:2] == (1, OUTPUTS)


@pytest.mark.parametrize("name", [name for name in SEGMENTERS if name != "fast"])
def test_pictures_of_any_size_are_answered_pixel_by_pixel(name: str) -> None:
    assert network(name, (33, 47)).eval()(torch.rand(2, 3, 33, 47)).shape == (2, OUTPUTS, 33, 47)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_parameter_is_learned_from(name: str) -> None:
    model = network(name).train()
    model(torch.rand(2, 3, 96, 64)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), key


@pytest.mark.parametrize("name", SEGMENTERS)
def test_one_picture_is_enough_for_a_step(name: str) -> None:
    network(name).train()(torch.rand(1, 3, 96, 64)).sum().backward()


@pytest.mark.parametrize("name", SEGMENTERS)
def test_fresh_weights_depend_on_the_seed_alone(name: str) -> None:
    one, two = (network(name).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())


@pytest.mark.parametrize("name", SEGMENTERS)
def test_what_starts_fresh_is_stated_and_all_else_is_the_backbone(name: str) -> None:
    model = network(name)
    heads = head_prefixes(model)
    names = {key for key, _ in model.named_parameters()}
    held = frozen(model, ["backbone"])
    assert held == {key for key in names if not any(below(key, head) for head in heads)}
    assert all(key.startswith("backbone.body.") for key in held) and held


@pytest.mark.parametrize("name", SEGMENTERS)
def test_stages_hold_every_parameter_once_and_the_head_comes_last(name: str) -> None:
    model = network(name)
    stages = layers(model)
    assert sorted(key for stage in stages for key in stage) == sorted(key for key, _ in model.named_parameters())
    assert len(stages) > 3 and not any(key.startswith("backbone.body.") for key in stages[-1])


@pytest.mark.parametrize("name", SEGMENTERS)
def test_its_weights_tell_how_many_classes_they_are_for(name: str) -> None:
    model = network(name)
    assert outputs_of(model.state_dict(), model) == OUTPUTS


@pytest.mark.parametrize("name", STANDING)
def test_the_weights_of_a_backbone_alone_start_it(name: str) -> None:
    model = network(f"{name}:efficientnet_lite0", weights="default")
    plain = build(ModelSettings(name="efficientnet_lite0", weights="default"), 1000, 3, (96, 64)).state_dict()
    own = {key.removeprefix("backbone.body."): tensor for key, tensor in model.state_dict().items()}
    shared = own.keys() & plain.keys()
    assert "conv_stem.weight" in shared and "blocks.6.0.conv_pwl.weight" in shared
    assert all(torch.equal(own[key], plain[key]) for key in shared)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_weights_of_a_whole_network_start_one_of_other_classes(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from safetensors.torch import save_file

    trained = network(name)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.01)
    save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, tmp_path / "w.safetensors")
    other = build(ModelSettings(name=name, weights=str(tmp_path / "w.safetensors")), 2, 3, (96, 64)).state_dict()
    theirs = trained.state_dict()
    same = [key for key in other if other[key].shape == theirs[key].shape]
    assert len(other) - 4 <= len(same) < len(other)
    assert all(torch.equal(other[key], theirs[key]) for key in same)


@pytest.mark.parametrize("name", STANDING)
def test_a_backbone_without_such_maps_is_refused_in_words(name: str) -> None:
    with pytest.raises(UsageError, match="vit_tiny_patch16_224 has no map of stride"):
        network(f"{name}:vit_tiny_patch16_224")


@pytest.mark.parametrize("name", SEGMENTERS)
def test_the_parameters_that_are_stated_are_those_that_there_are(name: str) -> None:
    with torch.device("meta"):
        model = standing.network(name, 21, 3, (320, 320), {})
    assert SEGMENTERS[name].parameters in (0, sum(parameter.numel() for parameter in model.parameters()))
