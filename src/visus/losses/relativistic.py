"""Relativistic loss of pairs: a generated picture is judged beside a real one, not by itself."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def relativistic(
    real: Float[Tensor, "B"], fake: Float[Tensor, "B"], *, player: Literal["discriminator", "generator"]
) -> Float[Tensor, "B"]:
    """Return what a pair of pictures costs: whoever's picture has the smaller logit pays.

    Unit: image.  Its landscape has no minimum where pictures of some kind are left out; it needs R1 and R2 to settle.

    Args:
        real: the discriminator's logits of real pictures; half precision is computed in float32.
        fake: its logits of as many generated ones, each beside the real one of its row.
        player: who pays.

    Source:
        Jolicoeur-Martineau, The relativistic discriminator, ICLR 2019, eq. 3 and 4; with both regularisers as in
        Huang et al., The GAN is dead; long live the GAN!, NeurIPS 2024, eq. 2 and 4.
    """
    precise = torch.promote_types(fake.dtype, torch.float32)
    lead = real.to(precise) - fake.to(precise)
    return F.softplus(lead if player == "generator" else -lead)


LOSS = relativistic
