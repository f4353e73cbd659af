"""A small residual network for pictures of 28 to 64 pixels, shaped for accuracy per processor second.

Each stage widens by one convolution, halves the map by pooling before normalising (so that everything after it costs a
quarter), and refines it by residual blocks.
"""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models.backbones import Backbone
from visus.models.blocks import Activation, Normalisation, activation, convolution, drop_path, normalisation

Count = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Downsample = Literal["max", "average", "stride", "none"]
Summary = Literal["mean", "max", "both"]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    *,
    stem: Annotated[int, Field(ge=0)] = 32,
    stem_kernel: Literal[1, 3, 5, 7] = 3,
    stem_stride: Literal[1, 2, 4] = 1,
    widths: Annotated[tuple[Count, ...], Field(min_length=1)] = (64, 128, 256),
    blocks: tuple[Annotated[int, Field(ge=0)], ...] = (1, 1, 1),
    layers: Literal[1, 2, 3] = 2,
    downsample: Downsample = "max",
    normalisation: Normalisation = "batch",
    activation: Activation = "relu",
    join: Literal["after", "before"] = "after",
    zero: bool = True,
    drop_path: Rate = 0.0,
    dropout: Rate = 0.0,
    summary: Summary = "mean",
    scale: Annotated[float, Field(gt=0)] = 1.0,
) -> SmallResidualNetwork:
    """Return the network.

    Args:
        outputs: length of the last axis.
        channels: of the pictures.
        size: (height, width) of the pictures; any, since the last map is summarised over its places.
        stem: channels after a first convolution, 0 for none; ``stem_kernel`` its side, ``stem_stride`` its stride.
        widths: channels of each stage.
        blocks: residual blocks of each stage.
        layers: 3 x 3 convolutions of a residual block.
        downsample: how a stage halves the map: ``max`` or ``average`` pooling after its first convolution, ``stride``
            of it, or ``none``.
        normalisation: ``batch``, ``group``, ``layer`` or ``none``.  Only ``batch`` couples the pictures of a batch.
        activation: ``relu``, ``silu``, ``gelu``, ...
        join: the last activation of a block comes ``after`` its branch is added (He et al. 2016, fig. 2) or ``before``
            (so that the sum itself is not bent).
        zero: the last normalisation of each branch starts at zero, so that every block starts as the identity
            (Goyal et al., 2017, section 5.1).  With ``join=before`` no gradient would pass such a start and it is not
            applied.
        drop_path: rate at which the last block's branch is left out; it rises linearly up to there.
        dropout: rate before the last layer.
        summary: ``mean`` or ``max`` over the places of the last map, or the sum of ``both``.
        scale: factor of the outputs.

    Raises:
        UsageError: ``blocks`` and ``widths`` differ in length.

    Source:
        He et al., Deep residual learning for image recognition, CVPR 2016; pooling before normalisation and residual
        blocks between plain convolutions after Coleman et al., DAWNBench, 2017 (entry of D. Page, ResNet-9).
    """
    if len(blocks) != len(widths):
        raise UsageError(
            "MODEL-011",
            f"resnet_small: blocks has {len(blocks)} numbers, widths has {len(widths)}",
            fix="one a stage in each",
        )
    return SmallResidualNetwork(
        outputs, channels, stem, stem_kernel, stem_stride, widths, blocks, layers, downsample, normalisation,
        activation, join, zero, drop_path, dropout, summary, scale,
    )  # fmt: skip


class Block(nn.Module):
    """A residual block: the map plus what a few convolutions make of it.

    Args:
        width: channels, kept.
        layers: convolutions.
        norm, act: by name.
        join: ``after`` or ``before``, see ``build``.
        zero: start as the identity.
        rate: of drop-path.
    """

    def __init__(
        self, width: int, layers: int, norm: Normalisation, act: Activation, join: str, zero: bool, rate: float
    ) -> None:
        super().__init__()
        parts = list[nn.Module]()
        for _ in range(layers):
            parts += [convolution(width, width, bias=norm == "none"), normalisation(norm, width), activation(act)]
        last = parts.pop()
        if join == "before":
            parts.append(last)
            last = nn.Identity()
        elif zero:
            _start_at_zero(parts)
        self.branch, self.activation, self.rate = nn.Sequential(*parts), last, rate

    def forward(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        """Return the refined map."""
        joined: Tensor = self.activation(features + drop_path(self.branch(features), self.rate, self.training))
        return joined


class SmallResidualNetwork(nn.Module):
    """Stem, stages of a widening convolution and residual blocks, a summary of places, a linear head; see ``build``."""

    def __init__(
        self,
        outputs: int,
        channels: int,
        stem: int,
        stem_kernel: int,
        stem_stride: int,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        layers: int,
        downsample: Downsample,
        norm: Normalisation,
        act: Activation,
        join: Literal["after", "before"],
        zero: bool,
        rate: float,
        dropout: float,
        summary: Summary,
        scale: float,
    ) -> None:
        super().__init__()
        bias = norm == "none"
        self.stem = nn.Sequential()
        if stem:
            first = convolution(channels, stem, stem_kernel, stem_stride, bias=bias)
            self.stem.extend([first, normalisation(norm, stem), activation(act)])
        rates = [rate * (block + 1) / sum(blocks) for block in range(sum(blocks))]
        stages, inputs, at = list[nn.Module](), stem or channels, 0
        for width, count in zip(widths, blocks, strict=True):
            stride = 2 if downsample == "stride" else 1
            stage = [convolution(inputs, width, 3, stride, bias=bias), *_pooling(downsample)]
            stage += [normalisation(norm, width), activation(act)]
            stage += [Block(width, layers, norm, act, join, zero, r) for r in rates[at : at + count]]
            stages.append(nn.Sequential(*stage))
            inputs, at = width, at + count
        self.stages = nn.Sequential(*stages)
        self.summary, self.scale = summary, scale
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inputs, outputs)

    def forward_features(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return the last map."""
        features: Tensor = self.stages(self.stem(images))
        return features

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Return the outputs."""
        outputs: Tensor = self.head(self.dropout(_summarised(self.forward_features(images), self.summary)))
        return outputs * self.scale if self.scale != 1 else outputs


def _summarised(features: Float[Tensor, "B D h w"], summary: Summary) -> Float[Tensor, "B D"]:
    if summary == "mean":
        return features.mean((2, 3))
    largest = features.amax((2, 3))
    return largest if summary == "max" else largest + features.mean((2, 3))


def _pooling(downsample: Downsample) -> list[nn.Module]:
    """Return the pooling layer, if any; it rounds up, so that no picture is too small."""
    if downsample == "max":
        return [nn.MaxPool2d(2, ceil_mode=True)]
    return [nn.AvgPool2d(2, ceil_mode=True)] if downsample == "average" else []


def _start_at_zero(branch: list[nn.Module]) -> None:
    """Set the scale that acts last in a branch to zero: its normalisation's, or without one its convolution's."""
    for part in reversed(branch):
        if isinstance(part, nn.BatchNorm2d | nn.GroupNorm | nn.Conv2d):
            nn.init.zeros_(part.weight)
            return


BACKBONE = Backbone(build, "small residual network for pictures of 28 to 64 pixels", size=(32, 32))
