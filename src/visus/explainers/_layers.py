"""What a network holds, to be drawn: its first filters, and its maps of one picture, a few of each stage."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visus.explainers import Question
from visus.explainers._maps import as_map, maps_for, watching


def filters(network: nn.Module) -> tuple[str, Float[Tensor, "N C k k"]]:
    """Return the name and the weights of the first convolution; an empty name where there is none."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and min(module.kernel_size) > 1:
            return name, module.weight.detach().float().cpu()
    return "", torch.zeros(0, 1, 1, 1)


def stages(question: Question, most: int) -> list[tuple[str, Float[Tensor, "N h w"]]]:
    """Return of each size of map the last one, the finest first: the name of its module, and its maps.

    Args:
        question: of a picture.
        most: maps of each, those that differ the most from place to place.
    """
    last = {(each.height, each.width): each for each in maps_for(question)}
    found = []
    for each in sorted(last.values(), key=lambda one: -one.height * one.width):
        with watching(question.network, each.layer) as said, torch.no_grad():
            question.value(question.image)
        size = (question.image.shape[2], question.image.shape[3])
        maps = as_map(said[0], question.network, size)
        assert maps is not None
        order = maps[0].float().flatten(1).std(1).argsort(descending=True, stable=True)[:most].sort().values
        found.append((each.layer, maps[0, order].float().cpu()))
    return found
