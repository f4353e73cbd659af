"""A model file describes itself: one ``.safetensors`` file with the weights and a card, and nothing executable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from visus.core.errors import DataError, IntegrityError
from visus.core.files import write_bytes
from visus.core.recipe import InputSettings

FORMAT = 1
_LONGEST_HEADER = 100_000_000


class Factors(BaseModel):
    """Two thin layers in place of one.

    Attributes:
        kind: ``channel`` or ``spatial``, see ``models/slimming.py``.
        rank: channels between the two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["channel", "spatial"]
    rank: Annotated[int, Field(gt=0, le=1 << 16)]


class Architecture(BaseModel):
    """Which network the weights belong to.

    Attributes:
        name: as ``model.name`` of the recipe.
        options: keyword arguments of the network.
        outputs: length of its last axis.
        source: for a network of the user's own code, its import path; ``source_sha256`` of that file.
            Stored source is never executed: ``load`` asks for ``--model FILE.py:Class`` again.
        factored: layers that two take the place of, by name.
        narrowed: shapes of tensors that have fewer channels than name and options build, by name, of factored layers
            too; 0 for an axis that is as built.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    options: dict[str, Any] = {}
    outputs: int
    source: str = ""
    source_sha256: str = ""
    factored: dict[str, Factors] = {}
    narrowed: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = {}


class Card(BaseModel):
    """What a model file says of itself; the same run writes the same bytes, so it holds no time and no folder.

    Attributes:
        task: name of the task.
        classes: the user's names, in the order of the outputs.
        input: size, channels, fit, mean and std: what the network reads.
        recipe: every setting that trained it, by dotted key.
        scores: measured on ``split``: {name: {value, low, high, n}}.
        calibration: what was fitted on the validation part for the decoder: ``temperature``, which divides logits
            before softmax; ``threshold``, the score from which on an object is shown, and ``threshold/NAME`` where
            a class has its own.
        weights: what training started from; ``licences``: of code, weights and data, by name.
        data: name, fingerprint and counts of the data set.
        trace: hashes of some training pictures, by which an evaluation recognises them.
        step: optimiser steps behind these weights.
        compressed: how it was made smaller than the model that was trained, and what was measured; empty of that one.
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
    calibration: dict[str, float] = {}
    weights: str = ""
    licences: dict[str, str] = {}
    data: dict[str, Any] = {}
    trace: tuple[str, ...] = ()
    step: int = 0
    compressed: dict[str, Any] = {}


def write_model(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write weights and card as one file, whole or not at all, with checksums over both.

    The same weights and card give the same bytes.  Tied weights are written once for each of their names.
    """
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous()
        plain[name] = copy.clone() if copy.untyped_storage().data_ptr() in seen else copy
        seen.add(copy.untyped_storage().data_ptr())
    text = json.dumps(card.model_dump(mode="json"), separators=(",", ":"))  # a name in broken UTF-8 is escaped
    # One key of metadata, not several: safetensors keeps them in a hash map, whose order differs from call to call.
    write_bytes(path, to_bytes(plain, metadata={"visus": _seal(text, checksum(plain))}))


def read_model(path: Path) -> tuple[dict[str, Tensor], Card]:
    """Return weights and card.

    Raises:
        DataError: no such file, or not a safetensors file with a visus card.
        IntegrityError: a truncated file, a flipped bit, or a format of a later version.
    """
    whole = _read(path)  # once: a run may put a newer file in its place meanwhile, and safe_open would open it twice
    card, expected = _card(path, _header(path, whole))
    try:
        tensors = from_bytes(whole)
    except (SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if checksum(tensors) != expected:
        raise _damaged(path, "the checksum of its tensors does not hold")
    return tensors, card


def read_card(path: Path) -> Card:
    """Return the card alone, without reading the weights, whose faults are not seen.  Raises as ``read_model``."""
    return _card(path, _header(path, _read(path, header_only=True)))[0]


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes."""
    hasher = sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def _seal(card: str, tensors: str) -> str:
    """Return the card's JSON object with a last entry of two checksums: of the card's own text, and of the tensors."""
    return f'{card[:-1]},"sha256":["{sha256(card.encode()).hexdigest()}","{tensors}"]}}'


def _unseal(text: str) -> tuple[str, str]:
    """Return the card's own text and the checksum of the tensors.

    Raises:
        ValueError: there is no seal, or it does not hold.
    """
    body, _, seal = text.rpartition(',"sha256":')
    card, sums = body + "}", json.loads(seal.removesuffix("}"))
    if sums[0] != sha256(card.encode()).hexdigest() or _seal(card, sums[1]) != text:
        raise ValueError("the checksum of its card does not hold")
    return card, sums[1]


def _read(path: Path, header_only: bool = False) -> bytes:
    if not path.is_file():
        run = path.parent
        if not path.exists() and (run / "recipe.yaml").is_file():
            raise DataError("MODEL-001", f"{run}: this run has not saved a model yet", where=str(path),
                            fix=f"visus resume {run}")  # fmt: skip
        what = "is no model file" if path.exists() else "there is no such model file"
        raise DataError("MODEL-001", f"{path}: {what}", fix="a run leaves RUN/best.safetensors")
    with path.open("rb") as file:
        if not header_only:
            return file.read()
        start = file.read(8)
        return start + file.read(min(int.from_bytes(start, "little"), _LONGEST_HEADER))


def _header(path: Path, start: bytes) -> dict[str, Any]:
    """Return what stands before the tensors: 8 bytes of length, little-endian, and a JSON object.

    Source:
        https://huggingface.co/docs/safetensors (the format), which also limits the length.
    """
    length = int.from_bytes(start[:8], "little")
    try:
        if not 0 < length <= _LONGEST_HEADER or len(start) < 8 + length:
            raise ValueError("its header is longer than the file")
        header = json.loads(start[8 : 8 + length])
        if not isinstance(header, dict):
            raise TypeError("its header is no JSON object")
    except (ValueError, TypeError, RecursionError) as error:
        if len(start) > 8 and path.suffix == ".safetensors":
            raise _damaged(path, str(error)) from error
        raise DataError(
            "MODEL-002", f"{path}: not a safetensors file",
            fix="weights of other tools come in by: visus adopt FILE --model NAME",
        ) from error  # fmt: skip
    return header


def _card(path: Path, header: Mapping[str, Any]) -> tuple[Card, str]:
    metadata = header.get("__metadata__") or {}
    if "visus" not in metadata:
        raise DataError(
            "MODEL-003", f"{path}: it has no card, so visus cannot know what it is",
            fix=f"visus adopt {path} --model NAME --classes a,b,c",
        )  # fmt: skip
    try:
        text, expected = _unseal(metadata["visus"])
        described = json.loads(text)
        if described["format"] > FORMAT:
            raise IntegrityError(
                "MODEL-005", f"{path}: written by visus {described.get('visus')}, which is newer", fix="update visus"
            )
        return Card.model_validate(described), expected
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(
        "MODEL-004", f"{path}: the file is damaged", where=(why.splitlines() or [""])[0],
        fix="take another copy; RUN/last.safetensors may still be whole",
    )  # fmt: skip
