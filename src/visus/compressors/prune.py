"""Channels that matter least are removed, with all that depends on them, and the network learns on without them.

Which layers lose a channel together follows from the graph of the network.  No removal is believed: the pruned network
must answer a picture as the whole one does with the same channels set to zero, or the group is left as it is.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from visus.compressors import Candidate, Compressor, Proposals, Subject
from visus.core.errors import UsageError, first_line, needs
from visus.core.modelfile import Architecture
from visus.core.task import Batch
from visus.models.slimming import narrowed, slimmed

RATIOS = (0.6, 0.4, 0.2)
"""Shares of the channels of every layer that are removed, one candidate each."""

RATE = 0.3
"""Learning rate of the fine-tuning, as a share of the model's own."""

WIDE, STEP = 32, 8
"""Layers of so many channels keep a multiple of ``STEP``, which kernels are fastest at; narrower ones half that."""

CLOSE = 1e-3
"""How far apart answers may be that are the same but for the order of sums, as a share of the largest."""


@dataclass(frozen=True)
class Pruned:
    """A network without its least channels.

    Attributes:
        network: it, in eval mode.
        narrowed: shapes of the tensors that became smaller, as ``models/slimming.py`` takes them.
        left: names of layers that could not be narrowed, with the reason.
    """

    network: nn.Module
    narrowed: Mapping[str, tuple[int, ...]]
    left: Mapping[str, str]


def propose(subject: Subject) -> Proposals:
    """Propose a network for each ratio, the narrowest first, until one keeps the promise."""
    picture, gradients = _looked_at(subject)
    for ratio in RATIOS:
        made = pruned(subject.network, picture.inputs[0], ratio, gradients)
        _check_asked(subject, made.network, picture)
        subject.fit(made.network, rate=RATE, share=1 / len(RATIOS))
        settings = {"removed": f"{ratio:.0%} of channels", "importance": "Taylor" if gradients else "magnitude"}
        architecture = narrower(subject.card.architecture, made.narrowed)
        if (yield Candidate(settings, network=made.network, architecture=architecture)):
            return


def pruned(network: nn.Module, pictures: Tensor, ratio: float, gradients: Mapping[str, Tensor] | None = None) -> Pruned:
    """Return a copy of a network in which every layer has lost a share of its channels, those that matter least.

    Args:
        network: in eval mode; it is left as it is.
        pictures: (B, C, H, W) on which every removal is proved; one is enough.
        ratio: of the channels that are removed, above 0 and below 1.
        gradients: of the loss, by the names of parameters: a channel matters by how much the loss would change without
            it.  Without them it matters by the size of its weights.

    Raises:
        UsageError: torch-pruning is not installed; COMPRESS-021, the network cannot be followed, or has no layer that
            could be narrowed.

    Source:
        Fang et al., DepGraph: towards any structural pruning, CVPR 2023; importance by Molchanov et al., Importance
        estimation for neural network pruning, CVPR 2019, eq. 8, or by magnitude, Li et al., Pruning filters for
        efficient ConvNets, ICLR 2017; each summed over all layers of a group.
    """
    left, proved = dict[str, str](), set[str]()
    while True:
        attempt = copy.deepcopy(network)
        for name, parameter in attempt.named_parameters():
            parameter.requires_grad_(parameter.is_floating_point())
            parameter.grad = gradients[name].clone() if gradients and name in gradients else None
        failed = _narrow(attempt, pictures, ratio, gradients is not None, left, proved)
        if failed is None:
            break
        left[failed[0]] = failed[1]
    for parameter in attempt.parameters():
        parameter.grad = None
    shapes = narrowed(attempt, network)
    if not shapes:
        raise UsageError("COMPRESS-021", f"{type(network).__name__} has no channels that can be removed",
                         where="; ".join(f"{name}: {why}" for name, why in list(left.items())[:2]),
                         done="nothing was trained", fix="another method: visus list compressors")  # fmt: skip
    _check_described(attempt, network, shapes, pictures)
    return Pruned(attempt, shapes, left)


def narrower(architecture: Architecture, shapes: Mapping[str, tuple[int, ...]]) -> Architecture:
    """Return what a card says of a network that was narrowed further; axes that are now as before stay as they were."""
    merged = dict(architecture.narrowed)
    for name, shape in shapes.items():
        before = merged.get(name, (0,) * len(shape))
        merged[name] = tuple(new or old for new, old in zip(shape, before, strict=True))
    return architecture.model_copy(update={"narrowed": merged})


