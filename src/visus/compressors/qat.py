"""Training with the rounding of 8 bits in place, so that the weights learn to live with it; then as int8.

torchao's own training of this kind puts linear layers in place of linear layers and knows no convolution, and its
graphs of whole programs cannot go through the engine's loop.  So weights and inputs are rounded here by hand.
"""

from __future__ import annotations

import copy
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from visus.compressors import Compressor, Proposals, Subject
from visus.compressors.int8 import in_whole_numbers

ROUNDED = (nn.Conv2d, nn.Linear)
RATE = 0.05
"""Learning rate, as a share of the one the model was trained with."""

LOOKED_AT = 4
"""Batches from which the first ranges are taken."""


def propose(subject: Subject) -> Proposals:
    """Propose the network fine-tuned with rounding, in 8 bits by the ranges that it learned."""
    network = with_rounding(subject.network)
    with torch.no_grad():
        for batch in islice(subject.batches(), LOOKED_AT):
            subject.task.raw(network, batch)
    for part in network.modules():
        if isinstance(part, RoundedInput):
            part.settle()
    subject.fit(network, rate=RATE)
    learned = {
        name.removesuffix(".reads"): part.range()
        for name, part in network.named_modules()
        if isinstance(part, RoundedInput)
    }
    yield from in_whole_numbers(subject, without_rounding(network, subject.network), ("mse",), learned)


def with_rounding(network: nn.Module) -> nn.Module:
    """Return a copy whose convolutions and linear layers round their weights and what they read to 8 bits."""
    made = copy.deepcopy(network)
    for part in list(made.modules()):
        if isinstance(part, ROUNDED) and not parametrize.is_parametrized(part):
            parametrize.register_parametrization(part, "weight", RoundedWeight())
            part.add_module("reads", RoundedInput())
            part.register_forward_pre_hook(_round_input)
    return made


def without_rounding(rounding: nn.Module, network: nn.Module) -> nn.Module:
    """Return a copy of a network with the weights, as they are before rounding, of one made of it."""
    made, ending = copy.deepcopy(network), ".parametrizations.weight.original"
    tensors = {name.replace(ending, ".weight"): tensor for name, tensor in rounding.state_dict().items()}
    made.load_state_dict({name: tensors[name] for name in made.state_dict()})
    return made


class RoundedWeight(nn.Module):
    """A weight in whole numbers from -127 to 127 a channel; the gradient passes as if it were not rounded.

    Each output channel has a scale of its own, so that batch normalisation, which multiplies whole channels, may be
    folded in later without another rounding.

    Source:
        Jacob et al., Quantization and training of neural networks, CVPR 2018, section 3.
    """

    def forward(self, weight: Float[Tensor, "O ..."]) -> Float[Tensor, "O ..."]:
        """Return the rounded weight."""
        largest = weight.detach().abs().flatten(1).amax(1).clamp(min=1e-12)
        scale = (largest / 127).reshape(-1, *[1] * (weight.dim() - 1))
        return weight + ((weight / scale).round() * scale - weight).detach()


class RoundedInput(nn.Module):
    """What a layer reads, in 256 steps of one range, whose ends are learned.

    Attributes:
        looking: the range still follows from what is seen, and nothing is rounded.

    Source:
        Choi et al., PACT: parameterized clipping activation for quantized neural networks, 2018, section 3, with a
        second end for what is below zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Parameter(torch.zeros(1))
        self.high = nn.Parameter(torch.zeros(1))
        self.looking = True

    def forward(self, images: Tensor) -> Tensor:
        """Return the rounded numbers."""
        if self.looking:
            low, high = torch.aminmax(images)
            self.low.data.clamp_(max=low)
            self.high.data.clamp_(min=high)
            return images
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        clipped = torch.minimum(torch.maximum(images, low), high)
        step = (high - low).detach().clamp(min=1e-12) / 255
        zero = (-low.detach() / step).round()
        rounded = ((clipped.detach() / step).round() + zero).clamp(0, 255)
        return clipped + ((rounded - zero) * step - clipped).detach()

    def settle(self) -> None:
        """Round from now on, if anything was seen; a layer that only training asks has no range to round to."""
        self.looking = self.range() == (0.0, 0.0)

    def range(self) -> tuple[float, float]:
        """Return the ends."""
        return min(float(self.low.detach()), 0.0), max(float(self.high.detach()), 0.0)


def _round_input(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    reads: nn.Module = layer.get_submodule("reads")
    return (reads(given[0]), *given[1:])


COMPRESSOR = Compressor(
    propose, ".onnx", trains=True,
    summary="fine-tuned with 8-bit rounding in place, then as int8",
    source="Jacob et al., Quantization and training of neural networks, CVPR 2018; Choi et al., PACT, 2018",
)  # fmt: skip
