"""Hinge loss: the discriminator is content once a real picture is above 1 and a generated one below -1."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def hinge(
    real: Float[Tensor, "B"], fake: Float[Tensor, "B"], *, player: Literal["discriminator", "generator"]
) -> Float[Tensor, "B"]:
    """Return what a pair of pictures costs: the discriminator for both, the generator for its own (below 0 too).

    Unit: image.

    Args:
        real: the discriminator's logits of real pictures; half precision is computed in float32.
        fake: its logits of as many generated ones.
        player: who pays.

    Source:
        Lim and Ye, Geometric GAN, 2017, eq. 27 and 28; Miyato et al., Spectral normalization for GANs, ICLR 2018,
        eq. 16 and 17.
    """
    precise = torch.promote_types(fake.dtype, torch.float32)
    if player == "generator":
        return -fake.to(precise)
    return (1 - real.to(precise)).relu() + (1 + fake.to(precise)).relu()


LOSS = hinge
