"""Painting by a trained network in one pass, pictures of any size: large ones tile by tile, as if they were whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visus.models.stylizers._layers import STRIDE, filled
from visus.models.stylizers._moments import EPSILON, Moments
from visus.verbs.load import Model
from visus.verbs.windows import TILE, WHOLE, Window, windows

Watch = Callable[[int, int], None]


def painted(
    model: Model,
    picture: Float[Tensor, "1 3 H W"],
    painting: Float[Tensor, "1 3 h w"] | None,
    *,
    strength: float = 1.0,
    tile: int | None = None,
    watch: Watch = lambda done, of: None,
) -> Float[Tensor, "1 3 H W"]:
    """Return a picture in the style of a network, or in that of a painting.

    Args:
        model: of the task ``stylize``.
        picture: in [0, 1].
        painting: in [0, 1], for a network of any style; None for one of its own.
        strength: from 0, the picture as it was, to 1; between them the pixels are mixed.
        tile: side of a tile in pixels, 0 for the whole picture at once; None chooses by its size.
        watch: told tiles looked at, and how many looks there are.
    """
    network, device = model.network, model.device()
    images = filled((2 * picture - 1).to(device.device, memory_format=device.memory_format))

    def forward(part: Tensor) -> Tensor:
        with torch.inference_mode(), device.autocast():
            found: Tensor = network(part) if given is None else network.painted(part, given)  # type: ignore[operator]
            return found.float()

    given: Tensor | None = None
    if painting is not None:
        with torch.inference_mode(), device.autocast():
            given = network.described((2 * painting - 1).to(device.device))  # type: ignore[operator]
    if tile is None:
        tile = TILE if picture.shape[2] * picture.shape[3] > WHOLE else 0
    found = in_tiles(forward, network, images, tile, watch) if tile else forward(images)
    made = ((found[..., : picture.shape[2], : picture.shape[3]].cpu() + 1) / 2).clamp(0, 1)
    return torch.lerp(picture, made, strength)


def in_tiles(
    forward: Callable[[Tensor], Tensor],
    network: nn.Module,
    images: Float[Tensor, "1 3 H W"],
    tile: int,
    watch: Watch = lambda done, of: None,
) -> Float[Tensor, "1 3 H W"]:
    """Return what a network paints of a picture of which it only ever sees a tile: the same as of the whole.

    Each tile sees as much of its neighbours as the network reaches.  What the network takes from all places at once,
    means and deviations, is found one layer after the other: all tiles are looked at as far as that layer, which from
    then on is given what the whole has there.  Statistics of a smaller version would cost one look instead of one for
    each layer; but they are others, for a shrunken picture has other edges, and it would be painted otherwise.

    Args:
        forward: the network, asked.
        network: whose layers ask for moments.
        images: sides are multiples of the stride.
        tile: pixels of a side of what is a tile's own at most, rounded up to the stride.
        watch: told tiles looked at, and how many looks there are.
    """
    parts = windows((images.shape[2], images.shape[3]), tile, int(network.reach), STRIDE)  # type: ignore[arg-type]
    if len(parts) == 1:
        painted = forward(images)
        watch(1, 1)
        return painted
    asking = _in_order(forward, network, images[(..., *parts[0].seen)])
    looks, done = (len(asking) + 1) * len(parts), 0

    def seen() -> Iterator[tuple[Window, Tensor]]:
        nonlocal done
        for window in parts:
            yield window, images[(..., *window.seen)]
            done += 1
            watch(done, looks)

    try:
        for layer in asking:
            layer.held = _moments_of(((window, _read(forward, layer, part)) for window, part in seen()))
        whole = torch.empty_like(images)
        for window, part in seen():
            whole[(..., *window.own)] = forward(part)[(..., *window.inner(1))]
        return whole
    finally:
        for layer in asking:
            layer.held = None


class _Enough(Exception):  # no error: what comes after a layer need not be computed
    """A layer has been reached."""


def _in_order(forward: Callable[[Tensor], Tensor], network: nn.Module, part: Tensor) -> list[Moments]:
    """Return the layers that ask for moments, in the order in which they do."""
    asked: list[Moments] = []
    layers = [layer for layer in network.modules() if isinstance(layer, Moments)]
    handles = [layer.register_forward_hook(lambda layer, given, said: asked.append(layer)) for layer in layers]
    try:
        forward(part)
    finally:
        for handle in handles:
            handle.remove()
    return asked


def _read(forward: Callable[[Tensor], Tensor], layer: Moments, part: Tensor) -> tuple[Tensor, int]:
    """Return the maps that a layer is given of a part of a picture, and their stride; nothing after it is computed."""
    read: list[Tensor] = []

    def enough(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        read.append(given[0])
        raise _Enough

    handle = layer.register_forward_pre_hook(enough)
    try:
        forward(part)
    except _Enough:
        pass
    finally:
        handle.remove()
    return read[0], part.shape[2] // read[0].shape[2]


def _moments_of(parts: Iterator[tuple[Window, tuple[Tensor, int]]]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel over the own places of all tiles.

    Source:
        Chan, Golub and LeVeque, Algorithms for computing the sample variance, The American Statistician 1983, eq. 2.1.
    """
    places: list[int] = []
    means: list[Tensor] = []
    variances: list[Tensor] = []
    for window, (maps, stride) in parts:
        own = maps[(..., *window.inner(stride))].float()
        mean = own.mean((2, 3), keepdim=True)
        variance = (own - mean).square().mean((2, 3), keepdim=True)  # many times as fast as torch.var_mean
        places.append(own.shape[2] * own.shape[3])
        means.append(mean)
        variances.append(variance)
    share = (torch.tensor(places).double() / sum(places)).to(means[0].device).view(-1, 1, 1, 1, 1)
    mean = (share * torch.stack(means)).sum(0)
    variance = (share * (torch.stack(variances) + (torch.stack(means) - mean).square())).sum(0)
    return mean.float(), (variance + EPSILON).sqrt().float()
