"""A model file describes itself: one ``.safetensors`` file with the weights and a card, and nothing executable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from visus.core.errors import DataError, IntegrityError
from visus.core.files import write_bytes
from visus.core.recipe import InputSettings

FORMAT = 1


class Architecture(BaseModel):
    """Which network the weights belong to.

    Attributes:
        name: as ``model.name`` of the recipe.
        options: keyword arguments of the network.
        outputs: length of its last axis.
        source: for a network of the user's own code, its import path; ``source_sha256`` of that file.
            Stored source is never executed: ``load`` asks for ``--model FILE.py:Class`` again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    options: dict[str, Any] = {}
    outputs: int
    source: str = ""
    source_sha256: str = ""


class Card(BaseModel):
    """What a model file says of itself; the same run writes the same bytes, so it holds no time and no folder.

    Attributes:
        task: name of the task.
        classes: the user's names, in the order of the outputs.
        input: size, channels, fit, mean and std: what the network reads.
        recipe: every setting that trained it, by dotted key.
        scores: measured on ``split``: {name: {value, low, high, n}}.
        temperature: divides logits before softmax; fitted on the validation part, 1 where it was not.
        weights: what training started from; ``licences``: of code, weights and data, by name.
        data: name, fingerprint and counts of the data set.
        step: optimiser steps behind these weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    visus: str
    format: int = FORMAT
    task: str
    architecture: Architecture
    classes: tuple[str, ...]
    input: InputSettings
    recipe: dict[str, Any] = {}
    scores: dict[str, dict[str, float]] = {}
    split: str = ""
    temperature: float = 1.0
    weights: str = ""
    licences: dict[str, str] = {}
    data: dict[str, Any] = {}
    step: int = 0


def write_model(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write weights and card as one file, whole or not at all, with a checksum over the tensors."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"visus": card.model_dump_json(), "sha256": checksum(plain)}
    write_bytes(path, to_bytes(plain, metadata=metadata))


def read_model(path: Path) -> tuple[dict[str, Tensor], Card]:
    """Return weights and card.

    Raises:
        DataError: no such file, or not a safetensors file with a visus card.
        IntegrityError: a truncated file, a flipped bit, or a format of a later version.
    """
    card, expected = _open(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if checksum(tensors) != expected:
        raise _damaged(path, "the checksum of its tensors does not hold")
    return tensors, card


def read_card(path: Path) -> Card:
    """Return the card alone, without reading the weights.  Raises as ``read_model``."""
    return _open(path)[0]


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes."""
    hasher = sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def _open(path: Path) -> tuple[Card, str]:
    if not path.is_file():
        raise DataError("MODEL-001", f"{path}: there is no such model file", fix="a run leaves RUN/best.safetensors")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        if path.stat().st_size > 8 and path.suffix == ".safetensors":
            raise _damaged(path, str(error)) from error
        raise DataError(
            "MODEL-002", f"{path}: not a safetensors file",
            fix="weights of other tools come in by: visus adopt FILE --model NAME",
        ) from error  # fmt: skip
    if "visus" not in metadata:
        raise DataError(
            "MODEL-003", f"{path}: it has no card, so visus cannot know what it is",
            fix=f"visus adopt {path} --model NAME --classes a,b,c",
        )  # fmt: skip
    try:
        described = json.loads(metadata["visus"])
        if described.get("format", 0) > FORMAT:
            raise IntegrityError(
                "MODEL-005", f"{path}: written by visus {described.get('visus')}, which is newer", fix="update visus"
            )
        return Card.model_validate(described), metadata.get("sha256", "")
    except (ValueError, ValidationError, AttributeError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError("MODEL-004", f"{path}: the file is damaged", where=why.splitlines()[0] if why else "",
                          fix="take another copy; RUN/last.safetensors may still be whole")  # fmt: skip
