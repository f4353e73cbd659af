"""What a network costs, and which precision, memory format and threads suit it: rules, never a timing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

LAYER = 8e6
"""Multiply-adds of a layer on a batch, in the mean, from which computing in bfloat16 pays for converting to it."""

SPARSE_SHARE = 0.1
DENSE_SPEED, SPARSE_SPEED = 35e9, 7e9
"""Multiply-adds a second of a core in training (measured with AVX512-BF16: plain networks at 64 pixels, ResNet-18 at
224 and EfficientNet-Lite0 at 96)."""


def suits_bfloat16(model: nn.Module, multiply_adds: int, batch: int) -> bool:
    """Tell whether a training step is no slower under bfloat16 autocast, on hardware that multiplies bfloat16 faster.

    The time of a step in float32 over that in bfloat16 (one thread with AVX512-BF16, channels last, batches of 8 at 96
    and 224 pixels and of 16 at 128) was 1.5 to 2.0 for resnext50, 1.2 to 1.7 regnetx_004, 1.2 to 2.0 mobilenetv2_100,
    1.1 to 1.4 efficientnet_lite0, 1.0 to 1.4 vit_tiny and 1.2 to 1.3 convnext_atto, all above the limit; and below it
    0.8 to 1.0 for mobilenetv3_small_100 and 0.9 to 1.0 for ghostnet_100.

    Args:
        model: the network.
        multiply_adds: of one picture; see ``multiply_adds``.
        batch: pictures of a step.
    """
    return batch * multiply_adds >= LAYER * len(_layers(model))


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
    model: nn.Module, multiply_adds: int, size: tuple[int, int], stored: tuple[float, float], cores: int, readers: int
) -> int:
    """Return how many of a processor's cores should compute the network while the others prepare its batches.

    All of them where the network takes most of the time.  A small one that shares every core with the threads that
    prepare batches waits at the end of each layer for the slowest core: on 2 cores, a network of 3 million
    multiply-adds a picture trained 1.8 times as fast on one of them, one of 11 million as fast, and one of 41 million
    1.3 times as fast on both.

    Args:
        model: the network.
        multiply_adds: of one picture; see ``multiply_adds``.
        size: (height, width) of the pictures that the network reads.
        stored: (height, width) of the decoded pictures that they are cut from.
        cores: of this machine.
        readers: threads or processes that prepare batches, each on a core of its own at most.
    """
    layers = _layers(model)
    depthwise = [m for m in layers if not isinstance(m, nn.Linear) and m.groups > 1 and m.in_channels // m.groups < 4]
    speed = SPARSE_SPEED if len(depthwise) > SPARSE_SHARE * len(layers) else DENSE_SPEED
    computing = 3 * multiply_adds / speed  # forward, and two products backward
    reading = 1e-4 + 1.5e-9 * stored[0] * stored[1] + 2e-8 * size[0] * size[1]  # seconds of a core for a picture
    return max(1, cores - min(readers, int(cores * reading / (computing + reading) + 1 / 3)))


def multiply_adds(model: nn.Module, channels: int, size: tuple[int, int]) -> int:
    """Return how many products one picture costs, of ``size`` (height, width), read or made.

    A network that reads no pictures says in ``example(rows)`` what it reads.
    """
    from torch.utils.flop_counter import FlopCounterMode

    was, device = model.training, next((p.device for p in model.parameters()), None)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learned:  # the counter looks for the gradient of what layers are given, be it a parameter
        parameter.requires_grad_(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            example: Any = getattr(model, "example", None)  # else two pictures, as it was checked to take
            model(*(example(2) if example else (torch.zeros(2, channels, *size, device=device),)))
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
    model.train(was)
    return int(counter.get_total_flops()) // 4


def _layers(model: nn.Module) -> list[nn.Linear | nn.modules.conv._ConvNd]:
    return [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
