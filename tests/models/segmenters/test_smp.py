"""Networks put together from segmentation-models-pytorch's decoders answer as the library's own networks do."""

from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.adopting import adopt
from visus.models.building import build
from visus.models.fitting import fit
from visus.models.origins import standing

K = 5
THEIRS = {
    "unet": smp.Unet,
    "unetplusplus": smp.UnetPlusPlus,
    "fpn": smp.FPN,
    "deeplabv3plus": smp.DeepLabV3Plus,
    "segformer": smp.Segformer,
    "upernet": smp.UPerNet,
}


def theirs(name: str, encoder: str = "tu-resnet18", channels: int = 3, **options: object) -> nn.Module:
    """Return the library's network with running statistics that matter, judging."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = THEIRS[name](encoder, encoder_weights=None, in_channels=channels, classes=K, **options)
        for key, tensor in model.state_dict().items():
            if key.endswith("running_mean"):
                tensor.normal_(0, 0.2)
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def same(name: str, other: nn.Module, channels: int = 3, outputs: int = K, **options: object) -> nn.Module:
    """Return our network with the library's tensors."""
    model = build(ModelSettings(name=name, options=options), outputs, channels, (64, 96))
    fit(model, standing.renamed(name, model, other.state_dict()), "theirs", whole=outputs == K)
    return model.eval()


def check_equal(ours: nn.Module, other: nn.Module, channels: int = 3) -> None:
    images = torch.rand(2, channels, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine, expected = ours(images), other(images)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize(
    ("encoder", "backbone"),
    [("tu-resnet18", "resnet18"), ("resnet18", "resnet18"), ("tu-tf_efficientnet_lite0", "efficientnet_lite0")],
)
def test_the_same_weights_give_the_same_logits(name: str, encoder: str, backbone: str) -> None:
    other = theirs(name, encoder)
    if name == "deeplabv3plus" and not encoder.startswith("tu-"):  # the library spreads one kernel more in these
        with pytest.raises(UsageError, match="encoder of segmentation-models-pytorch's own"):
            same(f"{name}:{backbone}", other)
        return
    check_equal(same(f"{name}:{backbone}", other), other)


@pytest.mark.parametrize("name", [name for name in THEIRS if name != "deeplabv3plus"])
def test_a_backbone_without_a_map_of_half_the_size_does_as_well(name: str) -> None:
    other = theirs(name, "tu-convnextv2_atto")
    check_equal(same(f"{name}:convnextv2_atto", other), other)


def test_a_backbone_of_one_picture_size_is_built_for_this_one() -> None:
    other = theirs("upernet", "tu-swin_tiny_patch4_window7_224", img_size=(64, 96))
    ours = same("upernet:swin_tiny_patch4_window7_224", other)
    check_equal(ours, other)
    assert any(getattr(module, "reads_one_size", False) for module in ours.modules())


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels_give_the_same_logits(name: str, channels: int) -> None:
    other = theirs(name, channels=channels)
    check_equal(same(f"{name}:resnet18", other, channels), other, channels)


@pytest.mark.parametrize(
    ("name", "mine", "library"),
    [
        ("unet", {"attention": "scse"}, {"decoder_attention_type": "scse"}),
        ("unet", {"widths": [64, 48, 32, 16, 8]}, {"decoder_channels": (64, 48, 32, 16, 8)}),
        ("unet", {"normalisation": "none"}, {"decoder_use_norm": False}),
        ("unetplusplus", {"interpolation": "bilinear"}, {"decoder_interpolation": "bilinear"}),
        ("fpn", {"merge": "cat", "width": 64}, {"decoder_merge_policy": "cat", "decoder_segmentation_channels": 64}),
        ("deeplabv3plus", {"stride": 8}, {"encoder_output_stride": 8}),
        ("deeplabv3plus", {"rates": [2, 4, 6]}, {"decoder_atrous_rates": (2, 4, 6)}),
        ("segformer", {"width": 64}, {"decoder_segmentation_channels": 64}),
        ("upernet", {"width": 64}, {"decoder_channels": 64}),
    ],
)
def test_options_mean_what_the_librarys_mean(name: str, mine: dict[str, object], library: dict[str, object]) -> None:
    other = theirs(name, **library)
    check_equal(same(f"{name}:resnet18", other, **mine), other)


def test_a_whole_network_of_the_library_is_adopted_with_its_classes_and_channels() -> None:
    other = theirs("fpn", channels=4)
    adopted = adopt(other, "fpn:resnet18")
    assert (adopted.architecture.outputs, adopted.channels) == (K, 4)


def test_a_head_of_other_classes_starts_fresh_and_all_else_is_kept() -> None:
    other = theirs("unet")
    model = same("unet:resnet18", other, outputs=2).state_dict()
    assert torch.equal(model["decoder.blocks.0.conv1.0.weight"], other.state_dict()["decoder.blocks.0.conv1.0.weight"])
    assert model["head.weight"].shape[0] == 2


def test_the_classifier_of_whole_pictures_beside_is_left_out() -> None:
    other = theirs("unet", aux_params={"classes": 3})
    assert not any("classification" in key for key in same("unet:resnet18", other).state_dict())
