"""Attention roll-out: how much of each place a vision transformer's last layer has mixed into its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.explainers import Explainer, Question
from visus.explainers._maps import tokens_as_map


def attention_rollout(question: Question) -> Float[Tensor, "h w"]:
    """Return the share of each place in the token that is read at the end, or in the mean of all where none is.

    It is the same whatever is asked about: it tells where the network looked, not what for.

    Source:
        Abnar and Zuidema, Quantifying attention flow in transformers, ACL 2020, section 3.1: half of each layer's
        tokens comes through the residual connection, heads are averaged, layers multiplied.

    Raises:
        UsageError: a network without attention over all places, such as one of convolutions or of windows.
    """
    with _watching_attention(question.network) as said, torch.no_grad():
        question.value(question.image)
    matrices = [each.float().mean(1)[0] for each in said]
    tokens = {tuple(each.shape) for each in matrices}
    size = (question.image.shape[2], question.image.shape[3])
    whole = len(tokens) == 1 and len(said[0]) == 1  # all layers over the same tokens, of one picture
    if not whole or tokens_as_map(matrices[0][None], question.network, size) is None:
        raise UsageError("EXPLAIN-008", "the network has no attention over all places that could be rolled out",
                         fix="--method grad_cam, which any network has maps for")  # fmt: skip
    identity = torch.eye(len(matrices[0]), device=question.image.device)
    rolled = identity
    for attention in matrices:
        mixed = (attention + identity) / 2
        rolled = mixed / mixed.sum(1, keepdim=True) @ rolled
    class_token = any(getattr(m, "cls_token", None) is not None for m in question.network.modules())
    read = rolled[0] if class_token else rolled.mean(0)
    found = tokens_as_map(read[None, :, None], question.network, size)
    assert found is not None
    return found[0, 0]


@contextmanager
def _watching_attention(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the attention (B, heads, N, N) of every layer, which timm's modules only form when not fused."""
    layers: list[Any] = [m for m in network.modules() if hasattr(m, "fused_attn") and hasattr(m, "attn_drop")]
    if not layers:
        raise UsageError("EXPLAIN-008", "the network has no attention over all places that could be rolled out",
                         fix="--method grad_cam, which any network has maps for")  # fmt: skip
    said: list[Tensor] = []
    before = [layer.fused_attn for layer in layers]
    handles = [layer.attn_drop.register_forward_hook(lambda m, given, answer: said.append(answer)) for layer in layers]
    try:
        for layer in layers:
            layer.fused_attn = False
        yield said
    finally:
        for layer, fused, handle in zip(layers, before, handles, strict=True):
            layer.fused_attn = fused
            handle.remove()


EXPLAINER = Explainer(
    attention_rollout, "attention", "how much of each place the last layer has mixed in; the same for every class",
    "Abnar and Zuidema, ACL 2020",
)  # fmt: skip
