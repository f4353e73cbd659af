"""The Inception v3 network by which FID was first measured, from a file of its weights; it comes with none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.core.recipe import InputSettings
from visus.models.fitting import fit

SIDE = 299
OF_FID, OF_TORCHVISION = 1008, 1000
"""Outputs of the network of 2015 that FID is defined by, and of torchvision's, which was trained anew."""

_BLOCKS = ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7b", "Mixed_7c")
_MARK = "Mixed_7c.branch_pool.conv.weight"


def recognised(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether tensors are those of an Inception v3, by torchvision's names, which its conversions have as well."""
    return _MARK in tensors and "fc.weight" in tensors


def inception(tensors: Mapping[str, Tensor], source: str) -> tuple[str, nn.Module, InputSettings]:
    """Return the name of the network that tensors belong to, the network, and what it reads.

    That of FID (``pt_inception-2015-12-05``, 1,008 outputs) is "Inception": its averages leave out padding, its last
    block takes the largest instead, and it reads pictures in [-1, 1].  torchvision's (1,000 outputs) is another network
    and bears its own name: no number by it can be compared with a published FID.

    Args:
        tensors: by torchvision's names.
        source: of them, for messages.

    Raises:
        UsageError: tensors of neither.

    Source:
        Szegedy et al., Rethinking the Inception architecture, CVPR 2016; for FID: Heusel et al., NeurIPS 2017, A1.
    """
    from torchvision.models import Inception3

    outputs = int(tensors["fc.weight"].shape[0])
    if outputs not in (OF_FID, OF_TORCHVISION):
        raise UsageError("METRIC-003", f"{source}: an Inception of {outputs:,} outputs is neither that of FID nor"
                         " torchvision's", fix="pt_inception-2015-12-05, or inception_v3 of torchvision")  # fmt: skip
    network = Inception3(outputs, aux_logits=False, init_weights=False)
    fit(network, {k: v for k, v in tensors.items() if not k.startswith("AuxLogits.")}, source, whole=True)
    of_fid = outputs == OF_FID
    if of_fid:
        mean = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
        for name in _BLOCKS[:-1]:
            _pool(network.get_submodule(name), mean)
        _pool(network.get_submodule(_BLOCKS[-1]), partial(F.max_pool2d, kernel_size=3, stride=1, padding=1))
    statistics = ((0.5,), (0.5,)) if of_fid else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    input = InputSettings(size=(SIDE, SIDE), channels=3, mean=statistics[0], std=statistics[1])
    return "Inception" if of_fid else "torchvision's Inception v3", network, input


def _pool(block: nn.Module, pool: Callable[[Tensor], Tensor]) -> None:
    """Let a block pool otherwise: its last branch is given that instead."""
    held: list[Tensor] = []

    def hold(module: nn.Module, given: Any) -> None:
        held.append(given[0])

    def give(module: nn.Module, given: Any) -> tuple[Tensor]:
        return (pool(held.pop()),)

    block.register_forward_pre_hook(hold)
    block.get_submodule("branch_pool").register_forward_pre_hook(give)
