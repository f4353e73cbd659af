"""How much the loss of each class counts: as the recipe says, or inverse to how often the class is shown."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visus.core.errors import UsageError
from visus.core.recipe import Recipe


def weights_of(recipe: Recipe, classes: int) -> Tensor | None:
    """Return (K,) factors of the classes' losses, or None.

    Raises:
        UsageError: there are not as many as classes.
    """
    wanted = recipe.loss.class_weights
    if wanted == "none":
        return None
    given = recipe.target.counts if wanted == "balanced" else wanted
    if len(given) != classes:
        said = "target.counts" if wanted == "balanced" else "loss.class_weights"
        raise UsageError(
            "TASK-002", f"{said} has {len(given)} numbers for {classes} classes", fix=f"give {classes} numbers"
        )
    return balanced(given) if wanted == "balanced" else torch.tensor(given)


def balanced(counts: Sequence[float]) -> Tensor:
    """Return (K,) weights inverse to how often each class is shown, whose mean over what is shown is one.

    A class that is never shown weighs one, as it never counts.

    Source:
        King and Zeng, Logistic regression in rare events data, 2001; scikit-learn's ``compute_class_weight``.
    """
    shown = torch.tensor(counts, dtype=torch.float64)
    met = shown > 0
    return torch.where(met, shown.sum() / (met.sum() * shown.clamp(min=1)), 1).float()
