"""Networks that paint in one pass: what each file of the folder keeps, and what its layers are by definition."""

import pytest
import torch
import torch.nn.functional as F

from visus.core.errors import UsageError
from visus.core.recipe import ModelSettings
from visus.models.building import build
from visus.models.stylizers import STYLIZERS
from visus.models.stylizers._layers import STRIDE, Block, filled, repeatably_finer, repeatably_reflected
from visus.models.stylizers._moments import InstanceNorm
from visus.models.stylizers.adain import AdaIN, Adaptive

SMALL = {"width": 4, "blocks": 1}


def made(name, size=(32, 48)):
    return build(ModelSettings(name=name, options=SMALL), 0, 3, size).double().eval()


def painted(network, images):
    """Return what a network of either kind paints."""
    return network(images, images.flip(0)) if isinstance(network, AdaIN) else network(images)


def pictures(*shape, seed=0):
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


@pytest.mark.parametrize("name", STYLIZERS)
@pytest.mark.parametrize("size", [(32, 32), (33, 46), (16, 71)])
def test_a_picture_of_any_size_is_painted_at_its_size_within_range(name, size):
    found = painted(made(name), pictures(2, 3, *size))
    assert found.shape == (2, 3, *size) and found.abs().max() <= 1


@pytest.mark.parametrize("name", STYLIZERS)
def test_pictures_do_not_see_each_other(name):
    network, images = made(name), pictures(3, 3, 32, 32)
    given = [pictures(3, 3, 24, 24, seed=1)] if STYLIZERS[name].any_style else []
    alone = [network(images[i : i + 1], *(each[i : i + 1] for each in given)) for i in range(3)]
    torch.testing.assert_close(network(images, *given), torch.cat(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", STYLIZERS)
def test_it_says_how_far_it_sees(name):
    """With means and deviations held, a pixel farther away than ``reach`` changes nothing."""
    network, side = made(name), 160
    images = pictures(1, 3, side, side)
    layers = [layer for layer in network.modules() if hasattr(layer, "held")]
    for layer in layers:
        layer.register_forward_hook(lambda layer, given, said: setattr(layer, "held", said))
    given = network.described(images) if STYLIZERS[name].any_style else None

    def paint(images):
        return network(images) if given is None else network.painted(images, given)

    paint(images)
    other = images.clone()
    other[..., 80, 80] += 0.5
    changed = (paint(images) - paint(other)).abs().sum((0, 1)).nonzero()
    assert len(changed) and (changed - 80).abs().max() <= network.reach < 80


@pytest.mark.parametrize("name", STYLIZERS)
def test_its_weights_depend_on_the_seed_alone(name):
    settings = ModelSettings(name=name, options=SMALL)
    one, two, other = (build(settings, 0, 3, (32, 32), seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", STYLIZERS)
def test_pictures_that_have_no_colours_are_refused(name):
    with pytest.raises(UsageError) as refused:
        build(ModelSettings(name=name), 0, 1, (32, 32))
    assert refused.value.code == "MODEL-028"


def test_instance_normalisation_is_torchs():
    layer, maps = InstanceNorm(4).double(), pictures(2, 4, 5, 7)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1.0, 5).view(4, 1, 1))
        layer.bias.copy_(torch.arange(4.0).view(4, 1, 1))
    # torch divides by the root of variance and epsilon, too
    wanted = F.instance_norm(maps, weight=layer.weight.flatten(), bias=layer.bias.flatten())
    torch.testing.assert_close(layer(maps), wanted)


def test_a_finer_map_repeats_each_place_before_it_is_filtered():
    block, maps = Block(2, 3, finer=True, normalisation=lambda n: torch.nn.Identity()).double(), pictures(1, 2, 4, 5)
    repeated = F.pad(maps.repeat_interleave(2, 2).repeat_interleave(2, 3), (1, 1, 1, 1), mode="reflect")
    wanted = F.conv2d(repeated, block.convolution.weight, block.convolution.bias).relu()
    torch.testing.assert_close(block(maps), wanted)


def test_what_repeats_bit_for_bit_on_a_gpu_is_what_torch_does_and_so_is_its_gradient():
    maps = pictures(2, 3, 6, 8)
    for ours, theirs in (
        (lambda x: repeatably_reflected(x, 4), lambda x: F.pad(x, (4, 4, 4, 4), mode="reflect")),
        (repeatably_finer, lambda x: F.interpolate(x, scale_factor=2, mode="nearest")),
    ):
        one, two = maps.clone().requires_grad_(), maps.clone().requires_grad_()
        assert torch.equal(ours(one), theirs(two))
        weights = torch.rand_like(ours(one))
        (ours(one) * weights).sum().backward()
        (theirs(two) * weights).sum().backward()
        torch.testing.assert_close(one.grad, two.grad)


def test_sides_are_filled_by_reflection_and_whole_ones_are_left():
    images = pictures(1, 3, 18, 20)
    found = filled(images)
    assert found.shape[2:] == (20, 20) and STRIDE == 4
    assert torch.equal(found[..., :18, :], images)
    assert torch.equal(found[..., 18, :], images[..., 16, :]) and torch.equal(found[..., 19, :], images[..., 15, :])
    assert filled(found) is found


def test_adapted_maps_have_the_deviation_and_mean_that_are_asked_for():
    layer, maps = Adaptive(3, 4).double(), pictures(2, 3, 6, 5)
    asked = pictures(2, 2, 4, seed=1)
    found = layer(maps, asked[:, 0, :, None, None], asked[:, 1, :, None, None])
    torch.testing.assert_close(found.mean((2, 3)), asked[:, 1])
    was = layer.convolution(maps)
    shrunken = was.std((2, 3), correction=0) / (was.var((2, 3), correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(found.std((2, 3), correction=0), (1 + asked[:, 0]).abs() * shrunken)


def test_adain_that_is_asked_for_nothing_is_instance_normalisation():
    layer, maps = Adaptive(3, 4).double(), pictures(2, 3, 6, 5)
    nothing = torch.zeros(2, 4, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(layer(maps, nothing, nothing), F.instance_norm(layer.convolution(maps)))


def test_every_layer_of_adain_is_asked_by_the_painting_and_by_no_place_of_it():
    network, photo, painting = made("adain"), pictures(1, 3, 32, 32), pictures(1, 3, 32, 32, seed=1)
    asked = network.described(painting).detach().requires_grad_()
    assert asked.shape == (1, 2 * sum(layer.width for layer in network.modules() if isinstance(layer, Adaptive)))
    network.painted(photo, asked).square().sum().backward()
    assert (asked.grad.abs() > 1e-12).float().mean() > 0.8  # a rectifier lets some channels through nowhere
    assert not torch.allclose(network(photo, painting), network(photo, -painting))


def test_a_painting_of_one_colour_asks_for_something_finite():
    found = made("adain").described(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
    assert torch.isfinite(found).all()
