"""Maps of several strides from any network of whole pictures: what detectors and segmenters stand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models.origins import origin_of

STRIDES = (8, 16, 32)


class Trunk(nn.Module):
    """A network without its last layers, which gives maps of the wanted strides.

    Its parameters keep the names they have in the whole network, below ``body``, so that weights of the whole one fit.
    Pictures whose sides the coarsest stride does not divide are extended by zeros (see ``extended``), so that every
    place of a map lies where its stride says, whatever the network does at a picture's end.

    Args:
        name: of the network: our own, timm's, or one of torchvision's that is a chain of ``features``.
        channels: of the pictures.
        size: (height, width) of the pictures.
        options: of the network.
        strides: of the maps, rising; of several maps of a stride the last, or if it is named twice the first and last.
        settled: a chain's batch normalisation is as torchvision has it below its detectors, not as for whole pictures.

    Attributes:
        widths: channels of each map.
        reads_one_size: the network reads pictures of one size alone.

    Raises:
        UsageError: no such network, or it has no map of one of the strides.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        size: tuple[int, int],
        options: Mapping[str, Any],
        strides: Sequence[int] = STRIDES,
        *,
        settled: bool = True,
    ) -> None:
        super().__init__()
        body = origin_of(name).network(name, 1, channels, extended(size), options).eval()
        with torch.no_grad():
            sides, maps = (256, 256), _maps(body, torch.zeros(1, channels, 256, 256))
            self.reads_one_size = not maps
            if self.reads_one_size:
                sides = extended(size)
                maps = _maps(body, torch.zeros(1, channels, *sides))
        shapes = [tuple(found.shape) for found in maps]
        at = dict[int, list[int]]()
        for i, shape in enumerate(shapes):
            at.setdefault(sides[0] // shape[2], []).append(i)
        lacking = [stride for stride in strides if len(at.get(stride, ())) < strides.count(stride)]
        if lacking:
            many = "two maps" if lacking[0] in at else "map"
            raise UsageError(
                "MODEL-023", f"{name} has no {many} of stride {lacking[0]}",
                where=f"its maps have the strides {', '.join(map(str, sorted(at))) or 'of no known kind'}",
                fix="a network that halves its map step by step: csp, efficientnet_lite0, resnet18",
            )  # fmt: skip
        self.at = [at[stride][0 if stride in strides[i + 1 :] else -1] for i, stride in enumerate(strides)]
        self.widths = tuple(shapes[i][1] for i in self.at)
        if callable(prune := getattr(body, "prune_intermediate_layers", None)):
            prune(self.at, prune_norm=True, prune_head=True)
        elif _is_chain(body):
            _cut(body, self.at[-1] + 1, settled)
        elif hasattr(body, "head"):
            del body.head
        self.body = body.train()

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return a map of each stride."""
        images = filled(images)
        body: Any = self.body
        if hasattr(body, "forward_maps"):
            maps: list[Tensor] = body.forward_maps(images)
            return [maps[i] for i in self.at]
        if _is_chain(body):
            maps = _chained(body, images)
            return [maps[i] for i in self.at]
        return list(body.forward_intermediates(images, indices=self.at, intermediates_only=True))


def extended(size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width), each up to the next multiple of the coarsest stride."""
    height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in size)
    return height, width


def filled(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C _ _"]:
    """Return pictures extended by zeros at their right and lower ends (see ``extended``)."""
    below, beside = (-side % STRIDES[-1] for side in images.shape[2:])  # of any kind of number, for an export
    return F.pad(images, (0, beside, 0, below)) if below or beside else images


def spread(
    logits: Float[Tensor, "B K h w"], images: Float[Tensor, "B C H W"], *, corners: bool = False
) -> Float[Tensor, "B K H W"]:
    """Return logits of every pixel from those of the extended pictures at any scale, what was extended cut off again.

    Args:
        logits: evenly spread over the pictures as ``filled`` extended them.
        images: before that.
        corners: the outermost logits belong to the middles of the outermost pixels, as some publishers have it.
    """
    height, width = images.shape[2:]
    size = extended((height, width))
    if tuple(logits.shape[2:]) != size:
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=corners)
    return logits[..., :height, :width]


def dilated(
    backbone: str, channels: int, size: tuple[int, int], strides: Sequence[int], *, settled: bool = True
) -> Trunk:
    """Return a trunk that halves its maps no more beyond the last stride, but spreads its kernels.

    timm's convolutional networks and ``efficientnet_lite0`` can, and torchvision's MobileNetV3, at stride 16 alone.
    The arguments are those of ``Trunk``.

    Raises:
        UsageError: a backbone that does not exist, cannot, or has no map of one of the strides.

    Source:
        Chen et al., DeepLab, TPAMI 2018, section 3.1.
    """
    last, options = strides[-1], dict[str, Any]()
    if last != STRIDES[-1]:
        options = {"dilated": True} if is_mobilenet(backbone) else {"output_stride": last}
    try:
        return Trunk(backbone, channels, size, options, strides, settled=settled)
    except UsageError as error:
        if error.code != "MODEL-011":
            raise
        raise UsageError(
            "MODEL-023", f"{backbone} has no map of stride {last} at its end: it cannot spread its kernels",
            fix="a network of convolutions that can: efficientnet_lite0, resnet18",
        ) from error  # fmt: skip


def is_mobilenet(backbone: str) -> bool:
    """Tell whether a backbone is one of torchvision's MobileNetV3, which timm has under other names."""
    return backbone.removeprefix("torchvision:") in {"mobilenet_v3_large", "mobilenet_v3_small"}


def whole(name: str) -> nn.Module:
    """Return the whole network that a trunk is the lower part of, on no memory: for its names alone."""
    origin = origin_of(name)
    with torch.device("meta"):
        return origin.network(name, 1, 3, origin.usual(name).size, {})


def _maps(body: Any, images: Tensor) -> list[Tensor]:
    """Return every map that a network offers, in the order of its layers."""
    if hasattr(body, "forward_maps"):
        return list(body.forward_maps(images))
    if _is_chain(body):
        maps = _chained(body, images)
        return [found for found in maps if found.shape[2] == found.shape[3]]  # else channels come last
    if not hasattr(body, "forward_intermediates"):
        return []
    try:
        maps = body.forward_intermediates(images, intermediates_only=True)
    except (RuntimeError, AssertionError, TypeError, ValueError):
        return []  # a network of another picture size, or without maps
    return [found for found in maps if found.dim() == 4]


def _is_chain(body: Any) -> bool:
    """Tell whether a network is one of torchvision's whose lower part is a chain of layers."""
    return isinstance(getattr(body, "features", None), nn.Sequential) and not hasattr(body, "forward_intermediates")


def _chained(body: Any, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
    """Return the map behind each layer of such a chain."""
    maps = list[Tensor]()
    for layer in body.features:
        maps.append(layer(maps[-1] if maps else images))
    return maps


def _cut(body: Any, length: int, settled: bool) -> None:
    """Leave the first layers of such a chain, as for whole pictures or settled (see ``Trunk``)."""
    del body.features[length:]
    for name in [name for name, _ in body.named_children() if name != "features"]:
        delattr(body, name)
    for layer in body.modules():
        if settled and isinstance(layer, nn.BatchNorm2d):  # whatever the network has for whole pictures
            layer.eps, layer.momentum = 1e-5, 0.1
