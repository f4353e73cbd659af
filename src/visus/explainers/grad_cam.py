"""Grad-CAM: the maps of a layer, each weighed by the mean slope of the answer over it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from visus.explainers import Explainer, Question
from visus.explainers._maps import activations


def grad_cam(question: Question) -> Float[Tensor, "h w"]:
    """Return the sum of the layer's maps, each times the mean gradient of the value over it.

    For a network that averages its last maps and is linear above, this is the class activation map of Zhou et al.,
    CVPR 2016, divided by the number of places.

    Source:
        Selvaraju et al., Grad-CAM, ICCV 2017, equations 1 and 2, before the ReLU: what speaks against it stays below 0.
    """
    maps, slopes = activations(question)
    return (maps * slopes.mean((1, 2), keepdim=True)).sum(0)


EXPLAINER = Explainer(
    grad_cam, "layer", "the maps of a layer, each weighed by the mean slope of the answer over it",
    "Selvaraju et al., ICCV 2017",
)  # fmt: skip
