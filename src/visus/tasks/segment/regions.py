"""What is said about the pixels of one picture: a class for each, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from visus.core.home import at_home
from visus.core.pixels import IGNORE

LINES = 2**22
"""Scores that are brought home at once: as many lines of the original as they are enough for."""


@dataclass(frozen=True)
class Regions:
    """A class for each pixel of one picture.

    Attributes:
        class_map: (H, W) uint8, places in ``names``; 255 where the network said no numbers.
        scores: (H, W) float16, the probability of that class, in [0, 1].
        names: of the classes.
        palette: (R, G, B) of each class.
        logits: (K, h, w) from which both follow, in present pixels; None once they are at home.
        size: (H, W) of the original picture; zeros where it is not known.
    """

    class_map: UInt8[Tensor, "H W"]
    scores: Float[Tensor, "H W"]
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    logits: Float[Tensor, "K h w"] | None = None
    size: tuple[int, int] = (0, 0)

    @staticmethod
    def of(
        logits: Float[Tensor, "K h w"],
        size: tuple[int, int],
        names: tuple[str, ...],
        palette: tuple[tuple[int, int, int], ...],
    ) -> Regions:
        """Return what logits of present pixels say."""
        return Regions(*_winners(logits), names, palette, logits, size)

    def home(self, frame: Tensor) -> Regions:
        """Return the class of each original pixel.

        Scores of the classes are read bilinearly there, and only then compared: an enlarged map would have the steps of
        the smaller one.  That is done some lines at a time, so that the scores of all classes are never there at the
        original's size.  Where that size is not known, it is what the frame makes of the present one.
        """
        if self.logits is None:
            return self
        size = home_size((self.logits.shape[1], self.logits.shape[2]), frame, self.size)
        classes, scores = brought_home(self.logits, frame, size)
        return replace(self, class_map=classes, scores=scores, logits=None)

    def shares(self) -> dict[str, float]:
        """Return the share of the pixels of each class that is shown, the largest first."""
        counts = torch.bincount(self.class_map.flatten().cpu(), minlength=len(self.names))[: len(self.names)]
        order = counts.argsort(descending=True, stable=True).tolist()
        return {self.names[k]: int(counts[k]) / self.class_map.numel() for k in order if counts[k]}

    def json(self) -> dict[str, Any]:
        """Return size, the classes that are shown, the largest first, and the share of the pixels of each."""
        shares = self.shares()
        height, width = self.class_map.shape
        rounded = {name: round(share, 6) for name, share in shares.items()}
        return {"height": height, "width": width, "classes": list(shares), "areas": rounded}

    def rows(self) -> list[dict[str, Any]]:
        """Return a line a class that is shown: label, pixels and their share, the largest first."""
        total = self.class_map.numel()
        return [
            {"label": name, "pixels": round(share * total), "share": round(share, 6)}
            for name, share in self.shares().items()
        ]


def home_size(present: tuple[int, int], frame: Tensor, stated: tuple[int, int]) -> tuple[int, int]:
    """Return the size of an original picture, or what its frame makes of the present size where it is not stated."""
    if min(stated):
        return stated
    height, width = present
    return max(1, round(height * float(frame[1, 1]))), max(1, round(width * float(frame[0, 0])))


def brought_home(
    logits: Float[Tensor, "K H W"], frame: Tensor, size: tuple[int, int], rows: slice | None = None
) -> tuple[UInt8[Tensor, "R C"], Float[Tensor, "R C"]]:
    """Return the class of each original pixel and its probability, some lines at a time (see ``Regions.home``).

    Args:
        logits: of present pixels.
        frame: from these to original ones.
        size: (height, width) of the original picture.
        rows: from which to which of its lines; all of them by default.
    """
    first, last, _ = (rows or slice(None)).indices(size[0])
    lines = max(1, LINES // (len(logits) * size[1]))
    parts = [
        _winners(at_home(logits, frame, size, slice(start, min(start + lines, last))))
        for start in range(first, last, lines)
    ]
    classes, scores = zip(*parts, strict=True)
    return torch.cat(classes), torch.cat([each.float() for each in scores]).half()  # autocast joins no float16


def _winners(logits: Float[Tensor, "K H W"]) -> tuple[Tensor, Tensor]:
    """Return the class of the largest logit of each pixel, and its probability; 255 and 0 where none is known."""
    best, classes = logits.max(0)
    sure = (best - logits.logsumexp(0)).exp()
    said = classes.to(torch.uint8).where(sure.isfinite(), IGNORE)
    return said.cpu(), sure.nan_to_num(0).clamp(max=1).half().cpu()
