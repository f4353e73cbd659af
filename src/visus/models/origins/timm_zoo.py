"""timm's networks by their names, ``resnet18`` or ``resnet18.a1_in1k``; their weights from this machine only.

timm is imported when a name is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.models.reading import read_tensors
from visus.models.weights import WeightCard, missing, permits

_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


def names() -> list[str]:
    """Return every name timm knows, without the tags of particular weights."""
    from timm import list_models

    return list(list_models())


def knows(name: str) -> bool:
    """Tell whether timm has such a network, and, where a tag follows the dot, such weights."""
    from timm import is_model
    from timm.models import get_pretrained_cfg

    architecture, _, tag = name.partition(".")
    return is_model(architecture) and (not tag or get_pretrained_cfg(name, allow_unregistered=False) is not None)


def network(name: str, outputs: int, channels: int, size: tuple[int, int], options: Mapping[str, Any]) -> nn.Module:
    """Return the network with fresh weights.  A network with a fixed picture size is built for this one.

    Raises:
        UsageError: an option it does not take, or a size it cannot have.
    """
    import timm

    fixed = {"img_size": size} if _described(name).fixed_input_size else {}
    arguments = {"num_classes": outputs, "in_chans": channels, **fixed, **options}
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        raise UsageError(
            "MODEL-011", f"timm cannot build {name} for {size[0]} x {size[1]} pixels with these options", where=said,
            fix="check model.options and size",
        ) from error  # fmt: skip
    return model


def usual(name: str) -> WeightCard:
    """Return the card for fresh weights: pictures as the family is usually given them."""
    described = _described(name)
    return WeightCard(
        "none", "", True, "", mean=described.mean, std=described.std, size=tuple(described.input_size[1:]),
        interpolation=described.interpolation, margin=described.crop_pct,
    )  # fmt: skip


def card(name: str) -> WeightCard:
    """Return the card of the name's default weights, with the file where it lies on this machine.

    Raises:
        UsageError: nobody has published weights for it.
    """
    described = _described(name)
    if not described.has_weights:
        raise UsageError("MODEL-016", f"timm has no weights for {name}", fix="start fresh: --set model.weights=none")
    licence = described.license or "unknown"
    return WeightCard(
        name=_full_name(name),
        licence=licence,
        commercial=permits(licence),
        source=_address(name),
        mean=described.mean,
        std=described.std,
        size=tuple(described.input_size[1:]),
        interpolation=described.interpolation,
        margin=described.crop_pct,
        outputs=described.num_classes,
        trained_on=described.tag,
        file=_file(name),
    )


def read(name: str, card: WeightCard) -> dict[str, Tensor]:
    """Return the default weights from the local caches of torch.hub or the Hugging Face hub.

    Raises:
        UsageError: they are not on this machine; says where they are published and where to put them.
    """
    if card.file is None:
        from dataclasses import replace

        place = _checkpoints() / f"{card.name}{Path(card.source).suffix or '.pth'}"
        raise missing(replace(card, bytes=_bytes(name)), place,
                      fix="put the file there, or start fresh: --set model.weights=none")  # fmt: skip
    return read_tensors(card.file)


def renamed(name: str, model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by timm's names and in this network's shape, by the filter timm keeps beside the family.

    It knows the names of the family's first publisher, and resizes what depends on the size of the pictures.
    """
    filtered = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if filtered is None:
        return dict(tensors)
    try:
        result: dict[str, Tensor] = filtered(dict(tensors), model)
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError):
        return dict(tensors)  # the filter met names of neither publisher; ``fitting`` says what does not fit
    return result


def _described(name: str) -> Any:
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(name, allow_unregistered=False) or get_pretrained_cfg(name)


def _full_name(name: str) -> str:
    described = _described(name)
    return name if "." in name or not described.tag else f"{name}.{described.tag}"


def _address(name: str) -> str:
    described = _described(name)
    if described.hf_hub_id:
        file = described.hf_hub_filename or "model.safetensors"
        return f"https://huggingface.co/{described.hf_hub_id}/resolve/main/{file}"
    return str(described.url)


def _checkpoints() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _file(name: str) -> Path | None:
    """Return the weights' file in the local caches, or None."""
    from huggingface_hub import try_to_load_from_cache

    described = _described(name)
    if described.hf_hub_id:
        for file in (described.hf_hub_filename, "model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(described.hf_hub_id, file) if file else None
            if isinstance(found, str):
                return Path(found)
    published = [Path(described.url).name] if described.url else []
    candidates = [_checkpoints() / file for file in (*(_full_name(name) + end for end in _SUFFIXES), *published)]
    return next((file for file in candidates if file.is_file()), None)


def _bytes(name: str) -> int:
    """Return the size of float32 weights of this network, which is the file's but for a few kilobytes."""
    import timm

    with torch.device("meta"):
        return 4 * sum(p.numel() for p in timm.create_model(name, pretrained=False).parameters())
