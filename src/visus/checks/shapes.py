"""Pictures of another kind than the rest: extreme shapes, far too small, grey among colours, 16 bits among 8.

What is usual is what the data itself shows: a folder of text lines or of tiny pictures is no finding, one such picture
among photographs is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from visus.checks import Check, Finding, Level, Subject, are, of_readable, ranked

LONG, LONGER = 4.0, 3.0
"""Longer over shorter side of an extreme shape: at least so much, and so many times the data's median."""

SMALL = 0.5
"""Of the training size, and of the data's median shorter side: a picture below both is far too small."""


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what stands out by its shape, size, channels or depth."""
    seen = subject.seen
    read = np.flatnonzero(seen.size[:, 0] > 0)
    if not len(read):
        return
    yield from _extreme(subject, read)
    yield from _small(subject, read)
    yield from _mixed(
        subject, read, seen.channels, "CHECK-008", "note", lambda kind: {1: "grey", 3: "colour"}.get(kind, f"{kind}"),
        "all are read alike, but a class that is mostly of one kind may be told by that alone",
        "see whether the few belong to the data; --set input.channels=1 makes all of them grey",
    )  # fmt: skip
    yield from _mixed(
        subject, read, seen.depth, "CHECK-009", "warning", lambda kind: f"of {kind} bits",
        "each depth is scaled by its own whole range, so the same scene may come out darker or brighter",
        "save all of them in one depth",
    )  # fmt: skip


def _extreme(subject: Subject, read: NDArray[np.int64]) -> Iterator[Finding]:
    sizes = subject.seen.size[read].astype(np.float64)
    ratio = sizes.max(1) / sizes.min(1)
    usual = float(np.median(ratio))
    found = np.flatnonzero((ratio >= LONG) & (ratio > LONGER * usual))
    if not len(found):
        return
    fit = subject.recipe.input.fit if subject.recipe is not None else "pad"
    why = {
        "crop": "only the middle is seen, the rest is cut away",
        "squash": "what they show is squeezed beyond recognition",
        "pad": "most of what the network sees is padding",
    }[fit]
    told = [
        (int(read[k]), f"{sizes[k, 1]:.0f} x {sizes[k, 0]:.0f} pixels, {ratio[k]:.0f} to 1", ratio[k]) for k in found
    ]
    yield Finding(
        "CHECK-006", "warning",
        f"{of_readable(subject, len(found))} {are(len(found))} {LONG:.0f} times as long as wide, or more", why,
        "cut them into parts, or remove them", ranked(subject.dataset, "warned", told), consequence="weak",
    )  # fmt: skip


def _small(subject: Subject, read: NDArray[np.int64]) -> Iterator[Finding]:
    if subject.recipe is None:
        return
    reads, sizes = subject.recipe.input, subject.seen.size[read]
    trained, shorter = min(reads.size), sizes.min(1)
    enlarged = (np.array(reads.size) / sizes).min(1) if reads.fit == "pad" else trained / shorter
    found = np.flatnonzero((enlarged * SMALL > 1) & (shorter < SMALL * np.median(shorter)))
    if not len(found):
        return
    told = [(int(read[k]), f"{sizes[k, 1]} x {sizes[k, 0]} pixels", -float(shorter[k])) for k in found]
    yield Finding(
        "CHECK-007", "warning",
        f"{of_readable(subject, len(found))} {are(len(found))} less than half the training size of {trained}",
        "enlarged to that size they are blurred, unlike the others",
        "find them in a larger size, or remove them if they are thumbnails", ranked(subject.dataset, "warned", told),
        consequence="weak",
    )  # fmt: skip


def _mixed(
    subject: Subject, read: NDArray[np.int64], values: NDArray[np.uint8], code: str, level: Level,
    named: Callable[[int], str], why: str, fix: str,
) -> Iterator[Finding]:  # fmt: skip
    """Yield a finding where pictures are of several kinds; its items are those of all kinds but the commonest."""
    kinds, counts = np.unique(values[read], return_counts=True)
    if len(kinds) < 2:
        return
    common = int(kinds[counts.argmax()])
    told = ", ".join(f"{counts[k]:,} {named(int(kinds[k]))}" for k in np.argsort(-counts, kind="stable"))
    others = read[values[read] != common]
    items = ranked(subject.dataset, "ok" if level == "note" else "warned",
                   [(int(i), named(int(values[i])), -i) for i in others])  # fmt: skip
    yield Finding(code, level, f"the pictures are mixed: {told}", why, fix, items,
                  consequence="fact" if level == "note" else "weak")  # fmt: skip


CHECK = Check("pictures of another shape, size, colour or depth than the rest", look)
