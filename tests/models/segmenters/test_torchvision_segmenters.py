"""FCN, DeepLabV3 and LR-ASPP on our backbones answer as torchvision's own networks do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import get_model
from torchvision.models.segmentation.fcn import FCNHead

from visus.core.recipe import ModelSettings
from visus.models import torchvision_parts as parts
from visus.models.adopting import adopt
from visus.models.building import build
from visus.models.fitting import fit
from visus.models.origins import standing
from visus.models.segmenters import SEGMENTERS

K = 5
PUBLISHED = [
    (f"{name}:{backbone}", theirs)
    for name in ("fcn", "deeplabv3", "lraspp")
    for backbone, theirs in SEGMENTERS[name].published.items()
    if "101" not in backbone
]


def theirs(name: str) -> nn.Module:
    """Return torchvision's network, with its auxiliary classifier where it can have one, judging."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        helped = {} if name.startswith("lraspp") else {"aux_loss": True}
        model = get_model(name, weights=None, weights_backbone=None, num_classes=K, **helped)
        for key, tensor in model.state_dict().items():
            if key.endswith("running_mean"):
                tensor.normal_(0, 0.2)
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def taken(name: str, other: nn.Module, outputs: int = K) -> nn.Module:
    model = build(ModelSettings(name=name), outputs, 3, (64, 96))
    fit(model, standing.renamed(name, model, other.state_dict()), "theirs", whole=outputs == K)
    return model.eval()


@pytest.mark.parametrize(("name", "published"), PUBLISHED)
def test_the_same_weights_give_the_same_logits(name: str, published: str) -> None:
    other = theirs(published)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mine, expected = taken(name, other)(images), other(images)["out"]
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("published", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_they_are_adopted_whole_and_say_their_classes(published: str) -> None:
    name, _, backbone = published.partition("_")
    adopted = adopt(theirs(published), f"{name}:{backbone}")
    assert (adopted.architecture.outputs, adopted.channels, adopted.usual.size) == (K, 3, parts.MAPPED)


def test_a_head_of_other_classes_starts_fresh_where_it_differs_alone() -> None:
    other = theirs("lraspp_mobilenet_v3_large")
    model = taken("lraspp:mobilenet_v3_large", other, 2).state_dict()
    assert torch.equal(model["classifier.cbr.0.weight"], other.state_dict()["classifier.cbr.0.weight"])
    assert model["classifier.low_classifier.weight"].shape[0] == 2


def test_a_network_without_an_auxiliary_classifier_is_read_alike() -> None:
    other = get_model("fcn_resnet50", weights=None, weights_backbone=None, num_classes=K)
    assert isinstance(other.classifier, FCNHead) and other.aux_classifier is None
    assert torch.equal(taken("fcn:resnet50", other).state_dict()["classifier.4.bias"], other.classifier[4].bias)


@pytest.mark.parametrize(("stride", "rows"), [(8, 8), (16, 4), (32, 2)])
def test_the_map_has_the_stride_that_is_asked_for(stride: int, rows: int) -> None:
    model = build(ModelSettings(name="fcn", options={"stride": stride}), 2, 3, (64, 96)).eval()
    assert model.backbone(torch.rand(1, 3, 64, 96))[0].shape[2] == rows  # type: ignore[operator]


def test_published_weights_are_described_by_the_size_they_were_trained_at() -> None:
    card = parts.card("lraspp_mobilenet_v3_large")
    assert (card.outputs, card.size, card.licence) == (21, (520, 520), "bsd-3-clause")
