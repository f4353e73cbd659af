"""Which way up labels were drawn, where EXIF turns a picture: upright, as visus reads it, or as the file lies.

A picture that EXIF turns by a quarter can tell: its boxes may fit one way alone, or were cut by the reader because they
reach out of the upright picture.  Half turns and mirrors keep the size and tell nothing by themselves; where pictures
of the same data that can tell were all drawn upright, the others are taken to be so too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from visus.checks import Check, Finding, Subject, are, ranked
from visus.checks.remarks import records_of
from visus.data.dataset import Dataset
from visus.data.objects import Objects

SLOPPY = 0.02
"""Share of a side by which a box may reach out of its picture for being drawn in a hurry."""

_CUT = re.compile(r"reaches ([\d.]+) pixels beyond")


def look(subject: Subject) -> Iterator[Finding]:
    """Yield pictures whose labels were drawn as the file lies, and those that do not tell; nothing without boxes."""
    dataset, seen = subject.dataset, subject.seen
    if dataset.objects is None:
        return
    cut = _cut(dataset)
    said = {
        i: evidence(subject, dataset.objects, i, cut.get(i, 0.0))
        for i in np.flatnonzero(seen.orientation > 1).tolist()
        if dataset.objects.starts[i + 1] > dataset.objects.starts[i] or i in cut
    }
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
            ranked(dataset, "warned", lying), consequence="mislead",
        )  # fmt: skip
    if unsure and (lying or not upright):
        yield Finding(
            "CHECK-028", "warning" if lying else "note",
            f"of {len(unsure):,} {are(len(unsure), 'picture', 'pictures')} that EXIF turns, the labels do not tell"
            " whether they were drawn upright",
            "which way up they were drawn cannot be seen in numbers" + ("; others were drawn lying" if lying else ""),
            "look at some of them: visus check DATA --out DIR draws their boxes", ranked(dataset, "warned", unsure),
            consequence="mislead" if lying else "fact",
        )  # fmt: skip


def evidence(subject: Subject, objects: Objects, i: int, cut: float) -> tuple[str, str]:
    """Return the way the labels of a picture lie, ``upright``, ``lying`` or ``unknown``, and why.

    Args:
        subject: whose picture it is.
        objects: of all pictures.
        i: the picture.
        cut: pixels by which the reader found a box to reach out of it.
    """
    height, width = subject.seen.size[i].tolist()
    if subject.seen.orientation[i] <= 4:
        return "unknown", f"orientation {subject.seen.orientation[i]} keeps its size"
    reach = objects.boxes[objects.starts[i] : objects.starts[i + 1], 2:].max(0, initial=0.0)
    room = 1 + SLOPPY
    upright = reach[0] <= room * width and reach[1] <= room * height and cut <= SLOPPY * min(height, width)
    lying = reach[0] <= room * height and reach[1] <= room * width
    told = f"boxes reach to {reach[0]:g}, {reach[1]:g}" + (f", and {cut:g} pixels beyond the edge" if cut else "")
    told += f"; upright it is {width:,} x {height:,} pixels"
    return ("unknown" if upright == lying else "upright" if upright else "lying"), told


def _cut(dataset: Dataset) -> Mapping[int, float]:
    """Return by how many pixels the reader found a box to reach out of its picture, by record, the most of each."""
    found: dict[int, float] = {}
    record = records_of(dataset)
    for remark in dataset.remarks:
        said = _CUT.search(remark.why)
        i = record(remark.picture or remark.file) if said else -1
        if said and i >= 0:
            found[i] = max(found.get(i, 0.0), float(said[1]))
    return found


CHECK = Check("labels drawn on the picture as its file lies, before EXIF turns it", look)
