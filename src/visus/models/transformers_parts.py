"""Detectors of queries, of Hugging Face transformers' parts: what ours share, and the weights published for them.

Zhao et al., DETRs beat YOLOs on real-time object detection, CVPR 2024.  transformers is an extra, imported when a
network is built; nothing of it reaches for the network: everything is built from numbers that stand in our own files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models.trunks import STRIDES, Trunk, extended, filled
from visus.models.weights import WeightCard

PRIOR = 0.01
"""Probability of an object at a query before anything was learned (Lin et al., ICCV 2017, section 4.1)."""

USUAL: dict[str, Any] = {"mean": (0.0,), "std": (1.0,), "size": (640, 640)}
"""What these networks' authors give them: pictures as they are, from 0 to 1."""


def library() -> Any:
    """Return transformers.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            "MODEL-026", "transformers is not installed, of which rtdetr_v2 and dfine are made",
            fix="uv pip install 'visus[detr]'",
        ) from error  # fmt: skip
    return transformers


class Own(nn.Module):
    """A backbone of transformers as a trunk (see ``models/trunks.py``).

    Args:
        config: of the backbone.

    Attributes:
        widths: channels of each map.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.body = library().AutoBackbone.from_config(config)
        self.widths = tuple(self.body.channels)
        for module in self.body.modules():
            _refresh(module)

    def forward(self, images: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """Return a map of each stride."""
        return list(self.body(filled(images)).feature_maps)


class Straight(nn.Sequential):
    """Layers whose gradient is laid out as their maps are.

    Of a single picture, PyTorch's batch normalisation takes the transposed gradient that comes back from a list of
    places for one in channels-last format, and gives wrong gradients without a word (CPU, torch 2.15).
    """

    def forward(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B E h w"]:
        """Return what the layers say."""
        for layer in self:
            features = layer(features)
        if features.requires_grad:
            features.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
        return features


class Queries(nn.Module):
    """A network that asks the same number of questions of every picture: which object is there, and where.

    The places of its maps that look most like an object become queries, which are refined by one layer after another.

    Args:
        trunk: of the wanted strides.
        whole: a network of transformers, with its head; its own backbone and its first convolutions are not used.

    Attributes:
        heads: prefixes of what starts fresh on a pretrained backbone.
    """

    heads = ("model",)

    def __init__(self, trunk: Trunk | Own, whole: Any) -> None:
        super().__init__()
        _begin(whole)
        self.backbone, self.model = trunk, whole.model
        del self.model.backbone
        width = whole.config.encoder_hidden_dim
        self.model.encoder_input_proj = nn.ModuleList(
            Straight(nn.Conv2d(each, width, 1, bias=False), nn.BatchNorm2d(width)) for each in trunk.widths
        )
        last = self.model.decoder_input_proj
        self.model.decoder_input_proj = nn.ModuleList(Straight(*each.children()) for each in last)
        self.train()

    def train(self, mode: bool = True) -> Queries:
        """Set what normalisations do.  The decoder answers by all of its layers, which some do in training only."""
        super().train(mode)
        self.model.decoder.training = True
        return self

    def asked(self, images: Float[Tensor, "B C H W"]) -> Any:
        """Return what transformers' model says of the pictures."""
        maps = [first(each) for first, each in zip(self.model.encoder_input_proj, self.backbone(images), strict=True)]
        return self.model(None, inputs_embeds=maps[0], encoder_outputs=self.model.encoder(maps))

    def outputs_in(self, tensors: Mapping[str, Tensor]) -> int:
        """Return how many classes weights by this network's names tell apart; 0 without a head."""
        weight = tensors.get("model.enc_score_head.weight")
        return 0 if weight is None else len(weight)


def configured(
    kind: Any,
    outputs: int,
    size: tuple[int, int],
    settings: Mapping[str, Any],
    *,
    maps: int = 3,
    queries: int,
    layers: int,
    width: int,
    hidden: int,
) -> Any:
    """Return the configuration of a network that is given the maps of another backbone.

    Args:
        kind: the class of the configuration.
        outputs: classes.
        size: (height, width) of the pictures.
        settings: of the size, by transformers' names.
        maps: how many, the last of them of stride 32.
        queries: of a picture; where it has fewer places, there are as many as places.
        layers: of the decoder; 0 for those of the size.
        width: channels of maps and queries; 0 for those of the size.
        hidden: numbers between two layers of a query or place; 0 for those of the size.
    """
    strides = STRIDES[-maps:]
    places = sum(math.prod(side // stride for side in extended(size)) for stride in strides)
    asked = {
        "decoder_layers": layers, "encoder_hidden_dim": width, "d_model": width, "encoder_ffn_dim": hidden,
        "decoder_ffn_dim": hidden,
    }  # fmt: skip
    settings = {"encoder_hidden_dim": 256, **settings, **{key: value for key, value in asked.items() if value}}
    unused = library().RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic",
        out_indices=list(range(5 - maps, 5)),
    )  # fmt: skip
    return kind(
        backbone_config=unused, freeze_backbone_batch_norms=False, num_labels=outputs, num_denoising=0,
        tie_word_embeddings=False, initializer_bias_prior_prob=PRIOR,
        num_queries=min(queries, places), feat_strides=list(strides), num_feature_levels=maps,
        encode_proj_layers=[maps - 1], encoder_in_channels=[8] * maps,
        decoder_in_channels=[settings["encoder_hidden_dim"]] * maps, **settings,
    )  # fmt: skip


def renamed(tensors: Mapping[str, Tensor], inner: Sequence[str]) -> dict[str, Tensor]:
    """Return published tensors by our names.

    Files of transformers' first releases name some layers differently; they hold the last layers of the decoder twice,
    or under one name of two; and they embed classes for a kind of training that is not ours.

    Args:
        tensors: by the names in the file.
        inner: what the two layers between attentions are called now.
    """
    named = dict[str, Tensor]()
    for key, tensor in tensors.items():
        if f"model.decoder.{key}" in tensors:
            continue
        key = re.sub(r"^(class_embed|bbox_embed)\.", r"model.decoder.\1.", key)
        key = re.sub(r"\.self_attn\.out_proj\.", ".self_attn.o_proj.", key)
        key = re.sub(r"\.layers\.(\d+)\.fc([12])\.", lambda m: f".layers.{m[1]}.{inner[int(m[2]) - 1]}.", key)
        key = re.sub(r"\.encoder\.encoder\.(\d+)\.layers\.", r".encoder.aifi.\1.layers.", key)
        key = re.sub(r"^model\.backbone\.model\.", "backbone.body.", key)
        if not key.startswith("model.denoising_class_embed."):
            named[key] = tensor
    return named


def card(repository: str) -> WeightCard:
    """Return what is known of the weights in a repository of Hugging Face; the file where its cache holds it."""
    from huggingface_hub import try_to_load_from_cache

    name = "model.safetensors"
    found = try_to_load_from_cache(repository, name)
    return WeightCard(
        name=repository, source=f"https://huggingface.co/{repository}/resolve/main/{name}",
        licence="apache-2.0", commercial=True, outputs=80, trained_on="COCO",
        file=Path(found) if isinstance(found, str) else None, **USUAL,
    )  # fmt: skip


def place() -> Path:
    """Return the folder in which Hugging Face's hub keeps what was fetched."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


@torch.no_grad()
def _begin(whole: Any) -> None:
    """Give a network fresh weights as its authors do: PyTorch's own in plain layers.

    transformers' are so small, of normalisations too, that little passes through them.  Class scores start at a low
    probability, boxes where the queries are, and attention around them.
    """
    modules = list(whole.modules())
    plain = [module for module in modules if _refresh(module)]
    for module in modules:
        if not any(module is each for each in plain):
            whole._init_weights(module)
    for name in ("enc_bbox_head", "decoder.pre_bbox_head"):
        if name in dict(whole.model.named_modules()):
            last = whole.model.get_submodule(name).layers[-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    for layer in (whole.model.enc_output[0], *whole.model.decoder.query_pos_head.layers):
        nn.init.xavier_uniform_(layer.weight)


def _refresh(module: nn.Module) -> bool:
    """Give a plain layer PyTorch's fresh weights; tell whether it is one."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
    return callable(reset)
