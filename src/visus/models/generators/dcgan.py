"""DCGAN: transposed convolutions that double a small map up to the picture, and strided ones that judge it.

Radford et al., Unsupervised representation learning with deep convolutional generative adversarial networks, ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.core.recipe import Choice
from visus.models.generators import Generator
from visus.models.generators._pair import Pair
from visus.models.generators._unit import unit

Count = Annotated[int, Field(gt=0)]
Norm: TypeAlias = Literal["batch", "pixel", "none"]
SMALLEST = 3
"""Pixels of the shorter side of the first map, at least."""


def build(
    classes: int,
    channels: int,
    size: tuple[int, int],
    *,
    latent: Count = 100,
    width: Count = 64,
    widest: Count = 512,
    generator_normalisation: Norm = "batch",
    discriminator_normalisation: Norm = "batch",
) -> Pair:
    """Return the two networks, whose maps double, or halve, while they stay 3 pixels or more on a side.

    With ``batch`` normalisation, the paper's, the pictures of a batch see each other: its gradient depends on how it
    is split in micro-batches.  ``pixel`` divides each place by its length instead, and couples nothing.

    Args:
        classes: of pictures; 0 where they have none.
        channels: of the pictures.
        size: (height, width) of the pictures: each a multiple of the same power of two, best 4 or more.
        latent: length of a latent.
        width: channels of the largest map; each half of it has twice as many.
        widest: channels of any map, at most.
        generator_normalisation: after each of its layers but the last: ``batch``, ``pixel`` or ``none``.
        discriminator_normalisation: after each of its layers but the first and last.

    Raises:
        UsageError: sides that cannot be halved even once.

    Source:
        Radford et al., ICLR 2016, section 3, with their slope and, under batch normalisation, their weights; classes
        enter the generator as a learned vector beside the latent (Mirza and Osindero 2014), and are judged by a
        projection (Miyato and Koyama, cGANs with projection discriminator, ICLR 2018, eq. 4).
    """
    halvings = _halvings(size)
    widths = [min(widest, width * 2**i) for i in range(halvings)]  # of the largest map first
    first = (size[0] >> halvings, size[1] >> halvings)
    generator = DCGANGenerator(classes, channels, first, latent, widths[::-1], generator_normalisation)
    discriminator = DCGANDiscriminator(classes, channels, first, widths, discriminator_normalisation)
    for module in generator.modules():
        _initialise(module, small=generator_normalisation == "batch")
    for module in discriminator.modules():
        _initialise(module, small=discriminator_normalisation == "batch")
    nn.init.normal_(generator.picture.weight, 0.0, 0.02)  # or the first pictures are black and white
    if generator.classes is not None:
        nn.init.normal_(generator.classes.weight)  # of vectors as short as weights, a step would turn what is unit long
    return Pair(generator, discriminator)


class DCGANGenerator(nn.Module):
    """A latent becomes a small map, which transposed convolutions double until it is a picture.

    Args:
        classes: 0 for none.
        channels: of the pictures.
        first: (height, width) of the first map.
        latent: length of a latent.
        widths: channels of each map but the picture, the first one first.
        normalisation: after each layer but the last.
    """

    noise_shapes: tuple[tuple[int, int], ...] = ()

    def __init__(
        self, classes: int, channels: int, first: tuple[int, int], latent: int, widths: list[int], normalisation: Norm
    ) -> None:
        super().__init__()
        self.latent, self.first = latent, first
        self.classes = nn.Embedding(classes, latent) if classes else None
        self.dense = nn.Linear(latent * (2 if classes else 1), widths[0] * first[0] * first[1], bias=False)
        self.beginning = nn.Sequential(_normalisation(normalisation, widths[0]), nn.ReLU())
        layers: list[nn.Module] = []
        for inside, outside in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(inside, outside, 4, 2, 1, bias=False), _normalisation(normalisation, outside),
                nn.ReLU(),
            ]  # fmt: skip
        self.layers = nn.Sequential(*layers)
        self.picture = nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1)

    def forward(
        self,
        latents: Float[Tensor, "B Z"],
        labels: Int[Tensor, "B"],
        *,
        truncation: float = 1.0,
        noise: list[Tensor] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Return pictures in [-1, 1]; a ``truncation`` below 1 draws latents towards the middle."""
        return self.draw(self.styles(latents, labels, truncation), noise)

    def styles(
        self, latents: Float[Tensor, "B Z"], labels: Int[Tensor, "B"], truncation: float = 1.0
    ) -> Float[Tensor, "B 1 S"]:
        """Return the latents, shortened, with the vectors of their classes beside them, as long as latents.

        Vectors that may grow do so until a latent is nothing beside them, and every class has one picture alone.
        """
        if truncation != 1:
            latents = truncation * latents
        if self.classes is not None:
            latents = torch.cat([latents, unit(self.classes(labels))], 1)
        return latents[:, None]

    def draw(self, styles: Float[Tensor, "B 1 S"], noise: list[Tensor] | None = None) -> Float[Tensor, "B C H W"]:
        """Return the pictures of styles, in [-1, 1]."""
        maps = self.dense(styles[:, 0]).unflatten(1, (-1, *self.first))
        return torch.tanh(self.picture(self.layers(self.beginning(maps))))


