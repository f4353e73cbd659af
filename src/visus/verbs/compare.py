"""``visus compare``: is one model better than another, or is it noise?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visus.core.errors import UsageError
from visus.core.figures import Table
from visus.core.scores import OF_ITS_OWN, Score

if TYPE_CHECKING:
    from torch import nn

    from visus.metrics.compare import Difference
    from visus.verbs.load import Model
    from visus.verbs.parts import Part


@dataclass(frozen=True)
class Comparison:
    """Two models on the same items.

    Attributes:
        a, b: the files; ``data``, ``split``: what both were asked.
        scores_a, scores_b: of each, by name.
        differences: b minus a, by name, with a paired bootstrap interval.
        score: name of the headline score.
        notes: what reading the data and choosing the part have to say, a sentence each.
    """

    a: str
    b: str
    data: str
    split: str
    score: str
    scores_a: Mapping[str, Score]
    scores_b: Mapping[str, Score]
    differences: Mapping[str, Difference]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The headline in words: "+0.6 +- 0.9: no difference shown"."""
        return self.differences[self.score].verdict if self.score in self.differences else "the data defines no score"

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        scores = {"a": self.scores_a, "b": self.scores_b}
        return {
            "a": self.a, "b": self.b, "data": self.data, "split": self.split, "score": self.score,
            "notes": list(self.notes),
            "verdict": self.verdict,
            "differences": {name: difference.json() for name, difference in self.differences.items()},
            "scores": {name: {n: score.json() for n, score in found.items()} for name, found in scores.items()},
        }  # fmt: skip

    def table(self) -> Table:
        """Return a line a score: of A, of B, their difference with its interval, and which is better, if either is."""
        from visus.report.words import label

        rows = [
            (label(name) + " (%)" * (d.unit == 100), *d.values, d.change, d.interval, d.better)
            for name, d in self.differences.items()
        ]  # fmt: skip
        part = "all" if self.split == "all" else f"the {self.split} part"
        title = f"A {self.a}\nB {self.b}\non {part} of {self.data}"
        return Table(title, ("score", "A", "B", "B - A", "95 % interval", "better"), rows)


def compare(
    a: str | Path | Model,
    b: str | Path | Model,
    data: str | Path,
    *,
    split: str | None = None,
    network: str | nn.Module | None = None,
    download: bool = False,
) -> Comparison:
    """Ask two models the same items and bootstrap the difference of their scores, item by item in pairs.

    Args:
        a, b: model files, run folders, or loaded models.
        data: as for ``train``.
        split: as for ``evaluate``; data without a test part is judged whole only where it is new to both models.
        network: ``FILE.py:Class``, where a network is the user's own; load models whose networks differ beforehand.
        download: allow a data set named by ``torchvision:NAME`` to be fetched.

    Raises:
        UsageError: the models solve different tasks, know different classes, or had different pictures held back.
        DataError: as ``evaluate``.
    """
    from visus.metrics.compare import paired
    from visus.verbs.evaluate import measure
    from visus.verbs.load import Model, load
    from visus.verbs.parts import check_split, in_order, part_for

    check_split(split)
    first, second = (m if isinstance(m, Model) else load(m, model=network) for m in (a, b))
    if first.card.task != second.card.task or set(first.classes) != set(second.classes):
        asked = [f"{name}: {m.card.task}, {', '.join(m.classes[:4])}{' ...' * (len(m.classes) > 4)}"
                 for name, m in (("A", first), ("B", second))]  # fmt: skip
        raise UsageError("USE-017", "the two models do not answer the same question", where="; ".join(asked),
                         fix="compare models of one task and the same classes")  # fmt: skip
    part_a, part_b = (part_for(model, data, split, download=download) for model in (first, second))
    if not part_a.seen and part_b.seen:  # what was held back from the one that was trained on this data
        part_a = replace(part_b, dataset=in_order(part_b.dataset, first.classes))
    elif not part_b.seen and part_a.seen:
        part_b = replace(part_a, dataset=in_order(part_a.dataset, second.classes))
    _check_parts(part_a, part_b)
    one, other = measure(first, part_a, str(data)), measure(second, part_b, str(data))
    both = [name for name in one.scores if name in other.scores and name not in OF_ITS_OWN]
    differences = {name: paired(one.metric, other.metric, name) for name in both}
    notes = tuple(dict.fromkeys(one.notes + other.notes))
    return Comparison(
        one.model, other.model, str(data), one.split, one.score, one.scores, other.scores, differences, notes
    )


def _check_parts(a: Part, b: Part) -> None:
    """Refuse a part that was carved otherwise for one model than for the other, which has then trained on some of it.

    Raises:
        UsageError: that is so.
    """
    ours, theirs = (set(part.dataset.indices(part.split).tolist()) for part in (a, b))
    if ours != theirs:
        raise UsageError(
            "USE-023", f"{a.dataset.name} has no {a.split} part of its own, and the two runs carved different ones",
            where=f"{len(ours - theirs):,} of A's {len(ours):,} pictures were not held back from B",
            fix=f"train both with the same --seed, or move pictures into a folder named {a.split}",
        )  # fmt: skip
