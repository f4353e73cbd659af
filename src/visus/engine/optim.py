"""Optimisers by name, with the groups that decay, that do not, and that move at a rate of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer

from visus.core.errors import UsageError, nearest
from visus.core.recipe import OptimSettings

OWN = {
    "adam": "steps scaled by running moments of the gradient (Kingma and Ba 2015)",
    "adamw": "adam with decoupled weight decay (Loshchilov and Hutter 2019)",
    "gd": "gradient descent: every training picture at each step",
    "momentum": "sgd with a running mean of past gradients",
    "muon": "momentum whose matrices are made orthogonal, adamw for the rest (Jordan 2024)",
    "nesterov": "momentum that looks a step ahead",
    "rmsprop": "steps divided by the running size of the gradient; optim.momentum adds a mean of past steps",
    "sgd": "stochastic gradient descent, without momentum",
}
"""Optimiser of PyTorch's that visus sets up itself -> what it does."""


def build(
    model: nn.Module,
    settings: OptimSettings,
    players: Mapping[str, str],
    layers: Sequence[Sequence[str]] = (),
    layer_decay: float = 1.0,
) -> dict[str, Optimizer]:
    """Return one optimiser a player over its parameters.

    Biases, norms and everything else of one axis are spared weight decay.  Each group carries ``share``, by which the
    loop multiplies the step's learning rate.

    Args:
        model: whose parameters move.
        settings: name and numbers.
        players: name -> prefix of its parameters.
        layers: parameter names from the input to the output, for ``layer_decay``.
        layer_decay: factor of the rate from one of ``layers`` to the one below it.

    Raises:
        UsageError: an unknown optimiser, or a player without a parameter.
    """
    shares = {name: layer_decay ** (len(layers) - 1 - i) for i, names in enumerate(layers) for name in names}
    optimisers = {}
    for player, prefix in players.items():
        groups: dict[tuple[bool, float], dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            if name.startswith(prefix) and parameter.requires_grad:
                spared, share = parameter.dim() <= 1, shares.get(name, 1.0)
                decay = 0.0 if spared else settings.weight_decay
                group = groups.setdefault((spared, share), {"params": [], "weight_decay": decay, "share": share})
                group["params"].append(parameter)
        if not groups:
            raise UsageError("USE-011", f"player {player!r} has nothing to train below {prefix!r}",
                             fix="--set model.freeze=[]")  # fmt: skip
        optimisers[player] = _make(settings, list(groups.values()))
    return optimisers


def described() -> dict[str, str]:
    """Return {name: what it does} of every optimiser that can be used; tries all of timm's, so it is not free."""
    from timm.optim import list_optimizers  # type: ignore[attr-defined]

    theirs = cast(list[tuple[str, str]], list_optimizers(with_description=True))
    return {name: words for name, words in theirs if name not in OWN and _usable(name)} | OWN


def check(settings: OptimSettings, said: Iterable[str] = ()) -> None:
    """Refuse an optimiser that does not exist, that the loop cannot use, or that takes no number that was asked for.

    Args:
        settings: name and numbers.
        said: keys of the numbers that somebody asked for: ``["momentum"]``.

    Raises:
        UsageError: that is so.
    """
    _make(settings, [{"params": [nn.Parameter(torch.zeros(2, 2))]}])
    for number in NUMBERS:
        if number in said and number not in takes(settings):
            having = next((name for name in ("momentum", "adamw") if number in _TAKES[name]), "adamw")
            raise UsageError("USE-038", f"the optimiser {settings.name!r} takes no {number}",
                             fix=f"leave it out, or --set optim.name={having}")  # fmt: skip


def takes(settings: OptimSettings) -> frozenset[str]:
    """Return which of ``NUMBERS`` an optimiser uses."""
    if settings.name in _TAKES:
        return frozenset(_TAKES[settings.name])
    return frozenset(_numbers_for_timm(settings, get_info(settings.name)))


NUMBERS = ("momentum", "betas", "eps")
"""Settings that some optimisers take and others do not."""

_TAKES = {
    "gd": (), "sgd": (), "momentum": ("momentum",), "nesterov": ("momentum",), "muon": ("momentum",),
    "rmsprop": ("momentum", "eps"), "adam": ("betas", "eps"), "adamw": ("betas", "eps"),
}  # fmt: skip


def _usable(name: str) -> bool:
    try:
        check(OptimSettings(name=name))
    except UsageError:
        return False
    return True


def _make(settings: OptimSettings, groups: list[dict[str, Any]]) -> Optimizer:
    lr = settings.lr if isinstance(settings.lr, float) else 1e-3
    on_fast_kernels = all(p.device.type in ("cpu", "cuda") for g in groups for p in g["params"])
    fused = {"fused": on_fast_kernels}
    match settings.name:
        case "gd" | "sgd":
            return torch.optim.SGD(groups, lr=lr, **fused)
        case "momentum" | "nesterov":
            return torch.optim.SGD(
                groups, lr=lr, momentum=settings.momentum, nesterov=settings.name == "nesterov", **fused
            )
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, momentum=settings.momentum, eps=settings.eps)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, betas=settings.betas, eps=settings.eps, **fused)
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=settings.betas, eps=settings.eps, **fused)
    return _from_timm(settings, groups, lr)