def _check_asked(subject: Subject, network: nn.Module, picture: Batch) -> None:
    """Refuse a network of which the task asks parts, by themselves, that know nothing of the channels that are gone.

    Raises:
        UsageError: COMPRESS-021.
    """
    try:
        with torch.no_grad():
            subject.task.raw(network, picture)
    except (RuntimeError, ValueError, IndexError) as error:
        raise UsageError(
            "COMPRESS-021", f"{subject.card.architecture.name} is asked in parts, which cannot be followed",
            where=first_line(error), done="nothing was trained", fix="another method: visus list compressors",
        ) from error  # fmt: skip


def _looked_at(subject: Subject) -> tuple[Batch, dict[str, Tensor] | None]:
    """Return a picture, and the gradient of the loss over the training pictures, where these say what is true."""
    network, task = copy.deepcopy(subject.network), subject.task
    picture: Batch | None = None
    for batch in subject.batches():
        picture = batch.rows(0, 1) if picture is None else picture
        try:
            counts = task.counts(batch)
        except KeyError:  # what is judged need not be what is learned
            return picture, None
        for player in task.players:
            terms = task.losses(network, batch, player, 0).values()
            loss = sum((term.sum / counts[term.unit].clamp(min=1) for term in terms), start=torch.zeros(()))
            loss.backward()  # type: ignore[no-untyped-call]
    assert picture is not None, "a subject has pictures"
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return picture, found or None


def _narrow(
    network: nn.Module, pictures: Tensor, ratio: float, taylor: bool, left: Mapping[str, str], proved: set[str]
) -> tuple[str, str] | None:
    """Remove channels of every group of layers, in place; return the first group that cannot be narrowed, and why."""
    library = _library()
    names = {module: name for name, module in network.named_modules()}
    graph = _graph(library, network, pictures)
    kind = library.importance.GroupTaylorImportance if taylor else library.importance.GroupMagnitudeImportance
    importance, chosen = kind(), list[tuple[Any, Any, list[int]]]()
    for group in _groups(graph, [network.get_submodule(name) for name in left]):
        root, handler = group[0].dep.target.module, group[0].dep.handler
        if (why := _unknown(group)) is not None:
            return names[root], why
        values = importance(group)
        if values is None or not len(values):
            return names[root], "its channels have no weights of their own"
        if places := _least(values, ratio, _parts(group)):
            chosen.append((root, handler, places))
    for root, handler, places in chosen:
        group = graph.get_pruning_group(root, handler, places)
        known = names[root] in proved
        wanted = None if known else _without(graph, group, network, pictures)
        group.prune()
        if not known:
            try:
                with torch.no_grad():
                    said = _tensors(network(pictures))
            except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
                return names[root], f"the network cannot be asked any more ({first_line(error)})"
            if (why := _differs(said, wanted)) is not None:
                return names[root], why
            proved.add(names[root])
    return None


def _library() -> Any:
    try:
        return import_module("torch_pruning")
    except ImportError as error:
        raise needs("torch_pruning", "compress") from error


def _graph(library: Any, network: nn.Module, pictures: Tensor) -> Any:
    """Return what depends on what.

    Raises:
        UsageError: COMPRESS-021, the network cannot be followed.
    """
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # it tells of parameters outside layers, whose groups are left as they are
            return library.DependencyGraph().build_dependency(
                network, pictures, output_transform=_tensors, verbose=False
            )
    except Exception as error:
        raise UsageError(
            "COMPRESS-021", f"{type(network).__name__} cannot be followed from layer to layer",
            where=f"torch-pruning: {type(error).__name__}: {first_line(error)}", done="nothing was trained",
            fix="another method: visus list compressors",
        ) from error  # fmt: skip


def _groups(graph: Any, ignored: list[nn.Module]) -> Iterator[Any]:
    yield from graph.get_all_groups(ignored_layers=ignored, root_module_types=(nn.modules.conv._ConvNd, nn.Linear))


def _unknown(group: Any) -> str | None:
    """Return what stands in a group that a card cannot describe, or nothing."""
    for dependency, _ in group:
        layer = dependency.target.module
        if isinstance(layer, nn.Parameter):
            return "a parameter outside of layers depends on it"
        if not isinstance(layer, _KNOWN) and any(True for _ in layer.parameters(recurse=False)):
            return f"a {type(layer).__name__} depends on it"
    return None


