"""Wasserstein loss: how far apart the discriminator's means of real and generated pictures are."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def wasserstein(
    real: Float[Tensor, "B"], fake: Float[Tensor, "B"], *, player: Literal["discriminator", "generator"]
) -> Float[Tensor, "B"]:
    """Return what a pair of pictures costs: the discriminator for both, the generator for its own; both below 0 too.

    Unit: image.  It means the distance of its name only as far as the discriminator's slope is held at 1: see
    ``generate.penalty``.

    Args:
        real: the discriminator's logits of real pictures; half precision is computed in float32.
        fake: its logits of as many generated ones.
        player: who pays.

    Source:
        Arjovsky et al., Wasserstein generative adversarial networks, ICML 2017, eq. 2 and 3.
    """
    precise = torch.promote_types(fake.dtype, torch.float32)
    if player == "generator":
        return -fake.to(precise)
    return fake.to(precise) - real.to(precise)


LOSS = wasserstein
