from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.adopting import adopt
from visus.models.building import build, rebuild


def saved(file: Path, name: str, outputs: int, channels: int, **options: int) -> dict[str, torch.Tensor]:
    state = build(ModelSettings(name=name, options=dict(options)), outputs, channels, (32, 32), seed=9).state_dict()
    save_file(state, file)
    return state


def test_outputs_channels_and_depth_follow_from_the_weights(tmp_path: Path) -> None:
    state = saved(tmp_path / "w.safetensors", "cifar_resnet", 7, 1, depth=32)
    adopted = adopt(tmp_path / "w.safetensors", "cifar_resnet")
    assert adopted.architecture.outputs == 7
    assert adopted.architecture.options == {"depth": 32}
    assert adopted.channels == 1
    assert all(torch.equal(adopted.tensors[key], tensor) for key, tensor in state.items())


def test_weights_of_timm_are_adopted_by_its_names(tmp_path: Path) -> None:
    saved(tmp_path / "w.safetensors", "resnet18", 3, 3)
    adopted = adopt(tmp_path / "w.safetensors", "resnet18")
    model = rebuild(adopted.architecture, adopted.channels, (32, 32))
    model.load_state_dict(adopted.tensors)
    assert adopted.usual.mean == (0.485, 0.456, 0.406)


def test_weights_of_the_users_own_network_are_adopted(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make(outputs):\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, outputs))\n"
    )
    save_file({"2.weight": torch.ones(4, 3), "2.bias": torch.ones(4)}, tmp_path / "w.safetensors")
    adopted = adopt(tmp_path / "w.safetensors", f"{tmp_path / 'net.py'}:make")
    assert adopted.architecture.outputs == 4
    assert adopted.architecture.source == "net.py:make"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "w.safetensors", "cnn", 3, 3)
    with pytest.raises(UsageError) as caught:
        adopt(tmp_path / "w.safetensors", "cifar_resnet")
    assert caught.value.code == "MODEL-015"


def test_a_trunk_without_a_head_is_no_model(tmp_path: Path) -> None:
    state = saved(tmp_path / "w.safetensors", "cnn", 3, 3)
    save_file({key: tensor for key, tensor in state.items() if "head" not in key}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="holds no head for cnn") as caught:
        adopt(tmp_path / "w.safetensors", "cnn")
    assert "--set model.weights=" in caught.value.fix
