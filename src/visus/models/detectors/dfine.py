"""D-FINE: as RT-DETR, but each side of a box is a distribution, sharpened layer by layer; transformers' parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from visus.models import transformers_parts as parts
from visus.models.detectors import Detector
from visus.models.trunks import STRIDES, Trunk

BINS = 32
"""Steps of the distribution of a side; it has a value at each end of each."""

FARTHEST, CURVE = 0.5, 0.25
"""The authors' a and c: how far a side's fine steps reach, in widths or heights of the box it starts from, and how fine
they are about 0."""

LIGHT = {
    "stem_channels": (16, 16), "stage_in_channels": (16, 64, 256, 512), "stage_mid_channels": (16, 32, 64, 128),
    "stage_out_channels": (64, 256, 512, 1024), "stage_num_blocks": (1, 1, 2, 1), "stage_numb_of_layers": (3,) * 4,
    "use_learnable_affine_block": True,
}  # fmt: skip
MIDDLING = {
    "stem_channels": (24, 32), "stage_in_channels": (32, 96, 384, 768), "stage_mid_channels": (32, 64, 128, 256),
    "stage_out_channels": (96, 384, 768, 1536), "stage_num_blocks": (1, 1, 3, 1), "stage_numb_of_layers": (4,) * 4,
    "use_learnable_affine_block": True,
}  # fmt: skip
HEAVY = {
    "stem_channels": (32, 48), "stage_in_channels": (48, 128, 512, 1024), "stage_mid_channels": (48, 96, 192, 384),
    "stage_out_channels": (128, 512, 1024, 2048), "stage_num_blocks": (1, 1, 3, 1), "stage_numb_of_layers": (6,) * 4,
}  # fmt: skip
HEAVIEST = {
    **HEAVY, "stem_channels": (32, 64), "stage_in_channels": (64, 128, 512, 1024),
    "stage_mid_channels": (64, 128, 256, 512), "stage_num_blocks": (1, 2, 5, 2),
}  # fmt: skip
POINTS = {"decoder_n_points": [3, 6, 3]}
SIZES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nano": (LIGHT, {
        "decoder_layers": 3, "depth_mult": 0.5, "hidden_expansion": 0.34, "decoder_n_points": [6, 6], "d_model": 128,
        "encoder_hidden_dim": 128, "encoder_ffn_dim": 512, "decoder_ffn_dim": 512,
    }),
    "small": (LIGHT, {"decoder_layers": 3, "depth_mult": 0.34, "hidden_expansion": 0.5, **POINTS}),
    "medium": (MIDDLING, {"decoder_layers": 4, "depth_mult": 0.67, **POINTS}),
    "large": (HEAVY, POINTS),
    "xlarge": (HEAVIEST, {"encoder_hidden_dim": 384, "encoder_ffn_dim": 2048, **POINTS}),
}  # fmt: skip
"""By name, what the authors' networks have: backbone (HGNet-v2), and all else; what is not said is as in ``large``."""


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
) -> DFine:
    """Return the network.

    Args:
        outputs: classes.
        channels: of the pictures.
        size: (height, width) of the pictures; any, best a multiple of 32 each.
        backbone: ``nano``, ``small``, ``medium``, ``large`` or ``xlarge``, the authors' networks, or any network, ours
            or timm's, that has maps of strides 8, 16, 32; all else is then as with ``small``.
        queries: objects that can be found in a picture; no more than it has places.
        layers: that refine the queries; 0 for those of the size.
        width: channels of maps and queries; 0 for those of the size.
        hidden: numbers between two layers of a query; 0 for those of the size.

    Raises:
        UsageError: transformers is not installed, a backbone that does not exist, or has no such maps.

    Source:
        Peng et al., D-FINE, 2024 (arXiv 2410.13842).
    """
    library = parts.library()
    body, settings = SIZES.get(backbone, SIZES["small"])
    maps = len(settings["decoder_n_points"])
    config = parts.configured(
        library.DFineConfig, outputs, size, {**settings, "max_num_bins": BINS, "up": FARTHEST, "reg_scale": 1 / CURVE},
        maps=maps, queries=queries, layers=layers, width=width, hidden=hidden,
    )  # fmt: skip
    if backbone in SIZES:
        stem = (channels, *body["stem_channels"])
        own = library.HGNetV2Config(
            num_channels=channels, out_indices=list(range(5 - maps, 5)), hidden_sizes=body["stage_out_channels"],
            **{**body, "stem_channels": stem},
        )  # fmt: skip
        return DFine(parts.Own(own), library.DFineForObjectDetection(config))
    return DFine(Trunk(backbone, channels, size, {}, STRIDES), library.DFineForObjectDetection(config))


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a published file by this network's names."""
    return parts.renamed(tensors, ("mlp.layers.0", "mlp.layers.1"))


class DFine(parts.Queries):
    """See ``build``."""

    def __init__(self, trunk: Trunk | parts.Own, whole: Any) -> None:
        super().__init__(trunk, whole)
        for name in ("up", "reg_scale"):  # numbers, which nothing may train
            number = getattr(self.model.decoder, name).detach()
            delattr(self.model.decoder, name)
            self.model.decoder.register_buffer(name, number)

    def forward(
        self, images: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B S Q K"], Float[Tensor, "B S Q 4"], Float[Tensor, "B L Q 4 R"], Float[Tensor, "B Q 4"]]:
        """Return logits and boxes of each query, and the logits of where the sides are, from the box they start from.

        Logits and boxes are those of the query as it was chosen, of a first look, and of every layer, the last of
        which counts.  Boxes are middle, width and height, in widths and heights of the picture as it is extended to
        multiples of 32.  Sides are left, top, right, bottom, after every layer; ``steps`` says what their values mean.
        """
        said = self.asked(images)
        corners = said.intermediate_predicted_corners
        return (
            torch.cat([said.enc_topk_logits[:, None], said.intermediate_logits], 1),
            torch.cat([said.enc_topk_bboxes[:, None], said.intermediate_reference_points], 1),
            corners.unflatten(3, (4, BINS + 1)),
            said.initial_reference_points[:, 0],
        )


def steps() -> Float[Tensor, "R"]:
    """Return how far each value of a side's distribution moves it outward, in widths or heights of its first box.

    They are fine about 0 and coarser with the distance; at -0.5 a side would lie in the middle of the box.

    Source:
        Peng et al., D-FINE, 2024, section 4.1, eq. 2 (W).
    """
    n = torch.arange(1, BINS // 2, dtype=torch.float64)
    outward = CURVE * ((FARTHEST / CURVE + 1) ** (2 * n / (BINS - 2)) - 1)
    zero, last = outward.new_zeros(1), outward.new_full((1,), 2 * FARTHEST)
    return torch.cat([-last, -outward.flip(0), zero, outward, last])


DETECTOR = Detector(
    build, "efficientnet_lite0", "D-FINE: queries whose boxes are distributions of their sides; transformers' parts",
    "queries", own={name: f"ustc-community/dfine-{name}-coco" for name in SIZES}, renamed=renamed, usual=parts.USUAL,
    library="transformers", extra="detr", parameters=11_071_671,
)  # fmt: skip
