"""Networks made smaller than their options build them: layers in two thin factors, and channels that are gone.

A model file says in its card which layers are factored and which tensors are narrower, and nothing else: the network is
built by its name and options, then brought to that form, and its tensors are put in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from visus.core.errors import IntegrityError
from visus.core.modelfile import Architecture, Factors

AS_BUILT = 0
"""In a shape of the card: an axis as the options of the network make it."""


class Factored(nn.Sequential):
    """Two layers in place of one, with the attributes by which forwards ask for the widths of the one."""

    @property
    def in_channels(self) -> int:
        """Channels that the first convolution reads."""
        return _number(self[0], "in_channels")

    @property
    def out_channels(self) -> int:
        """Channels that the second convolution gives."""
        return _number(self[1], "out_channels")

    @property
    def in_features(self) -> int:
        """Numbers that the first layer reads."""
        return _number(self[0], "in_features")

    @property
    def out_features(self) -> int:
        """Numbers that the second layer gives."""
        return _number(self[1], "out_features")


def slimmed(network: nn.Module, architecture: Architecture | None) -> nn.Module:
    """Return the network in the form that a card describes; it is changed in place.

    Args:
        network: as its name and options build it.
        architecture: of the card; None for none.

    Raises:
        IntegrityError: COMPRESS-020, the card speaks of layers or tensors that this network does not have so.
    """
    if architecture is not None:
        for name, factors in architecture.factored.items():
            set_layer(network, name, factors_of(_layer(network, name), factors, name))
        _narrow(network, architecture.narrowed)
    return network


def narrowed(network: nn.Module, built: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors that are not as they were built, with ``AS_BUILT`` on the axes that are.

    Args:
        network: of which channels were removed.
        built: the same before, factored layers included.
    """
    before, found = built.state_dict(), dict[str, tuple[int, ...]]()
    for name, tensor in network.state_dict().items():
        whole = before[name].shape
        if tensor.shape != whole:
            found[name] = tuple(AS_BUILT if now == then else now for now, then in zip(tensor.shape, whole, strict=True))
    return found


def factors_of(layer: nn.Module, factors: Factors, name: str = "") -> Factored:
    """Return two layers in place of one, with weights to be filled in.

    ``channel``: the layer to ``rank`` channels, then a 1 x 1 convolution (of a linear layer, another one); ``spatial``:
    a column of the kernel, then a row of it.

    Raises:
        IntegrityError: COMPRESS-020, no layer that can be factored so.
    """
    rank, plain = factors.rank, can_be_factored(layer)
    if plain and isinstance(layer, nn.Linear) and factors.kind == "channel":
        first: nn.Module = nn.Linear(layer.in_features, rank, bias=False)
        return Factored(first, nn.Linear(rank, layer.out_features, bias=layer.bias is not None))
    if plain and isinstance(layer, nn.Conv2d):
        (high, wide), (down, across) = _pair(layer.kernel_size), _pair(layer.stride)
        (top, side), (apart, aside) = _pair(layer.padding), _pair(layer.dilation)
        inputs, outputs, bias = layer.in_channels, layer.out_channels, layer.bias is not None
        if factors.kind == "channel":
            first = nn.Conv2d(
                inputs, rank, (high, wide), (down, across), (top, side), (apart, aside), bias=False
            )  # fmt: skip
            return Factored(first, nn.Conv2d(rank, outputs, 1, bias=bias))
        first = nn.Conv2d(inputs, rank, (high, 1), (down, 1), (top, 0), (apart, 1), bias=False)
        second = nn.Conv2d(rank, outputs, (1, wide), (1, across), (0, side), (1, aside), bias=bias)
        return Factored(first, second)
    raise _disagree(f"{name} is no layer that can be factored ({type(layer).__name__}, {factors.kind})")


def can_be_factored(layer: nn.Module) -> bool:
    """Tell whether a layer is a linear one, or a convolution without groups that extends its pictures by zeros."""
    if type(layer) is nn.Linear:  # a subclass may be read otherwise than by calling it
        return True
    return (
        type(layer) is nn.Conv2d
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def set_layer(network: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in the place of another, on its device and in its mode."""
    old = network.get_submodule(name)
    weight: Any = old.weight
    layer.to(device=weight.device, dtype=weight.dtype).train(old.training)
    network.set_submodule(name, layer)


def _narrow(network: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Keep the first of each axis's places: their number is what counts, their values come from the file."""
    made: dict[int, Any] = {}  # tied weights stay tied
    touched: dict[str, nn.Module] = {}
    for name, shape in shapes.items():
        path, _, own = name.rpartition(".")
        module = _layer(network, path)
        held: Any = module._parameters.get(own) if own in module._parameters else module._buffers.get(own)
        if held is None or held.dim() != len(shape):
            raise _disagree(f"{name} {tuple(shape)} is narrowed in the card, and the network has no such tensor")
        wanted = tuple(new or old for new, old in zip(shape, held.shape, strict=True))
        if any(not 0 < new <= old for new, old in zip(wanted, held.shape, strict=True)):
            raise _disagree(f"{name} is {tuple(held.shape)} in the network, and {tuple(shape)} in the card")
        if id(held) not in made:
            kept = held.detach()[tuple(slice(size) for size in wanted)].clone()
            made[id(held)] = nn.Parameter(kept, held.requires_grad) if isinstance(held, nn.Parameter) else kept, held
        (module._parameters if own in module._parameters else module._buffers)[own] = made[id(held)][0]
        touched[path] = module
    for module in touched.values():
        _state_widths(module)


def _state_widths(layer: Any) -> None:
    """Let a layer say the widths that its tensors now have."""
    if isinstance(layer, _ConvNd):
        outputs, inputs = layer.weight.shape[:2]
        if layer.transposed:
            outputs, inputs = inputs, outputs
        if layer.groups == layer.in_channels > 1:  # depthwise: as many groups as channels
            layer.groups = layer.weight.shape[0] // (1 if layer.transposed else layer.out_channels // layer.in_channels)
        if layer.transposed:
            layer.in_channels, layer.out_channels = inputs, outputs * layer.groups
        else:
            layer.in_channels, layer.out_channels = inputs * layer.groups, outputs
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, _BatchNorm):
        layer.num_features = next(t for t in (layer.weight, layer.running_mean) if t is not None).shape[0]
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = layer.weight.shape[0]
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)


def _layer(network: nn.Module, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        raise _disagree(f"the network has no layer {name}") from error


def _number(layer: Any, name: str) -> int:
    return int(getattr(layer, name))


def _pair(value: Any) -> tuple[int, int]:
    height, width = value
    return int(height), int(width)


def _disagree(why: str) -> IntegrityError:
    return IntegrityError("COMPRESS-020", "a model file's card does not fit the network that it names", where=why,
                          fix="take another copy of the file, or compress the model anew")  # fmt: skip
