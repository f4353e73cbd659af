"""segmentation-models-pytorch taken apart: what ours share of its networks, on any backbone, and their tensors.

Iakubovskii, Segmentation models PyTorch, 2019: the code is MIT.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models.blocks import with_pooled_norms
from visus.models.trunks import Trunk, filled, spread

FINE = (4, 8, 16, 32)
NORMS = {"batch": "batchnorm", "instance": "instancenorm", "none": "identity"}
Norm = Literal["batch", "instance", "none"]

_STAGES = re.compile(r"^(stem|stages|blocks|layers|features)_(?=\d)")
"""How names begin in a network of timm's that was built for its maps alone."""


def trunk(backbone: str, channels: int, size: tuple[int, int]) -> Trunk:
    """Return a backbone with maps of strides 2, 4, 8, 16 and 32; without the first where it has none, as transformers.

    Raises:
        UsageError: a backbone that does not exist, or has no map of one of the other strides.
    """
    try:
        return Trunk(backbone, channels, size, {}, (2, *FINE))
    except UsageError as error:
        if error.code != "MODEL-023":
            raise
    return Trunk(backbone, channels, size, {}, FINE)


def widths(trunk: Trunk, channels: int) -> list[int]:
    """Return the channels of the picture and of the maps of strides 2, 4, ...; 0 where there is no map of stride 2."""
    return [channels, *[0] * (5 - len(trunk.widths)), *trunk.widths]


def stepwise(
    decoder: Callable[..., nn.Module], outputs: int, channels: int, size: tuple[int, int], backbone: str,
    steps: Sequence[int], normalisation: Norm, attention: Literal["none", "scse"], interpolation: str,
) -> Pixels:  # fmt: skip
    """Return a network whose decoder doubles the map step by step, to full size: ``unet`` and ``unetplusplus``."""
    body = trunk(backbone, channels, size)
    made = decoder(
        widths(body, channels), steps, use_norm=NORMS[normalisation],
        attention_type=None if attention == "none" else attention, interpolation_mode=interpolation,
    )  # fmt: skip
    return Pixels(body, made, steps[-1], outputs, kernel=3)


class Pixels(nn.Module):
    """A backbone, a decoder of segmentation-models-pytorch, and a layer that gives logits.

    The decoder and the layer start as there.

    Args:
        trunk: with maps of strides 2 or 4 to 32.
        decoder: of the library.
        width: channels that the decoder gives.
        outputs: classes.
        kernel: of the last layer.

    Attributes:
        heads: prefixes of what starts fresh on a pretrained backbone.
    """

    heads = ("head", "decoder")

    def __init__(self, trunk: Trunk, decoder: Any, width: int, outputs: int, kernel: int) -> None:
        from segmentation_models_pytorch.base import initialization

        super().__init__()
        self.backbone = trunk
        self.decoder = decoder
        self.head = nn.Conv2d(width, outputs, kernel, padding=kernel // 2)
        initialization.initialize_decoder(decoder)
        initialization.initialize_head(self.head)
        with_pooled_norms(decoder)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Return logits of every pixel."""
        whole = filled(images)
        maps: list[Tensor] = self.backbone(whole)
        if 2 * maps[0].shape[2] != whole.shape[2]:  # the library counts a map of half the size, be it an empty one
            half = whole.new_empty(len(whole), 0, whole.shape[2] // 2, whole.shape[3] // 2)
            maps = [half, *maps]
        return spread(self.head(self.decoder([whole, *maps])), images, corners=True)


def is_theirs(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors have the names of one of the library's networks."""
    return any(key.startswith("segmentation_head.") for key in tensors)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the library's tensors by the names that ours and timm's networks have for them.

    A head for whole pictures beside, which it calls auxiliary, is left out.
    """
    named = dict[str, Tensor]()
    for key, tensor in tensors.items():
        if key.startswith("encoder."):
            inner = key.removeprefix("encoder.").removeprefix("model.")
            named["backbone.body." + _STAGES.sub(r"\1.", inner)] = tensor
        elif not key.startswith("classification_head."):
            named[key.replace("segmentation_head.0.", "head.")] = tensor
    return named
