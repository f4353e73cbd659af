"""torchvision's classifiers by ``torchvision:resnet18``; their weights from torch.hub's local folder only."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visus.core.errors import UsageError, did_you_mean
from visus.models.heads import first_convolution
from visus.models.reading import read_tensors
from visus.models.weights import WeightCard, missing

PREFIX = "torchvision:"


def names() -> list[str]:
    """Return every name, with its prefix."""
    from torchvision import models

    return [PREFIX + name for name in models.list_models(module=models)]


def knows(name: str) -> bool:
    """Tell whether torchvision has a network of this name, with or without the prefix."""
    return PREFIX + name.removeprefix(PREFIX) in names()


def network(name: str, outputs: int, channels: int, size: tuple[int, int], options: Mapping[str, Any]) -> nn.Module:
    """Return the network with fresh weights.

    Auxiliary classifiers, which would change what ``forward`` returns in training, are left out; another number of
    channels replaces the first convolution by one of the same kind.

    Raises:
        UsageError: no such network, or an option it does not take.
    """
    from torchvision import models

    plain = _plain(name)
    sized: dict[str, Any] = {}
    if plain in {"googlenet", "inception_v3"}:  # their weights expect the network itself to undo ImageNet's statistics
        sized = {"aux_logits": False, "init_weights": True, "transform_input": channels == 3}
    sized |= {"image_size": size[0]} if plain.startswith("vit_") else {}
    sized |= {"input_size": size} if plain.startswith("maxvit") else {}
    try:
        model: nn.Module = models.get_model(plain, weights=None, num_classes=outputs, **{**sized, **options})
    except (TypeError, ValueError) as error:
        taken = inspect.signature(models.get_model_builder(plain)).parameters
        raise UsageError(
            "MODEL-011", f"torchvision cannot build {plain} with these options", where=str(error).splitlines()[0],
            fix=f"check size and model.options ({', '.join(options) or 'none given'}; it takes {', '.join(taken)})",
        ) from error  # fmt: skip
    if channels != 3:
        _replace_first(model, channels)
    return model


def usual(name: str) -> WeightCard:
    """Return the card for fresh weights: pictures as the family is usually given them."""
    seen = _best(name).transforms()
    return WeightCard(
        "none", "", True, "", mean=tuple(seen.mean), std=tuple(seen.std), size=_size(seen),
        interpolation=seen.interpolation.value,
    )  # fmt: skip


def card(name: str) -> WeightCard:
    """Return the card of torchvision's default weights."""
    best = _best(name)
    seen, about = best.transforms(), best.meta
    licence = "cc-by-nc-4.0" if "SWAG" in about.get("license", "") else "bsd-3-clause"
    side = _size(seen)
    file = _checkpoints() / Path(best.url).name
    return WeightCard(
        name=f"{name}.{best.name}",
        licence=licence,
        commercial=licence == "bsd-3-clause",
        source=best.url,
        mean=tuple(seen.mean),
        std=tuple(seen.std),
        size=side,
        interpolation=seen.interpolation.value,
        margin=side[0] / seen.resize_size[0],
        outputs=len(about["categories"]),
        trained_on="ImageNet-1k",
        file=file if file.is_file() else None,
        bytes=int(about["_file_size"] * 1e6),
    )


def read(name: str, card: WeightCard) -> dict[str, Tensor]:
    """Return the default weights from torch.hub's local folder.

    Raises:
        UsageError: they are not there; says where they are published and how large they are.
    """
    if card.file is None:
        raise missing(card, _checkpoints() / Path(card.source).name)
    return read_tensors(card.file)


def renamed(name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights without auxiliary classifiers; a transformer's positions are resized to this picture's."""
    plain = {key: tensor for key, tensor in tensors.items() if not key.startswith(("AuxLogits.", "aux1.", "aux2."))}
    side, patch = getattr(model, "image_size", 0), getattr(model, "patch_size", 0)
    if side and patch and "encoder.pos_embedding" in plain:
        from torchvision.models.vision_transformer import interpolate_embeddings

        return dict(interpolate_embeddings(side, patch, OrderedDict(plain)))
    return plain


def _plain(name: str) -> str:
    if not knows(name):
        raise UsageError("MODEL-010", f"there is no network named {name!r}", fix=did_you_mean(name, names()))
    return name.removeprefix(PREFIX)


def _best(name: str) -> Any:
    from torchvision import models

    return models.get_model_weights(_plain(name))["DEFAULT"]


def _size(seen: Any) -> tuple[int, int]:
    return int(seen.crop_size[0]), int(seen.crop_size[0])


def _checkpoints() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _replace_first(model: nn.Module, channels: int) -> None:
    """Give the first convolution fresh weights for another number of channels."""
    first = model.get_submodule(first_convolution(model))
    assert isinstance(first, nn.Conv2d)
    first.in_channels = channels
    first.weight = nn.Parameter(torch.empty(first.out_channels, channels, *first.kernel_size))
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
