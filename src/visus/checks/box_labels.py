"""Boxes that detectors contradict which never saw them: of another class, missing, on nothing, or badly placed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visus.checks import Check, Detections, Finding, Item, Subject, are
from visus.checks._box_doubts import KINDS, SEEN, Doubt, Doubts, Kind, doubts
from visus.data.dataset import Dataset
from visus.data.objects import Objects

FEWEST = 20
"""Readable pictures with objects below which nothing is examined: two thirds of fewer teach a detector nothing."""

ENOUGH = 100
"""Of the surest detections there must be so many, or no share of mistakes is estimated."""


@dataclass(frozen=True)
class _Told:
    """How the doubts of one kind are told: code, words around their count, why they matter, and what to do."""

    code: str
    what: tuple[str, str]
    share: str
    why: str
    fix: str


_LOOK = "look at them, the worst first; --out DIR writes fixes.json: edit it, then visus fix DATA DIR/fixes.json"
_TOLD: dict[Kind, _Told] = {
    "class": _Told(
        "CHECK-060", ("box seems", "boxes seem"), "of another class than labelled",
        "some of these classes are wrong, others right but hard to see; a wrong one is learned as if it were right",
        _LOOK,
    ),
    "missing": _Told(
        "CHECK-061", ("object seems", "objects seem"), "without a box",
        "an object that nobody drew teaches that there is none, and finding it counts as a mistake", _LOOK,
    ),
    "extra": _Told(
        "CHECK-062", ("box seems", "boxes seem"), "on nothing",
        "a box where no object is teaches to see one; some of these objects may be there, but hard to see", _LOOK,
    ),
    "place": _Told(
        "CHECK-063", ("box seems", "boxes seem"), "badly placed",
        "a box beside its object, or too large or small for it, blurs what is learned of its sides", _LOOK,
    ),
}  # fmt: skip


def look(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each kind of doubt, the worst boxes first, and what could not be asked."""
    objects, dataset = subject.dataset.objects, subject.dataset
    if subject.detections is None or objects is None:
        return
    if why := _hindrance(subject, objects):
        yield _not_asked("boxes were not examined", why)
        return
    said = subject.detections()
    if not said.judged.any():
        yield _not_asked("boxes were not examined", "all pictures belong to one group, and groups stay whole")
        return
    found = doubts(objects, said, len(dataset.classes))
    yield from _limits(dataset, objects, said, found)
    for kind in KINDS:
        if found.of[kind]:
            yield _finding(kind, dataset, objects, said, found)


def _hindrance(subject: Subject, objects: Objects) -> str:
    """Return why no detector can be trained; empty where one can."""
    shown = np.unique(objects.records[(objects.labels >= 0) & ~objects.crowd])
    readable = sum(i not in subject.seen.reasons for i in shown.tolist())
    if readable < FEWEST:
        return f"{readable:,} readable pictures show objects of a known class, and it takes {FEWEST} to learn from"
    return "" if subject.recipe is not None else "training would not begin on this data"


def _not_asked(title: str, why: str, fix: str = "nothing to do") -> Finding:
    return Finding("CHECK-064", "note", title, why, fix, consequence="fact")


def _limits(dataset: Dataset, objects: Objects, said: Detections, found: Doubts) -> Iterator[Finding]:
    """Yield what the detectors cannot tell: unread pictures, classes that they do not know, and where there is one."""
    if left := int((~said.judged).sum()):
        told = f"boxes of {left:,} {'picture' if left == 1 else 'pictures'} were not examined"
        yield _not_asked(told, f"{are(left, 'it', 'they')} cannot be read")
    if len(dataset.classes) == 1:
        yield _not_asked(
            "wrong classes were not looked for: there is one class", f"every object is called {dataset.classes[0]}"
        )
    if (crowds := int((objects.crowd | (objects.labels < 0)).sum())) and found.asked.any():
        yield _not_asked(
            f"{crowds:,} {are(crowds, 'region', 'regions')} of many objects or of unknown class "
            f"{are(crowds, 'was', 'were')} not examined", "nothing found there speaks for or against a label",
        )  # fmt: skip
    asked = np.bincount(objects.labels[found.asked], minlength=len(dataset.classes)) > 0
    longer = "more pictures of these classes, or longer training: --set epochs=100"
    if unknown := np.flatnonzero(asked & np.isinf(found.thresholds)).tolist():
        yield _not_asked(
            f"of {_named(dataset, unknown)} nothing was asked: the detectors did not learn to know it",
            "of what they are as sure of as they usually are, less than half is on a box of that class", longer,
        )  # fmt: skip
    if found.unseen:
        yield _not_asked(
            f"boxes on nothing were not looked for among {_named(dataset, found.unseen)}",
            f"small detectors overlook more than {1 - SEEN:.0%} of these boxes, so one that they overlook may be right",
            longer,
        )


