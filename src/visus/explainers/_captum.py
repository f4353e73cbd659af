"""The door to captum, which some methods are taken from: ``pip install 'visus[explain]'`` brings it."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from visus.core.errors import UsageError
from visus.explainers import Question


def attributions(method: str, question: Question, **settings: Any) -> Float[Tensor, "H W"]:
    """Return what one of captum's methods says of every pixel, against an empty picture, summed over channels.

    Raises:
        UsageError: captum is not installed.
    """
    try:
        from captum import attr  # type: ignore[import-untyped]  # it has no types
    except ImportError as error:
        raise UsageError(
            "EXPLAIN-001", "this method needs captum, which is not installed",
            fix="pip install 'visus[explain]', or --method grad_cam, which needs nothing",
        ) from error  # fmt: skip
    image = question.image.detach()
    found: Tensor = getattr(attr, method)(question.value).attribute(image, baselines=0, **settings)
    return found.detach()[0].sum(0).float()
