"""Layer-CAM: the maps of a layer, weighed place by place by the slope of the answer there."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from visus.explainers import Explainer, Question
from visus.explainers._maps import activations


def layer_cam(question: Question) -> Float[Tensor, "h w"]:
    """Return the sum of the layer's maps, each place times the positive part of the gradient there.

    Unlike Grad-CAM it tells one object from another of the same class, as the slope of an object's score lies where
    the object is.

    Source:
        Jiang et al., LayerCAM, TIP 2021, equations 6 and 7, before the ReLU.
    """
    maps, slopes = activations(question)
    return (maps * slopes.clamp(min=0)).sum(0)


EXPLAINER = Explainer(
    layer_cam, "layer", "the maps of a layer, weighed place by place by the slope of the answer there",
    "Jiang et al., TIP 2021",
)  # fmt: skip
