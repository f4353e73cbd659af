import copy

import pytest
import torch
from torch import nn

from visus.core.errors import IntegrityError
from visus.core.modelfile import Architecture, Factors
from visus.core.recipe import ModelSettings
from visus.models.backbones.csp import PartialBlock
from visus.models.building import build, rebuild
from visus.models.slimming import Factored, factors_of, narrowed, slimmed

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def chain():
    """Return a network with a plain, a depthwise and a grouped convolution, norms of three kinds and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.GroupNorm(2, 8),
        nn.Conv2d(8, 12, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 5),
    ).eval()  # fmt: skip


def by_hand():
    """Return the same with 6 channels in place of 8, and 10 in place of 12."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, groups=6), nn.GroupNorm(2, 6),
        nn.Conv2d(6, 10, 3, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(10), nn.Linear(10, 5),
    ).eval()  # fmt: skip


def of(**said):
    return Architecture(name="x", outputs=5, **said)


def test_a_narrowed_network_with_the_weights_of_one_built_so_answers_bit_for_bit_as_it():
    wanted = by_hand()
    made = slimmed(chain(), of(narrowed=narrowed(wanted, chain())))
    made.load_state_dict(wanted.state_dict())
    assert torch.equal(made(IMAGES), wanted(IMAGES))


def test_layers_say_the_widths_that_their_tensors_have():
    made = slimmed(chain(), of(narrowed=narrowed(by_hand(), chain())))
    assert repr(made) == repr(by_hand())


def test_an_axis_that_is_as_built_is_zero_so_that_a_head_may_have_other_classes():
    shapes = narrowed(by_hand(), chain())
    assert shapes["8.weight"] == (0, 10)
    assert "8.bias" not in shapes


def test_tied_weights_stay_tied():
    tied = nn.ModuleDict({"one": nn.Linear(8, 4), "two": nn.Linear(8, 4)})
    tied["two"].weight = tied["one"].weight
    slimmed(tied, of(narrowed={"one.weight": (0, 6), "two.weight": (0, 6)}))
    assert tied["two"].weight is tied["one"].weight
    assert tied["two"].in_features == 6


def test_halves_of_a_partial_block_may_become_unequal():
    block = PartialBlock(8, 16, 1, "batch", "relu").eval()
    narrow = {"split.0.weight": (13, 0, 0, 0), "blocks.0.0.0.weight": (0, 5, 0, 0), "join.0.weight": (0, 13, 0, 0)}
    narrow |= {f"split.1.{name}": (13,) for name in ("weight", "bias", "running_mean", "running_var")}
    narrow |= {"blocks.0.1.0.weight": (5, 0, 0, 0)}
    narrow |= {f"blocks.0.1.1.{name}": (5,) for name in ("weight", "bias", "running_mean", "running_var")}
    slimmed(block, of(narrowed=narrow))
    assert block(torch.rand(1, 8, 4, 4)).shape == (1, 16, 4, 4)


@pytest.mark.parametrize(
    "narrow",
    [{"9.weight": (5, 5)}, {"0.weight": (9, 0, 0, 0)}, {"0.weight": (4, 3)}, {"0.nothing": (4,)}],
    ids=["no layer", "wider", "axes", "no tensor"],
)
def test_a_card_that_does_not_fit_the_network_is_refused(narrow):
    with pytest.raises(IntegrityError, match="COMPRESS-020"):
        slimmed(chain(), of(narrowed=narrow))


@pytest.mark.parametrize(("name", "kind"), [("2", "channel"), ("8", "spatial"), ("5", "channel"), ("x", "channel")])
def test_factors_of_a_layer_that_has_none_are_refused(name, kind):
    with pytest.raises(IntegrityError, match="COMPRESS-020"):
        slimmed(chain(), of(factored={name: Factors(kind=kind, rank=2)}))


@pytest.mark.parametrize("kind", ["channel", "spatial"])
def test_factors_read_and_give_what_the_layer_did(kind):
    layer = nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 2), (1, 2))
    images = torch.rand(2, 4, 17, 19)
    assert factors_of(layer, Factors(kind=kind, rank=3))(images).shape == layer(images).shape


def test_factored_layers_are_narrowed_like_any_other():
    network = slimmed(chain(), of(factored={"8": Factors(kind="channel", rank=3)}, narrowed={"8.0.weight": (2, 0)}))
    assert isinstance(network[8], Factored)
    assert (network[8].in_features, network[8].out_features, network[8][0].out_features) == (12, 5, 2)


def test_a_run_that_starts_from_a_smaller_network_is_as_small(tmp_path):
    from visus.core.modelfile import Card, write_model
    from visus.core.recipe import InputSettings
    from visus.models.building import architecture_of

    settings = ModelSettings(name="cnn", options={"widths": [8, 16]})
    plain = build(settings, 5, 3, (16, 16))
    small = copy.deepcopy(plain)
    form = Architecture(name="cnn", options=settings.options, outputs=5,
                        factored={"blocks.1.0": Factors(kind="channel", rank=4)})  # fmt: skip
    slimmed(small, form)
    card = Card(visus="0", task="classify", architecture=form, classes=tuple("abcde"),
                input=InputSettings(size=(16, 16)))  # fmt: skip
    write_model(tmp_path / "small.safetensors", small.state_dict(), card)
    start = settings.model_copy(update={"weights": str(tmp_path / "small.safetensors")})
    built = build(start, 5, 3, (16, 16))
    assert architecture_of(start, 5) == form
    assert torch.equal(built.eval()(IMAGES), small.eval()(IMAGES))
    assert torch.equal(built.eval()(IMAGES), _loaded(form, built)(IMAGES))


def _loaded(form, network):
    again = rebuild(form, 3, (16, 16))
    again.load_state_dict(network.state_dict())
    return again.eval()


def test_a_smaller_network_that_depends_on_the_size_of_pictures_cannot_read_others(tmp_path):
    from visus.core.errors import UsageError
    from visus.core.modelfile import Card, write_model
    from visus.core.recipe import InputSettings

    options = {"widths": [8], "flatten": True, "hidden": [6]}
    form = Architecture(name="cnn", options=options, outputs=5, narrowed={"hidden.1.weight": (0, 256)})
    card = Card(visus="0", task="classify", architecture=form, classes=tuple("abcde"),
                input=InputSettings(size=(16, 16)))  # fmt: skip
    plain = build(ModelSettings(name="cnn", options=options), 5, 3, (16, 16))
    write_model(tmp_path / "small.safetensors", plain.state_dict(), card)
    start = ModelSettings(name="cnn", options=options, weights=str(tmp_path / "small.safetensors"))
    with pytest.raises(UsageError, match="MODEL-018"):
        build(start, 5, 3, (32, 32))
