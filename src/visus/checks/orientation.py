"""Which way up labels were drawn, where EXIF turns a picture: upright, as visus reads it, or as the file lies.

Only pictures that EXIF turns by a quarter can tell: their boxes may fit one way alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from visus.checks import Check, Finding, Subject, are, ranked
from visus.checks.boxes import OUTSIDE
from visus.data.objects import Objects


def look(subject: Subject) -> Iterator[Finding]:
    """Yield pictures whose labels were drawn as the file lies, and those that do not tell; nothing without boxes."""
    dataset, seen = subject.dataset, subject.seen
    objects = dataset.objects
    if objects is None:
        return
    turned = np.flatnonzero(seen.orientation > 4)
    said = {int(i): evidence(subject, objects, int(i)) for i in turned}
    lying = [(i, why, -i) for i, (way, why) in said.items() if way == "lying"]
    unsure = [(i, why, -i) for i, (way, why) in said.items() if way == "unknown"]
    upright = len(said) - len(lying) - len(unsure)
    if lying:
        yield Finding(
            "CHECK-027", "error",
            f"labels of {len(lying):,} of {len(said):,} pictures that EXIF turns were drawn on the picture as it lies",
            "visus shows the picture upright, so these labels are in the wrong place"
            + (f"; those of {upright:,} more fit upright" if upright else ""),
            "save the pictures without the EXIF tag, as they lie, or draw the labels again on upright ones",
            ranked(dataset, "warned", lying),
        )  # fmt: skip
    if unsure:
        yield Finding(
            "CHECK-028", "warning" if lying else "note",
            f"of {len(unsure):,} {are(len(unsure), 'picture', 'pictures')} that EXIF turns, the labels do not tell"
            " whether they were drawn upright",
            "which way up they were drawn cannot be seen in numbers" + ("; others were drawn lying" if lying else ""),
            "look at some of them: visus check DATA --out DIR draws their boxes", ranked(dataset, "warned", unsure),
        )  # fmt: skip


def evidence(subject: Subject, objects: Objects, i: int) -> tuple[str, str]:
    """Return the way the labels of a picture lie, ``upright``, ``lying`` or ``unknown``, and why.

    Boxes that fit one way alone decide.  A size that is stated as of the upright picture speaks for it; one that is
    stated as of the lying one may have been copied from a header, and decides nothing.
    """
    height, width = subject.seen.size[i].tolist()
    boxes = objects.boxes[objects.starts[i] : objects.starts[i + 1]]
    if not len(boxes):
        return "upright", "it has no boxes"
    reach = boxes[:, 2:].max(0)
    upright = bool((reach <= (width + OUTSIDE, height + OUTSIDE)).all())
    lying = bool((reach <= (height + OUTSIDE, width + OUTSIDE)).all())
    told = f"boxes reach to {reach[0]:g}, {reach[1]:g}; upright it is {width:,} x {height:,} pixels"
    if upright != lying:
        return "upright" if upright else "lying", told
    original = subject.dataset.original
    stated = tuple(original.sizes[i].tolist()) if original is not None else (0, 0)
    if height != width and stated == (height, width):
        return "upright", "its size is stated so"
    swapped = f"; its size is stated as {stated[1]:,} x {stated[0]:,}" if stated == (width, height) else ""
    return "unknown", told + swapped


CHECK = Check("labels drawn on the picture as its file lies, before EXIF turns it", look)
