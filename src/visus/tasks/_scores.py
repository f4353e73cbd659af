"""Which score picks the best weights: one that the task has, and of which more is better."""

from __future__ import annotations

from collections.abc import Sequence

from visus.core.errors import UsageError, did_you_mean
from visus.core.scores import SMALLER_IS_BETTER, kind_of


def chosen(wanted: str, usual: str, known: Sequence[str]) -> str:
    """Return the score of the recipe, or the usual one where the recipe names none.

    Raises:
        UsageError: there is no such score, or less of it is better.
    """
    if not wanted:
        return usual
    larger = [name for name in known if kind_of(name) not in SMALLER_IS_BETTER]
    if wanted not in known:
        raise UsageError("TASK-001", f"there is no score named {wanted!r}", fix=did_you_mean(wanted, larger))
    if wanted not in larger:
        raise UsageError(
            "TASK-001", f"{wanted} is better when smaller, and the best weights are those of the largest score",
            fix="one of: " + ", ".join(larger[:12]),
        )  # fmt: skip
    return wanted
