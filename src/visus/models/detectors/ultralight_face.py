"""A face detector of a megabyte: separable convolutions, four maps, and square boxes of fixed sides that are corrected.

Weights published as ``version-slim-320`` and ``version-RFB-320`` are taken in by ``visus adopt``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visus.models.detectors import Detector

SIDES = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
"""Pixels of the sides of the boxes at each place of a map, the finest map first."""
STRIDES = (8, 16, 32, 64)
WIDTHS = (64, 128, 256, 256)
"""Channels of the maps."""
TENTHS = (0.1, 0.1, 0.2, 0.2)
"""What an offset counts: a tenth of a box's side, a fifth of the logarithm of its width and height."""
BODY = ((16, 2), (32, 1), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2),
        (256, 1))  # fmt: skip
"""Channels and stride of each block; maps are taken before those of stride 2 from the ninth on, and at the end."""
TAKEN = (7, 10, 12)
FIELDS = 7
"""The block that looks at several scales at once, where ``fields`` is asked for."""


def build(outputs: int, channels: int, size: tuple[int, int], backbone: str, *, fields: bool = False) -> UltralightFace:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any.
        backbone: none but its own.
        fields: look at three scales at once half-way (version RFB); without it the slim version.

    Source:
        Linzaer, Ultra-light-fast-generic-face-detector-1MB, 2019; Liu et al., SSD, ECCV 2016, section 2 (boxes and
        offsets); Howard et al., MobileNets, 2017, section 3 (separable convolutions); Liu et al., Receptive field block
        net, ECCV 2018, section 3.2 (fields).
    """
    return UltralightFace(outputs, channels, fields)


class UltralightFace(nn.Module):
    """See ``build``.

    Attributes:
        heads: prefixes of what starts fresh where the weights are of other classes.
    """

    heads = ("head", "coarse")

    def __init__(self, outputs: int, channels: int, fields: bool) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        have = channels
        for i, (width, stride) in enumerate(BODY):
            if i == FIELDS and fields:
                blocks.append(Fields(have))
            else:
                blocks.append(_separable(have, width, stride) if i else _plain(have, width, stride))
            have = width
        self.backbone = nn.ModuleDict({"body": nn.Sequential(*blocks)})
        self.coarse = nn.Sequential(nn.Conv2d(have, 64, 1), nn.ReLU(), _bare(64, WIDTHS[-1], 2), nn.ReLU())
        self.head = nn.ModuleList(
            Corrections(width, len(sides), outputs, single=width == WIDTHS[-1] and i == len(WIDTHS) - 1)
            for i, (width, sides) in enumerate(zip(WIDTHS, SIDES, strict=True))
        )

    def forward(
        self, images: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B A K"], Float[Tensor, "B A 4"], Float[Tensor, "B A 4"]]:
        """Return for every box, the finest map first: logits, offsets to the object, and the box itself.

        Offsets are of the middle, in sides of the box, and of the logarithm of width and height; boxes are xyxy in
        pixels.
        """
        maps, features = [], images
        body = self.backbone["body"]
        assert isinstance(body, nn.Sequential)
        for i, block in enumerate(body):
            features = block(features)
            if i in TAKEN:
                maps.append(features)
        maps.append(self.coarse(features))
        said = [head(each) for head, each in zip(self.head, maps, strict=True)]
        laid = boxes((images.shape[2], images.shape[3]), [(each.shape[2], each.shape[3]) for each in maps])
        offsets = torch.cat([part for _, part in said], 1)
        return (
            torch.cat([part for part, _ in said], 1), offsets * offsets.new_tensor(TENTHS),
            laid.to(images).expand(images.shape[0], -1, -1),
        )  # fmt: skip

    def outputs_in(self, tensors: Mapping[str, Tensor]) -> int:
        """Return how many classes weights by this network's names tell apart; 0 without a head."""
        weight = tensors.get("head.0.logits.2.weight")
        return 0 if weight is None else len(weight) // len(SIDES[0])


class Corrections(nn.Module):
    """The head of one map: what each box shows, and how it is to be corrected.

    Args:
        width: channels of the map.
        count: boxes at each place.
        outputs: classes.
        single: by one 3 x 3 convolution, not a separable one.
    """

    def __init__(self, width: int, count: int, outputs: int, *, single: bool) -> None:
        super().__init__()
        self.logits, self.offsets = (
            nn.Conv2d(width, count * each, 3, padding=1) if single else _bare(width, count * each, 1)
            for each in (outputs, 4)
        )
        self.count = count

    def forward(self, features: Float[Tensor, "B D h w"]) -> tuple[Float[Tensor, "B P K"], Float[Tensor, "B P 4"]]:
        """Return logits and offsets of each box, place by place, row by row."""
        logits, offsets = (
            part(features).permute(0, 2, 3, 1).reshape(len(features), -1, part_width)
            for part, part_width in ((self.logits, self._outputs), (self.offsets, 4))
        )
        return logits, offsets

    @property
    def _outputs(self) -> int:
        last = self.logits[-1] if isinstance(self.logits, nn.Sequential) else self.logits
        return int(last.out_channels) // self.count  # type: ignore[arg-type]  # a convolution's


