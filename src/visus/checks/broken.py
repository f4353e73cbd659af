"""Pictures that cannot be read, and whether training would still start without them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator

from visus.checks import Check, Finding, Subject, ranked

CANNOT = "a picture that cannot be read teaches nothing"

_TOO_LARGE = re.compile(r"([\d,]+) x ([\d,]+) pixels are more than")


def look(subject: Subject) -> Iterator[Finding]:
    """Yield one finding: a warning where training leaves the pictures out, an error where it stops at them."""
    reasons, total = subject.seen.reasons, len(subject.dataset)
    if not reasons:
        return
    found = [(i, why, -i) for i, why in reasons.items()]
    title = f"{len(reasons):,} of {total:,} pictures cannot be read"
    most = subject.settings.most_bad(total)
    if beyond_limit(subject):
        missing = len(subject.dataset.bad)
        needed = math.ceil(100 * (len(reasons) + missing) / (total + missing)) / 100
        yield Finding(
            "CHECK-002", "error", f"{title}, more than the {most:,} that may be left out", f"{CANNOT}; training stops",
            f"{_remedy(reasons.values())}; or --set data.max_bad={needed:g}",
            ranked(subject.dataset, "refused", found), consequence="stop",
        )  # fmt: skip
    else:
        yield Finding(
            "CHECK-001", "warning", title, f"{CANNOT}; training leaves it out and says so",
            _remedy(reasons.values()), ranked(subject.dataset, "skipped", found), consequence="loss",
        )  # fmt: skip


def _remedy(reasons: Iterable[str]) -> str:
    """Return what helps: what is too large for the limit on pixels is whole, and copying it again would not help."""
    large = [_TOO_LARGE.search(reason) for reason in reasons]
    sizes = [int(found[1].replace(",", "")) * int(found[2].replace(",", "")) for found in large if found]
    smaller = f"make what is too large smaller, or --set data.max_pixels={max(sizes)}" if sizes else ""
    again = "copy or make them again, or remove them" if None in large else ""
    return "; ".join(filter(None, [again, smaller]))


def beyond_limit(subject: Subject, more: Collection[int] = ()) -> bool:
    """Tell whether more pictures are unreadable, listed but missing, or among ``more``, than training leaves out."""
    bad = len({*subject.seen.reasons, *more}) + len(subject.dataset.bad)
    return bad > subject.settings.most_bad(len(subject.dataset) + len(subject.dataset.bad))


CHECK = Check("pictures that cannot be read", look)
