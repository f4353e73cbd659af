"""Large layers become two thin ones, where that saves multiplications and time, and the network learns on with them."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from statistics import median
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from visus.compressors import Candidate, Compressor, Proposals, Subject
from visus.core.errors import UsageError
from visus.core.modelfile import Architecture, Factors
from visus.models.heads import below, head_prefixes
from visus.models.slimming import Factored, can_be_factored, factors_of, set_layer

ENERGIES = (0.6, 0.75, 0.9)
"""Shares of the sum of squares of a layer's weights that its factors keep, one candidate each."""

RATE = 0.3
"""Learning rate of the fine-tuning, as a share of the model's own."""

WORK, TIME = 0.8, 0.95
"""Shares of a layer's multiplications and of its time that its factors may take, or it stays whole."""

ROUNDS = 7
"""How often a layer and its factors are timed, in turns."""


def propose(subject: Subject) -> Proposals:
    """Propose a network for each share of energy, the thinnest first, until one keeps the promise.

    Raises:
        UsageError: COMPRESS-025, no layer gains by it.
    """
    pictures = next(iter(subject.batches())).inputs[0][:1]
    found = False
    for energy in ENERGIES:
        network, factors = factored(subject.network, pictures, energy)
        if not factors:
            continue
        found = True
        subject.fit(network, rate=RATE, share=1 / len(ENERGIES))
        settings = {"energy": f"{energy:.0%}", "layers": len(factors)}
        if (yield Candidate(settings, network=network, architecture=thinner(subject.card.architecture, factors))):
            return
    if not found:
        raise UsageError("COMPRESS-025", f"no layer of {subject.card.architecture.name} is faster in two factors",
                         done="nothing was trained", fix="another method: visus list compressors")  # fmt: skip


def factored(network: nn.Module, pictures: Tensor, energy: float) -> tuple[nn.Module, dict[str, Factors]]:
    """Return a copy of a network in which layers are two where that pays, and what became of which.

    A layer is taken apart by its singular values, across its channels or, of a convolution, into a column and a row of
    its kernel, whichever takes fewer multiplications; where the two are not also faster on what the layer is given, it
    stays.  What gives the outputs stays too.

    Args:
        network: in eval mode; it is left as it is.
        pictures: (B, C, H, W) on which layers are timed.
        energy: share of the sum of squares of a layer's weights that is kept, above 0 and at most 1.

    Source:
        Denton et al., Exploiting linear structure within convolutional networks for efficient evaluation, NIPS 2014
        (channels); Jaderberg et al., Speeding up convolutional neural networks with low rank expansions, BMVC 2014,
        scheme 2, solved as in Tai et al., Convolutional neural networks with low-rank regularization, ICLR 2016,
        theorem 1 (columns and rows).
    """
    made, chosen = copy.deepcopy(network), dict[str, Factors]()
    for name, given in _given(made, pictures).items():
        layer = made.get_submodule(name)
        options = [(_work(factors, given), kind, factors) for kind, factors in _options(layer, energy)]
        work, kind, pair = min(options, key=lambda option: option[0])
        if work <= WORK * _work(layer, given) and _faster(pair, layer, given):
            chosen[name] = Factors(kind=kind, rank=_rank(pair))
            set_layer(made, name, pair)
    return made, chosen


