"""Folding: the same answers with fewer layers, and nothing is folded that anybody else reads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from visus.core.modelfile import Architecture
from visus.models.building import rebuild
from visus.models.folding import folded

SIZE = (64, 64)
NETWORKS = {
    "anchor_free": {}, "retinanet": {}, "resnet_small": {}, "cnn": {}, "efficientnet_lite0": {},
    "unet": {}, "torchvision:resnet18": {}, "torchvision:mobilenet_v3_small": {},
}  # fmt: skip


def lively(network: nn.Module) -> nn.Module:
    """Return a network in eval mode whose normalisations do something."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low in ((layer.running_mean, -0.2), (layer.running_var, 0.5), (layer.bias, -0.2)):
                tensor.data.copy_(low + 0.8 * torch.rand(tensor.shape, generator=generator))
    return network.eval()


def answers(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        said = network(images)
    return list(said) if isinstance(said, tuple) else [said]


def norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def pictures() -> torch.Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_answers_are_the_same_but_for_rounding(name):
    network = lively(rebuild(Architecture(name=name, options=NETWORKS[name], outputs=3), 3, SIZE))
    made = folded(network, pictures()[:1])
    assert norms(made) < norms(network)
    for ours, whole in zip(answers(made, pictures()), answers(network, pictures()), strict=True):
        torch.testing.assert_close(ours, whole, rtol=1e-4, atol=1e-5 * max(1.0, whole.abs().max().item()))


@pytest.mark.parametrize("name", ["anchor_free", "efficientnet_lite0", "torchvision:resnet18"])
def test_nothing_that_normalises_after_a_convolution_is_left(name):
    network = lively(rebuild(Architecture(name=name, options={}, outputs=3), 3, SIZE))
    assert norms(folded(network, pictures()[:1])) == 0


def test_the_network_that_was_given_stays_as_it_is_and_shares_what_is_not_folded():
    network = lively(rebuild(Architecture(name="cnn", options={}, outputs=3), 3, SIZE))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    made = folded(network, pictures()[:1])
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ours, theirs = ([layer for layer in each.modules() if isinstance(layer, nn.Linear)] for each in (made, network))
    assert ours[-1].weight is theirs[-1].weight


class TwoReaders(nn.Module):
    """A convolution whose answer goes round the normalisation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = self.layer(images)
        return self.norm(seen) + seen


class Twice(nn.Module):
    """A convolution that is used twice, and normalised once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(self.layer(images)))


@pytest.mark.parametrize("kind", [TwoReaders, Twice])
def test_a_convolution_that_others_read_or_that_is_used_twice_is_not_folded(kind):
    network = lively(kind())
    assert folded(network, pictures()[:1]) is network


def test_a_layer_that_somebody_watches_is_not_folded():
    network = lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    network[0].register_forward_hook(lambda layer, given, said: None)
    assert folded(network, pictures()[:1]) is network


def test_normalisation_before_a_convolution_stays():
    network = lively(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)))
    assert folded(network, pictures()[:1]) is network
