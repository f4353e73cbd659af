import pytest

from visus.compressors.distill import smaller, told
from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.describing import multiply_adds


def names(name, **options):
    return [told(settings) for settings in smaller(ModelSettings(name=name, options=options))]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet50", "resnet34"),
        ("torchvision:resnet34", "torchvision:resnet18"),
        ("efficientnet_b3", "efficientnet_b2"),
        ("vit_small_patch16_224", "vit_tiny_patch16_224"),
        ("mobilenetv3_large_100", "mobilenetv3_small_100"),
        ("fast:resnet50", "fast:resnet34"),
    ],
)
def test_the_largest_smaller_network_of_the_family_comes_first(name, first):
    assert names(name)[0] == first


def test_scales_and_widths_of_our_own_networks_become_smaller():
    assert names("anchor_free", scale="medium")[:2] == ["anchor_free (scale small)", "anchor_free (scale nano)"]
    assert names("cnn", widths=[32, 64])[0] == "cnn (widths [24, 48])"
    assert names("csp")[0] == "csp (width 0.375)"


def test_the_smallest_of_a_family_has_none_below_it():
    assert names("anchor_free", scale="nano") == []
    assert names("resnet10") == []


@pytest.mark.parametrize("name", ["cnn", "resnet_small", "csp", "resnet34", "anchor_free"])
def test_what_is_called_smaller_takes_fewer_multiplications(name):
    whole, small = ModelSettings(name=name), next(smaller(ModelSettings(name=name)))
    work = [multiply_adds(build(each, 5, 3, (64, 64)), 3, (64, 64)) for each in (whole, small)]
    assert work[1] < work[0]
