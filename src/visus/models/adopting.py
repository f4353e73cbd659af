"""Weights of other tools, taken in whole: every tensor has its place in the named network, or the file is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from visus.core.errors import UsageError
from visus.core.modelfile import Architecture
from visus.core.recipe import ModelSettings
from visus.models.backbones import BACKBONES
from visus.models.building import architecture_of, seeded
from visus.models.detectors import DETECTORS
from visus.models.fitting import aligned, fit
from visus.models.heads import first_convolution, head_prefix, outputs_of
from visus.models.origins import backbone_of, origin_of
from visus.models.reading import MEMORY, SECONDS, read_tensors
from visus.models.weights import WeightCard


@dataclass(frozen=True)
class Adopted:
    """Foreign weights that now belong to a network.

    Attributes:
        tensors: the whole state by the network's own names, in float32 where it was a shorter float.
        architecture: name, options (those the weights imply among them) and outputs.
        channels: of the pictures it reads.
        usual: what pictures such a network is usually given: mean, std, size.
    """

    tensors: dict[str, Tensor]
    architecture: Architecture
    channels: int
    usual: WeightCard


def adopt(
    file: Path,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> Adopted:
    """Return a file's weights as those of a network.

    Options, outputs and channels that the weights imply need not be stated.  Nothing in the file is run: see
    ``reading``.

    Args:
        file: safetensors, or a state dict saved by ``torch.save``, wrapped or not.
        name: of the network, as ``model.name``.
        options: of the network.
        seconds: the child process that reads a pickle may take.
        memory: bytes it may use beyond PyTorch and four times the file.

    Raises:
        DataError: the file cannot be read, or reading it would run code.
        UsageError: the weights are not those of this network: a tensor is missing, left over, of another shape or not
            finite.
    """
    origin, tensors = origin_of(name), read_tensors(file, seconds=seconds, memory=memory)
    usual = origin.usual(name)
    chosen = dict(options or {})
    if name in BACKBONES:
        chosen = {**BACKBONES[name].implied(BACKBONES[name].renamed(tensors, tuple(tensors))), **chosen}
    if detector := backbone_of(name)[0]:
        chosen = {**DETECTORS[detector].implied(tensors), **chosen}
    with seeded(0):
        model = origin.network(name, 1, 3, usual.size, chosen)
        tensors = aligned(origin.renamed(name, model, tensors), model)
        outputs, first = outputs_of(tensors, model), tensors.get(f"{first_convolution(model)}.weight")
        if not outputs:
            raise UsageError(
                "MODEL-015", f"{file} holds no head for {name}: there is no {head_prefix(model)}.weight in it",
                looked=", ".join(list(tensors)[:3]) + (" ..." if len(tensors) > 3 else ""),
                fix=f"to train on from a trunk alone: --model {name} --set model.weights={file}",
            )  # fmt: skip
        channels = 3 if first is None else int(first.shape[1])
        model = origin.network(name, outputs, channels, usual.size, chosen)
    fit(model, tensors, str(file), whole=True)
    architecture = architecture_of(ModelSettings(name=name, options=chosen), outputs)
    return Adopted(dict(model.state_dict()), architecture, channels, usual)
