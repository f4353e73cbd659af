"""What a stated network makes of pictures: vectors in which like ones lie close, by which generated ones are judged.

A number from features means something only together with what made them, so that every extractor has a name.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from visus.core.errors import UsageError
from visus.core.modelfile import checksum, read_model
from visus.core.recipe import InputSettings, ModelSettings
from visus.models import inception
from visus.models.building import build, rebuild, seeded
from visus.models.fitting import fit
from visus.models.heads import head_prefix
from visus.models.reading import read_tensors
from visus.models.weights import card_of

RANDOM, IMAGENET = "random", "imagenet"
WIDTHS = (32, 64, 128, 256)
"""Of the random convolutions."""

_NETWORK = ModelSettings(name="efficientnet_lite0", weights="default")
_SIDE = 96
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Extractor(nn.Module):
    """A network in judging mode, and what it needs of pictures.

    Args:
        name: that scores bear.
        network: images (B, C, H, W) -> outputs (B, K).
        input: size, channels, mean and std of what it reads; of no size, pictures are read as they are.
        classes: that the outputs stand for, where they mean something.

    Attributes:
        width: D, the length of the features: of what the last layer of the network reads.
    """

    def __init__(self, name: str, network: nn.Module, input: InputSettings, classes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.name, self.input, self.classes = name, input, classes
        self.network = network.eval().requires_grad_(False)
        self._last = head_prefix(network)
        last: Any = network.get_submodule(self._last)
        self.width = int(last.weight.shape[1])

    def train(self, mode: bool = True) -> Extractor:
        """Stay in judging mode: an extractor does not learn."""
        return super().train(False)

    def forward(self, images: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B K"]]:
        """Return features and outputs, in float32.

        Args:
            images: in [-1, 1], rounded to 256 levels as a file of them would be: what was generated, and what was read,
                go the same way.
        """
        read: list[Tensor] = []
        layer = self.network.get_submodule(self._last)
        handle = layer.register_forward_pre_hook(lambda module, given: read.append(given[0]))
        try:
            with torch.autocast(images.device.type, enabled=False):
                outputs = self.network(self._prepared(images.float()))
        finally:
            handle.remove()
        features = read[0].float()
        return features if features.dim() == 2 else features.flatten(2).mean(2), outputs.float()

    def _prepared(self, images: Tensor) -> Tensor:
        pixels = ((images.clamp(-1, 1) + 1) * 127.5).round() / 255
        wanted = self.input.channels
        if pixels.shape[1] != wanted:
            weights = torch.tensor(_GREY, device=pixels.device)[:, None, None]
            pixels = pixels.repeat(1, 3, 1, 1) if wanted == 3 else (pixels * weights).sum(1, keepdim=True)
        if pixels.shape[2:] != self.input.size:
            pixels = F.interpolate(pixels, self.input.size, mode="bilinear", antialias=True)
        mean, std = (
            torch.tensor(values, device=pixels.device).expand(wanted)[:, None, None]
            for values in (self.input.mean, self.input.std)
        )
        return (pixels - mean) / std


def extractor(source: str, channels: int, size: tuple[int, int]) -> Extractor:
    """Return what makes the features that generated pictures are judged by.

    Args:
        source: ``random`` (convolutions that have learned nothing), ``imagenet`` (the pretrained default network), the
            model file of a classifier, or a file of the weights of an Inception v3.
        channels: of the pictures.
        size: (height, width) of the pictures.

    Raises:
        UsageError: METRIC-001, it reads other channels, METRIC-002, the file holds no classifier, METRIC-003 another
            Inception; or its network is the user's own code.
        DataError, IntegrityError: the file cannot be read.
    """
    found = _found(source, channels, size)
    wanted = found.input.channels
    if channels != wanted and {channels, wanted} != {1, 3}:
        raise UsageError(
            "METRIC-001", f"{found.name} reads {wanted} channels, and these pictures have {channels}",
            fix="judge them by a classifier of such pictures: --classifier FILE",
        )  # fmt: skip
    return found


def _found(source: str, channels: int, size: tuple[int, int]) -> Extractor:
    if source == RANDOM:
        grey = InputSettings(size=size, channels=channels, mean=(0.5,), std=(0.5,))
        return Extractor("random convolutions, seed 0", _random(channels), grey)
    if source == IMAGENET:
        card = card_of(_NETWORK)
        input = InputSettings(size=(_SIDE, _SIDE), channels=3, mean=card.mean, std=card.std)
        network = build(_NETWORK, card.outputs, 3, input.size)
        return Extractor(f"{card.name} at {_SIDE} x {_SIDE}", network, input)
    path = Path(source) / "best.safetensors" if Path(source).is_dir() else Path(source)
    if path.is_file() and inception.recognised(tensors := read_tensors(path)):
        return Extractor(*inception.inception(tensors, str(path)))
    return _classifier(path)


def _classifier(path: Path) -> Extractor:
    tensors, card = read_model(path)
    if card.task != "classify":
        raise UsageError("METRIC-002", f"{path}: it was trained to {card.task}, and a classifier is wanted",
                         fix="visus train DATA --task classify makes one")  # fmt: skip
    network = rebuild(card.architecture, card.input.channels, card.input.size)
    fit(network, tensors, str(path), whole=True)
    data = str(card.data.get("name", "")) or "other data"
    name = f"{card.architecture.name} of {data}, {checksum(tensors)[:8]}"
    return Extractor(name, network, card.input, card.classes)


def _random(channels: int) -> nn.Module:
    """Return convolutions of 3 x 3 with fixed normal weights, each halving the picture, down to means over places.

    They keep what a picture looks like and know nothing of what it shows.

    Source:
        Naeem et al., Reliable fidelity and diversity metrics, ICML 2020, section 4.3, of random embeddings; variance of
        the weights: He et al., Delving deep into rectifiers, ICCV 2015, eq. 10.
    """
    layers: list[nn.Module] = []
    with seeded(0):
        for before, after in pairwise((channels, *WIDTHS)):
            layer = nn.Conv2d(before, after, 3, padding=1, bias=False)
            nn.init.normal_(layer.weight, 0.0, (2 / (9 * before)) ** 0.5)
            layers += [layer, nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], 1, bias=False))
