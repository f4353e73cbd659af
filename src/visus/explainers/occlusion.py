"""Occlusion: what the answer loses when a square of the picture is covered."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from visus.explainers import Explainer, Question
from visus.explainers._captum import attributions

SQUARES = 8
"""Squares that lie side by side on the shorter side; they move by half of their own side."""


def occlusion(question: Question) -> Float[Tensor, "H W"]:
    """Return for each pixel the mean loss of the answer over the squares that cover it.

    Source:
        Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014, section 4.2.
    """
    channels, height, width = question.image.shape[1:]
    side = max(1, min(height, width) // SQUARES)
    step = max(1, side // 2)
    found = attributions(
        "Occlusion", question, sliding_window_shapes=(channels, side, side), strides=(channels, step, step),
        perturbations_per_eval=question.batch,
    )  # fmt: skip
    return found / channels


EXPLAINER = Explainer(
    occlusion, "answers", "what the answer loses when a square of the picture is covered",
    "Zeiler and Fergus, ECCV 2014",
)  # fmt: skip
