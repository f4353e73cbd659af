"""A score with its interval: no number is shown without its n."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Score:
    """A measured value, the ends of its 95 % bootstrap interval, and the number of items it was measured on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}] (n = {self.n:,})"

    def json(self) -> dict[str, float | int]:
        """Return the four numbers by name."""
        return asdict(self)
