"""What holds the slopes of the two networks: each is one value a picture, and can be differentiated once more."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def squared_slopes(logits: Float[Tensor, "B"], images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    """Return how steeply the logit of each picture rises there: the squared length of its gradient.

    Half of it is R1 where the pictures are real, and R2 where they are generated.

    Args:
        logits: of a discriminator.
        images: that it was shown, from which the logits were reckoned.

    Source:
        Mescheder et al., Which training methods for GANs do actually converge?, ICML 2018, eq. 9 and 10.
    """
    (slopes,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return _precise(slopes).square().sum((1, 2, 3))


def distance_from_one(logits: Float[Tensor, "B"], images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    """Return the squared difference between 1 and the length of each picture's gradient.

    Args:
        logits: of a discriminator.
        images: that it was shown, each on the line between a real and a generated one.

    Source:
        Gulrajani et al., Improved training of Wasserstein GANs, NeurIPS 2017, eq. 3.
    """
    return (lengths(squared_slopes(logits, images)) - 1).square()


def path_lengths(
    images: Float[Tensor, "B C H W"], styles: Float[Tensor, "B L S"], directions: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B"]:
    """Return how far a picture moves along a random direction of pictures as its styles do: the length of J'y.

    Args:
        images: that a generator drew.
        styles: that it drew them of.
        directions: y, of a normal distribution.

    Source:
        Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020, eq. 4: the mean over the
        layers' styles, and y scaled by the root of the number of pixels, so that a length does not depend on the size.
    """
    scaled = directions / (images.shape[2] * images.shape[3]) ** 0.5
    (moves,) = torch.autograd.grad((images * scaled).sum(), styles, create_graph=True)
    return lengths(_precise(moves).square().sum(2).mean(1))


def lengths(squares: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """Return roots whose slope is finite at 0 too."""
    return (squares + 1e-12).sqrt()


def _precise(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
