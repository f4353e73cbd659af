"""The maps inside a network: which modules give one, what one holds for a question, and which one is looked at.

A map is what a module says of every place of a picture: (B, C, h, w); (B, h, w, C), as some transformers have it; or
tokens (B, N, D), one a place behind a few that belong to none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visus.core.errors import UsageError, did_you_mean
from visus.explainers import Question

FEWEST = 3.0
"""Places that an object spans, across, on the map at which its explanation looks."""
FINEST = 4
"""Pixels between neighbouring places of a map, from which on it is looked at for an object."""


@dataclass(frozen=True)
class Map:
    """One map of a network: the module that gives it, and its places down and across."""

    layer: str
    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.layer}, {self.height} x {self.width} places"


def as_map(said: Any, network: nn.Module, size: tuple[int, int]) -> Tensor | None:
    """Return what a module said as (B, C, h, w), or None where it is no map of a picture of ``size``."""
    if not isinstance(said, Tensor) or not said.is_floating_point():
        return None
    if said.dim() == 4:
        if _covers(said.shape[2:], size):
            return said
        return said.permute(0, 3, 1, 2) if _covers(said.shape[1:3], size) else None
    wide = [m.embed_dim for m in network.modules() if hasattr(m, "num_prefix_tokens") and hasattr(m, "embed_dim")]
    return tokens_as_map(said, network, size) if said.dim() == 3 and wide == [said.shape[2]] else None


def tokens_as_map(said: Tensor, network: nn.Module, size: tuple[int, int]) -> Tensor | None:
    """Return what is said of tokens (B, N, D) as a map (B, D, h, w), or None where they are not those of places."""
    prefix: list[Any] = [m.num_prefix_tokens for m in network.modules() if hasattr(m, "num_prefix_tokens")]
    if not prefix:
        return None
    places = said.shape[1] - int(prefix[0])
    height = round(math.sqrt(max(0, places) * size[0] / size[1]))
    if height < 1 or places % height or not _covers((height, places // height), size):
        return None
    return said[:, -places:].transpose(1, 2).reshape(len(said), said.shape[2], height, places // height)


@contextmanager
def watching(network: nn.Module, layer: str) -> Iterator[list[Any]]:
    """Collect what a module says while the block runs.

    Raises:
        UsageError: the network has no such module.
    """
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        near = did_you_mean(layer, [name for name in modules if name])
        raise UsageError("EXPLAIN-003", f"the network has no layer {layer!r}", fix=near)
    said: list[Any] = []
    handle = modules[layer].register_forward_hook(lambda module, given, answer: said.append(answer))
    try:
        yield said
    finally:
        handle.remove()


def activations(question: Question) -> tuple[Tensor, Tensor]:
    """Return the map of the question's layer and the gradient of its value there, (C, h, w) each.

    Raises:
        UsageError: the layer gives no map, gives several, or what is asked about does not depend on it.
    """
    size = _size(question.image)
    with watching(question.network, question.layer) as said, torch.enable_grad():
        value = question.value(question.image.detach().requires_grad_())
    if len(said) != 1 or (isinstance(said[0], Tensor) and len(said[0]) != 1):
        why = "never asked" if not said else "asked several times of one picture, such as once a tile"
        raise UsageError("EXPLAIN-004", f"{question.layer} is {why}, so it has no one map of the picture",
                         fix="--method occlusion, or smooth_grad, which look at no layer")  # fmt: skip
    if as_map(said[0], question.network, size) is None:
        raise UsageError("EXPLAIN-005", f"{question.layer} says nothing of single places of the picture",
                         fix="leave --layer out, and the last map is looked at")  # fmt: skip
    (slope,) = torch.autograd.grad(value.sum(), said, allow_unused=True)
    if slope is None:
        raise UsageError("EXPLAIN-006", f"what is asked about does not depend on {question.layer}",
                         fix="leave --layer out, and a map is chosen on which it depends")  # fmt: skip
    held, slopes = (as_map(each.detach(), question.network, size) for each in (said[0], slope))
    assert held is not None and slopes is not None
    return held[0].float(), slopes[0].float()


def maps_for(question: Question) -> list[Map]:
    """Return every map on which the answer depends, in the order in which the network makes them.

    Where several modules hand on the same map, the outermost stands for it.
    """
    size = _size(question.image)
    found: dict[int, tuple[str, Tensor]] = {}
    asked = Counter[str]()

    def watch(name: str) -> Any:
        def take(module: nn.Module, given: Any, said: Any) -> None:
            asked[name] += 1
            if isinstance(said, Tensor) and len(said) == 1 and as_map(said, question.network, size) is not None:
                earlier, _ = found.pop(id(said), (name, said))
                found[id(said)] = (min(earlier, name, key=len), said)

        return take

    handles = [m.register_forward_hook(watch(name)) for name, m in question.network.named_modules() if name]
    try:
        with torch.enable_grad():
            value = question.value(question.image.detach().requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    named = [(name, said) for name, said in found.values() if asked[name] == 1 and said.requires_grad]
    if not named or not value.requires_grad:
        return []
    slopes: Any = torch.autograd.grad(value.sum(), [said for _, said in named], allow_unused=True)
    maps = list[Map]()
    for (name, _), slope in zip(named, slopes, strict=True):
        there = as_map(slope, question.network, size) if slope is not None else None
        if there is not None and there.shape[2] * there.shape[3] > 1 and bool((there != 0).any()):
            maps.append(Map(name, there.shape[2], there.shape[3]))
    return maps


def choose(question: Question, box: Tensor | None) -> Map:
    """Return the map at which an explanation looks.

    Of a whole picture or a region that is the last one of the coarsest: the most is understood there.  Of an object it
    is the coarsest of the backbone on which its box is still three places wide, so that its parts are told apart.

    Args:
        question: what is asked.
        box: (4,) xyxy of the object.

    Raises:
        UsageError: the network has no map.
    """
    maps = maps_for(question)
    if not maps:
        raise UsageError("EXPLAIN-007", "the network has no map of places on which its answer depends",
                         fix="--method occlusion, or smooth_grad, which look at no layer")  # fmt: skip
    if box is None:
        fewest = min(each.height * each.width for each in maps)
        return [each for each in maps if each.height * each.width == fewest][-1]
    height, _ = _size(question.image)
    own = [each for each in maps if each.layer.startswith("backbone")] or maps
    own = [each for each in own if height / each.height >= FINEST - 0.5] or own
    last = {each.height * each.width: each for each in own}  # the last of each size
    across = math.sqrt(max(1.0, float((box[2] - box[0]) * (box[3] - box[1]))))
    fit = [each for each in last.values() if across * each.height / height >= FEWEST]
    return min(fit, key=lambda each: each.height * each.width) if fit else max(last.values(), key=lambda e: e.height)


def spread(evidence: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (H, W) evidence at every pixel of a picture from that at evenly spread places.

    A network whose places do not end with the picture, but with the next whole place, saw it extended by zeros.
    """
    if evidence.shape == size:
        return evidence
    stride = 2 ** math.ceil(math.log2(max(1.0, size[0] / evidence.shape[0], size[1] / evidence.shape[1])))
    whole = (evidence.shape[0] * stride, evidence.shape[1] * stride)
    covered = tuple(-(-side // stride) for side in size) == tuple(evidence.shape)
    wide = F.interpolate(evidence[None, None], whole if covered else size, mode="bilinear", align_corners=False)
    return wide[0, 0, : size[0], : size[1]]


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]


def _covers(places: tuple[int, ...] | torch.Size, size: tuple[int, int]) -> bool:
    """Tell whether places down and across are spread evenly over a picture, give or take one at its ends."""
    height, width = places
    down, across = size[0] / height, size[1] / width
    stride = max(down, across)
    return min(down, across) >= 0.99 and abs(size[0] / stride - height) <= 1 and abs(size[1] / stride - width) <= 1
