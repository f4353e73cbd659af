"""What a network is in numbers, and which precision, memory format and threads suit it: rules, never a timing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from visus.models.heads import head_prefix

SPARSE_SHARE = 0.1
DENSE_SPEED, SPARSE_SPEED = 35e9, 7e9
"""Multiply-adds a second of a core in training (measured with AVX512-BF16: plain networks at 64 pixels, ResNet-18 at
224 and EfficientNet-Lite0 at 96)."""


@dataclass(frozen=True)
class Description:
    """A network in numbers.

    Attributes:
        kind: name of its class.
        parameters: all of them; ``trainable``: those that gradients reach.
        layers: convolutions and linear layers; ``depthwise``: those among them that mix hardly any channels.
        dense: see ``is_dense``.
        head: name of the last layer.
        multiply_adds: for one picture of the stated size; 0 where none was stated.
    """

    kind: str
    parameters: int
    trainable: int
    layers: int
    depthwise: int
    dense: bool
    head: str
    multiply_adds: int = 0


def is_dense(model: nn.Module) -> bool:
    """Tell whether nearly all layers mix many channels, so that bfloat16 is worth while.

    A layer is sparse when each of its outputs sees fewer than 4 channels of its input although there are more:
    depthwise convolutions.  A network with more than a tenth of such layers is not dense.  The time of a training
    step in float32 over that under bfloat16 autocast (one thread with AVX512-BF16, channels last, batch 8 at 96
    pixels) was 2.1 for resnet18, 1.9 densenet121, 1.6 resnext50 (groups of 4), 1.3 regnetx_004, 1.1 vit_tiny: dense;
    and 1.0 convnext_atto, 0.5 efficientnet_lite0, 0.4 mobilenetv3_small, 0.6 ghostnet: not.
    """
    layers, depthwise = _layers(model)
    return depthwise <= SPARSE_SHARE * layers


def unsafe_channels_last(model: nn.Module) -> list[str]:
    """Return the names of layers that can crash or learn wrongly on a CPU in float32 and channels-last format.

    They are 1 x 1 convolutions with a stride and 2 to 15 input channels, whose weight gradient writes past its
    workspace in oneDNN (https://github.com/uxlfoundation/oneDNN/issues/6035; seen with torch 2.15, as a crash of
    repvgg_a0).
    """
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
        and tuple(layer.kernel_size) == (1, 1)
        and max(layer.stride) > 1
        and 1 < layer.in_channels // layer.groups < 16
    ]


def threads_beside_reading(
    model: nn.Module, channels: int, size: tuple[int, int], stored: tuple[float, float], cores: int, readers: int
) -> int:
    """Return how many of a processor's cores should compute the network while the others prepare its batches.

    All of them where the network takes most of the time.  A small one that shares every core with the threads that
    prepare batches waits at the end of each layer for the slowest core: on 2 cores, a network of 3 million
    multiply-adds a picture trained 1.8 times as fast on one of them, one of 11 million as fast, and one of 41 million
    1.3 times as fast on both.

    Args:
        model: the network.
        channels: of the pictures.
        size: (height, width) of the pictures that the network reads.
        stored: (height, width) of the decoded pictures that they are cut from.
        cores: of this machine.
        readers: threads or processes that prepare batches, each on a core of its own at most.
    """
    work = 3 * _multiply_adds(model, channels, size)  # forward, and two products backward
    computing = work / (DENSE_SPEED if is_dense(model) else SPARSE_SPEED)
    reading = 1e-4 + 1.5e-9 * stored[0] * stored[1] + 2e-8 * size[0] * size[1]  # seconds of a core for a picture
    return max(1, cores - min(readers, int(cores * reading / (computing + reading) + 1 / 3)))


def describe(model: nn.Module, channels: int = 0, size: tuple[int, int] | None = None) -> Description:
    """Return the network in numbers.

    Args:
        model: any network.
        channels: of the pictures; with ``size``, the multiply-adds of one picture are counted.
        size: (height, width) of the pictures.
    """
    layers, depthwise = _layers(model)
    return Description(
        kind=type(model).__name__,
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        layers=layers,
        depthwise=depthwise,
        dense=is_dense(model),
        head=head_prefix(model),
        multiply_adds=_multiply_adds(model, channels, size) if channels and size else 0,
    )


def _layers(model: nn.Module) -> tuple[int, int]:
    """Return how many convolutions and linear layers there are, and how many of them are depthwise."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    sparse = [m for m in layers if not isinstance(m, nn.Linear) and m.groups > 1 and m.in_channels // m.groups < 4]
    return len(layers), len(sparse)


def _multiply_adds(model: nn.Module, channels: int, size: tuple[int, int]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    was, device = model.training, next((p.device for p in model.parameters()), None)
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, channels, *size, device=device))  # of two pictures, as it was checked to take
    model.train(was)
    return int(counter.get_total_flops()) // 4
