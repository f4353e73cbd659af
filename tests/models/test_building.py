from __future__ import annotations

import subprocess
import sys

import pytest

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import architecture_of, build, rebuild


@pytest.mark.parametrize(
    ("name", "meant"),
    [("resnet_smal", "resnet_small"), ("resnt18", "resnet18"), ("efficientnet_lite", "efficientnet_lite0"),
     ("torchvision:resnet81", "torchvision:resnet18"), ("convnextv2_ato", "convnextv2_atto")],
)  # fmt: skip
def test_a_misspelt_name_is_answered_with_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSettings(name=name), 2, 3, (32, 32))
    assert caught.value.code == "MODEL-010"
    assert f"did you mean {meant!r}?" in caught.value.fix


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18"])
def test_an_option_a_library_does_not_know_is_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSettings(name=name, options={"depht": 3}), 2, 3, (32, 32))
    assert "depht" in str(caught.value)


def test_options_reach_a_network_of_timm() -> None:
    model = build(ModelSettings(name="resnet18", options={"drop_rate": 0.25}), 2, 3, (32, 32))
    assert getattr(model, "drop_rate") == 0.25  # noqa: B009 (no attribute that mypy knows)


def test_a_picture_too_small_for_a_network_is_said_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="cannot read 3 x 20 x 20 pictures"):
        build(ModelSettings(name="torchvision:alexnet"), 2, 3, (20, 20))


def test_a_transformer_is_built_for_the_size_of_the_pictures() -> None:
    model = build(ModelSettings(name="vit_tiny_patch16_224"), 2, 3, (64, 96))
    assert model.patch_embed.grid_size == (4, 6)  # type: ignore[union-attr]


def test_a_network_is_rebuilt_from_what_its_file_says() -> None:
    settings = ModelSettings(name="cnn", options={"widths": [4], "hidden": [5]})
    first = build(settings, 3, 1, (9, 9))
    again = rebuild(architecture_of(settings, 3), 1, (9, 9))
    assert {k: t.shape for k, t in first.state_dict().items()} == {k: t.shape for k, t in again.state_dict().items()}


def test_importing_the_room_and_naming_our_networks_loads_no_torch() -> None:
    script = (
        "import sys, visus.models.weights; from visus.models.backbones import BACKBONES; print(*BACKBONES); "
        "assert not {'torch', 'timm', 'torchvision', 'safetensors'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["cifar_resnet", "cnn", "csp", "efficientnet_lite0", "resnet_small"]