@torch.no_grad()
def apart(layer: nn.Module, kind: Literal["channel", "spatial"], *, energy: float = 1.0) -> Factored:
    """Return the two layers that keep a share of a layer's energy with the fewest channels between them.

    Args:
        layer: linear, or a convolution without groups.
        kind: ``channel`` or ``spatial``.
        energy: share of the sum of squares of its weights.
    """
    weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", layer.bias)
    whole = weight.detach().double()
    matrix = whole.flatten(1) if kind == "channel" else whole.permute(0, 3, 1, 2).flatten(2).flatten(0, 1)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = values.square().cumsum(0) / values.square().sum().clamp(min=1e-300)
    rank = min(len(values), int((kept < energy - 1e-12).sum()) + 1)
    root = values[:rank].sqrt()
    left, right = left[:, :rank] * root, right[:rank] * root[:, None]
    pair = factors_of(layer, Factors(kind=kind, rank=rank))
    first, second = (cast(Tensor, part.weight) for part in pair)
    first.copy_(right.reshape(first.shape))
    if kind == "channel":
        second.copy_(left.reshape(second.shape))
    else:
        second.copy_(left.reshape(len(whole), whole.shape[3], rank).movedim(1, 2)[:, :, None])
    if bias is not None:
        cast(Tensor, pair[1].bias).copy_(bias)
    return pair.to(dtype=weight.dtype).train(layer.training)


def thinner(architecture: Architecture, factors: Mapping[str, Factors]) -> Architecture:
    """Return what a card says of a network whose layers were factored further; narrowed ones as their factors are."""
    narrow = dict(architecture.narrowed)
    for name in factors:
        if (shape := narrow.pop(f"{name}.weight", None)) is not None:
            rest = (0,) * (len(shape) - 2)
            narrow |= {f"{name}.0.weight": (0, shape[1], *rest), f"{name}.1.weight": (shape[0], 0, *rest)}
        if (shape := narrow.pop(f"{name}.bias", None)) is not None:
            narrow[f"{name}.1.bias"] = shape
    return architecture.model_copy(update={"factored": architecture.factored | dict(factors), "narrowed": narrow})


def _given(network: nn.Module, pictures: Tensor) -> dict[str, Tensor]:
    """Return what each layer that can be factored is given, of those that are called once and give no outputs."""
    heads = head_prefixes(network) if len(head_prefixes(network)) == 1 else ()
    thin = [name for name, layer in network.named_modules() if isinstance(layer, Factored)]
    given: dict[str, list[Tensor]] = {}
    hooks = []
    for name, layer in network.named_modules():
        if not can_be_factored(layer) or any(below(name, prefix) for prefix in (*heads, *thin)):
            continue

        def keep(module: nn.Module, inputs: Any, name: str = name) -> None:
            given.setdefault(name, []).append(inputs[0].detach())

        hooks.append(layer.register_forward_pre_hook(keep))
    try:
        with torch.no_grad():
            network(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: tensors[0] for name, tensors in given.items() if len(tensors) == 1}


def _options(layer: nn.Module, energy: float) -> list[tuple[Literal["channel", "spatial"], Factored]]:
    """Return the ways to take a layer apart."""
    kinds: list[Literal["channel", "spatial"]] = ["channel"]
    if isinstance(layer, nn.Conv2d) and min(layer.kernel_size) > 1:
        kinds.append("spatial")
    return [(kind, apart(layer, kind, energy=energy)) for kind in kinds]


def _rank(pair: Factored) -> int:
    """Return the channels between two factors."""
    return int(cast(Tensor, pair[0].weight).shape[0])


@torch.no_grad()
def _work(layer: nn.Module, given: Tensor) -> int:
    """Return how many products a layer takes on what it is given."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        layer(given)
    return int(counter.get_total_flops()) // 2


@torch.no_grad()
def _faster(pair: nn.Module, layer: nn.Module, given: Tensor) -> bool:
    """Tell whether two factors take less time than the layer, by the medians of several turns."""
    taken: dict[nn.Module, list[float]] = {layer: [], pair: []}
    for _ in range(ROUNDS + 2):  # the first two are slow
        for each, seconds in taken.items():
            began = time.perf_counter()
            each(given)
            seconds.append(time.perf_counter() - began)
    return median(taken[pair][2:]) <= TIME * median(taken[layer][2:])


COMPRESSOR = Compressor(
    propose, ".safetensors", trains=True,
    summary="layers in two thin factors where that is faster, then fine-tuned",
    source="Denton et al., NIPS 2014; Jaderberg et al., BMVC 2014",
)  # fmt: skip
