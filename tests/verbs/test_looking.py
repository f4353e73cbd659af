"""A look tile by tile: the numbers and slopes of a look at the whole, and what cannot be looked at so."""

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from visus.core.errors import UsageError
from visus.models.perceptual import Features, Named, _Lower, features
from visus.verbs.looking import Look
from visus.verbs.painting import paint


def made(body):
    return Features(body, Named("made", "Apache-2.0", "0" * 64), (0.5,) * 3, (0.5,) * 3)


def vgg():
    """Return VGG-11's first layers with random weights, narrow."""
    torch.manual_seed(0)
    network = nn.Module()
    network.features = make_layers([width if width == "M" else width // 16 for width in cfgs["A"][:9]])
    return made(_Lower(network))


KINDS = {"auto": features, "random": lambda: features("random"), "vgg": vgg}


def pictures(kind, dtype):
    """Return content, other things, a painting and a mask; no part of them is like the whole, no side halves."""
    generator = torch.Generator().manual_seed(0)
    height, width = (75, 419) if kind == "auto" else (107, 237)
    content = 0.3 * torch.rand(1, 3, height, width, generator=generator, dtype=dtype)
    content += torch.linspace(0, 0.7, width, dtype=dtype)
    mask = torch.linspace(-1, 2, width, dtype=dtype).clamp(0, 1).expand(1, 1, height, width)
    return content, content.flip(3).contiguous(), torch.rand(1, 3, 70, 90, generator=generator, dtype=dtype), mask


@pytest.mark.parametrize(
    ("kind", "dtype", "tile", "near"),
    [("auto", torch.float64, 150, 1e-9), ("auto", torch.float32, 64, 1e-4), ("random", torch.float64, 64, 1e-9),
     ("vgg", torch.float64, 48, 1e-9), ("vgg", torch.float32, 48, 1e-4)],
)  # fmt: skip
@pytest.mark.parametrize("masked", [False, True])
def test_distance_slope_and_things_are_those_of_the_whole(kind, dtype, tile, near, masked):
    seen, (content, other, painting, mask) = KINDS[kind](), pictures(kind, dtype)
    seen.to(content)
    wanted = Look(seen, painting).grams(painting)
    found = []
    for side in (0, tile):
        look = Look(seen, content, side, mask if masked else None)
        picture, things = content.clone().requires_grad_(), look.things(other)
        said = look.distance(picture, wanted, 0.5, things, 0.05)
        said.backward()
        found.append((said.detach(), picture.grad, things))
    for whole, tiled in zip(*found, strict=True):
        assert (tiled - whole).abs().max() <= near * whole.abs().max()


@pytest.mark.parametrize("how", [{}, {"mask": True}, {"start": "noise", "strength": 0.5}])
def test_a_picture_painted_in_tiles_is_that_painted_at_once(how):
    content, _, painting, mask = pictures("vgg", torch.float32)
    how = {**how, "mask": mask if how.get("mask") else None}
    whole, tiled = (paint(content, painting, vgg(), steps=3, tile=tile, **how) for tile in (0, 48))
    assert (whole.picture - content).abs().mean() > 0.02
    assert (tiled.picture - whole.picture).abs().max() < 1 / 255
    assert (tiled.before, tiled.after, tiled.similarity) == pytest.approx(
        (whole.before, whole.after, whole.similarity), rel=1e-3
    )


class Gated(nn.Module):
    """A convolution whose channels are weighed by their means over all places, as squeeze-and-excitation does."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, images):
        maps = self.convolution(images)
        return [maps * maps.mean((2, 3), keepdim=True).sigmoid()]


class Mirrored(nn.Module):
    """A convolution of which each place looks at the opposite one, too."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, images):
        maps = self.convolution(images)
        return [maps + maps.flip(3)]


@pytest.mark.parametrize("body", [Gated, Mirrored])
def test_features_that_look_at_the_whole_are_refused_in_tiles_and_taken_at_once(body):
    seen, content = made(body()), torch.rand(1, 3, 64, 128)
    assert Look(seen, content).grams(content)[0].shape == (1, 8, 8)
    with pytest.raises(UsageError) as refused:
        Look(seen, content, 64)
    assert refused.value.code == "STYLE-011"


def test_the_reach_is_that_of_the_layers():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1))

    class Body(nn.Module):
        def forward(self, images):
            return [layers(images)]

    assert made(Body()).reach == 4  # 2 + 1 x 2 pixels
