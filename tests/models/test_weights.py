"""Pretrained weights: their licence is minded, they come from this machine alone, and what is missing is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import VisionTransformer

from visus.core.errors import UsageError
from visus.core.modelfile import Architecture, Card, write_model
from visus.core.recipe import InputSettings, ModelSettings
from visus.models.building import build
from visus.models.fitting import fit
from visus.models.origins import torchvision_zoo
from visus.models.weights import WeightCard, card_of, check_licence, permits


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty torch.hub folder for weights."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def default(name: str) -> ModelSettings:
    return ModelSettings(name=name, weights="default")


def test_a_card_of_timm_carries_its_statistics_and_licence() -> None:
    card = card_of(default("resnet18"))
    assert (card.name, card.licence, card.commercial) == ("resnet18.a1_in1k", "apache-2.0", True)
    assert (card.mean, card.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (card.size, card.outputs) == ((224, 224), 1000)


def test_non_commercial_weights_are_refused_unless_accepted(caches: Path) -> None:
    settings = default("resnet18.fb_swsl_ig1b_ft_in1k")
    with pytest.raises(UsageError, match=r"cc-by-nc-4\.0") as caught:
        build(settings, 2, 3, (64, 64))
    assert caught.value.code == "MODEL-014"
    with pytest.raises(UsageError) as caught:
        build(settings, 2, 3, (64, 64), accept=("nc",))
    assert caught.value.code == "MODEL-013"  # accepted, and so the next question is where they are


def test_torchvisions_non_commercial_weights_are_known() -> None:
    assert card_of(default("torchvision:vit_h_14")).licence == "cc-by-nc-4.0"
    assert not card_of(default("torchvision:vit_h_14")).commercial


def test_an_unknown_licence_is_no_permission() -> None:
    card = WeightCard("some", "unknown", permits("unknown"), "somewhere")
    with pytest.raises(UsageError):
        check_licence(card, ())
    check_licence(card, ("unknown",))


@pytest.mark.parametrize("licence", ["Apache-2.0", "mit", "BSD-3-Clause", "cc-by-4.0"])
def test_permissive_licences_are_known(licence: str) -> None:
    assert permits(licence)


@pytest.mark.parametrize("licence", ["cc-by-nc-4.0", "cc-by-nc-sa-4.0", "apple-amlr", "seer-license", "agpl-3.0", ""])
def test_other_licences_are_not_taken_for_permissive(licence: str) -> None:
    assert not permits(licence)


def test_missing_weights_of_timm_are_named_with_address_size_and_place(caches: Path) -> None:
    with pytest.raises(UsageError) as caught:
        build(default("resnet18"), 2, 3, (64, 64))
    said = str(caught.value)
    assert "resnet18.a1_in1k are not on this machine" in said
    assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors (46.8 MB)" in said
    assert str(caches / "resnet18.a1_in1k.safetensors") in said


def test_weights_put_where_the_message_says_are_used(caches: Path) -> None:
    tensors = {
        k: torch.full_like(t, 0.5)
        for k, t in build(ModelSettings(name="resnet18"), 1000, 3, (64, 64)).state_dict().items()
    }
    save_file(tensors, caches / "resnet18.a1_in1k.safetensors")
    model = build(default("resnet18"), 2, 1, (64, 64))
    assert torch.equal(model.state_dict()["conv1.weight"], torch.full((64, 1, 7, 7), 1.5))
    assert card_of(default("resnet18")).file == caches / "resnet18.a1_in1k.safetensors"


def test_weights_of_a_transformer_of_timm_fit_pictures_of_another_size(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    save_file(build(ModelSettings(name=name), 2, 3, (96, 96), seed=1).state_dict(), tmp_path / "weights.safetensors")
    model = build(ModelSettings(name=name, weights=str(tmp_path / "weights.safetensors")), 2, 3, (64, 64), seed=2)
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


def test_weights_of_a_transformer_of_torchvision_fit_pictures_of_another_size() -> None:
    large, small = (VisionTransformer(side, 16, 1, 1, 8, 8, num_classes=2) for side in (96, 64))
    fit(small, torchvision_zoo.renamed("torchvision:vit_b_16", small, large.state_dict()), "weights", whole=True)


def test_missing_weights_of_torchvision_are_named_with_address_size_and_place(caches: Path) -> None:
    with pytest.raises(UsageError) as caught:
        build(default("torchvision:resnet18"), 2, 3, (64, 64))
    said = str(caught.value)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth (44.7 MB)" in said
    assert str(caches / "resnet18-f37072fd.pth") in said


def test_a_network_without_published_weights_says_so() -> None:
    with pytest.raises(UsageError, match="carries no pretrained weights"):
        build(default("resnet_small"), 2, 3, (32, 32))


def test_fresh_weights_have_the_statistics_usual_for_the_family() -> None:
    assert card_of(ModelSettings(name="resnet18")).mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(("channels", "mean"), [(3, (0.2, 0.4, 0.6)), (1, (0.4,)), (4, (0.4,) * 4)])
def test_statistics_spread_to_other_channels(channels: int, mean: tuple[float, ...]) -> None:
    card = WeightCard("some", "mit", True, "", mean=(0.2, 0.4, 0.6), std=(0.5,))
    assert card.statistics(channels) == (pytest.approx(mean), (0.5,))


def test_a_model_file_of_ours_as_weights_brings_its_own_statistics_and_licence(tmp_path: Path) -> None:
    card = Card(
        visus="0.1.0", task="classify", architecture=Architecture(name="cnn", outputs=2), classes=("a", "b"),
        input=InputSettings(size=(40, 40), mean=(0.1,), std=(0.3,)),
        licences={"code": "Apache-2.0", "weights some": "cc-by-nc-4.0"},
    )  # fmt: skip
    write_model(tmp_path / "best.safetensors", {"a": torch.ones(1)}, card)
    read = card_of(ModelSettings(name="cnn", weights=str(tmp_path / "best.safetensors")))
    assert (read.mean, read.std, read.size) == ((0.1,), (0.3,), (40, 40))
    assert (read.licence, read.commercial, read.outputs) == ("cc-by-nc-4.0", False, 2)


NO_NETWORK = """
import sys
from pathlib import Path
touched = []
sys.addaudithook(lambda event, arguments: touched.append((event, arguments)) if event.startswith("socket.") else None)
from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.fitting import fit
from visus.models.origins import torchvision_zoo
from visus.models.listing import available
for name in ("resnet18", "vit_tiny_patch16_224", "torchvision:resnet18"):
    build(ModelSettings(name=name), 2, 3, (64, 64))
    try:
        build(ModelSettings(name=name, weights="default"), 2, 3, (64, 64))
    except UsageError as error:
        assert error.code == "MODEL-013", error
    else:
        raise AssertionError("these weights cannot be here")
available("resnet18")
assert not [event for event, _ in touched if event != "socket.__new__"], touched
"""


def test_neither_building_nor_missing_weights_nor_listing_touches_a_network(tmp_path: Path) -> None:
    home = {
        "TORCH_HOME": str(tmp_path),
        "HF_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
    }
    kept = {key: os.environ[key] for key in ("PYTHONPYCACHEPREFIX", "PYTHONPATH") if key in os.environ}
    ended = subprocess.run(
        [sys.executable, "-c", NO_NETWORK], env={**kept, **home}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
