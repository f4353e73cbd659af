"""RT-DETRv2: queries are chosen from maps, refined in layers and matched with one object each; transformers' parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from visus.models import transformers_parts as parts
from visus.models.detectors import Detector
from visus.models.trunks import Trunk

BASIC = {"layer_type": "basic", "hidden_sizes": (64, 128, 256, 512)}
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "r18": ({**BASIC, "depths": (2, 2, 2, 2)}, {"hidden_expansion": 0.5, "decoder_layers": 3}),
    "r34": ({**BASIC, "depths": (3, 4, 6, 3)}, {"hidden_expansion": 0.5, "decoder_layers": 4}),
    "r50": ({}, {}),
    "r101": ({"depths": (3, 4, 23, 3)}, {"encoder_hidden_dim": 384, "encoder_ffn_dim": 2048}),
}
"""By name, what the authors' networks have: backbone, and all else; where they say nothing, as ``r50``."""


def build(
    outputs: int,
    channels: int,
    size: tuple[int, int],
    backbone: str,
    *,
    queries: Annotated[int, Field(gt=0)] = 300,
    layers: Annotated[int, Field(ge=0)] = 0,
    width: Annotated[int, Field(ge=0, multiple_of=8)] = 0,
    hidden: Annotated[int, Field(ge=0)] = 0,
) -> RTDetrV2:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: ``r18``, ``r34``, ``r50`` or ``r101``, the authors' networks, or any network, ours or timm's, that has
            maps of strides 8, 16, 32; all else is then as with ``r18``.
        queries: objects that can be found in a picture; no more than it has places.
        layers: that refine the queries; 0 for those of the size.
        width: channels of maps and queries; 0 for those of the size.
        hidden: numbers between two layers of a query; 0 for those of the size.

    Raises:
        UsageError: transformers is not installed, a backbone that does not exist, or has no such maps.

    Source:
        Lv et al., RT-DETRv2, 2024 (arXiv 2407.17140); Zhao et al., DETRs beat YOLOs, CVPR 2024.
    """
    library = parts.library()
    body, settings = SIZES.get(backbone, SIZES["r18"])
    config = parts.configured(
        library.RTDetrV2Config, outputs, size, settings, queries=queries, layers=layers, width=width, hidden=hidden
    )
    if backbone in SIZES:
        own = library.RTDetrResNetConfig(num_channels=channels, out_indices=[2, 3, 4], **body)
        return RTDetrV2(parts.Own(own), library.RTDetrV2ForObjectDetection(config))
    return RTDetrV2(Trunk(backbone, channels, size, {}), library.RTDetrV2ForObjectDetection(config))


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a published file by this network's names."""
    return parts.renamed(tensors, ("mlp.fc1", "mlp.fc2"))


class RTDetrV2(parts.Queries):
    """See ``build``."""

    def forward(self, images: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B S Q K"], Float[Tensor, "B S Q 4"]]:
        """Return logits and boxes of each query: as it was chosen, and after every layer, the last of which counts.

        Boxes are middle, width and height, in widths and heights of the picture as it is extended to multiples
        of 32.
        """
        said = self.asked(images)
        return (
            torch.cat([said.enc_topk_logits[:, None], said.intermediate_logits], 1),
            torch.cat([said.enc_topk_bboxes[:, None], said.intermediate_reference_points], 1),
        )


DETECTOR = Detector(
    build, "efficientnet_lite0", "RT-DETRv2: queries that are each matched with one object; transformers' parts",
    "queries", own={name: f"PekingU/rtdetr_v2_{name}vd" for name in SIZES}, renamed=renamed, usual=parts.USUAL,
    library="transformers", extra="detr", parameters=11_814_064,
)  # fmt: skip
