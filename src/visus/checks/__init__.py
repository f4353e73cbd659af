"""What is wrong with a data set: one check a file, each offering ``CHECK``.  Importing this package imports none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from visus.core.catalog import Catalog
from visus.core.recipe import DataSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from visus.checks._mask_doubts import Doubts as MaskDoubts
    from visus.core.recipe import Recipe
    from visus.data.dataset import Dataset
    from visus.data.looking import Seen

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
Status = Literal["ok", "warned", "clipped", "skipped", "refused"]
Consequence = Literal["stop", "leak", "mislead", "loss", "weak", "fact"]
CONSEQUENCES: tuple[Consequence, ...] = ("stop", "leak", "mislead", "loss", "weak", "fact")
"""The worst first: training stops; scores are too good; something wrong is learned, or judged by; pictures or labels
are left out; less is learned, or known, than could be; good to know."""


@dataclass(frozen=True)
class Item:
    """One file a finding is about.

    Attributes:
        file: the user's name of it.
        status: what training does with it: reads it as it is, clips what sticks out, leaves it out, refuses it all.
        why: in a phrase.
        index: of its record in the data set, by which it is drawn; -1 where it is none.
        beside: index of the record it is compared with; -1 for none.  ``other``: the user's name of that.
        where: the place in the file; empty for all of it.
        score: by which items are ranked, the worst highest.
        more: what else the document says of it, as plain values.
    """

    file: str
    status: Status
    why: str
    index: int = -1
    beside: int = -1
    other: str = ""
    where: str = ""
    score: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a data set, or worth knowing of it.

    Attributes:
        code: stable from release to release: ``"CHECK-010"``.
        level: ``error`` (training on it would mislead or fail), ``warning``, ``note``.
        title: what was found, with its count: "12 pictures of test are also in train".
        why: what it does to a model or its scores.
        fix: the command or edit that helps.
        items: the files, the worst first; all of them, however many.
        consequence: what becomes of training or its scores, by which findings of one level are ranked.
    """

    code: str
    level: Level
    title: str
    why: str
    fix: str
    items: tuple[Item, ...] = ()
    consequence: Consequence = field(kw_only=True)

    def json(self) -> dict[str, Any]:
        """Return it as plain values, its items as ``{"file", "status", "code", "why", ...}``."""
        listed = [
            {"file": item.file, "status": item.status, "code": self.code, "why": item.why,
             **{name: said for name in ("other", "where") if (said := getattr(item, name))}, **item.more}
            for item in self.items
        ]  # fmt: skip
        return {"code": self.code, "level": self.level, "consequence": self.consequence, "title": self.title,
                "why": self.why, "fix": self.fix, "count": len(self.items), "items": listed}  # fmt: skip


@dataclass(frozen=True)
class Detections:
    """What was found on N pictures by detectors that did not learn from them: D detections, in original pixels.

    Attributes:
        record: (D,) int64, the picture each lies on; ``label``: (D,) int64 class; ``score``: (D,) float64, larger means
            surer; ``box``: (D, 4) float64 x0, y0, x1, y1, half-open.
        judged: (N,) bool, the pictures that detectors were asked about.
    """

    record: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    box: NDArray[np.float64]
    judged: NDArray[np.bool_]


@dataclass(frozen=True)
class Subject:
    """What checks look at.

    Attributes:
        dataset: with its splits, as training would see it.
        seen: what one look at every picture found.
        recipe: with which it would be trained; None where no task learns from it.
        features: returns (N, D) float32 features of every picture by a pretrained network, zeros where one cannot be
            read; computed at the first call.
        out_of_fold: returns (N, K) float32 class probabilities of every labelled picture by small models that did not
            learn from it, NaN elsewhere; None where labels are not to be examined.
        detections: returns what small detectors found on every picture, down to low scores, that did not learn from it;
            None where boxes are not to be examined.
        mask_doubts: returns what small segmenters that did not learn from it contradict in every picture's class map;
            None where masks are not to be examined.
        tell: told what is being done, a sentence each.
        settings: by which the data was read.
    """

    dataset: Dataset
    seen: Seen
    recipe: Recipe | None
    features: Callable[[], NDArray[np.float32]]
    out_of_fold: Callable[[], NDArray[np.float32]] | None
    tell: Callable[[str], None]
    settings: DataSettings = field(default_factory=DataSettings)
    detections: Callable[[], Detections] | None = None
    mask_doubts: Callable[[], MaskDoubts] | None = None


@dataclass(frozen=True)
class Check:
    """One question that is asked of a data set.

    Attributes:
        asks: the question, in a phrase: "pictures that cannot be read".
        look: answers it: findings, none where nothing is wrong.
    """

    asks: str
    look: Callable[[Subject], Iterable[Finding]]


def ranked(dataset: Dataset, status: Status, found: Iterable[tuple[int, str, float]]) -> tuple[Item, ...]:
    """Return an item for each (record, why, score), the highest score first."""
    items = [Item(dataset.ids[i], status, why, index=i, score=float(score)) for i, why, score in found]
    return tuple(sorted(items, key=lambda item: -item.score))


def of_readable(subject: Subject, count: int) -> str:
    """Return "3 of 40 pictures", or "3 of 39 readable pictures" where one of them cannot be read."""
    unread = len(subject.seen.reasons)
    return f"{count:,} of {len(subject.dataset) - unread:,} {'readable ' * bool(unread)}pictures"


def are(count: int, one: str = "is", many: str = "are") -> str:
    """Return the verb for so many."""
    return one if count == 1 else many


CHECKS: Catalog[Check] = Catalog("visus.checks", "CHECK")
