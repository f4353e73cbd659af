"""The residual networks of the CIFAR experiments: ResNet-20, 32, 44, 56 and 110 with shortcuts without parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visus.models.backbones import Backbone
from visus.models.blocks import convolution

_WIDTHS = (16, 32, 64)


def build(
    outputs: int, channels: int, size: tuple[int, int], *, depth: Literal[20, 32, 44, 56, 110] = 20
) -> CifarResNet:
    """Return ResNet-``depth``: 6n + 1 convolutions in three stages of n blocks, and the last layer.

    Args:
        outputs: length of the last axis.
        channels: of the pictures.
        size: (height, width) of the pictures; made for 32 x 32, any will do.
        depth: layers with weights on the way through.

    Source:
        He et al., Deep residual learning for image recognition, CVPR 2016, section 4.2, shortcuts of option A.
    """
    return CifarResNet(outputs, channels, (depth - 2) // 6)


class CifarBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut that skips every other pixel and adds channels of zeros (option A)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width), nn.BatchNorm2d(width)
        self.stride, self.new = stride, width - inputs

    def forward(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B E i j"]:
        """Return the refined map."""
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        if self.new:  # new channels on both sides, as in the published weights
            features = F.pad(features[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new // 2))
        return F.relu(branch + features)


class CifarResNet(nn.Module):
    """A convolution, three stages of ``n`` blocks with 16, 32 and 64 channels, the mean over places, a linear head."""

    def __init__(self, outputs: int, channels: int, n: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(channels, _WIDTHS[0]), nn.BatchNorm2d(_WIDTHS[0])
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], n)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], n)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], n)
        self.head = nn.Linear(_WIDTHS[2], outputs)

    def forward_features(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return the last map."""
        features: Tensor = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(images))))))
        return features

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Return the outputs."""
        outputs: Tensor = self.head(self.forward_features(images).mean((2, 3)))
        return outputs


def renamed(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return published weights by our names: their last layer is ``linear`` or ``fc``, ours ``head``."""
    return {_ours(name): tensor for name, tensor in tensors.items()}


def implied(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the depth that the number of blocks in the weights implies."""
    blocks = {name.split(".")[1] for name in tensors if name.startswith("layer1.")}
    return {"depth": 6 * len(blocks) + 2} if blocks else {}


def _ours(name: str) -> str:
    first, dot, rest = name.partition(".")
    return f"head{dot}{rest}" if first in {"linear", "fc"} else name


def _stage(inputs: int, width: int, n: int) -> nn.Sequential:
    first = CifarBlock(inputs, width, 1 if inputs == width else 2)
    return nn.Sequential(first, *(CifarBlock(width, width, 1) for _ in range(n - 1)))


BACKBONE = Backbone(
    build,
    "ResNet-20 to 110 of the CIFAR experiments (He et al. 2016), for weights published elsewhere",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    renamed=renamed,
    implied=implied,
)
