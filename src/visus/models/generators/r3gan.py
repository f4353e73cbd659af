"""R3GAN: residual blocks of grouped convolutions without any normalisation, made stable by how they begin.

Huang et al., The GAN is dead; long live the GAN! A modern baseline GAN, NeurIPS 2024.  Written from the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from visus.core.filters import BINOMIAL, double, halve
from visus.core.recipe import Choice
from visus.models.generators import Generator
from visus.models.generators._levels import sizes, slender, widths_of
from visus.models.generators._pair import Pair

Count = Annotated[int, Field(gt=0)]
Begun = TypeVar("Begun", nn.Linear, nn.Conv2d)
SLOPE = 0.2
EXPANSION = 2
"""Channels of the grouped convolutions, beside those that blocks are summed in."""


def build(
    classes: int,
    channels: int,
    size: tuple[int, int],
    *,
    latent: Count = 64,
    width: Annotated[int, Field(ge=0)] = 0,
    widest: Count = 768,
    blocks: Count = 2,
    group: Count = 16,
) -> Pair:
    """Return the two networks, each the other's mirror image; no picture depends on another one.

    Args:
        classes: of pictures; 0 where they have none.
        channels: of the pictures.
        size: (height, width) of the pictures: each a multiple of the same power of two, so that the shorter side of
            the first map has 4 to 7 pixels: 16, 32, ... 1024, but also 28 or 64 x 96.
        latent: length of a latent.
        width: channels of the largest map, doubled at each half of its size; 0 for 24,576 over the shorter side.
        widest: channels of any map, at most.
        blocks: residual blocks of each size.
        group: channels that a grouped convolution reads together.

    Raises:
        UsageError: a size that is not such a multiple.

    Source:
        Huang et al., NeurIPS 2024, section 4, configuration E: blocks of a 1 x 1, a grouped 3 x 3 and a 1 x 1
        convolution, twice as wide inside; bilinear resampling; fix-up initialisation (Zhang et al., ICLR 2019); maps
        without normalisation, weighed by learned ones where they are smallest.  Otherwise than in the paper, a picture
        is judged as such too, not only as one of its class; and its schedules are no part of a network: the recipe
        keeps one weight of R1 and R2, one average and one second moment from beginning to end.
    """
    maps = sizes(size)
    widths = widths_of(maps, width, widest, 24576)
    return Pair(
        R3GANGenerator(classes, channels, maps[0], widths, latent, blocks, group),
        R3GANDiscriminator(classes, channels, maps[0], widths, blocks, group),
    )


class R3GANGenerator(nn.Module):
    """A latent weighs learned maps, which residual blocks and doublings make a picture.

    Args:
        classes: 0 for none.
        channels: of the pictures.
        first: (height, width) of the first maps.
        widths: channels of each size, the smallest first.
        latent: length of a latent.
        blocks: of each size.
        group: channels that are convolved together.
    """

    noise_shapes: tuple[tuple[int, int], ...] = ()

    def __init__(
        self, classes: int, channels: int, first: tuple[int, int], widths: Sequence[int], latent: int, blocks: int,
        group: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.latent = latent
        self.classes = nn.Embedding(classes, latent) if classes else None
        length = latent * 2 if classes else latent
        self.weights = _begun(nn.Linear(length, widths[0], bias=False), length)
        self.basis = nn.Parameter(torch.randn(widths[0], *first))
        total = blocks * len(widths)
        self.levels = nn.ModuleList(_residual(each, blocks, group, total) for each in widths)
        self.wider = nn.ModuleList(_resized(i, o) for i, o in pairwise(widths))
        self.picture = _begun(nn.Conv2d(widths[-1], channels, 1), widths[-1])

    def forward(
        self,
        latents: Float[Tensor, "B Z"],
        labels: Int[Tensor, "B"],
        *,
        truncation: float = 1.0,
        noise: Sequence[Tensor] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Return pictures, real ones of which lie in [-1, 1]; a ``truncation`` below 1 draws latents to the middle."""
        return self.draw(self.styles(latents, labels, truncation), noise)

    def styles(
        self, latents: Float[Tensor, "B Z"], labels: Int[Tensor, "B"], truncation: float = 1.0
    ) -> Float[Tensor, "B 1 S"]:
        """Return the latents, shortened, with the vectors of their classes beside them."""
        vectors = latents * truncation
        if self.classes is not None:
            vectors = torch.cat([vectors, self.classes(labels)], 1)
        return vectors[:, None]

    def draw(self, styles: Float[Tensor, "B 1 S"], noise: Sequence[Tensor] | None = None) -> Float[Tensor, "B C H W"]:
        """Return the pictures of styles; there is no noise to give."""
        maps = self.levels[0](self.basis * self.weights(styles[:, 0])[:, :, None, None])
        for wider, level in zip(self.wider, self.levels[1:], strict=True):
            maps = level(double(wider(maps), BINOMIAL))
        picture: Tensor = self.picture(maps)
        return picture


