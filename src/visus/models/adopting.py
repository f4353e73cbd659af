"""Weights of other tools, taken in whole: every tensor has its place in the named network, or the file is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.core.modelfile import Architecture
from visus.core.recipe import ModelSettings
from visus.models import torchvision_parts
from visus.models.backbones import BACKBONES
from visus.models.building import architecture_of, seeded
from visus.models.detectors import DETECTORS
from visus.models.fitting import aligned, fit
from visus.models.generators import GENERATORS
from visus.models.heads import first_convolution, head_prefix, outputs_of
from visus.models.origins import backbone_of, origin_of, upper_of
from visus.models.reading import MEMORY, SECONDS, read_tensors, unwrapped
from visus.models.weights import WeightCard, as_published

MAKES = "generator."
"""Prefix of what makes pictures, in a pair of networks."""


@dataclass(frozen=True)
class Adopted:
    """Foreign weights that now belong to a network.

    Attributes:
        tensors: the whole state by the network's own names, in float32 where it was a shorter float.
        architecture: name, options (those the weights imply among them) and outputs.
        channels: of the pictures it reads.
        usual: what pictures such a network is usually given: mean, std, size.
        settings: of the recipe, by which the publisher of the weights reads the network's answers.
    """

    tensors: dict[str, Tensor]
    architecture: Architecture
    channels: int
    usual: WeightCard
    settings: Mapping[str, Any] = field(default_factory=dict)


def adopt(
    source: Path | nn.Module,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> Adopted:
    """Return the weights of a file, or of a network built elsewhere, as those of a network of this house.

    Options, outputs and channels that the weights imply need not be stated.  Nothing in the file is run: see
    ``reading``.

    Args:
        source: safetensors, or a state dict saved by ``torch.save``, wrapped or not; or a module.
        name: of the network, as ``model.name``.
        options: of the network.
        seconds: the child process that reads a pickle may take.
        memory: bytes it may use beyond PyTorch and four times the file.

    Raises:
        DataError: the file cannot be read, or reading it would run code.
        UsageError: the weights are not those of this network: a tensor is missing, left over, of another shape or not
            finite.
    """
    origin, published, title = origin_of(name), None, str(source)
    if isinstance(source, nn.Module):
        tensors, title = unwrapped(torchvision_parts.tensors_of(source)), f"this {type(source).__name__}"
    else:
        tensors = read_tensors(source, seconds=seconds, memory=memory)
        published = as_published(source, name)
    if name in GENERATORS:
        return _generator(tensors, name, options or {}, title)
    usual = published or origin.usual(name)
    chosen, settings = dict(options or {}), dict[str, Any]()
    if name in BACKBONES:
        chosen = {**BACKBONES[name].implied(BACKBONES[name].renamed(tensors, tuple(tensors))), **chosen}
    if upper := backbone_of(name)[0]:
        chosen = {**upper_of(upper).implied(tensors), **chosen}
        if upper in DETECTORS and torchvision_parts.is_theirs(tensors):
            settings = dict(DETECTORS[upper].judging)
            usual = replace(usual, size=torchvision_parts.SIZE)
        elif torchvision_parts.is_mapped(tensors):
            usual = replace(usual, size=torchvision_parts.MAPPED)
    with seeded(0):
        model = origin.network(name, 1, 3, usual.size, chosen)
        tensors = aligned(origin.renamed(name, model, tensors), model)
        outputs, first = outputs_of(tensors, model), tensors.get(f"{first_convolution(model)}.weight")
        if not outputs:
            raise UsageError(
                "MODEL-015", f"{title} holds no head for {name}: there is no {head_prefix(model)}.weight in it",
                looked=", ".join(list(tensors)[:3]) + (" ..." if len(tensors) > 3 else ""),
                fix=f"to train on from a trunk alone: --model {name} --set model.weights=FILE",
            )  # fmt: skip
        channels = 3 if first is None else int(first.shape[1])
        model = origin.network(name, outputs, channels, usual.size, chosen)
    fit(model, tensors, title, whole=True)
    architecture = architecture_of(ModelSettings(name=name, options=chosen), outputs)
    return Adopted(dict(model.state_dict()), architecture, channels, usual, settings)


def _generator(tensors: Mapping[str, Tensor], name: str, options: Mapping[str, Any], title: str) -> Adopted:
    """Return the weights of a generator as those of a pair of networks, whose discriminator begins afresh.

    Raises:
        UsageError: no weights are known for it but its own, or they are not those of this network.
    """
    offered = GENERATORS[name]
    if offered.implied is None:
        raise UsageError("MODEL-033", f"no published weights are known for {name}",
                         fix=f"train it: visus train DATA --task generate --model {name}")  # fmt: skip
    given = offered.renamed(tensors)
    own = {key.removeprefix(MAKES): tensor for key, tensor in given.items() if key.startswith(MAKES)}
    found = offered.implied(own)
    chosen = {**found.options, **options}
    with seeded(0):
        model: Any = origin_of(name).network(name, found.classes, found.channels, found.size, chosen)
    if len(own) == len(given):
        fit(model.generator, own, title, whole=True)
    else:
        fit(model, given, title, whole=True)
    usual = WeightCard("none", "", True, "", mean=(0.5,), std=(0.5,), size=found.size)
    architecture = architecture_of(ModelSettings(name=name, options=chosen), found.classes)
    settings = {"target.column": "label"} if found.classes else {}
    return Adopted(dict(model.state_dict()), architecture, found.channels, usual, settings)
