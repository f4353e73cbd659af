"""What of a network is held as it is while it is trained, and its stages in order for layer-wise learning rates."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import nn

from visus.core.errors import UsageError, did_you_mean
from visus.models.heads import below, head_prefixes

BACKBONE = "backbone"


def frozen(model: nn.Module, prefixes: Sequence[str]) -> set[str]:
    """Return the names of the parameters that stay as they are.

    Args:
        model: a network.
        prefixes: dotted names of modules or parameters; ``backbone`` means all but the head.

    Raises:
        UsageError: a prefix that no parameter has; it is answered with the nearest module.
    """
    names = [name for name, _ in model.named_parameters()]
    held: set[str] = set()
    for prefix in prefixes:
        if prefix == BACKBONE:
            heads = head_prefixes(model)
            found = {name for name in names if not any(below(name, head) for head in heads)}
        else:
            found = {name for name in names if below(name, prefix)}
        if not found:
            known = [BACKBONE, *(name for name, _ in model.named_modules() if name)]
            raise UsageError(
                "MODEL-019",
                f"no parameter of {type(model).__name__} is below {prefix!r}",
                fix=did_you_mean(prefix, known),
            )
        held |= found
    return held


def still(model: nn.Module, held: Collection[str]) -> list[nn.Module]:
    """Return the modules that must judge while the rest learns: normalisations whose parameters are all held.

    Their running statistics would otherwise go on following the new data, and what is frozen would move after all.
    One without parameters of its own follows the module it is part of.
    """
    return [
        module
        for name, module in model.named_modules()
        if getattr(module, "running_mean", None) is not None and _is_held(model, name, held)
    ]


def layers(model: nn.Module) -> list[list[str]]:
    """Return the names of the parameters by stage, from the picture to the head, each exactly once.

    timm's networks say what their stages are.  A detector's are those of its backbone, and one for all else.  In any
    other a stage is a child of the network, in the order of definition; where at most two children are sequences, their
    elements are stages of their own.  Parameters of norms alone join the stage before them.
    """
    body = getattr(getattr(model, BACKBONE, None), "body", None)
    if isinstance(body, nn.Module):
        lower = [[f"{BACKBONE}.body.{name}" for name in stage] for stage in layers(body)]
        known = {name for stage in lower for name in stage}
        return [*lower, [name for name, _ in model.named_parameters() if name not in known]]
    matcher = getattr(model, "group_matcher", None)
    if matcher is not None:
        from timm.models import group_parameters

        try:
            stated = matcher(coarse=True)
        except AssertionError:  # RDNet has stated fine ones alone
            stated = matcher()
        grouped = group_parameters(model, stated)
        return [list(grouped[at]) for at in sorted(grouped)]
    sequences = {name for name, child in model.named_children() if _is_sequence(child)}
    deep = sequences if len(sequences) < 3 else set[str]()
    stages: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        parts = name.split(".")
        stages.setdefault(".".join(parts[: 2 if parts[0] in deep else 1]), []).append(name)
    joined: list[list[str]] = []
    parameters = dict(model.named_parameters())
    for names in stages.values():
        if joined and all(parameters[name].dim() < 2 for name in names):
            joined[-1] += names
        else:
            joined.append(names)
    return joined


def _is_held(model: nn.Module, name: str, held: Collection[str]) -> bool:
    """Tell whether all parameters of the module are held, or of the nearest module around it that has any."""
    while True:
        own = [key for key, _ in model.get_submodule(name).named_parameters(prefix=name)]
        if own or not name:
            return bool(own) and all(key in held for key in own)
        name = name.rpartition(".")[0]


def _is_sequence(child: nn.Module) -> bool:
    """Tell whether a module is a chain of others, some of them with weights."""
    return isinstance(child, nn.Sequential | nn.ModuleList) and any(True for _ in child.parameters())