class R3GANDiscriminator(nn.Module):
    """Residual blocks and halvings down to the smallest maps, each weighed by a learned one.

    Args:
        classes: 0 for none.
        channels: of the pictures.
        last: (height, width) of the smallest maps.
        widths: channels of each size, the smallest first.
        blocks: of each size.
        group: channels that are convolved together.
    """

    group = 1

    def __init__(
        self, classes: int, channels: int, last: tuple[int, int], widths: Sequence[int], blocks: int, group: int
    ) -> None:
        super().__init__()
        falling, total = list(widths[::-1]), blocks * len(widths)
        self.read = _begun(nn.Conv2d(channels, falling[0], 1), channels)
        self.levels = nn.ModuleList(_residual(each, blocks, group, total) for each in falling)
        self.wider = nn.ModuleList(_resized(i, o) for i, o in pairwise(falling))
        self.basis = nn.Parameter(torch.randn(widths[0], *last) / math.sqrt(last[0] * last[1]))
        self.verdict = _begun(nn.Linear(widths[0], 1, bias=False), widths[0])
        self.classes = nn.Embedding(classes, widths[0]) if classes else None

    def forward(self, images: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
        """Return logits: above zero where a picture is taken for a real one of its class."""
        maps = self.levels[0](self.read(images))
        for wider, level in zip(self.wider, self.levels[1:], strict=True):
            maps = level(wider(halve(maps, BINOMIAL)))
        features: Tensor = (maps * self.basis).sum((2, 3))
        logits: Tensor = self.verdict(features)[:, 0]
        if self.classes is None:
            return logits
        opinions: Tensor = self.classes(labels)
        return logits + (features * opinions).sum(1) / math.sqrt(features.shape[1])


class Residual(nn.Module):
    """What is added to maps: a 1 x 1, a grouped 3 x 3 and a 1 x 1 convolution, which adds nothing at first.

    Args:
        width: channels of the maps.
        group: of the wider ones inside that are convolved together, or as many as divide them.
        total: residual blocks of the whole network, by which the first weights shrink.

    Source:
        Zhang et al., Fixup initialization, ICLR 2019, section 3: m layers of L blocks begin with L^(-1 / (2m - 2)) of
        their usual weights, the last one with none; here m is 3.
    """

    def __init__(self, width: int, group: int, total: int) -> None:
        super().__init__()
        inside = EXPANSION * width
        together = math.gcd(inside, group)
        gain = total**-0.25 * math.sqrt(2 / (1 + SLOPE**2))
        self.enter = _begun(nn.Conv2d(width, inside, 1), width, gain)
        self.grouped = _begun(nn.Conv2d(inside, inside, 3, padding=1, groups=inside // together), 9 * together, gain)
        self.leave = _begun(nn.Conv2d(inside, width, 1, bias=False), inside, 0.0)

    def forward(self, maps: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        """Return the sum."""
        inside = F.leaky_relu(self.grouped(F.leaky_relu(self.enter(maps), SLOPE)), SLOPE)
        added: Tensor = self.leave(inside)
        return maps + added


def _residual(width: int, blocks: int, group: int, total: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width, group, total) for _ in range(blocks)))


def _resized(inputs: int, outputs: int) -> nn.Module:
    """Return what brings maps to other channels, where they differ."""
    return nn.Identity() if inputs == outputs else _begun(nn.Conv2d(inputs, outputs, 1, bias=False), inputs)


def _begun(layer: Begun, fan: int, gain: float = 1.0) -> Begun:
    """Return a layer with weights of the deviation gain / sqrt(fan), and no bias yet."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(fan))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _choices(device: str, side: int) -> Iterator[Choice]:
    yield Choice("loss.name", "relativistic", "the network was made for it")
    yield Choice("generate.r1", 0.1, "the loss settles with both")
    yield Choice("generate.r2", 0.1, "the loss settles with both")
    if device == "cpu":
        yield Choice("generate.every", 4, "a processor: a look costs more than a step")
        yield Choice("model.options", slender(side), "a processor: a twenty-fourth of the paper's channels")


GENERATOR = Generator(
    build,
    "residual blocks of grouped convolutions, no normalisation; the relativistic loss with R1 and R2 keeps it stable",
    _choices,
)
