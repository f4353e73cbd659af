"""Published weights of StyleGAN2 generators, by the names that ``docs/generators.md`` gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from visus.core.errors import UsageError
from visus.models.generators import Implied

PREFIX = "generator."


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names that they have in both networks together; a generator alone needs no prefix."""
    prefix = "" if any(name.startswith(PREFIX) for name in tensors) else PREFIX
    found = {prefix + name: tensor for name, tensor in tensors.items()}
    mean, classes = (found.get(f"{PREFIX}{name}") for name in ("mean_style", "mapping.classes.weight"))
    if mean is not None and classes is not None and mean.dim() == 1:  # of all classes, so of each
        found[f"{PREFIX}mean_style"] = mean.repeat(len(classes), 1)
    return found


def implied(tensors: Mapping[str, Tensor]) -> Implied:
    """Return what a generator's tensors, by its own names without a prefix, say of it.

    Raises:
        UsageError: they are not those of a StyleGAN2 of this layout.
    """
    mapping = _count(r"mapping\.layers\.(\d+)\.weight", tensors)
    levels = _count(r"levels\.(\d+)\.stay\.weight", tensors)
    if not mapping or not levels or "constant" not in tensors or f"levels.{levels - 1}.picture.weight" not in tensors:
        raise UsageError(
            "MODEL-032", "these are no weights of a StyleGAN2 generator by the names that visus knows",
            looked="mapping.layers.0.weight, constant, levels.0.stay.weight and the like, of which "
            + (f"the file holds {', '.join(list(tensors)[:3])} ..." if tensors else "the file holds none"),
            fix="name the tensors as the table of docs/generators.md does",
        )  # fmt: skip
    widths = [int(tensors[f"levels.{i}.stay.weight"].shape[0]) for i in range(levels)]
    first = tensors["mapping.layers.0.weight"]
    classes = tensors.get("mapping.classes.weight")
    height, width = tensors["constant"].shape[-2:]
    options = {
        "latent": int(first.shape[1] if classes is None else classes.shape[1]),
        "style": int(first.shape[0]),
        "depth": mapping,
        "width": widths[-1],
        "widest": max(widths),
        "generator_growth": "skip" if "levels.0.picture.weight" in tensors else "residual",
    }
    return Implied(
        0 if classes is None else int(classes.shape[0]),
        int(tensors[f"levels.{levels - 1}.picture.weight"].shape[0]),
        (int(height) << (levels - 1), int(width) << (levels - 1)),
        options,
    )


def _count(pattern: str, tensors: Mapping[str, Tensor]) -> int:
    """Return how many numbers from 0 on, without a gap, stand in names of the pattern."""
    found = {int(match[1]) for name in tensors if (match := re.fullmatch(pattern, name))}
    return next(i for i in range(len(found) + 1) if i not in found)
