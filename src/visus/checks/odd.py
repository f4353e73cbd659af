"""Pictures that are read, but not as their files lie: turned by EXIF, with a warning, or only the first frame."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from visus.checks import Check, Consequence, Finding, Level, Subject, are, of_readable, ranked

_NUMBER = re.compile(r"-?\d+([.,]\d+)*(e[-+]?\d+)?")
_MISNAMED = re.compile(r"the content is (\w+), the name says (\w+)")
_SEVERAL = "several frames"
_CONSEQUENCES: dict[Level, Consequence] = {"warning": "weak", "note": "fact"}


def look(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each kind of warning of the decode door, and one for pictures turned by EXIF."""
    dataset = subject.dataset
    kinds: dict[str, list[tuple[int, str, float]]] = defaultdict(list)
    for i, warnings in sorted(subject.seen.warnings.items()):
        for warning in warnings:
            kinds[kind_of(warning)].append((i, warning, -i))
    for kind, found in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        code, level, why, fix = _words(kind)
        items = ranked(dataset, "warned", found)
        title, consequence = f"{of_readable(subject, len(items))}: {kind}", _CONSEQUENCES[level]
        yield Finding(code, level, title, why, fix, items, consequence=consequence)
    turned = np.flatnonzero(subject.seen.orientation > 1).tolist()
    if turned:
        yield Finding(
            "CHECK-003", "note", f"{of_readable(subject, len(turned))} {are(len(turned))} turned upright by EXIF",
            "training sees them as a viewer shows them; tools that ignore EXIF see them lying",
            "nothing, unless labels with a place in the picture were drawn in such a tool",
            ranked(dataset, "ok", [(i, f"orientation {subject.seen.orientation[i]}", -i) for i in turned]),
            consequence="fact",
        )  # fmt: skip


def kind_of(warning: str) -> str:
    """Return what a warning has in common with others of its kind: without its numbers and formats."""
    if _MISNAMED.fullmatch(warning):
        return "the content is another format than the name says"
    return _NUMBER.sub("…", warning)


def _words(kind: str) -> tuple[str, Level, str, str]:
    """Return code, level, why and fix of a kind of warning."""
    if _SEVERAL in kind:
        return ("CHECK-005", "warning", "what the other frames show is never seen",
                "save each frame that matters as a picture of its own")  # fmt: skip
    if kind.startswith("the content is another"):
        return ("CHECK-004", "note", "visus goes by the content; tools that go by the name fail",
                "give them the name of their format")  # fmt: skip
    return ("CHECK-004", "warning", "they are read, but the file may not hold what was meant",
            "look at them, and save those that look wrong again")  # fmt: skip


CHECK = Check("pictures that are not read as they lie in their files", look)
