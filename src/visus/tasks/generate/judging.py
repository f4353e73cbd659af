"""How generated pictures are judged, and by which score the best weights are picked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import Numbers, Weights
from visus.metrics.generation import (
    CLASS_ACCURACY,
    CLASS_COVERAGE,
    KINDS,
    NEIGHBOURLY,
    Generation,
    JudgedGeneration,
    named,
)
from visus.tasks._scores import chosen

SCORES = (*KINDS, CLASS_ACCURACY)
MOST_AGAIN, MOST_ONCE = 2000, 5000
"""Pictures that are judged, at most: of the validation part again and again, of another part once."""
LOGITS = ("real_logits", "fake_logits")
"""What the discriminator says of pictures it did not learn from, and of generated ones beside them: mean logits."""


def score_of(wanted: str, extractor: str, conditional: bool) -> str:
    """Return the score that picks the best weights, by its whole name: coverage where the recipe names none.

    Coverage falls both where pictures look wrong and where some kind of them is left out, and more of it is better;
    within classes, where there are some, it also falls where a picture is of another class than it was asked to be.

    Raises:
        UsageError: there is no such score, or less of it is better.
    """
    of_classes = (CLASS_COVERAGE, CLASS_ACCURACY) if conditional else ()
    kind = chosen(wanted, CLASS_COVERAGE if conditional else "coverage", (*NEIGHBOURLY, *of_classes))
    return kind if kind == CLASS_ACCURACY else named(kind, extractor)


class Remembered:
    """Features of real pictures, which are the same at every validation: extracted once.

    They are found again by every bit of the pictures that went through the network together, and by the seed of the
    pass: what is remembered is what would be extracted again, bit for bit, and a resumed run need not remember it.

    Args:
        extract: images (B, C, H, W) -> features (B, D).
    """

    def __init__(self, extract: Callable[[Tensor], Tensor]) -> None:
        self._extract, self._known = extract, dict[tuple[int, bytes], Tensor]()

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Return the features (B, D) of a pass's pictures."""
        bits = images.detach().cpu().contiguous().view(torch.uint8).numpy()
        key = seed, blake2b(bits.data, digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._extract(images)
        return self._known[key]


class Judged(Generation):
    """The scores of generated pictures, and what the discriminator says of both kinds."""

    def __init__(
        self, classes: Sequence[str], width: int, extractor: str, *, score: str = "", resamples: int = 1000
    ) -> None:
        super().__init__(classes, width, extractor, score=score, resamples=resamples)
        self._quick = (*self._quick, *LOGITS)
        for name in LOGITS:
            self._empty[name], self._parts[name] = torch.zeros(0), []

    def update(self, raw: Raw, batch: Batch) -> None:
        """Remember the features and the logits of a batch of real pictures and of what was made beside them."""
        super().update(raw, batch)
        self.add(torch.ones(len(batch), dtype=torch.bool), **{name: raw[name] for name in LOGITS})

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedGeneration:
        """Return what follows from features and logits."""
        return _WithLogits(rows, self.extractor, self.neighbours)

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return nothing: a sheet of samples shows more."""
        return {}


class _WithLogits(JudgedGeneration):
    def __init__(self, rows: Mapping[str, Tensor], extractor: str, neighbours: int) -> None:
        super().__init__(rows, extractor, neighbours)
        self._logits = {name: rows[name].nan_to_num().double().numpy() for name in LOGITS}

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (N, r) of the pairs; only those named, if any are."""
        means = {name: values @ weights / np.maximum(weights.sum(0), 1) for name, values in self._logits.items()}
        return super().weighted(weights, names) | {n: mean for n, mean in means.items() if not names or n in names}
