"""SmoothGrad: the mean slope of the answer at every pixel, over noisy copies of the picture."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from visus.core.seeds import derive
from visus.explainers import Explainer, Question

COPIES = 24
NOISE = 0.15
"""Deviation of the noise, in shares of what lies between the picture's darkest and brightest value."""


def smooth_grad(question: Question) -> Float[Tensor, "H W"]:
    """Return the mean slope at each pixel times how far it is from its channel's usual level, summed over channels.

    The factor gives the slope a side: above 0 is what the pixel, as it is, says for the answer.

    Source:
        Smilkov et al., SmoothGrad: removing noise by adding noise, 2017, section 3; the product of slope and picture
        is that of its section 2.3.
    """
    image = question.image.detach()
    draws = torch.Generator().manual_seed(derive(question.seed, "smooth_grad"))
    spread = NOISE * float(image.max() - image.min())
    slope = torch.zeros_like(image)
    for start in range(0, COPIES, question.batch):
        n = min(question.batch, COPIES - start)
        noise = torch.randn((n, *image.shape[1:]), generator=draws).to(image)
        with torch.enable_grad():
            copies = (image + spread * noise).requires_grad_()
            (slopes,) = torch.autograd.grad(question.value(copies).sum(), copies)
        slope += slopes.sum(0, keepdim=True) / COPIES
    return (slope * image)[0].sum(0)


EXPLAINER = Explainer(
    smooth_grad, "gradients", "the mean slope of the answer at every pixel, over noisy copies of the picture",
    "Smilkov et al., 2017",
)  # fmt: skip
