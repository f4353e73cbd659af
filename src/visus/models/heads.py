"""Where a network's trunk ends and its head begins."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from visus.core.errors import UsageError


def head_prefix(model: nn.Module) -> str:
    """Return the dotted name of the last linear layer, the one that gives the outputs.

    timm's networks say which it is; in any other it is ``head`` where that is a layer with weights, else the linear
    layer or convolution that was defined last.

    Raises:
        UsageError: the network has neither.
    """
    return head_prefixes(model)[0]


def head_prefixes(model: nn.Module) -> tuple[str, ...]:
    """Return the names of all that starts fresh on other classes.

    More than one where a network is trained with a second, distilled head, or finds objects: it states its own.
    """
    stated = getattr(model, "heads", ())
    if isinstance(stated, tuple) and stated:
        return stated
    described = getattr(model, "pretrained_cfg", None)
    if isinstance(described, dict) and described.get("classifier"):
        stated = described["classifier"]
        names = (stated,) if isinstance(stated, str) else tuple(stated)
        modules = dict(model.named_modules())
        found = tuple(name for name in names if any(True for _ in modules.get(name, nn.Identity()).parameters()))
        if found:
            return found
    head = getattr(model, "head", None)
    if isinstance(head, nn.Linear | nn.Conv2d):
        return ("head",)
    layers = [name for name, module in model.named_modules() if name and isinstance(module, nn.Linear | nn.Conv2d)]
    if not layers:
        raise UsageError(
            "MODEL-019",
            f"{type(model).__name__} has no linear layer or convolution that could be its head",
            fix="name what to freeze instead: --set 'model.freeze=[FIRST.PREFIX]'",
        )
    return (layers[-1],)


def below(name: str, prefix: str) -> bool:
    """Tell whether a dotted name is a prefix's own or lies below it; the empty prefix holds everything."""
    return not prefix or name == prefix or name.startswith(prefix + ".")


def feature_map(model: nn.Module, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
    """Return what the trunk says of each place of a picture, whatever the family.

    Our own and timm's networks give it by ``forward_features``: tokens are laid out on their grid without class and
    register tokens, channels-last maps are turned.  From any other network it is the last output of four axes before
    the head.

    Raises:
        UsageError: the network holds no map: its features have no place in the picture.
    """
    trunk = getattr(model, "forward_features", None)
    if trunk is None:
        return _last_map(model, images)
    features = trunk(images)
    if isinstance(features, Tensor) and features.dim() == 4:
        return features.permute(0, 3, 1, 2) if _channels_last(model) else features
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if isinstance(features, Tensor) and features.dim() == 3 and grid is not None:
        places = features[:, features.shape[1] - grid[0] * grid[1] :]
        return places.transpose(1, 2).reshape(images.shape[0], -1, *grid)
    raise _no_map(model)


def _last_map(model: nn.Module, images: Tensor) -> Tensor:
    heads, maps = head_prefixes(model), list[Tensor]()

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
            maps[:] = [output]

    hooks = [
        module.register_forward_hook(keep)
        for name, module in model.named_modules()
        if name and not any(below(name, head) for head in heads)
    ]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not maps:
        raise _no_map(model)
    return maps[0]


def _channels_last(model: nn.Module) -> bool:
    return str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")


def _no_map(model: nn.Module) -> UsageError:
    return UsageError(
        "MODEL-019",
        f"{type(model).__name__} keeps no map of features: nothing in it says where in the picture something is",
        fix="another network, such as resnet_small or resnet18",
    )


def first_convolution(model: nn.Module) -> str:
    """Return the name of the first convolution, which reads the picture; empty where there is none."""
    return next((name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), "")


def for_channels(weight: Float[Tensor, "D C h w"], channels: int) -> Float[Tensor, "D K h w"]:
    """Return the first layer's weights for pictures of another number of channels.

    One channel takes their sum, so that a grey picture is answered as the same picture in equal channels; otherwise
    the channels are repeated in order and scaled by old / new, so that the answer keeps its size.
    """
    old = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // old), 1, 1)[:, :channels]
    return repeated if channels == old else repeated * (old / channels)


def outputs_of(tensors: Mapping[str, Tensor], model: nn.Module) -> int:
    """Return how many outputs the weights of a network's head have, or 0 where they hold no head.

    A network whose head is no single layer tells it itself, by ``outputs_in``.
    """
    if (tell := getattr(model, "outputs_in", None)) is not None:
        return int(tell(tensors))
    weight = tensors.get(f"{head_prefix(model)}.weight")
    return 0 if weight is None else int(weight.shape[0])
