"""Weights into a network: the trunk must fit, the head may start fresh, and what is not taken as it was is said."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from visus.core.errors import UsageError, nearest
from visus.models.heads import below, first_convolution, for_channels, head_prefixes

LOG = logging.getLogger("visus.models")

_WRAPPERS = ("model.", "net.", "network.", "backbone.", "encoder.", "trunk.")


def fit(model: nn.Module, tensors: Mapping[str, Tensor], source: str, *, whole: bool = False) -> tuple[str, ...]:
    """Load weights into the network, and return what of them was not taken as it was: a sentence each.

    The trunk must be there in full and of the right shapes.  A head of another shape, or none, leaves the network's
    fresh one, and of a head in several parts those that fit are taken; a first convolution for another number of
    channels is adapted by ``heads.for_channels``.  Each is logged, too.

    Args:
        model: built with fresh weights.
        tensors: by the network's own names.
        source: of the weights, for messages.
        whole: the head must fit too.

    Raises:
        UsageError: weights that do not belong to this network, or are not finite.
    """
    own, given = model.state_dict(), aligned(tensors, model)
    heads = () if whole else head_prefixes(model)
    first = f"{first_convolution(model)}.weight"
    taken: dict[str, Tensor] = {}
    fresh: list[str] = []
    wrong: list[str] = []
    notes: list[str] = []
    for name, mine in own.items():
        tensor = given.get(name)
        if tensor is not None and name == first and not whole and _differs_in_channels(tensor, mine):
            old, new = tensor.shape[1], mine.shape[1]
            notes.append(f"the first layer was made for {old} channels, it now reads {new}")
            tensor = for_channels(tensor, new)
        if tensor is not None and tensor.shape == mine.shape:
            taken[name] = tensor
        elif any(below(name, head) for head in heads):
            fresh.append(name)
        elif not (tensor is None and name.endswith("num_batches_tracked")):  # files older than that counter
            wrong.append(name)
    if wrong:
        raise _unfit(source, type(model).__name__, own, given, wrong)
    left = [name for name in given if name not in taken and name not in fresh]
    if left and whole:
        raise _unfit(source, type(model).__name__, own, given, left)
    for name, tensor in taken.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UsageError(
                "MODEL-015", f"{source}: {name} holds a number that is not finite", fix="take another copy"
            )
    if fresh and any(below(name, head) for name in taken for head in heads):
        why = ", ".join(f"{name} {_shape(own[name])}{_other_shape(name, given)}" for name in fresh)
        notes.append(f"{len(taken)} of {len(own)} tensors are taken as they are; fresh: {why}")
    elif fresh:
        if len(heads) == 1:
            notes.append(f"the head {heads[0]} starts fresh{_why_fresh(heads[0], own, given)}")
        else:
            notes.append(f"what starts fresh: {len(fresh)} tensors of {', '.join(heads)}")
    if left:
        some = ", ".join(left[:3]) + (" ..." if len(left) > 3 else "")
        notes.append(f"{len(left)} tensors were left out ({some})")
    for note in notes:
        LOG.warning("%s: %s", source, note)
    model.load_state_dict(taken, strict=False)
    return tuple(notes)


def aligned(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors without a wrapper's prefix, where none of them is known to the network with it."""
    own, given = model.state_dict().keys(), dict(tensors)
    for prefix in _WRAPPERS:
        if given and all(name.startswith(prefix) for name in given) and not own & given.keys():
            return {name.removeprefix(prefix): tensor for name, tensor in given.items()}
    return given


def _differs_in_channels(tensor: Tensor, mine: Tensor) -> bool:
    """Tell whether two convolutions agree in everything but the number of channels they read."""
    if tensor.dim() != 4 or mine.dim() != 4 or tensor.shape[1] == mine.shape[1]:
        return False
    return (tensor.shape[0], *tensor.shape[2:]) == (mine.shape[0], *mine.shape[2:])


def _why_fresh(head: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    theirs, here = given.get(f"{head}.weight"), own.get(f"{head}.weight")
    if here is None:  # several layers
        return ""
    if theirs is None:
        return f" ({here.shape[0]} outputs)"
    return f" (the weights have {theirs.shape[0]} outputs, here are {here.shape[0]})"


def _other_shape(name: str, given: Mapping[str, Tensor]) -> str:
    return f", not {_shape(given[name])}" if name in given else ""


def _unfit(
    source: str, network: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor], wrong: list[str]
) -> UsageError:
    """Return the error for weights of another network: how many fit, and the first that does not beside its nearest."""
    there = sum(1 for name in own if name in given and given[name].shape == own[name].shape)
    name = wrong[0]
    if name in own and name in given:
        detail = f"{name} is {_shape(given[name])} in the file, {_shape(own[name])} in the network"
    elif name in own:
        detail = f"{name} {_shape(own[name])} is not in the file{_nearest(name, given)}"
    else:
        detail = f"the network has no {name} {_shape(given[name])}{_nearest(name, own)}"
    return UsageError(
        "MODEL-015",
        f"{source} does not fit {network}: {there} of its {len(own)} tensors are there, {len(wrong)} are wrong",
        where=detail,
        fix="the network these weights were made for, or its options: --model NAME --set model.options.KEY=VALUE",
    )


def _nearest(name: str, known: Mapping[str, Tensor]) -> str:
    guess = nearest(name, known)
    return f"; nearest there: {guess} {_shape(known[guess])}" if guess else ""


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(str(n) for n in tensor.shape)})"
