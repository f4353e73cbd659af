"""Pictures that show next to nothing: nearly black, nearly white, one flat tone, or blurred.

Each is measured against the data itself, so that a black background, as digits and Fashion-MNIST have it, is no alarm:

- next to nothing is shown where the contrast (standard deviation of the grey picture) is below ``FLAT``, and below a
  quarter of the data's median contrast; such a picture is nearly black below a brightness of ``DARK``, nearly white
  above ``BRIGHT``, and else flat.
- a picture is blurred where its sharpness lies more than ``UNSHARP`` robust standard deviations below the median (both
  of logarithms, the deviation by the median absolute one), and below a ``BLUNT``-th of it.

With fewer than ``FEW`` pictures there is no usual to compare with: only a contrast below ``NOTHING`` is told.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from visus.checks import Check, Finding, Subject, are, of_readable, ranked

FLAT, NOTHING = 0.025, 0.01
DARK, BRIGHT = 0.1, 0.9
UNSHARP, BLUNT = 4.0, 10.0
FEW = 30


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what shows next to nothing."""
    seen = subject.seen
    read = np.flatnonzero(seen.size[:, 0] > 0)
    if not len(read):
        return
    enough = len(read) >= FEW
    contrast, brightness = seen.contrast[read], seen.brightness[read]
    limit = min(FLAT, float(np.median(contrast)) / 4) if enough else NOTHING
    flat = contrast < limit
    dark, bright = brightness < DARK, brightness > BRIGHT
    kinds = (
        ("CHECK-010", "nearly black", flat & dark, "underexposed, or a lens cap: there is nothing to learn from"),
        ("CHECK-011", "nearly white", flat & bright, "overexposed, or an empty page: there is nothing to learn from"),
        ("CHECK-012", "one flat tone", flat & ~dark & ~bright, "there is nothing in them to learn from"),
    )
    for code, what, those, why in kinds:
        found = np.flatnonzero(those).tolist()
        told = [(int(read[k]), _measured(brightness[k], contrast[k]), -float(contrast[k])) for k in found]
        if told:
            yield Finding(
                code, "warning", f"{of_readable(subject, len(told))} {are(len(told))} {what}", why,
                "look at them, and remove those that show nothing", ranked(subject.dataset, "warned", told),
                consequence="weak",
            )  # fmt: skip
    if enough:
        yield from _blurred(subject, read[~flat])


def _blurred(subject: Subject, read: NDArray[np.int64]) -> Iterator[Finding]:
    sharpness = subject.seen.sharpness[read].astype(np.float64)
    measured = np.isfinite(sharpness)
    if measured.sum() < FEW:
        return
    logs = np.log(np.maximum(sharpness[measured], 1e-12))
    usual = np.median(logs)
    deviation = 1.4826 * np.median(np.abs(logs - usual))
    below = (usual - logs) > max(UNSHARP * deviation, np.log(BLUNT))
    if not below.any():
        return
    told = [(int(i), f"{_times(usual - log)} times less sharp than usual", usual - log)
            for i, log in zip(read[measured][below], logs[below], strict=True)]  # fmt: skip
    yield Finding(
        "CHECK-013", "warning", f"{of_readable(subject, len(told))} {are(len(told))} blurred",
        "out of focus, moved, or enlarged from a thumbnail: their details teach nothing",
        "look at them; keep them if pictures will be as blurred where the model is used",
        ranked(subject.dataset, "warned", told), consequence="weak",
    )  # fmt: skip


def _times(log: float) -> str:
    """Return a factor by its logarithm, no larger than anybody wants to read."""
    return f"{np.exp(log):.0f}" if log < np.log(1000) else "over 1,000"


def _measured(brightness: float, contrast: float) -> str:
    return f"brightness {brightness:.2f}, contrast {contrast:.3f}, both from 0 to 1"


CHECK = Check("pictures that show next to nothing", look)
