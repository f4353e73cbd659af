"""Losses: pure functions of tensors that give one value a row (image, box or place).  Importing it loads no torch.

Every loss takes the network's answer, then the truth.  The name of its second argument says what it learns from: a
column of the data (``label``, one class a picture; ``labels``, several; ``numbers``; ``classes``, one class a pixel,
where a picture is judged as a whole: a loss of single pixels reads ``label``), or what a detector makes of its
boxes (``boxes``; ``quality``, how well a place's box fits, by class; ``distances`` from a place to the sides of its
box), or ``fake``, a discriminator's logits of as many generated pictures.  Its other arguments are named
as in ``LossSettings``, or ``class_weights``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from visus.core.catalog import Catalog
from visus.core.errors import UsageError, did_you_mean
from visus.core.recipe import LossSettings

if TYPE_CHECKING:
    from torch import Tensor

LOSSES: Catalog[Callable[..., Any]] = Catalog("visus.losses", "LOSS")


def reads(name: str) -> str:
    """Return what a loss learns from, such as ``label``: the name of its second argument."""
    return list(inspect.signature(LOSSES[name]).parameters)[1]


def settled(
    settings: LossSettings, columns: tuple[str, ...], class_weights: Tensor | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss that the settings name, its numbers filled in: (answer, truth) -> one value a row.

    A number that stands at the settings' default is left to the loss.

    Args:
        settings: name and numbers.
        columns: what the calling task can let a loss learn from.
        class_weights: (K,) factors of the classes' terms, or None.

    Raises:
        UsageError: no such loss, one that learns from another column, or a number that this loss does not take.
    """
    loss = LOSSES[settings.name]
    if reads(settings.name) not in columns:
        fitting = [name for name in LOSSES if reads(name) in columns]
        raise UsageError(
            "LOSS-001",
            f"the loss {settings.name!r} learns from {reads(settings.name)!r}, and the data has {columns[0]!r}",
            fix=did_you_mean("", fitting),
        )
    takes = inspect.signature(loss).parameters
    numbers = {name: getattr(settings, name) for name in _NUMBERS}
    given = {name: value for name, value in numbers.items() if value != LossSettings.model_fields[name].default}
    if class_weights is not None:
        given["class_weights"] = class_weights
    for name in sorted({*given, *(["class_weights"] if settings.class_weights != "none" else [])}):
        if name not in takes:
            raise UsageError(
                "LOSS-002", f"the loss {settings.name!r} takes no {name}", fix=_without(name, reads(settings.name))
            )
    return partial(loss, **given)


_NUMBERS = tuple(name for name in LossSettings.model_fields if name not in ("name", "class_weights"))


def _without(argument: str, column: str) -> str:
    takers = [n for n in LOSSES if reads(n) == column and argument in inspect.signature(LOSSES[n]).parameters]
    return f"leave it out, or --set loss={takers[0]}" if takers else "leave it out"
