"""Batches of judged items, as a task would hand them to its metric."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from visus.core.task import Batch


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """Return a maker of batches: batch_of(label=...), indexed from ``start``."""

    def make(start: int = 0, **targets: Tensor) -> Batch:
        n = len(next(iter(targets.values())))
        indices = torch.arange(start, start + n)
        return Batch((), targets, tuple(str(i) for i in indices.tolist()), indices, torch.eye(3).expand(n, 3, 3))

    return make
