"""What a run of a generator learns about itself as it goes: how strongly to augment, how long its paths are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

EVERY = 4
"""Steps between two decisions about the chance of augmentation (Karras et al., NeurIPS 2020, section 3)."""
SHARE = 0.01
"""Of each new mean of path lengths in their running mean (Karras et al., CVPR 2020, appendix B)."""


class Feedback(nn.Module):
    """A few numbers that are part of a run's state, saved and restored with it, and of no model file.

    What a step sees of itself is only added up, part by part; what follows from it is decided at the beginning of a
    later step, once, whichever of its parts comes first.  So a step does not depend on how its batch is split.

    Args:
        p: chance of augmentation at first.

    Attributes:
        p: chance of augmentation.
        length: running mean of path lengths; 0 before there is any.
    """

    p: Tensor
    length: Tensor
    _signs: Tensor
    _judged: Tensor
    _decided: Tensor
    _lengths: Tensor
    _measured: Tensor
    _taken: Tensor

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        for name, value in (("p", p), ("length", 0.0), ("_lengths", 0.0)):
            self.register_buffer(name, torch.tensor(value), persistent=False)
        for name in ("_signs", "_judged", "_decided", "_measured", "_taken"):
            self.register_buffer(name, torch.tensor(0), persistent=False)

    @torch.no_grad()
    def decide(self, step: int, target: float, change: float) -> None:
        """Move ``p`` towards where the discriminator takes as many real pictures for real as it should.

        Args:
            step: of the run.
            target: of r_t, the mean sign of the logits of real pictures since the last decision.
            change: of ``p`` in a step, up or down.

        Source:
            Karras et al., Training generative adversarial networks with limited data, NeurIPS 2020, section 3.2 and
            eq. 1.
        """
        if step < int(self._decided) + EVERY or not int(self._judged):
            return
        sign = torch.sign(self._signs / self._judged - target)
        self.p.add_(sign * change * (step - int(self._decided))).clamp_(0, 1)
        self._decided.fill_(step)
        self._signs.zero_()
        self._judged.zero_()

    @torch.no_grad()
    def judged(self, logits: Float[Tensor, "N"]) -> None:
        """Take note of the logits of N real pictures."""
        self._signs.add_(torch.sign(logits).sum().long())
        self._judged.add_(len(logits))

    @torch.no_grad()
    def settle(self, step: int) -> None:
        """Let the running mean follow the path lengths of an earlier step."""
        if step <= int(self._taken) or not int(self._measured):
            return
        mean = self._lengths / self._measured
        self.length.copy_(torch.lerp(self.length, mean, SHARE) if self.length > 0 else mean)
        self._taken.fill_(step)
        self._lengths.zero_()
        self._measured.zero_()

    @torch.no_grad()
    def measured(self, lengths: Float[Tensor, "N"]) -> None:
        """Take note of N path lengths."""
        self._lengths.add_(lengths.sum())
        self._measured.add_(len(lengths))
