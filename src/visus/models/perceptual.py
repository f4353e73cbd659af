"""Features by which style and content are told apart: any network whose weights are at hand, or random filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.errors import UsageError, VisusError
from visus.core.modelfile import checksum
from visus.core.recipe import ModelSettings
from visus.models.building import build, seeded
from visus.models.origins import origin_of
from visus.models.weights import card_of

AUTO, RANDOM = "auto", "random"
PREFERRED = "efficientnet_lite0"
"""The network that is taken where none is named: its weights come with visus."""
COARSEST = 16
"""Pixels that a place of the coarsest map stands for; what is coarser is of things, not of style."""
_CONTENT_STRIDE = 8
_SAME = 1e-4  # rounding of float32 is less, and what looks elsewhere differs by more
_WIDTHS = (32, 64, 128, 256)
_SIZE = (224, 224)


@dataclass(frozen=True)
class Named:
    """Which features they are, so that a number that was measured with them can be told from others.

    Attributes:
        name: of the weights, or ``random``.
        licence: of the weights; of random ones, our own.
        sha256: over names, types, shapes and bytes of all tensors.
    """

    name: str
    licence: str
    sha256: str


class Features:
    """Maps of a fixed network, the finest first.  Nothing of it learns, and it is part of no model file.

    Args:
        body: gives the maps; in eval mode from now on.
        named: which network it is.
        mean, std: of each channel, for pixels in [0, 1], as the network wants them.

    Attributes:
        strides: pixels that a place of each map stands for.
        content: which of the maps says what is where.
    """

    def __init__(self, body: nn.Module, named: Named, mean: Sequence[float], std: Sequence[float]) -> None:
        self.body, self.named = body.eval().requires_grad_(False), named
        self._mean = torch.tensor(mean).view(1, -1, 1, 1)
        self._std = torch.tensor(std).view(1, -1, 1, 1)
        with torch.no_grad():
            maps = self.maps(torch.zeros(1, 3, 64, 64))
        self.strides = tuple(2 ** round(math.log2(64 / found.shape[2])) for found in maps)
        self.widths = tuple(found.shape[1] for found in maps)
        self.content = max(i for i, stride in enumerate(self.strides) if stride <= _CONTENT_STRIDE)

    def to(self, place: torch.device | Tensor) -> Features:
        """Move to a device, or to where a tensor is and to its type; return itself."""
        if isinstance(place, Tensor) and (self._mean.device, self._mean.dtype) == (place.device, place.dtype):
            return self
        like = self._mean.to(place)
        self.body.to(like.device, like.dtype)
        self._mean, self._std = like, self._std.to(place)
        return self

    def maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return the maps of pictures in [0, 1] whose sides are 32 pixels at least."""
        found: list[Tensor] = self.body((images - self._mean) / self._std)
        return found

    @cached_property
    def reach(self) -> int:
        """Pixels beside its own that a tile must see, so that its maps are there what they are of the whole picture.

        A patch of a picture is made not a number, and so becomes every place that looks at it.  That a tile's maps are
        the whole's is then tried.  Where networks pad by the size they are given, as TensorFlow does, they
        are so if the tile's sides leave the same remainder as the whole's: tried are the least padding and the most.

        Raises:
            UsageError: STYLE-011 there is no such number, for a place looks at the whole picture.
        """
        found = next((one for cells in (33, 97) if (one := self._spread(cells)) is not None), None)
        if found is None or not self._local(found):
            raise UsageError(
                "STYLE-011", f"{self.named.name} looks at a picture as a whole: in tiles it would see another one",
                where="a layer takes something from all places at once", done="nothing was painted",
                fix="--tiles 0, or --features efficientnet_lite0, vgg19 or random",
            )  # fmt: skip
        return found

    @torch.no_grad()
    def _spread(self, cells: int) -> int | None:
        """Return how many pixels away a patch is seen; None where that is up to the edge of so many patches a side."""
        side, middle = max(self.strides), cells // 2
        patch = slice(middle * side, (middle + 1) * side)
        images = self._mean.expand(1, 3, cells * side, cells * side + 1).clone()
        images[..., patch, patch] = torch.nan
        furthest: int = 0
        for maps, stride in zip(self.maps(images), self.strides, strict=True):
            lost = maps.isnan().any(1)[0]  # (h, w)
            for line in (lost.any(0), lost.any(1)):
                first, last = (int(line.nonzero()[end]) for end in (0, -1))
                if first == 0 or last == len(line) - 1:
                    return None
                furthest = max(furthest, middle - first * stride // side, last * stride // side - middle)
        return furthest * int(side)

    @torch.no_grad()
    def _local(self, reach: int) -> bool:
        """Tell whether a tile that sees so much has the maps of the whole picture."""
        side = max(self.strides)
        end = 3 * side + 2 * reach
        images = torch.rand(1, 3, end + 2 * side, end + 2 * side + 1, generator=torch.Generator().manual_seed(0))
        images = images.to(self._mean)
        whole, part = self.maps(images), self.maps(images[..., side:end, side : end + 1])
        for all_, some, stride in zip(whole, part, self.strides, strict=True):
            before, places = reach // stride, 2 * side // stride
            inner = slice(before, before + places)
            outer = slice(before + side // stride, before + side // stride + places)
            one, two = all_[..., outer, outer], some[..., inner, inner]
            if one.shape != two.shape or (one - two).abs().max() > _SAME * one.abs().max():
                return False
        return True


def meant(name: str) -> str:
    """Return what ``auto`` means on this machine; of other features, their own name."""
    if name != AUTO:
        return name
    return PREFERRED if (found := card_of(_settings(PREFERRED, "default")).file) and found.is_file() else RANDOM


def features(name: str = AUTO, weights: str = "default", *, seed: int = 0, accept: Sequence[str] = ()) -> Features:
    """Return the features of a network that is at hand.

    Args:
        name: any network of ours, timm's or torchvision's that halves its maps step by step, such as ``vgg19``;
            ``random`` for filters that nobody trained; ``auto`` for ``efficientnet_lite0``, or ``random`` where its
            weights are missing.
        weights: ``default``, what the name carries offline, or a file.
        seed: of random filters.
        accept: licences accepted beyond the permissive ones.

    Raises:
        UsageError: STYLE-010 a network without such maps; or there is no such network, or its weights are not here or
            not accepted.
        DataError: a weights file that cannot be read.
    """
    name = meant(name)
    if name == RANDOM:
        with seeded(seed):
            filters = _RandomFilters()
        return Features(filters, Named(RANDOM, "Apache-2.0", checksum(filters.state_dict())), (0.5,) * 3, (0.5,) * 3)
    settings = _settings(name, weights)
    card = card_of(settings)
    network = build(settings, card.outputs or origin_of(name).card(name).outputs or 1000, 3, _SIZE, accept)
    mean, std = card.statistics(3)
    try:
        return Features(_Lower(network), Named(card.name, card.licence, checksum(network.state_dict())), mean, std)
    except VisusError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, IndexError) as error:
        raise _no_maps(name) from error


def _settings(name: str, weights: str) -> ModelSettings:
    return ModelSettings(name=name, weights=weights)


def _no_maps(name: str) -> UsageError:
    return UsageError("STYLE-010", f"{name} has no maps that halve step by step, by which style could be told",
                      fix="a network of convolutions: vgg19, efficientnet_lite0, resnet18")  # fmt: skip


class _Lower(nn.Module):
    """The part of a network whose maps are fine enough."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()
        chain = getattr(network, "features", None)
        self.at: list[int] = []
        if isinstance(chain, nn.Sequential) and any(isinstance(layer, nn.MaxPool2d) for layer in chain):
            self.chain: nn.Sequential | None = chain
            self.at = _first_of_each_scale(chain)
        else:
            self.chain = None
            if not hasattr(network, "forward_intermediates"):
                raise _no_maps(type(network).__name__)
            with torch.no_grad():
                maps = _intermediate(network, torch.zeros(1, 3, *_SIZE), None)
            self.at = [i for i, found in enumerate(maps) if found.dim() == 4 and _SIZE[0] // found.shape[2] <= COARSEST]
        if not self.at:
            raise _no_maps(type(network).__name__)

    def forward(self, images: Tensor) -> list[Tensor]:
        if self.chain is None:
            return _intermediate(self.network, images, self.at)
        maps, x = list[Tensor](), images
        for i, layer in enumerate(self.chain[: self.at[-1] + 1]):
            x = F.relu(x) if isinstance(layer, nn.ReLU) else layer(x)  # one in place would change a map that is kept
            if i in self.at:
                maps.append(x)
        return maps


def _intermediate(network: nn.Module, images: Tensor, at: list[int] | None) -> list[Tensor]:
    asked: object = network
    return list(asked.forward_intermediates(images, indices=at, intermediates_only=True))  # type: ignore[attr-defined]


def _first_of_each_scale(chain: nn.Sequential) -> list[int]:
    """Return where a chain is first rectified at each scale: relu1_1, relu2_1, ... of Gatys et al. in VGG.

    Where layers of a scale rectify within themselves, as SqueezeNet's do, it is the last of them.
    """
    found, scale = list[int](), list[int]()
    for i, layer in enumerate([*chain, nn.MaxPool2d(2)]):
        if not isinstance(layer, nn.MaxPool2d):
            scale.append(i)
            continue
        if scale:
            found.append(next((k for k in scale if isinstance(chain[k], nn.ReLU)), scale[-1]))
        scale = []
    return found


class _RandomFilters(nn.Module):
    """Rectified 3 x 3 filters with orthogonal random weights, halved between scales, as VGG has them.

    Source:
        He, Wang and Hopcroft, A powerful generative model using random weights for the deep image representation,
        NeurIPS 2016.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *_WIDTHS)
        self.first = nn.ModuleList(_filters(a, b) for a, b in pairwise(widths))
        self.second = nn.ModuleList(_filters(b, b) for b in widths[1:])

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, x = list[Tensor](), images
        for i, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            x = F.relu(first(F.avg_pool2d(x, 2) if i else x))
            maps.append(x)
            x = F.relu(second(x))
        return maps


def _filters(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect", bias=False)
    nn.init.orthogonal_(layer.weight, 2**0.5)  # half of the variance is lost where it is rectified
    return layer