class Fields(nn.Module):
    """Three branches that look 2, 3 and 5 pixels apart, joined, and added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = width // 8
        self.branch0, self.branch1, self.branch2 = (
            nn.Sequential(
                _unit(width, narrow, 1, relu=False),
                *(_unit(a, b, 3) for a, b in zip((narrow, *between), between, strict=False)),
                _unit(between[-1], 2 * narrow, 3, apart=apart, relu=False),
            )
            for apart, between in ((2, (2 * narrow,)), (3, (2 * narrow,)), (5, (narrow // 2 * 3, 2 * narrow)))
        )
        self.joined = _unit(6 * narrow, width, 1, relu=False)
        self.shortcut = _unit(width, width, 1, relu=False)

    def forward(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        """Return the map with what the branches add."""
        branches = self.branch0(features), self.branch1(features), self.branch2(features)
        added: Tensor = self.joined(torch.cat(branches, 1)) + self.shortcut(features)
        return added.relu()


def boxes(size: tuple[int, int], maps: list[tuple[int, int]]) -> Float[Tensor, "A 4"]:
    """Return the boxes that are corrected, xyxy in pixels, none longer than the picture.

    Args:
        size: (height, width) of the pictures.
        maps: (rows, columns) of each map, the finest first.
    """
    laid = []
    for (rows, columns), stride, sides in zip(maps, STRIDES, SIDES, strict=True):
        y, x, side = torch.meshgrid(
            (torch.arange(rows) + 0.5) * stride, (torch.arange(columns) + 0.5) * stride,
            torch.tensor(sides, dtype=torch.float32), indexing="ij",
        )  # fmt: skip
        wide, high = side.clamp(max=size[1]) / 2, side.clamp(max=size[0]) / 2
        laid.append(torch.stack([x - wide, y - high, x + wide, y + high], -1).reshape(-1, 4))
    return torch.cat(laid)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return published tensors by this network's names.

    They have an output for background beside that for faces, and a softmax over the two; the difference of the two is
    the logit of a face, and says exactly the same.
    """
    found = {}
    for key, tensor in tensors.items():
        for pattern, name in _NAMES:
            key = pattern.sub(name, key)
        if re.fullmatch(r"head\.\d\.logits\.(2\.)?(weight|bias)", key):
            tensor = tensor[1::2] - tensor[::2]
        found[key] = tensor
    return found


def implied(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options that published tensors imply."""
    return {"fields": any(".branch0." in key for key in tensors)}


_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^base_net\.", "backbone.body."), (r"^extras\.0\.", "coarse."),
        (r"^classification_headers\.(\d)\.", r"head.\1.logits."), (r"^regression_headers\.(\d)\.", r"head.\1.offsets."),
        (r"\.ConvLinear\.", ".joined."), (r"\.conv\.(weight)$", r".0.\1"), (r"\.bn\.", ".1."),
    )
)  # fmt: skip


def _plain(have: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(have, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _separable(have: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(have, have, 3, stride, 1, groups=have, bias=False), nn.BatchNorm2d(have), nn.ReLU(inplace=True),
        nn.Conv2d(have, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
    )  # fmt: skip


def _bare(have: int, width: int, stride: int) -> nn.Sequential:
    """Return a separable convolution without normalisation."""
    return nn.Sequential(nn.Conv2d(have, have, 3, stride, 1, groups=have), nn.ReLU(), nn.Conv2d(have, width, 1))


def _unit(have: int, width: int, kernel: int, *, apart: int = 1, relu: bool = True) -> nn.Sequential:
    layers = [
        nn.Conv2d(have, width, kernel, padding=apart * (kernel // 2), dilation=apart, bias=False),
        nn.BatchNorm2d(width),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


DETECTOR = Detector(
    build, "", "faces in a megabyte: separable convolutions, four maps, square boxes that are corrected", "anchors",
    renamed=renamed, implied=implied, settings={"detect.overlap": 0.3},
    usual={"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "size": (240, 320)},
)  # fmt: skip
