"""``visus compare``: is one model better than another, or is it noise?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import UsageError
from visus.core.scores import Score

if TYPE_CHECKING:
    from visus.metrics.compare import Difference
    from visus.verbs.load import Model


@dataclass(frozen=True)
class Comparison:
    """Two models on the same items.

    Attributes:
        a, b: the files; ``data``, ``split``: what both were asked.
        scores_a, scores_b: of each, by name.
        differences: b minus a, by name, with a paired bootstrap interval.
        score: name of the headline score.
    """

    a: str
    b: str
    data: str
    split: str
    score: str
    scores_a: Mapping[str, Score]
    scores_b: Mapping[str, Score]
    differences: Mapping[str, Difference]

    @property
    def verdict(self) -> str:
        """The headline in words: "+0.6 +- 0.9: no difference shown"."""
        return self.differences[self.score].verdict

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "a": self.a, "b": self.b, "data": self.data, "split": self.split, "score": self.score, "verdict": self.verdict,
            "differences": {name: {"value": d.value, "low": d.low, "high": d.high, "n": d.n, "verdict": d.verdict}
                            for name, d in self.differences.items()},
            "scores": {"a": {n: s.json() for n, s in self.scores_a.items()}, "b": {n: s.json() for n, s in self.scores_b.items()}},
        }  # fmt: skip


def compare(
    a: str | Path | Model, b: str | Path | Model, data: str | Path, *, split: str = "test", download: bool = False
) -> Comparison:
    """Ask two models the same items and bootstrap the difference of their scores, item by item in pairs.

    Raises:
        UsageError: the models solve different tasks or know different classes.
        DataError: as ``evaluate``.
    """
    from visus.metrics.compare import paired
    from visus.verbs.evaluate import evaluate
    from visus.verbs.load import Model, load

    first, second = (m if isinstance(m, Model) else load(m) for m in (a, b))
    if first.card.task != second.card.task or set(first.classes) != set(second.classes):
        raise UsageError("USE-017", "the two models do not answer the same question",
                         where=f"{first.card.task} of {len(first.classes)} classes, {second.card.task} of {len(second.classes)}")  # fmt: skip
    one, other = (evaluate(m, data, split=split, download=download) for m in (first, second))
    shared = [name for name in one.scores if name in other.scores]
    differences = {name: paired(one.metric, other.metric, name) for name in shared}
    return Comparison(one.model, other.model, str(data), split, one.score, one.scores, other.scores, differences)
