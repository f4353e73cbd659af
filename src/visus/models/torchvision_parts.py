"""torchvision's detectors and segmenters taken apart: what ours share of them, and the weights that it published.

Lin et al., Feature pyramid networks, CVPR 2017; the code and weights are torchvision's, BSD-3-Clause.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visus.models.blocks import with_pooled_norms
from visus.models.trunks import STRIDES, Trunk, dilated, extended, is_mobilenet, spread
from visus.models.weights import WeightCard

RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors of each size."""

SIZE = (800, 800)
"""(height, width) of pictures as its detectors were trained on them, about: the shorter side had 800 pixels."""

MAPPED = (520, 520)
"""(height, width) of pictures as its segmenters were trained on them, about."""

PRECISION = 1e-5
"""What batch normalisation adds to a variance."""

_ON_BACKBONE = re.compile(r"^backbone\.(?=(?:conv1|bn1|layer[1-4]|(\d+))\.)")
"""How names of a backbone begin in its segmenters; with a number where that is such a chain of features."""

_ON_FEATURES = re.compile(r"^backbone\.body\.(?=\d)")
"""How names begin where the backbone is the chain of features of one of torchvision's networks alone."""


def told(pyramid: Any, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B D _ _"]]:
    """Return the maps of torchvision's feature pyramid, the finest first, the ones that it adds last."""
    return list(pyramid(OrderedDict((str(i), each) for i, each in enumerate(maps))).values())


def anchors(
    generator: Any, images: Float[Tensor, "B C H W"], maps: Sequence[Float[Tensor, "B _ _ _"]]
) -> Float[Tensor, "A 4"]:
    """Return the boxes that torchvision's generator lays over each place: map by map, row by row, at least float32.

    They are xyxy in pixels of the pictures and may reach beyond them.
    """
    height, width = extended((images.shape[2], images.shape[3]))
    sizes = [list(each.shape[2:]) for each in maps]
    strides = [[torch.tensor(height // rows), torch.tensor(width // columns)] for rows, columns in sizes]
    generator.set_cell_anchors(torch.promote_types(images.dtype, torch.float32), torch.device("cpu"))
    return torch.cat(generator.grid_anchors(sizes, strides)).to(images.device)


def card(name: str, file: Path | None = None) -> WeightCard:
    """Return what is known of the weights that torchvision published under a name.

    Args:
        name: of its ``models.detection`` or ``models.segmentation``: ``fasterrcnn_resnet50_fpn``.
        file: they lie in; None for where torch.hub keeps what it once fetched, if it is there.
    """
    from torchvision.models import get_model_weights, list_models, segmentation

    best: Any = get_model_weights(name)["DEFAULT"]
    here = file or place(best.url)
    return WeightCard(
        name=f"{name}.{best.name}",
        licence="bsd-3-clause",
        commercial=True,
        source=best.url,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        size=MAPPED if name in list_models(module=segmentation) else SIZE,
        outputs=len(best.meta["categories"]),
        trained_on="COCO",
        parameters=best.meta["num_params"],
        file=here if here.is_file() else None,
        bytes=int(best.meta["_file_size"] * 1e6),
    )


def place(address: str) -> Path:
    """Return where torch.hub keeps a file of this address on this machine."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(address).name


def is_theirs(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors have the names of one of torchvision's detectors with a feature pyramid, or segmenters."""
    return any(key.startswith("backbone.fpn.") for key in tensors) or is_mapped(tensors)


def is_mapped(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors have the names of one of torchvision's segmenters."""
    return any(_ON_BACKBONE.match(key) for key in tensors) and any(key.startswith("classifier.") for key in tensors)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network that was built elsewhere, so that it answers as there.

    Normalisations that torchvision holds still may add anything to a variance; what they add beyond ``PRECISION`` goes
    into it, and they get the count that marks tensors for which nothing is left to be guessed.
    """
    from torchvision.ops import FrozenBatchNorm2d

    state = {key: each.detach().cpu().clone() for key, each in module.state_dict().items() if isinstance(each, Tensor)}
    for name, layer in module.named_modules():
        if isinstance(layer, FrozenBatchNorm2d):
            state[f"{name}.running_var"] += layer.eps - PRECISION
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return state


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of torchvision's detectors by the names that our detectors and timm's networks have for them.

    Files of its first releases name the layers of pyramid and heads without their place in a sequence.
    """
    named = dict[str, Tensor]()
    for key, tensor in tensors.items():
        key = re.sub(r"((?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", key)
        key = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", key)
        key = _ON_FEATURES.sub("backbone.body.features.", key)
        for theirs, ours in (("backbone.fpn.", "pyramid."), ("rpn.head.", "proposals."), ("roi_heads.", "head.")):
            key = ours + key.removeprefix(theirs) if key.startswith(theirs) else key
        named[key] = tensor
    return named


def exact(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that answer as torchvision's first detectors do, which add nothing to a variance.

    Those stand on a ResNet, were trained with normalisations that were held still, and kept no count of batches.  Ours
    add ``PRECISION``, so it is taken off what they add it to.
    """
    if any(key.endswith("num_batches_tracked") or _ON_FEATURES.match(key) for key in tensors):
        return dict(tensors)
    return {key: tensor - PRECISION if key.endswith("running_var") else tensor for key, tensor in tensors.items()}


class Pixels(nn.Module):
    """A backbone whose kernels are spread, and what torchvision calls the classifier of one of its segmenters.

    Args:
        trunk: whose coarsest map is looked at.
        classifier: gives logits at the map's size.
        last: name of the classifier's layer that has an output a class.

    Attributes:
        heads: prefixes of what starts fresh on a pretrained backbone.
    """

    heads = ("classifier",)

    def __init__(self, trunk: Trunk, classifier: nn.Module, last: str) -> None:
        super().__init__()
        self.backbone = trunk
        self.classifier = classifier
        self.last = f"classifier.{last}.bias"
        with_pooled_norms(classifier)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Return logits of every pixel."""
        return spread(self.said(self.backbone(images)), images)

    def said(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B K h w"]:
        """Return logits at a map's size."""
        logits: Tensor = self.classifier(maps[-1])
        return logits

    def outputs_in(self, tensors: Mapping[str, Tensor]) -> int:
        """Return how many classes the tensors of a whole network tell apart, 0 where they hold no head."""
        return len(tensors.get(self.last, ()))


def spread_trunk(backbone: str, channels: int, size: tuple[int, int], stride: int) -> Trunk:
    """Return a backbone with the one map of torchvision's FCN and DeepLabV3.

    Args:
        backbone: any that can spread its kernels, see ``trunks.dilated``; with 32 any that has such a map.
        channels: of the pictures.
        size: (height, width) of the pictures.
        stride: of the map; 0 for torchvision's: 16 on its MobileNetV3, 8 on all others.

    Raises:
        UsageError: a backbone that does not exist, or has no such map.
    """
    stride = stride or (16 if is_mobilenet(backbone) else STRIDES[0])
    return dilated(backbone, channels, size, (stride,), settled=False)


def renamed_pixels(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of torchvision's segmenters by our names and those that timm's networks have.

    The auxiliary classifier, which helped in training only, is left out.
    """
    return {
        _ON_BACKBONE.sub(lambda m: "backbone.body." + ("features." if m[1] else ""), key): tensor
        for key, tensor in tensors.items()
        if not key.startswith("aux_classifier.")
    }
