"""Integrated gradients: the slope of the answer at every pixel, summed on the way from an empty picture to this one."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from visus.explainers import Explainer, Question
from visus.explainers._captum import attributions

STEPS = 32


def integrated_gradients(question: Question) -> Float[Tensor, "H W"]:
    """Return each pixel's share of the difference between the answer to this picture and that to an empty one.

    The shares add up to that difference, up to the steps of the integral.

    Source:
        Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, ICML 2017, equation 1.
    """
    return attributions("IntegratedGradients", question, n_steps=STEPS, internal_batch_size=question.batch)


EXPLAINER = Explainer(
    integrated_gradients, "gradients", "the slope at every pixel, summed on the way from an empty picture to this one",
    "Sundararajan et al., ICML 2017",
)  # fmt: skip