def _named(dataset: Dataset, classes: Sequence[int]) -> str:
    return ", ".join(dataset.classes[k] for k in classes[:5]) + " ..." * (len(classes) > 5)


def _finding(kind: Kind, dataset: Dataset, objects: Objects, said: Detections, found: Doubts) -> Finding:
    """Return the finding on one kind of doubt."""
    told, every = _TOLD[kind], found.of[kind]
    title = f"{len(every):,} {told.what[len(every) > 1]} to be {told.share}"
    of, counts = found.surest
    if kind == "extra":
        title += ": small detectors see nothing there; how many are wrong is not estimated"
    elif of >= ENOUGH:
        share, low, high = _interval(counts[kind], of)
        title += f"; by estimate {share:.1%} of all objects are ({low:.1%} to {high:.1%})"
    else:
        title += ": too few objects to estimate how many are"
    items = tuple(_item(kind, doubt, dataset, objects, said, found) for doubt in every)
    return Finding(told.code, "warning", title, told.why, told.fix, items, consequence="mislead")


def _interval(count: int, of: int) -> tuple[float, float, float]:
    """Return a share and the ends of its 95 % interval.

    The share of contradictions among the detections that are the surest of their class, which themselves are hardly
    ever wrong; so it is that of all objects as far as plain ones are mislabelled as often as hard ones.

    Source:
        Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
    """
    from scipy.stats import binomtest

    ends = binomtest(count, of).proportion_ci(method="wilson")
    return count / of, float(ends.low), float(ends.high)


def _item(kind: Kind, doubt: Doubt, dataset: Dataset, objects: Objects, said: Detections, found: Doubts) -> Item:
    """Return a doubt with what ``visus fix`` and the page need of it."""
    m, d = doubt.object, doubt.found
    label = dataset.classes[int(objects.labels[m])] if m >= 0 else ""
    to = dataset.classes[int(said.label[d])] if d >= 0 else ""
    place = m - int(objects.starts[doubt.record]) + 1
    why = {
        "class": f"labelled {label}, looks like {to} ({doubt.sure:.2f})",
        "missing": f"looks like {to} ({doubt.sure:.2f}), and has no box",
        "extra": f"labelled {label}, and nothing is found there"
        f" ({doubt.sure:.2f} where {float(found.thresholds[objects.labels[m]]):.2f} is usual)",
        "place": f"{label}, found elsewhere ({doubt.sure:.2f}): the boxes overlap by {doubt.overlap:.0%}",
    }[kind]
    more: dict[str, Any] = {"kind": kind, "record": doubt.record, "rank": round(doubt.rank, 4)}
    if m >= 0:
        more |= {"box": place, "label": label, "stated": _corners(objects.boxes[m])}
    if d >= 0:
        more |= {"suggested": to, "suspected": _corners(said.box[d]), "score": round(doubt.sure, 4)}
    return Item(
        dataset.ids[doubt.record], "warned", why, index=doubt.record, where=f"box {place}" if m >= 0 else "",
        score=doubt.rank, more=more,
    )  # fmt: skip


def _corners(box: Any) -> list[float]:
    return [round(float(side), 2) for side in box]


CHECK = Check("boxes of another class, missing, on nothing or badly placed", look)