def _meant(name: str) -> str:
    from timm.optim import list_optimizers  # type: ignore[attr-defined]

    guess = nearest(name, {*OWN, *map(str, list_optimizers())})
    return f"did you mean {guess!r}?" if guess else "visus list optimisers"


def get_info(name: str) -> Any:
    """Return what timm knows of an optimiser.

    Raises:
        UsageError: it knows none of that very name: ``SGD`` is not ``sgd``, and means something else to timm.
    """
    from timm.optim import get_optimizer_info  # type: ignore[attr-defined]

    try:
        if name != name.lower():
            raise KeyError(name)
        return get_optimizer_info(name)
    except (ValueError, KeyError) as error:
        raise UsageError("USE-004", f"there is no optimiser named {name!r}", fix=_meant(name)) from error


def _numbers_for_timm(settings: OptimSettings, info: Any) -> dict[str, Any]:
    """Return those of our numbers that an optimiser of timm's takes."""
    accepted = inspect.signature(cast(Callable[..., Any], info.opt_class)).parameters
    given: dict[str, Any] = {"momentum": settings.momentum} if info.has_momentum else {}
    if settings.name == "muon":  # its other numbers are those of the adamw that moves what is no matrix
        return given
    if info.has_eps:
        given["eps"] = settings.eps
    usual = accepted["betas"].default if "betas" in accepted else None
    if isinstance(usual, tuple) and len(usual) == len(settings.betas):
        given["betas"] = settings.betas
    return given


def _from_timm(settings: OptimSettings, groups: list[dict[str, Any]], lr: float) -> Optimizer:
    from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

    info = get_info(settings.name)
    if isinstance(info.opt_class, str):  # timm knows it by its import path alone
        package = info.opt_class.partition(".")[0]
        raise UsageError("USE-012", f"the optimiser {settings.name!r} is part of {package}, which visus does not use",
                         fix="--set optim.name=adamw")  # fmt: skip
    given = {"momentum": settings.momentum, **_numbers_for_timm(settings, info)}
    try:
        made: Optimizer = create_optimizer_v2(
            groups, opt=settings.name, lr=lr, weight_decay=settings.weight_decay, **given
        )
    except (AssertionError, ImportError) as error:
        raise UsageError("USE-012", f"the optimiser {settings.name!r} cannot be used here", where=str(error)) from error
    if getattr(made, "is_second_order", False):
        raise UsageError(
            "USE-012", f"the optimiser {settings.name!r} needs second derivatives, which the loop does not take",
            fix="--set optim.name=adamw",
        )  # fmt: skip
    if hasattr(made, "rng"):
        raise UsageError("USE-012", f"the optimiser {settings.name!r} draws random numbers of its own: no exact resume",
                         fix="--set optim.name=muon")  # fmt: skip
    return made