class DCGANDiscriminator(nn.Module):
    """Strided convolutions down to a small map, of which each class has an opinion of its own.

    Args:
        classes: 0 for none.
        channels: of the pictures.
        last: (height, width) of the last map.
        widths: channels of each map, the largest first.
        normalisation: after each layer but the first.
    """

    group = 1

    def __init__(
        self, classes: int, channels: int, last: tuple[int, int], widths: list[int], normalisation: Norm
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for inside, outside in pairwise(widths):
            bare = normalisation == "none"
            layers += [
                nn.Conv2d(inside, outside, 4, 2, 1, bias=bare), _normalisation(normalisation, outside),
                nn.LeakyReLU(0.2),
            ]  # fmt: skip
        self.layers = nn.Sequential(*layers)
        features = widths[-1] * last[0] * last[1]
        self.verdict = nn.Linear(features, 1)
        self.classes = nn.Embedding(classes, features) if classes else None

    def forward(self, images: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
        """Return logits: above zero where a picture is taken for a real one of its class."""
        features = self.layers(images).flatten(1)
        logits: Tensor = self.verdict(features)[:, 0]
        return logits if self.classes is None else logits + (features * self.classes(labels)).sum(1)


class PixelNormalisation(nn.Module):
    """Divides the channels of each place by their root mean square (Karras et al., ICLR 2018, section 4.2)."""

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the maps, of length one at each place."""
        return maps * torch.rsqrt(maps.square().mean(1, keepdim=True) + 1e-8)


def _initialise(module: nn.Module, *, small: bool) -> None:
    """Draw fresh weights: small ones, as in the paper, or such that maps keep their variance where nothing norms them.

    Source:
        Radford et al., section 3; He et al., Delving deep into rectifiers, ICCV 2015, eq. 10.
    """
    if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        seen = module.weight[0].numel()
        if isinstance(module, nn.ConvTranspose2d):  # of its weights, those that a pixel of the larger map sees
            seen = module.in_channels * module.kernel_size[0] * module.kernel_size[1] // 4
        nn.init.normal_(module.weight, 0.0, 0.02 if small else (2 / seen) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _normalisation(kind: Norm, width: int) -> nn.Module:
    return {"batch": nn.BatchNorm2d(width), "pixel": PixelNormalisation(), "none": nn.Identity()}[kind]


def _halvings(size: tuple[int, int]) -> int:
    """Return how often both sides are halved.

    Raises:
        UsageError: not even once.
    """
    found = 0
    while all(side % 2 ** (found + 1) == 0 and side >> (found + 1) >= SMALLEST for side in size):
        found += 1
    if not found:
        raise UsageError(
            "MODEL-040", f"dcgan makes no pictures of {size[1]} x {size[0]} pixels",
            where="its maps double: both sides are multiples of a power of two, of 6 pixels or more",
            fix="--set size=32, or 64",
        )  # fmt: skip
    return found


def _choices(device: str, side: int) -> Iterator[Choice]:
    free = {"generator_normalisation": "pixel", "discriminator_normalisation": "none"}
    yield Choice("model.options", free, "no picture sees another one")
    yield Choice(
        "loss.name", "relativistic", "found on Fashion-MNIST at 32 x 32: by others each class soon had one picture"
    )
    yield Choice("optim.lr", 5e-4, "found there too")
    yield Choice("generate.r1", 1.0, "found there too")
    yield Choice("generate.r2", 1.0, "found there too")
    yield Choice("generate.every", 4, "a look costs more than a step")


GENERATOR = Generator(
    build,
    "DCGAN: transposed convolutions up, strided ones down; R1 and R2 instead of batch normalisation",
    _choices,
)
