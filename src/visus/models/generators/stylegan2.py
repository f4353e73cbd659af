"""StyleGAN2: a latent becomes a style, which scales the weights of every layer; pictures grow by sums of their sizes.

Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020.  Written from the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from visus.core.filters import BINOMIAL, double, halve, smooth
from visus.core.recipe import Choice
from visus.models.generators import Generator
from visus.models.generators._equalised import GAIN, Convolution, Linear, rectified
from visus.models.generators._levels import sizes, slender, widths_of
from visus.models.generators._modulated import StyledConvolution, StyledPicture
from visus.models.generators._pair import Pair
from visus.models.generators._published import implied, renamed
from visus.models.generators._unit import unit

Count = Annotated[int, Field(gt=0)]
Growth: TypeAlias = Literal["skip", "residual"]
F_CHANNELS = 32768
"""Channels times pixels of a side in configuration F: 32 at 1,024 pixels, twice as many as before (appendix B)."""
SMALL = 64
"""Pixels of a side up to which style mixing and path lengths are left out (Karras et al. 2020b, on CIFAR-10)."""
GROUP = 4
"""Rows of a minibatch statistic (Karras et al. 2020, appendix B)."""


def build(
    classes: int,
    channels: int,
    size: tuple[int, int],
    *,
    latent: Count = 512,
    style: Count = 512,
    depth: Count = 8,
    width: Annotated[int, Field(ge=0)] = 0,
    widest: Count = 512,
    generator_growth: Growth = "skip",
    discriminator_growth: Growth = "residual",
) -> Pair:
    """Return the two networks, whose maps double, or halve, while they stay 4 pixels or more on a side.

    No picture depends on another one's latent; the discriminator sees groups of four consecutive rows at once, so that
    a batch may be split in whole groups.

    Args:
        classes: of pictures; 0 where they have none.
        channels: of the pictures.
        size: (height, width) of the pictures: each a multiple of the same power of two, so that the shorter side of
            the first map has 4 to 7 pixels: 16, 32, ... 1024, but also 28 or 64 x 96.
        latent: length of a latent.
        style: length of a style.
        depth: layers of the mapping from latents to styles.
        width: channels of the largest map, doubled at each half of its size; 0 for the paper's configuration F, which
            has 32,768 over the shorter side.
        widest: channels of any map, at most.
        generator_growth: ``skip`` sums pictures of every size, doubled; ``residual`` makes the picture of the last
            maps, to which earlier ones are added.
        discriminator_growth: ``skip`` reads the picture at every size; ``residual`` only at the first.

    Raises:
        UsageError: a size that is not such a multiple.

    Source:
        Karras et al., CVPR 2020, figures 2c and 7; classes enter beside the latent as a learned vector of the same
        length, and are judged by a projection (Miyato and Koyama, ICLR 2018, eq. 4).
    """
    maps = sizes(size)
    widths = widths_of(maps, width, widest, F_CHANNELS)
    return Pair(
        StyleGAN2Generator(classes, channels, maps, widths, latent, style, depth, generator_growth),
        StyleGAN2Discriminator(classes, channels, maps, widths, discriminator_growth),
    )


class StyleGAN2Generator(nn.Module):
    """Mapping and synthesis network.

    Args:
        classes: 0 for none.
        channels: of the pictures.
        maps: (height, width) of each level, the smallest first.
        widths: channels of each level.
        latent, style: lengths.
        depth: layers of the mapping.
        growth: see ``build``.

    Attributes:
        mean_style: running mean of the styles it gave while it was trained, towards which truncation draws; (S), or
            (K, S) of each class: the mean of all classes would be a style of none.
    """

    mean_style: Tensor

    def __init__(
        self,
        classes: int,
        channels: int,
        maps: Sequence[tuple[int, int]],
        widths: Sequence[int],
        latent: int,
        style: int,
        depth: int,
        growth: Growth = "skip",
    ) -> None:
        super().__init__()
        self.latent, self.growth = latent, growth
        self.mapping = Mapping(classes, latent, style, depth)
        self.register_buffer("mean_style", torch.zeros(classes, style) if classes else torch.zeros(style))
        self.constant = nn.Parameter(torch.randn(widths[0], *maps[0]))
        self.levels = nn.ModuleList(
            Level(below, above, channels, style, size, growth, first=i == 0, last=i == len(maps) - 1)
            for i, (below, above, size) in enumerate(zip([widths[0], *widths], widths, maps, strict=False))
        )
        self.noise_shapes = tuple(size for i, size in enumerate(maps) for _ in range(1 if i == 0 else 2))

    def forward(
        self,
        latents: Float[Tensor, "B Z"],
        labels: Int[Tensor, "B"],
        *,
        truncation: float = 1.0,
        noise: Sequence[Tensor] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Return pictures, real ones of which lie in [-1, 1]; a ``truncation`` below 1 draws styles to their mean."""
        return self.draw(self.styles(latents, labels, truncation), noise)

    def styles(
        self, latents: Float[Tensor, "B Z"], labels: Int[Tensor, "B"], truncation: float = 1.0
    ) -> Float[Tensor, "B L S"]:
        """Return the style of each layer, the same in all of them; the finest layers are the last.

        In training the running mean of a class moves by a thousandth of the way for each style of it; where a batch is
        split it moves as far, and the styles of the last part weigh a little more.

        Source:
            Karras et al., A style-based generator architecture, CVPR 2019, appendix B (truncation).
        """
        styles: Tensor = self.mapping(latents, labels)
        means = self.mean_style.view(-1, styles.shape[1])
        kinds = labels if self.mean_style.dim() > 1 else torch.zeros_like(labels)
        if self.training:
            with torch.no_grad(), torch.autocast(styles.device.type, enabled=False):  # sums of many need the digits
                own = F.one_hot(kinds, len(means)).to(means.dtype)
                count = own.sum(0)[:, None]
                means.lerp_(own.T @ styles.to(means.dtype) / count.clamp(min=1), 1 - 0.999**count)
        if truncation != 1:
            styles = means[kinds].to(styles.dtype).lerp(styles, truncation)
        return styles[:, None].expand(-1, 2 * len(self.levels), -1)

    def draw(self, styles: Float[Tensor, "B L S"], noise: Sequence[Tensor] | None = None) -> Float[Tensor, "B C H W"]:
        """Return the pictures of styles, with a (B, 1, h, w) noise for each of ``noise_shapes``, or the fixed ones."""
        fields = iter([None] * len(self.noise_shapes) if noise is None else noise)
        maps = self.constant.repeat(len(styles), 1, 1, 1)
        picture: Tensor | None = None
        for i, level in enumerate(self.levels):
            here = styles[:, max(0, 2 * i - 1) : 2 * i + 2].unbind(1)
            maps, more = level(maps, here, [next(fields) for _ in here[1:]])
            if more is not None:
                picture = more if picture is None else double(picture, BINOMIAL) + more
        assert picture is not None  # the last level always makes one
        return picture