_KNOWN = (_ConvNd, nn.Linear, _BatchNorm, nn.GroupNorm, nn.LayerNorm)


def _parts(group: Any) -> int:
    """Return into how many equal parts the channels of a group fall, each of which must lose as many."""
    parts = 1
    for dependency, _ in group:
        layer = dependency.target.module
        if isinstance(layer, _ConvNd) and layer.groups < layer.in_channels:
            parts = max(parts, layer.groups)
        elif isinstance(layer, nn.GroupNorm):
            parts = max(parts, layer.num_groups)
    return parts


def _least(importance: Tensor, ratio: float, parts: int) -> list[int]:
    """Return the places of the channels that are removed: the same ones of each part."""
    if len(importance) % parts:
        return []
    values = importance.detach().float().cpu().reshape(parts, -1).mean(0)
    size = len(values)
    step = STEP if size >= WIDE else STEP // 2 if size >= WIDE // 2 else 1
    kept = min(size, max(step, round(size * (1 - ratio) / step) * step))
    gone = values.argsort(stable=True)[: size - kept].sort().values
    return [part * size + place for part in range(parts) for place in gone.tolist()]


@torch.no_grad()
def _without(graph: Any, group: Any, network: nn.Module, pictures: Tensor) -> list[Tensor] | None:
    """Return what the network says with the weights of a group's channels at zero; None where that proves nothing.

    A normalisation over several channels sees other numbers where some of them are gone.
    """
    for dependency, indices in group:
        layer: Any = dependency.target.module
        if isinstance(layer, nn.GroupNorm | nn.LayerNorm):
            return None
        places = [int(getattr(index, "idx", index)) for index in indices]
        if graph.is_out_channel_pruning_fn(dependency.handler):
            tensors = (layer.weight, layer.bias) if isinstance(layer, _KNOWN) else ()
            for tensor in tensors:
                if tensor is not None:
                    axis = 1 if tensor is layer.weight and getattr(layer, "transposed", False) else 0
                    tensor.index_fill_(axis, torch.tensor(places), 0.0)
        elif isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and layer.groups == 1):
            axis = 0 if getattr(layer, "transposed", False) else 1
            layer.weight.index_fill_(axis, torch.tensor(places), 0.0)
    return _tensors(network(pictures))


def _differs(said: list[Tensor], wanted: list[Tensor] | None) -> str | None:
    """Return how answers differ from those of the masked network, or nothing."""
    if wanted is None:
        return None
    if [one.shape for one in said] != [one.shape for one in wanted]:
        return "what the network answers depends on it"
    for one, other in zip(said, wanted, strict=True):
        if not torch.allclose(one.float(), other.float(), rtol=CLOSE, atol=CLOSE * float(other.abs().max())):
            return "without it, the network is another one than with its channels at zero"
    return None


def _check_described(
    made: nn.Module, whole: nn.Module, shapes: Mapping[str, tuple[int, ...]], pictures: Tensor
) -> None:
    """Refuse a network that, made anew from its description and tensors, would not answer bit for bit the same.

    Raises:
        UsageError: COMPRESS-022.
    """
    again = slimmed(copy.deepcopy(whole), Architecture(name="", outputs=0, narrowed=dict(shapes)))
    again.load_state_dict(made.state_dict())
    with torch.no_grad():
        said, wanted = _tensors(again.eval()(pictures)), _tensors(made.eval()(pictures))
    if not all(torch.equal(one, other) for one, other in zip(said, wanted, strict=True)):
        raise UsageError(
            "COMPRESS-022", f"{type(whole).__name__} without some channels is not what its tensors alone make of it",
            done="nothing was trained", fix="another method: visus list compressors",
        )  # fmt: skip


def _tensors(said: object) -> list[Tensor]:
    """Return the tensors of an answer, in order."""
    if isinstance(said, Tensor):
        return [said]
    parts: Iterable[object] = (
        said.values() if isinstance(said, Mapping) else said if isinstance(said, list | tuple) else ()
    )
    return [tensor for part in parts for tensor in _tensors(part)]


COMPRESSOR = Compressor(
    propose, ".safetensors", trains=True,
    summary="channels removed from every layer, then fine-tuned: smaller and faster anywhere",
    source="Fang et al., DepGraph: towards any structural pruning, CVPR 2023",
)  # fmt: skip
