import pytest
import torch
from torch import nn

from visus.compressors.low_rank import apart, factored, thinner
from visus.core.modelfile import Architecture, Factors
from visus.core.recipe import ModelSettings
from visus.models.building import build, rebuild
from visus.models.slimming import Factored

LAYERS = {
    "linear": (lambda: nn.Linear(40, 30), (7, 40)),
    "point": (lambda: nn.Conv2d(16, 24, 1, stride=2), (2, 16, 9, 9)),
    "square": (lambda: nn.Conv2d(8, 12, 3, padding=1), (2, 8, 11, 13)),
    "odd": (
        lambda: nn.Conv2d(6, 5, (3, 5), stride=(2, 1), padding=(1, 4), dilation=(1, 2), bias=False),
        (1, 6, 17, 19),
    ),
}


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "channel") for name in LAYERS), *((name, "spatial") for name in ("square", "odd"))]
)
def test_factors_of_full_rank_answer_as_the_layer(name, kind):
    make, shape = LAYERS[name]
    layer, given = make(), torch.rand(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(apart(layer, kind)(given), layer(given), rtol=0, atol=1e-5)


def test_the_product_of_the_factors_is_the_nearest_of_its_rank():
    layer = nn.Linear(20, 10, bias=False)
    pair = apart(layer, "channel", energy=0.7)
    values = torch.linalg.svdvals(layer.weight.double())
    left_out = (layer.weight - pair[1].weight @ pair[0].weight).double().square().sum()  # Eckart and Young
    rank = pair[0].out_features
    torch.testing.assert_close(left_out, values[rank:].square().sum(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("kind", ["channel", "spatial"])
def test_the_rank_is_the_smallest_that_keeps_the_energy(kind):
    layer = nn.Conv2d(8, 8, 3, bias=False)
    weight = layer.weight.detach().double()
    matrix = weight.flatten(1) if kind == "channel" else weight.permute(0, 3, 1, 2).reshape(24, 24)
    shares = torch.linalg.svdvals(matrix).square().cumsum(0) / weight.square().sum()
    rank = apart(layer, kind, energy=0.8)[0].out_channels
    assert shares[rank - 1] >= 0.8 > shares[rank - 2]


def test_layers_of_low_rank_are_factored_and_the_network_says_the_same():
    network = build(ModelSettings(name="cnn", options={"widths": [64, 128], "hidden": [256]}), 5, 3, (32, 32)).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.in_channels > 3:
                thin = torch.rand(layer.out_channels, 2) @ torch.rand(2, layer.weight[0].numel())
                layer.weight.copy_((thin - thin.mean()).reshape(layer.weight.shape) / 100)
        made, factors = factored(network, images, 0.9999999)
        assert factors
        assert all(isinstance(made.get_submodule(name), Factored) for name in factors)
        torch.testing.assert_close(made(images), network(images), rtol=1e-4, atol=1e-5)


def test_a_factored_network_is_made_again_from_its_card_bit_for_bit():
    settings = ModelSettings(name="resnet_small", options={"widths": [64, 128], "blocks": [1, 1]})
    network, images = build(settings, 5, 3, (32, 32)).eval(), torch.rand(2, 3, 32, 32)
    made, factors = factored(network, images[:1], 0.3)
    card = thinner(Architecture(name="resnet_small", options=settings.options, outputs=5), factors)
    again = rebuild(card, 3, (32, 32))
    again.load_state_dict(made.state_dict())
    assert factors
    assert torch.equal(again.eval()(images), made(images))


def test_a_layer_that_gains_nothing_and_the_one_that_gives_the_outputs_stay_whole():
    network = build(ModelSettings(name="cnn", options={"widths": [4, 8]}), 5, 3, (16, 16)).eval()
    made, factors = factored(network, torch.rand(1, 3, 16, 16), 1.0)
    assert not factors
    assert isinstance(made.head, nn.Linear)


def test_what_was_narrowed_before_it_was_factored_is_narrow_in_both_factors():
    before = Architecture(name="x", outputs=2, narrowed={"a.weight": (6, 3, 0, 0), "a.bias": (6,)})
    after = thinner(before, {"a": Factors(kind="channel", rank=2)})
    assert after.narrowed == {"a.0.weight": (0, 3, 0, 0), "a.1.weight": (6, 0, 0, 0), "a.1.bias": (6,)}