class Mapping(nn.Module):
    """From latents and classes to styles, by layers that learn a hundred times slower than all others.

    Args:
        classes: 0 for none.
        latent, style: lengths.
        depth: layers.

    Source:
        Karras et al., CVPR 2019, section 2 and appendix C.
    """

    def __init__(self, classes: int, latent: int, style: int, depth: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, latent) if classes else None
        lengths = [latent * 2 if classes else latent, *[style] * depth]
        self.layers = nn.ModuleList(Linear(i, o, gain=GAIN, rate=0.01) for i, o in pairwise(lengths))

    def forward(self, latents: Float[Tensor, "B Z"], labels: Int[Tensor, "B"]) -> Float[Tensor, "B S"]:
        """Return styles; only the direction of a latent counts."""
        vectors = unit(latents)
        if self.classes is not None:
            vectors = torch.cat([vectors, unit(self.classes(labels))], 1)
        for layer in self.layers:
            vectors = rectified(layer(vectors))
        return vectors


class Level(nn.Module):
    """The layers of one size in the synthesis network: two convolutions, one in the first, and the picture.

    Args:
        inputs, outputs: channels.
        channels: of the picture.
        style: length.
        size: (height, width) of its maps.
        growth: see ``build``.
        first: its input has this size already.
        last: it makes the picture, however pictures grow.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: int,
        style: int,
        size: tuple[int, int],
        growth: Growth,
        *,
        first: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.enter = None if first else StyledConvolution(inputs, outputs, style, size, double=True)
        self.stay = StyledConvolution(outputs, outputs, style, size, double=False)
        past = growth == "residual" and not first
        self.past = Convolution(inputs, outputs, 1, bias=False) if past else None
        self.picture = StyledPicture(outputs, channels, style) if growth == "skip" or last else None

    def forward(
        self,
        maps: Float[Tensor, "B I _ _"],
        styles: Sequence[Float[Tensor, "B S"]],
        noise: Sequence[Tensor | None],
    ) -> tuple[Float[Tensor, "B O H W"], Float[Tensor, "B C H W"] | None]:
        """Return maps, and what they add to the picture, by a style for each convolution and one for the picture."""
        past = None if self.past is None else double(self.past(maps), BINOMIAL)
        if self.enter is not None:
            maps = self.enter(maps, styles[0], noise[0])
        maps = self.stay(maps, styles[-2], noise[-1])
        if past is not None:
            maps = (maps + past) * math.sqrt(0.5)
        return maps, None if self.picture is None else self.picture(maps, styles[-1])


class StyleGAN2Discriminator(nn.Module):
    """Halves the maps of a picture down to the smallest level, and judges them beside how much a group's pictures vary.

    Args:
        classes: 0 for none.
        channels: of the pictures.
        maps: (height, width) of each level, the smallest first.
        widths: channels of each level.
        growth: see ``build``.
    """

    group = GROUP

    def __init__(
        self,
        classes: int,
        channels: int,
        maps: Sequence[tuple[int, int]],
        widths: Sequence[int],
        growth: Growth = "residual",
    ) -> None:
        super().__init__()
        self.growth = growth
        falling = widths[::-1]
        read = falling if growth == "skip" else falling[:1]
        self.read = nn.ModuleList(Convolution(channels, each, 1, gain=GAIN) for each in read)
        self.levels = nn.ModuleList(Halving(i, o, residual=growth == "residual") for i, o in pairwise(falling))
        self.last = Convolution(widths[0] + 1, widths[0], 3, gain=GAIN)
        self.features = Linear(widths[0] * maps[0][0] * maps[0][1], widths[0], gain=GAIN)
        self.verdict = Linear(widths[0], 1)
        self.classes = nn.Embedding(classes, widths[0]) if classes else None

    def forward(self, images: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
        """Return logits: above zero where a picture is taken for a real one of its class."""
        maps = rectified(self.read[0](images))
        for i, level in enumerate(self.levels):
            maps = level(maps)
            if self.growth == "skip":
                images = halve(images, BINOMIAL)
                maps = maps + rectified(self.read[i + 1](images))
        maps = rectified(self.last(torch.cat([maps, spread(maps, self.group)], 1)))
        features = rectified(self.features(maps.flatten(1)))
        logits: Tensor = self.verdict(features)[:, 0]
        if self.classes is None:
            return logits
        opinions: Tensor = self.classes(labels)
        return logits + (features * opinions).sum(1) / math.sqrt(features.shape[1])


class Halving(nn.Module):
    """Two convolutions that halve the size of the maps of a discriminator.

    Args:
        inputs, outputs: channels.
        residual: the input is added, halved too, and the sum kept at the variance of its parts.
    """

    def __init__(self, inputs: int, outputs: int, *, residual: bool) -> None:
        super().__init__()
        share = math.sqrt(0.5) if residual else 1.0
        self.stay = Convolution(inputs, inputs, 3, gain=GAIN)
        self.leave = Convolution(inputs, outputs, 3, gain=GAIN * share, halve=True)
        self.past = Convolution(inputs, outputs, 1, bias=False, gain=share) if residual else None

    def forward(self, maps: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Return maps of half the size."""
        left: Tensor = rectified(self.leave(smooth(rectified(self.stay(maps)), BINOMIAL, 2)))
        return left if self.past is None else left + self.past(halve(maps, BINOMIAL))


