"""What is said about the pixels of one picture where each may show several classes, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from visus.core.annotations import ClassMap
from visus.core.home import at_home
from visus.core.pixels import IGNORE
from visus.tasks._drawing import Colour
from visus.tasks.segment.regions import LINES, Regions, home_size

NONE = "none of them"
_GREY = (128, 128, 128)


@dataclass(frozen=True)
class ClassSets:
    """The classes of each pixel of one picture.

    Attributes:
        bits: (H, W) int64, bit k is 1 where class k is said, whose probability is above one half; -1 where the network
            said no numbers.
        names: of the classes.
        palette: (R, G, B) of each class.
        logits: (K, h, w) from which they follow, in present pixels; None once they are at home.
        size: (H, W) of the original picture; zeros where it is not known.
    """

    bits: Int64[Tensor, "H W"]
    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    logits: Float[Tensor, "K h w"] | None = None
    size: tuple[int, int] = (0, 0)

    @staticmethod
    def of(
        logits: Float[Tensor, "K h w"], size: tuple[int, int], names: tuple[str, ...], palette: tuple[Colour, ...]
    ) -> ClassSets:
        """Return what logits of present pixels say."""
        return ClassSets(_said(logits), names, palette, logits, size)

    def home(self, frame: Tensor) -> ClassSets:
        """Return the classes of each original pixel: scores are read bilinearly there, some lines at a time."""
        if self.logits is None:
            return self
        size = home_size((self.logits.shape[1], self.logits.shape[2]), frame, self.size)
        return replace(self, bits=_brought_home(self.logits, frame, size, slice(None)), logits=None)

    @property
    def layers(self) -> Mapping[str, Tensor]:
        """(H, W) bool, where each class is that is said anywhere, by its name."""
        shown = ClassMap(self.bits, -1).shown()
        return {self.names[k]: (self.bits >> k & 1) == 1 for k in shown}

    def shares(self) -> dict[str, float]:
        """Return the share of the pixels of each class that is said, the largest first; they may add up to any sum."""
        counts = ClassMap(self.bits, -1).shown()
        order = sorted(counts, key=lambda k: (-counts[k], k))
        return {self.names[k]: counts[k] / self.bits.numel() for k in order}

    def json(self) -> dict[str, Any]:
        """Return size, the classes that are said, the largest first, and the share of the pixels of each."""
        shares = self.shares()
        height, width = self.bits.shape
        rounded = {name: round(share, 6) for name, share in shares.items()}
        return {"height": height, "width": width, "classes": list(shares), "areas": rounded}

    def rows(self) -> list[dict[str, Any]]:
        """Return a line a class that is said, the largest first: label, pixels and share; one of blanks if none."""
        total = self.bits.numel()
        return [
            {"label": name, "pixels": round(share * total), "share": round(share, 6)}
            for name, share in self.shares().items()
        ] or [{"label": "", "pixels": 0, "share": 0.0}]

    def mixed(self, truth: Tensor | None = None) -> tuple[Regions, Tensor | None]:
        """Return each combination of classes as a class of its own, in the mean of their colours, and so the truth.

        Args:
            truth: (h, w) int64 bits, -1 where nothing is stated.
        """
        met = torch.cat(
            [self.bits[self.bits >= 0].flatten(), *([] if truth is None else [truth[truth >= 0].flatten()])]
        )
        combinations, counts = torch.unique(met, return_counts=True)
        combinations = combinations[counts.argsort(descending=True, stable=True)[: IGNORE - 1]].sort().values
        names, palette = [], []
        for combination in combinations.tolist():
            of = [k for k in range(len(self.names)) if combination >> k & 1]
            names.append(" + ".join(self.names[k] for k in of) or NONE)
            channels = zip(*(self.palette[k] for k in of), strict=True)
            palette.append(tuple(round(sum(levels) / len(of)) for levels in channels) if of else _GREY)
        regions = Regions(
            _places(self.bits, combinations), torch.ones(self.bits.shape).half(), tuple(names),
            tuple((colour[0], colour[1], colour[2]) for colour in palette),
        )  # fmt: skip
        return regions, None if truth is None else _places(truth, combinations)


def sets_brought_home(
    logarithms: Float[Tensor, "K H W"], frame: Tensor, size: tuple[int, int], rows: slice
) -> tuple[Int64[Tensor, "R C"]]:
    """Return the bits of the classes of some lines of the original, by the logarithms of probabilities in (0, 1]."""
    none = (-logarithms.clamp(max=-torch.finfo(logarithms.dtype).tiny).expm1()).log()  # of the class not being there
    return (_brought_home(logarithms - none, frame, size, rows),)


def _brought_home(
    logits: Float[Tensor, "K H W"], frame: Tensor, size: tuple[int, int], rows: slice
) -> Int64[Tensor, "R C"]:
    """Return the bits of the classes of some original lines, not all scores of which are ever there at once."""
    first, last, _ = rows.indices(size[0])
    lines = max(1, LINES // (len(logits) * size[1]))
    starts = range(first, last, lines)
    return torch.cat([_said(at_home(logits, frame, size, slice(at, min(at + lines, last)))) for at in starts])


def _places(bits: Tensor, combinations: Tensor) -> Tensor:
    """Return which of some combinations each pixel shows; 255 for none of these, and where nothing is stated."""
    at = torch.searchsorted(combinations, bits.contiguous()).clamp(max=len(combinations) - 1)
    return torch.where(combinations[at] == bits, at, IGNORE).to(torch.uint8)


def _said(logits: Float[Tensor, "K H W"]) -> Int64[Tensor, "H W"]:
    """Return the bits of the classes that are more probable than not; -1 where the network said no numbers."""
    bits = torch.zeros(logits.shape[1:], dtype=torch.int64)
    for k, scores in enumerate(logits):
        bits |= (scores > 0).cpu().long() << k
    return bits.where(logits.isfinite().all(0).cpu(), -1)
