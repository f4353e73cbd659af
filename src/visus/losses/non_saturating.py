"""Non-saturating loss: each side's logarithm of the chance that it is right, as GANs began."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def non_saturating(
    real: Float[Tensor, "B"], fake: Float[Tensor, "B"], *, player: Literal["discriminator", "generator"]
) -> Float[Tensor, "B"]:
    """Return what a pair of pictures costs: the discriminator for both, the generator for its own.

    Unit: image.

    Args:
        real: the discriminator's logits of real pictures; half precision is computed in float32.
        fake: its logits of as many generated ones.
        player: who pays.

    Source:
        Goodfellow et al., Generative adversarial nets, NeurIPS 2014, eq. 1 and the last paragraph of section 3.
    """
    precise = torch.promote_types(fake.dtype, torch.float32)
    if player == "generator":
        return F.softplus(-fake.to(precise))
    return F.softplus(-real.to(precise)) + F.softplus(fake.to(precise))


LOSS = non_saturating
