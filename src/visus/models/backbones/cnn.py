"""A plain convolutional network, every part of which can be chosen: the classic one learns first.

LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 1998, with today's normalisation.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models.backbones import Backbone
from visus.models.blocks import Activation, Normalisation, activation, convolution, normalisation

Count = Annotated[int, Field(gt=0)]
Each: TypeAlias = Count | tuple[Count, ...]
"""One number for every block, or one a block."""


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    *,
    widths: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 64, 128),
    kernel: Each = 3,
    stride: Each = 1,
    padding: Annotated[int, Field(ge=0)] | None = None,
    pooling: Literal["max", "average", "none"] = "max",
    pool: Each = 2,
    normalisation: Normalisation = "batch",
    activation: Activation = "relu",
    flatten: bool = False,
    hidden: tuple[Count, ...] = (),
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> PlainNetwork:
    """Return a network of blocks (convolution, normalisation, activation, pooling) and dense layers.

    With the defaults it reads pictures of any size from 1 x 1 on: convolutions keep the size, and pooling rounds up.

    Args:
        outputs: length of the last axis.
        channels: of the pictures.
        size: (height, width) of the pictures; matters only to what is checked and, with ``flatten``, to the first
            dense layer.
        widths: channels after each block; their number is the depth.
        kernel: side of each convolution, pixels.
        stride: of each convolution.
        padding: pixels added around each convolution's input; without it half the kernel, which keeps the size.
        pooling: ``max``, ``average`` or ``none`` after each block.
        pool: side and stride of the pooling; a rest at the border is pooled too.
        normalisation: ``batch``, ``group``, ``layer`` or ``none``.
        activation: ``relu``, ``silu``, ``gelu``, ``leaky_relu``, ``elu``, ``tanh`` or ``sigmoid``.
        flatten: the dense layers see every place of the last map, as in LeNet; otherwise the mean over places.
        hidden: widths of dense layers before the last one.
        dropout: rate before each dense layer.

    Raises:
        UsageError: lists of unequal length, or a block that leaves no pixel; says which option and at which shape.
    """
    depth = len(widths)
    kernels, strides, pools = (
        _each("kernel", kernel, depth), _each("stride", stride, depth), _each("pool", pool, depth),
    )  # fmt: skip
    height, width, inputs = *size, channels
    for block, (out, k, s, p) in enumerate(zip(widths, kernels, strides, pools, strict=True)):
        margin = k // 2 if padding is None else padding
        shape = f"({inputs}, {height}, {width})"
        height, width = (_convolved(length, k, s, margin) for length in (height, width))
        if min(height, width) < 1:
            raise UsageError(
                "MODEL-012",
                f"cnn: kernel={k} with padding={margin} leaves nothing of {shape} in block {block + 1} of {depth}",
                fix=f"a smaller kernel, padding={k // 2}, fewer widths, or larger pictures: --set size={2 * max(size)}",
            )  # fmt: skip
        if pooling != "none":
            height, width = -(-height // p), -(-width // p)
        inputs = out
    return PlainNetwork(
        outputs, channels, widths, kernels, strides, padding, pooling, pools, normalisation, activation,
        (height, width) if flatten else None, hidden, dropout,
    )  # fmt: skip


class PlainNetwork(nn.Module):
    """Blocks of convolution, normalisation, activation and pooling, then dense layers; see ``build``."""

    def __init__(
        self,
        outputs: int,
        channels: int,
        widths: tuple[int, ...],
        kernels: tuple[int, ...],
        strides: tuple[int, ...],
        padding: int | None,
        pooling: Literal["max", "average", "none"],
        pools: tuple[int, ...],
        norm: Normalisation,
        act: Activation,
        flat: tuple[int, int] | None,
        hidden: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        blocks, inputs = list[nn.Module](), channels
        for width, kernel, stride, pool in zip(widths, kernels, strides, pools, strict=True):
            layers = [
                convolution(inputs, width, kernel, stride, padding, bias=norm == "none"),
                normalisation(norm, width),
                activation(act),
            ]
            if pooling == "max":
                layers.append(nn.MaxPool2d(pool, ceil_mode=True))
            elif pooling == "average":
                layers.append(nn.AvgPool2d(pool, ceil_mode=True))
            blocks.append(nn.Sequential(*layers))
            inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.flat = flat is not None
        inputs *= flat[0] * flat[1] if flat else 1
        dense = list[nn.Module]()
        for width in hidden:
            dense += [nn.Dropout(dropout), nn.Linear(inputs, width), activation(act)]
            inputs = width
        self.hidden = nn.Sequential(*dense)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, outputs)

    def forward_features(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return the last map."""
        features: Tensor = self.blocks(images)
        return features

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Return the outputs."""
        features = self.forward_features(images)
        features = features.flatten(1) if self.flat else features.mean((2, 3))
        outputs: Tensor = self.head(self.dropout(self.hidden(features)))
        return outputs


def _each(option: str, value: int | tuple[int, ...], depth: int) -> tuple[int, ...]:
    values = (value,) * depth if isinstance(value, int) else value
    if len(values) != depth:
        raise UsageError(
            "MODEL-011", f"cnn: {option} has {len(values)} numbers, but widths has {depth} blocks",
            fix=f"one number for all, or {depth} of them",
        )  # fmt: skip
    return values


def _convolved(length: int, kernel: int, stride: int, margin: int) -> int:
    return (length + 2 * margin - kernel) // stride + 1


BACKBONE = Backbone(build, "plain convolutional network, every part configurable, any picture size", size=(32, 32))
