"""The small parts that our own networks share: normalisation, activation, stochastic depth, and their first weights."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Normalisation: TypeAlias = Literal["batch", "group", "layer", "none"]
Activation: TypeAlias = Literal["relu", "silu", "gelu", "leaky_relu", "elu", "tanh", "sigmoid"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def normalisation(name: Normalisation, width: int) -> nn.Module:
    """Return what normalises (B, width, H, W).

    ``batch`` over the batch; ``group`` over at most 32 groups of channels of one image (Wu and He, ECCV 2018), as
    many as divide ``width``; ``layer`` over all of one image; ``none`` leaves it.  Only ``batch`` couples the images
    of a batch.
    """
    if name == "batch":
        return nn.BatchNorm2d(width)
    if name == "none":
        return nn.Identity()
    return nn.GroupNorm(math.gcd(width, 32) if name == "group" else 1, width)


def activation(name: Activation) -> nn.Module:
    """Return the named non-linearity."""
    return _ACTIVATIONS[name]()


def convolution(
    inputs: int, width: int, kernel: int = 3, stride: int = 1, padding: int | None = None, bias: bool = False
) -> nn.Conv2d:
    """Return a convolution with He's first weights; without ``padding`` an odd kernel keeps the size at stride 1.

    Source:
        He et al., Delving deep into rectifiers, ICCV 2015, eq. 10, with the fan of the outputs.
    """
    layer = nn.Conv2d(inputs, width, kernel, stride, kernel // 2 if padding is None else padding, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def drop_path(branch: Float[Tensor, "B ..."], rate: float, training: bool) -> Float[Tensor, "B ..."]:
    """Return the branch with some images' rows set to zero and the others scaled so that the mean stays.

    Source:
        Huang et al., Deep networks with stochastic depth, ECCV 2016, with the scaling moved to training.
    """
    if not training or rate == 0:
        return branch
    return branch * F.dropout(branch.new_ones(len(branch), *[1] * (branch.dim() - 1)), rate)


class PooledNorm(nn.BatchNorm2d):
    """Batch normalisation of what is pooled to one place a picture, which a batch of one picture can pass, too.

    A single value has no spread: it is normalised by the running statistics, in training as in judging.
    """

    def forward(self, input: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D h w"]:
        """Return the normalised values."""
        if self.training and len(input) * input.shape[2] * input.shape[3] == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def with_pooled_norms(parts: nn.Module) -> None:
    """Let a library's layers learn from a batch of one picture: what follows a pooling to one place, see above."""
    for sequence in [each for each in parts.modules() if isinstance(each, nn.Sequential)]:
        if not isinstance(sequence[0], nn.AdaptiveAvgPool2d) or sequence[0].output_size != 1:
            continue
        for name, layer in list(sequence.named_modules()):
            if isinstance(layer, nn.BatchNorm2d):
                pooled = PooledNorm(layer.num_features, layer.eps, layer.momentum)
                pooled.load_state_dict(layer.state_dict())
                sequence.set_submodule(name, pooled)
