"""Extractors say the same of the same pictures wherever they come from, and bear a name that tells what they are."""

from __future__ import annotations

import pytest
import torch

from visus.core.errors import UsageError
from visus.core.modelfile import Architecture, Card, checksum, write_model
from visus.core.recipe import InputSettings, ModelSettings
from visus.models.building import build
from visus.models.extractors import WIDTHS, extractor


def pictures(n=4, channels=3, side=32):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def classifier(tmp_path):
    def write(task="classify"):
        network = build(ModelSettings(name="resnet_small"), 3, 1, (16, 16))
        card = Card(
            visus="0", task=task, architecture=Architecture(name="resnet_small", outputs=3), classes=("a", "b", "c"),
            input=InputSettings(size=(16, 16), channels=1, mean=(0.3,), std=(0.2,)), data={"name": "shapes"},
        )  # fmt: skip
        write_model(tmp_path / "best.safetensors", network.state_dict(), card)
        return network, tmp_path / "best.safetensors"

    return write


def test_random_convolutions_are_the_same_ones_at_every_call():
    torch.manual_seed(5)
    one = extractor("random", 3, (32, 32))
    torch.manual_seed(6)
    other = extractor("random", 3, (32, 32))
    assert torch.equal(one(pictures())[0], other(pictures())[0])
    assert one(pictures())[0].shape == (4, WIDTHS[-1])
    assert one.name == "random convolutions, seed 0"


def test_making_one_leaves_the_global_generator_as_it_was():
    before = torch.get_rng_state()
    extractor("random", 1, (28, 28))
    assert torch.equal(torch.get_rng_state(), before)


def test_features_of_a_classifier_are_what_its_last_layer_reads(classifier):
    network, path = classifier()
    images = pictures(channels=1, side=16)
    found = extractor(str(path), 1, (16, 16))
    features, outputs = found(images)
    pixels = ((images + 1) * 127.5).round() / 255
    assert outputs == pytest.approx(network.eval()((pixels - 0.3) / 0.2).detach(), abs=1e-5)
    head = network.get_submodule("head")
    assert head(features).detach() == pytest.approx(outputs, abs=1e-5)
    assert found.width == features.shape[1]


def test_the_name_of_a_classifier_says_network_data_and_weights(classifier):
    network, path = classifier()
    found = extractor(str(path.parent), 1, (16, 16))
    assert found.name == f"resnet_small of shapes, {checksum(network.state_dict())[:8]}"
    assert found.classes == ("a", "b", "c")


def test_a_file_of_another_task_is_refused(classifier):
    _, path = classifier("segment")
    with pytest.raises(UsageError, match="a classifier is wanted"):
        extractor(str(path), 1, (16, 16))


def test_pictures_are_resized_and_their_channels_fitted(classifier):
    found = extractor(str(classifier()[1]), 3, (32, 32))
    assert found(pictures())[0].shape == (4, found.width)
    grey = pictures(channels=1)
    coloured = extractor("random", 3, (32, 32))
    assert torch.equal(coloured(grey)[0], coloured(grey.repeat(1, 3, 1, 1))[0])


def test_channels_that_cannot_be_fitted_are_refused(classifier):
    with pytest.raises(UsageError, match="reads 1 channel"):
        extractor(str(classifier()[1]), 5, (16, 16))


def test_pictures_are_seen_as_their_files_would_be():
    found = extractor("random", 1, (32, 32))
    images = pictures(channels=1)
    assert torch.equal(found(images)[0], found(((images + 1) * 127.5).round() / 127.5 - 1)[0])


def test_the_pretrained_network_is_the_default_one_and_does_not_learn():
    found = extractor("imagenet", 3, (32, 32)).train()
    assert found.name == "efficientnet_lite0.imagenet at 96 x 96"
    assert found(pictures())[0].shape == (4, 1280)
    assert not any(module.training for module in found.modules())
    assert not any(parameter.requires_grad for parameter in found.parameters())
