"""Features by which style is told: the same maps whoever asks, from any network at hand, and nothing of it learns."""

import pytest
import torch
from torchvision.models import get_model
from torchvision.models.vgg import cfgs, make_layers

from visus.core.errors import UsageError
from visus.models.perceptual import PREFERRED, RANDOM, _first_of_each_scale, features


@pytest.fixture(params=["auto", RANDOM])
def seen(request):
    return features(request.param)


def pictures():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_maps_come_the_finest_first_and_as_wide_as_said(seen):
    maps = seen.maps(pictures())
    sides = [each.shape[3] for each in maps]
    assert sides == sorted(sides, reverse=True)
    assert tuple(each.shape[1] for each in maps) == seen.widths
    assert maps[seen.content].shape[2:] == (8, 12)


def test_the_pretrained_default_is_taken_where_its_weights_are_here():
    assert features().named.name.startswith(PREFERRED)
    assert features().named.licence == "apache-2.0"


def test_nothing_of_the_features_learns(seen):
    assert not any(parameter.requires_grad for parameter in seen.body.parameters())


def test_a_picture_feels_the_features(seen):
    images = pictures().requires_grad_()
    sum(each.square().sum() for each in seen.maps(images)).backward()
    assert images.grad.any()


def test_random_features_depend_on_the_seed_alone():
    first, again, other = (features(RANDOM, seed=seed) for seed in (1, 1, 2))
    assert first.named == again.named
    assert first.named.sha256 != other.named.sha256


def test_making_features_leaves_the_global_generator_as_it_was():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    features(RANDOM)
    assert torch.equal(torch.get_rng_state(), state)


def test_vgg_is_seen_where_it_is_first_rectified_at_each_scale():
    with torch.device("meta"):
        chain = make_layers(cfgs["E"])
    assert _first_of_each_scale(chain) == [1, 6, 11, 20, 29]  # relu1_1 to relu5_1 of VGG-19


def test_a_chain_whose_maps_are_rectified_in_place_gives_them_as_they_were(tmp_path):
    network = get_model("squeezenet1_1", weights=None)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    seen = features("torchvision:squeezenet1_1", str(tmp_path / "mine.pth"))
    x, images = (pictures() - seen._mean) / seen._std, pictures()
    by_hand = [network.eval().features[: n + 1](x) for n in (1, 4, 7, 12)]
    assert seen.widths == tuple(each.shape[1] for each in by_hand)
    for found, wanted in zip(seen.maps(images), by_hand, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_network_whose_weights_are_not_here_is_refused_with_their_address():
    with pytest.raises(UsageError) as refused:
        features("vgg19")
    assert refused.value.code == "MODEL-013"


def test_a_network_without_such_maps_is_refused(tmp_path):
    from timm import create_model

    torch.save(create_model("vit_tiny_patch16_224", num_classes=1000).state_dict(), tmp_path / "vit.pth")
    with pytest.raises(UsageError) as refused:
        features("vit_tiny_patch16_224", str(tmp_path / "vit.pth"))
    assert refused.value.code == "STYLE-010"
