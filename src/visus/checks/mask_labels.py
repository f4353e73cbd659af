"""Class maps that segmenters contradict which never saw them: regions, contours, and maps beside their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visus.checks import Check, Finding, Item, Subject, are
from visus.checks._mask_doubts import KINDS, LEARNED, Doubt, Doubts, Kind
from visus.data.dataset import Dataset

FEWEST = 20
"""Readable pictures with a map below which nothing is examined: two thirds of fewer teach a segmenter nothing."""


@dataclass(frozen=True)
class _Told:
    """How the doubts of one kind are told: code, words around their count, and why they matter."""

    code: str
    what: tuple[str, str]
    which: str
    why: str


_FIX = "look at them, the worst first, and draw again what is wrong; check.json has each one's place and pixels"
_LONGER = "longer training: --set epochs=100"
_REGION, _PICTURE = ("region", "regions"), ("map", "maps")
_TOLD: dict[Kind, _Told] = {
    "class": _Told(
        "CHECK-065", _REGION, "to be of another class than labelled",
        "some of these classes are wrong, others right but hard to see; a wrong one is learned as if it were right",
    ),
    "missing": _Told(
        "CHECK-066", _REGION, "not to be labelled, or as background only",
        "of what nobody labelled nothing is learned, and what is called background is learned as such",
    ),
    "extra": _Told(
        "CHECK-067", _REGION, "to be labelled where nothing is",
        "a label where nothing is teaches to see something; some of it may be there, but hard to see",
    ),
    "moved": _Told(
        "CHECK-068", _PICTURE, "to be moved against the picture",
        "every contour is learned, and judged, beside its place",
    ),
    "border": _Told(
        "CHECK-069", _PICTURE, "to have sloppy contours",
        "what is learned of contours is blurred; some of these are only hard to see",
    ),
    "swapped": _Told(
        "CHECK-070", ("pair of classes", "pairs of classes"), "to be exchanged on a whole picture",
        "each is learned as the other",
    ),
}  # fmt: skip


def look(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each kind of doubt, the worst first, and what could not be asked."""
    dataset = subject.dataset
    if subject.mask_doubts is None or dataset.maps is None:
        return
    known = sum(bool(path) for i, path in enumerate(dataset.maps.paths) if i not in subject.seen.reasons)
    if known < FEWEST or subject.recipe is None:
        few = f"{known:,} readable pictures have masks, and it takes {FEWEST} to learn from"
        yield _not_asked("masks were not examined", few if known < FEWEST else "training would not begin on this data")
        return
    found = subject.mask_doubts()
    yield from _limits(dataset, known, found)
    for kind in KINDS:
        if found.of[kind]:
            yield _finding(kind, dataset, found)


def _not_asked(title: str, why: str, fix: str = "nothing to do") -> Finding:
    return Finding("CHECK-071", "note", title, why, fix, consequence="fact")


def _limits(dataset: Dataset, known: int, found: Doubts) -> Iterator[Finding]:
    """Yield what the segmenters cannot tell: maps that were not asked about, and classes that they do not know."""
    if not found.judged:
        yield _not_asked("masks were not examined", "all pictures belong to one group, and groups stay whole")
        return
    if found.agreement < LEARNED:
        yield _not_asked(
            "masks were not examined: the segmenters did not learn from them",
            f"beyond chance they agree with the labels by {found.agreement:.2f} (Cohen's kappa, 1 at best),"
            f" and it takes {LEARNED}",
            _LONGER,
        )
        return
    if left := known - len(found.judged):
        yield _not_asked(
            f"{left:,} {are(left, 'mask was', 'masks were')} not examined", "they cannot be read, or state nothing"
        )
    if unknown := np.flatnonzero(found.asked & np.isinf(found.thresholds)).tolist():
        yield _not_asked(
            f"no region was taken for {_named(dataset, unknown)}: the segmenters did not learn to know it",
            "of what they call so, less than half is labelled so",
            f"more pictures of these classes, or {_LONGER}",
        )
    if overlooked := np.flatnonzero(found.asked & ~found.seen).tolist():
        yield _not_asked(
            f"no label {_named(dataset, overlooked)} was doubted: the segmenters overlook it too often",
            "of what is labelled so, they call less than half so",
            f"more pictures of these classes, or {_LONGER}",
        )


def _named(dataset: Dataset, classes: Sequence[int]) -> str:
    return ", ".join(dataset.classes[k] for k in classes[:5]) + " ..." * (len(classes) > 5)


def _finding(kind: Kind, dataset: Dataset, found: Doubts) -> Finding:
    """Return the finding on one kind of doubt."""
    told, every = _TOLD[kind], found.of[kind]
    pictures = len({doubt.record for doubt in every})
    title = f"{len(every):,} {told.what[len(every) > 1]} {are(len(every), 'seems', 'seem')} {told.which}"
    title += f", on {pictures:,} {are(pictures, 'picture', 'pictures')}" if pictures < len(every) else ""
    items = tuple(_item(kind, doubt, dataset) for doubt in every)
    return Finding(told.code, "warning", title, told.why, _FIX, items, consequence="mislead")


def _item(kind: Kind, doubt: Doubt, dataset: Dataset) -> Item:
    """Return a doubt with what the page and ``check.json`` say of it."""
    label = dataset.classes[doubt.label] if doubt.label >= 0 else ""
    seen = dataset.classes[doubt.seen] if doubt.seen >= 0 else ""
    share = f"{doubt.mask.share:.1%} of the picture" if doubt.mask else ""
    if kind == "moved":
        why = f"{doubt.sure:.0%} of the map agree if it is moved {_way(doubt.move)}, {doubt.stated:.0%} as it is"
    elif kind == "border":
        why = f"{doubt.sure:.0%} of what lies along its contours look otherwise, where {doubt.stated:.0%} are usual"
    elif kind == "swapped":
        why = f"{label} looks like {seen} and {seen} like {label}, each for {doubt.sure:.0%} or more of it: {share}"
    else:
        against = f"{doubt.sure:.2f} against {doubt.stated:.2f}" if label else f"{doubt.sure:.2f}"
        why = f"{f'labelled {label}' if label else 'not labelled'}, looks like {seen} ({against}): {share}"
    more: dict[str, Any] = {"kind": kind, "record": doubt.record, "rank": round(doubt.rank, 4)}
    more |= {name: said for name, said in (("label", label), ("suggested", seen)) if said}
    more |= {"score": round(doubt.sure, 4), "score_of_label": round(doubt.stated, 4)}
    if doubt.mask is not None:
        more |= {"box": list(doubt.mask.box), "share": round(doubt.mask.share, 6),
                 "mask": {"size": list(doubt.mask.size), "counts": doubt.mask.counts}}  # fmt: skip
    if kind == "moved":
        more["move"] = list(doubt.move)
    return Item(dataset.ids[doubt.record], "warned", why, index=doubt.record, score=doubt.rank, more=more)


def _way(move: tuple[int, int]) -> str:
    """Return a move in words: ``12 pixels right and 3 down``."""
    right, down = move
    parts = [(abs(right), "right" if right > 0 else "left"), (abs(down), "down" if down > 0 else "up")]
    told = [(far, way) for far, way in parts if far]
    (far, way), *rest = told
    return f"{far} {are(far, 'pixel', 'pixels')} {way}" + "".join(f" and {more} {towards}" for more, towards in rest)


CHECK = Check("class maps of another class, unlabelled, on nothing, moved, sloppy or exchanged", look)