def spread(maps: Float[Tensor, "B D H W"], group: int) -> Float[Tensor, "B 1 H W"]:
    """Return, for each picture, the mean standard deviation of its group's maps: one number at every place.

    A group are ``group`` consecutive rows, or fewer at the end, so that splitting a batch in whole groups changes
    nothing.

    Source:
        Karras et al., ICLR 2018, section 3.
    """
    parts = []
    for rows in torch.split(maps.to(torch.promote_types(maps.dtype, torch.float32)), group):
        deviation = (rows - rows.mean(0)).square().mean(0).add(1e-8).sqrt()
        parts.append(deviation.mean().expand(len(rows), 1, *maps.shape[2:]))
    return torch.cat(parts).to(maps.dtype)


def _choices(device: str, side: int) -> Iterator[Choice]:
    yield Choice("generate.r1", max(0.05, 2e-4 * side**2 / 64), "more for larger pictures (Karras et al. 2020b)")
    yield Choice("generate.every", 16, "as its authors have it")
    yield Choice("optim.lr", 2e-3, "as its authors have it")
    if device == "cpu":
        options = slender(side) | {"latent": 128, "style": 128}
        yield Choice("model.options", options, "a processor: a thirty-second of the paper's channels")
    if side <= SMALL:
        yield Choice("model.options", {"depth": 2}, "small pictures (Karras et al. 2020b, on CIFAR-10)")
        return
    yield Choice("generate.path_length", 2.0, "as its authors have it")
    yield Choice("generate.path_every", 8, "as its authors have it")
    yield Choice("generate.mixing", 0.9, "as its authors have it")


GENERATOR = Generator(
    build,
    "styles scale the weights of every layer; mapping network, noise, sums of pictures, minibatch deviation",
    _choices,
    renamed=renamed,
    implied=implied,
    layered=True,
)
