"""What features say of a picture, as a whole or tile by tile: the same numbers and slopes in the memory of a tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from visus.losses._style import EPSILON, alike, gram, style
from visus.losses._style import content as content_distance
from visus.models.perceptual import Features
from visus.verbs.windows import Window, windows


class Look:
    """A look at pictures of one size.

    Args:
        features: of which it is.
        like: a picture of that size.
        tile: pixels of a side of what is a tile's own; 0 looks at the whole at once.
        mask: how much each pixel counts for the style, in [0, 1]; all alike where it is not given.

    Raises:
        UsageError: STYLE-011 features that cannot be told tile by tile.
    """

    def __init__(
        self, features: Features, like: Float[Tensor, "1 3 H W"], tile: int = 0,
        mask: Float[Tensor, "1 1 H W"] | None = None,
    ) -> None:  # fmt: skip
        self.features, self.mask = features, mask
        self._tiles: list[Window] = []
        if 0 < tile < max(like.shape[2:]):
            self._tiles = windows((like.shape[2], like.shape[3]), tile, features.reach, max(features.strides))
            self._weigh(like)

    @torch.no_grad()
    def grams(self, picture: Float[Tensor, "1 3 H W"]) -> list[Float[Tensor, "1 _ _"]]:
        """Return the Gram matrix of each map, of what the mask shows alone."""
        if not self._tiles:
            return self._grams(self.features.maps(picture))
        sums = [torch.zeros((), dtype=torch.float64, device=picture.device) for _ in self.features.strides]
        for window in self._tiles:
            maps = self._maps(picture[(..., *window.seen)], window)
            sums = [whole + each for whole, each in zip(sums, self._products(maps, window), strict=True)]
        return [(whole / mass).to(picture) for whole, mass in zip(sums, self._masses, strict=True)]

    @torch.no_grad()
    def things(self, picture: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 C h w"]:
        """Return the map that says what is where, of the whole picture: it is about as large as this."""
        at = self.features.content
        if not self._tiles:
            return self.features.maps(picture)[at]
        stride, whole = self.features.strides[at], picture.new_empty(1, self.features.widths[at], *self._sizes[at])
        for window in self._tiles:
            whole[(..., *_places(window, stride))] = self._maps(picture[(..., *window.seen)], window)[at]
        return whole

    def alike(self, picture: Float[Tensor, "1 3 H W"], other: Float[Tensor, "1 3 H W"]) -> float:
        """Return the correlation of what is where in two pictures."""
        return float(alike(self.things(picture), self.things(other))[0])

    def distance(
        self,
        picture: Float[Tensor, "1 3 H W"],
        wanted: Sequence[Float[Tensor, "1 _ _"]],
        share: float = 1.0,
        things: Float[Tensor, "1 C h w"] | None = None,
        kept: float = 0.0,
    ) -> Float[Tensor, ""]:
        """Return ``share`` times the distance of style, and ``kept`` times that of content; both can be descended.

        Args:
            picture: seen.
            wanted: Gram matrices.
            share: of the distance of style.
            things: what shall be where, as ``things`` gives it.
            kept: of the distance of content.
        """
        if self._tiles:
            found: Tensor = _Distance.apply(picture, self, wanted, share, things, kept)
            return found
        maps = self.features.maps(picture)
        whole = share * style(self._grams(maps), wanted).sum()
        return whole if things is None else whole + kept * content_distance(maps[self.features.content], things).sum()

    def sloped(
        self, picture: Tensor, wanted: Sequence[Tensor], share: float, things: Tensor | None, kept: float
    ) -> tuple[Tensor, Tensor]:
        """Return what ``distance`` does and its slope in each pixel, tile by tile.

        The Gram matrices of the whole are found first, without gradients.  They tell the slope of the distance in each
        product of channels.  In these products, sums over places, what remains is linear: every tile is asked for its
        own part of the slope, and the parts are added where tiles see the same pixels.
        """
        grams, at = [each.requires_grad_() for each in self.grams(picture)], self.features.content
        with torch.enable_grad():
            far = share * style(grams, wanted).sum()
        steep = [each / mass for each, mass in zip(torch.autograd.grad(far, grams), self._masses, strict=True)]
        unit = kept / (_variance(things).clamp(min=EPSILON) * things.numel()) if things is not None else None
        slope, moved = torch.zeros_like(picture), torch.zeros((), dtype=torch.float64, device=picture.device)
        for window in self._tiles:
            part = picture[(..., *window.seen)].clone().requires_grad_()
            with torch.enable_grad():
                maps = self._maps(part, window)
                products = self._products(maps, window)
                own = torch.stack([(a * b).sum() for a, b in zip(steep, products, strict=True)]).sum()
                if things is not None and unit is not None:
                    wish = things[(..., *_places(window, self.features.strides[at]))]
                    away = unit * (maps[at] - wish).square().sum()
                    own, moved = own + away, moved + away.detach()
            slope[(..., *window.seen)] += torch.autograd.grad(own, part)[0]
        return (far.detach() + moved).to(picture), slope

    def _grams(self, maps: Sequence[Tensor]) -> list[Tensor]:
        if self.mask is None:
            return [gram(each) for each in maps]
        return [gram(each, F.interpolate(self.mask, each.shape[2:], mode="area")) for each in maps]

    @torch.no_grad()
    def _weigh(self, like: Tensor) -> None:
        """Find how many places each map of the whole has, and how much they count."""
        last, strides = self._tiles[-1], self.features.strides
        maps = self.features.maps(like[(..., *last.seen)])
        begin = [[side.start // stride for side in last.seen] for stride in strides]
        self._sizes = [(top + each.shape[2], left + each.shape[3])
                       for (top, left), each in zip(begin, maps, strict=True)]  # fmt: skip
        self._weights = [None if self.mask is None else F.interpolate(self.mask, size, mode="area")
                         for size in self._sizes]  # fmt: skip
        self._masses = [float(height * width) if weight is None else float(weight.sum().clamp(min=EPSILON))
                        for (height, width), weight in zip(self._sizes, self._weights, strict=True)]  # fmt: skip

    def _maps(self, seen: Tensor, window: Window) -> list[Tensor]:
        """Return what a tile has of its own."""
        maps = self.features.maps(seen)
        return [each[(..., *window.inner(stride))] for each, stride in zip(maps, self.features.strides, strict=True)]

    def _products(self, maps: Sequence[Tensor], window: Window) -> list[Tensor]:
        """Return the sum of each product of channels over the places of a tile."""
        found = list[Tensor]()
        for each, weight, stride in zip(maps, self._weights, self.features.strides, strict=True):
            flat = each.flatten(2)
            counted = flat if weight is None else flat * weight[(..., *_places(window, stride))].flatten(2)
            found.append(counted @ flat.mT)
        return found


class _Distance(torch.autograd.Function):
    """``Look.sloped``, whose slope is kept until it is asked for."""

    @staticmethod
    def forward(ctx: Any, picture: Tensor, look: Look, *asked: Any) -> Tensor:
        found, slope = look.sloped(picture.detach(), *asked)
        ctx.save_for_backward(slope)
        return found

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return given[0] * slope, None, None, None, None, None


def _places(window: Window, stride: int) -> tuple[slice, slice]:
    """Return which places of the whole's map are a tile's own."""
    down, across = (
        slice(own.start // stride, None if own.stop == seen.stop else own.stop // stride)
        for own, seen in zip(window.own, window.seen, strict=True)
    )
    return down, across


def _variance(maps: Tensor) -> Tensor:
    around = maps - maps.mean((2, 3), keepdim=True)
    return around.square().mean()
