"""Judging pictures that were painted in a style: how near the style came, and what is left of the content."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from visus.core.figures import Curve, Figure, Line
from visus.core.task import Batch, Raw
from visus.metrics.bootstrap import Numbers, Weights, ratio
from visus.metrics.generation import named
from visus.metrics.rows import RowMetric, ends

KINDS = ("fidelity", "style_fall", "style_distance", "content_distance", "content_similarity")
COLUMNS = ("objective", "before", "after", "content", "similarity")
"""What is remembered of each picture; see ``Stylization.update``."""

_MOST_POINTS = 1000
_BROKEN = {"objective": 1e6, "before": 1.0, "after": 1.0, "content": 1.0, "similarity": 0.0}
"""What stands for a number that is not finite: each distance of a black picture is about 1, and fidelity comes to 0."""


class Stylization(RowMetric["JudgedStyles"]):
    """Scores of painted pictures; each bears the name of the features by which style and content were told.

    ``style_distance``, of Gram matrices from the painting's in units of its own; ``style_fall``, how many times nearer
    that is than the photo was; ``content_distance``, of features from the photo's in units of their variance;
    ``content_similarity``, their correlation, place by place; ``fidelity``, 1 / (1 + what training makes small), which
    is 1 where style and content are both as wanted.

    Args:
        features: their name.
        resamples: of the bootstrap.
    """

    def __init__(self, features: str, *, resamples: int = 1000) -> None:
        self.features = features
        empty = {name: torch.zeros(0) for name in COLUMNS} | {"index": torch.zeros(0, dtype=torch.int64)}
        super().__init__(empty, [named(kind, features) for kind in KINDS], resamples)

    def update(self, raw: Raw, batch: Batch) -> None:
        """Remember a batch.

        Args:
            raw: (B,) each: ``objective``, the sum of the losses; ``before`` and ``after``, the distance of style of
                photo and picture; ``content``, the distance of content; ``similarity``, of features.
            batch: of the photos.
        """
        keep = torch.ones(len(batch), dtype=torch.bool)
        self.add(keep, index=batch.indices, **{name: raw[name] for name in COLUMNS})

    def judge(self, rows: Mapping[str, Tensor]) -> JudgedStyles:
        """Return what follows from the distances."""
        return JudgedStyles(rows, self.features)

    def figures(self) -> Sequence[Figure]:
        """Return the distances of style and content of each picture."""
        items = self.judged()
        if not items.n:
            return ()
        at = np.unique(np.linspace(0, items.n - 1, min(items.n, _MOST_POINTS)).astype(int))
        line = Line("a picture", items.rows["after"][at].tolist(), items.rows["content"][at].tolist())
        note = "" if len(at) == items.n else f"{len(at):,} of {items.n:,} pictures, evenly chosen."
        title = "How near the style, and how far from the content"
        return (Curve(title, "style distance", "content distance", [line], points=True, note=note),)

    def gallery(self, n: int) -> Mapping[str, Sequence[int]]:
        """Return the pictures that were painted best and worst, by what training makes small."""
        items = self.judged()
        worst, best = ends(items.rows["objective"], n)
        return {"best": items.indices[best].tolist(), "worst": items.indices[worst].tolist()}

    def calibration(self) -> dict[str, float]:
        """Return nothing: pictures are shown as they were painted."""
        return {}


class JudgedStyles:
    """What follows from the rows of n pictures."""

    def __init__(self, rows: Mapping[str, Tensor], features: str) -> None:
        self.indices = rows["index"].numpy()
        self.n = len(self.indices)
        self.features = features
        finite = {name: torch.where(rows[name].isfinite(), rows[name].double(), _BROKEN[name]) for name in COLUMNS}
        self.rows = {name: values.numpy() for name, values in finite.items()}

    def weighted(self, weights: Weights, names: Collection[str] = ()) -> dict[str, Numbers]:
        """Return (r,) scores under weights (n, r) of the pictures; only those named, if any are."""
        total = weights.sum(0)
        mean = {name: ratio(values @ weights, total) for name, values in self.rows.items()}
        found = {
            "fidelity": ratio((1 / (1 + self.rows["objective"])) @ weights, total),
            "style_fall": ratio(mean["before"], mean["after"]),
            "style_distance": mean["after"],
            "content_distance": mean["content"],
            "content_similarity": mean["similarity"],
        }
        scores = {named(kind, self.features): value for kind, value in found.items()}
        return {name: value for name, value in scores.items() if not names or name in names}
