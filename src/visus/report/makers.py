"""What made the features that a score is of: named once where all scores have the same."""

from __future__ import annotations

from collections.abc import Iterable


def maker(name: str) -> str:
    """Return what made the features of a score, as ``noise`` of "fid (noise)", or nothing."""
    kind, _, rest = name.partition(" (")
    return "" if "/" in kind else rest.removesuffix(")")


def makers(names: Iterable[str]) -> str:
    """Return what made the features of all scores that are of some, or nothing where there are none, or several."""
    found = {by for name in names if (by := maker(name))}
    return found.pop() if len(found) == 1 else ""


def bare(name: str, by: str) -> str:
    """Return a score's name, or what people call it, without what made its features, which is said beside."""
    return name.removesuffix(f" ({by})") if by else name
