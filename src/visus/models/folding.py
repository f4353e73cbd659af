"""Batch normalisation that no longer learns is part of the convolution before it: the same answers in less time."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS, _NORMALISATIONS = (F.conv2d, torch.conv2d), (F.batch_norm, torch.batch_norm)
_FOLDED = ("BatchNorm2d", "PooledNorm", "BatchNormAct2d")
"""Classes of layers that do nothing but normalise and then what their children do (timm's activates)."""

_OF_SHAPES = frozenset({"__get__", "dim", "size", "numel", "stride", "is_contiguous"})
"""Functions that, where they return no tensor, tell nothing of the values."""


def folded(network: nn.Module, images: Float[Tensor, "B C H W"]) -> nn.Module:
    """Return a network in eval mode that answers as this one, but for rounding; this one is left as it is.

    Which normalisation follows which convolution is seen when the network is asked once, not guessed from names.  One
    is folded only where nothing else reads the convolution's answer and both layers are used once; a network without
    such pairs is returned as it is.  The tensors of all other layers are shared with the network that was given.

    Args:
        network: in eval mode.
        images: any that the network takes; one is enough.

    Source:
        Jacob et al., Quantization and training of neural networks, CVPR 2018, section 3.2, eq. 14.
    """
    seen = _Seen()
    with torch.no_grad(), seen:
        network(images)
    names = {id(layer): name for name, layer in network.named_modules()}
    convolutions = {id(layer.weight): layer for layer in network.modules() if isinstance(layer, nn.Conv2d)}
    means: dict[int, Any] = {
        id(layer.running_mean): layer for layer in network.modules() if type(layer).__name__ in _FOLDED
    }
    pairs = [
        (convolutions[weight], means[mean])
        for weight, mean in seen.pairs()
        if weight in convolutions and mean in means and not _watched(convolutions[weight]) and not _watched(means[mean])
    ]
    if not pairs:
        return network
    tensors = [*network.parameters(), *network.buffers()]
    made = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for convolution, norm in pairs:
        layer: Any = made.get_submodule(names[id(convolution)])
        layer.weight, layer.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        made.set_submodule(names[id(norm)], nn.Sequential(*made.get_submodule(names[id(norm)]).children()))
    return made.eval()


def _watched(layer: nn.Module) -> bool:
    """Tell whether somebody looks at what a layer answers, by a hook."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


class _Seen(TorchFunctionMode):
    """Remembers what is done with the answers of convolutions while a network is asked.

    Attributes:
        made: by the identity of an answer, the answer, which stays alive so that its identity is its own, and the
            identity of the weight that made it.
        normalised: by the identity of an answer, that of the running mean it was normalised by.
        reads: how often each answer, weight and running mean was used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[Tensor, int]] = {}
        self.normalised: dict[int, int] = {}
        self.reads: Counter[int] = Counter()

    def pairs(self) -> list[tuple[int, int]]:
        """Return the identities of weights and running means that belong together, all of them used once."""
        found = [(answer, self.made[answer][1], mean) for answer, mean in self.normalised.items()]
        return [(weight, mean) for answer, weight, mean in found
                if self.reads[answer] == self.reads[weight] == self.reads[mean] == 1]  # fmt: skip

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch."""
        named = dict(kwargs or {})
        answer = func(*args, **named)
        if isinstance(answer, Tensor) or getattr(func, "__name__", "") not in _OF_SHAPES:
            self.reads.update(_tensors((*args, *named.values())))
        if func in _CONVOLUTIONS:
            weight = named.get("weight", args[1] if len(args) > 1 else None)
            self.made[id(answer)] = answer, id(weight)
            self.reads[id(answer)] = 0  # what had this identity before is gone
        elif func in _NORMALISATIONS:
            given = (*args, *(named[key] for key in ("input", "running_mean") if key in named))
            if id(given[0]) in self.made:
                self.normalised[id(given[0])] = id(given[1])
        return answer


def _tensors(values: Sequence[Any]) -> list[int]:
    """Return the identities of all tensors among values and in lists of them."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(id(value))
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found
