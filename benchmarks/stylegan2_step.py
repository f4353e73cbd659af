"""What a training step of StyleGAN2 costs on a processor: ours against the MIT package ``stylegan2-pytorch``.

Both make 64 x 64 pictures with as many channels at each size, and learn by the same loss, penalties and optimiser in
one process, in turn, A B A B.  A step is one of the discriminator and one of the generator; the penalties on slopes
(R1) and on path lengths are looked at every so many steps, and counted with their share.

The package is no part of visus.  Install it where this is run; what it needs beside its networks (``aim``, a tracker of
experiments, and a GPU) is not used here, and stood in for while it is imported:

    pip install --no-deps stylegan2-pytorch==1.9.0 einops kornia kornia-rs fire retry decorator py termcolor
    pip install --no-deps contrastive-learner vector-quantize-pytorch==0.1.0
    python benchmarks/stylegan2_step.py [--batch 8] [--rounds 7] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visus.models.generators._levels import sizes
from visus.models.generators.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from visus.tasks.generate.penalties import path_lengths, squared_slopes

SIDE, LATENT = 64, 512
TARGET = 0.7
GENERATOR = [512, 256, 128, 64, 32]
"""Channels at 4, 8, 16, 32 and 64 pixels: those of the package with a capacity of 16."""
DISCRIMINATOR = [512, 512, 256, 128, 64]


class Ours:
    """visus' networks, channels last."""

    def __init__(self) -> None:
        maps = sizes((SIDE, SIDE))
        self.generator: nn.Module = StyleGAN2Generator(0, 3, maps, GENERATOR, LATENT, LATENT, 8)
        self.discriminator: nn.Module = StyleGAN2Discriminator(0, 3, maps, DISCRIMINATOR)
        for network in (self.generator, self.discriminator):
            network.to(memory_format=torch.channels_last)

    def made(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        noise = [torch.randn(len(latents), 1, *shape) for shape in self.generator.noise_shapes]
        styles = self.generator.styles(latents, torch.zeros(len(latents), dtype=torch.int64), 1.0)
        return self.generator.draw(styles, noise), styles

    def judged(self, images: Tensor) -> Tensor:
        labels = torch.zeros(len(images), dtype=torch.int64)
        logits: Tensor = self.discriminator(images.contiguous(memory_format=torch.channels_last), labels)
        return logits


class Theirs:
    """The package's networks, as its trainer asks them."""

    def __init__(self, package: Any) -> None:
        self.generator = nn.ModuleList([package.StyleVectorizer(LATENT, 8, lr_mul=0.1),
                                        package.Generator(SIDE, LATENT, network_capacity=16)])  # fmt: skip
        self.discriminator = package.Discriminator(SIDE, network_capacity=16)
        found = [block.conv2.filters for block in self.generator[1].blocks]
        assert found == GENERATOR, found

    def made(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        vectorizer, generator = self.generator
        styles = vectorizer(latents)[:, None].expand(-1, generator.num_layers, -1)
        return generator(styles, torch.rand(len(latents), SIDE, SIDE, 1)), styles

    def judged(self, images: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(images)[0]
        return logits


class Training:
    """One pair of networks and its two optimisers."""

    def __init__(self, side: Ours | Theirs, batch: int) -> None:
        self.side, self.batch = side, batch
        self.of_generator = torch.optim.Adam(side.generator.parameters(), 2e-4, (0.0, 0.99))
        self.of_discriminator = torch.optim.Adam(side.discriminator.parameters(), 2e-4, (0.0, 0.99))
        self.real = torch.rand(batch, 3, SIDE, SIDE) * 2 - 1

    def discriminate(self, penalised: bool) -> None:
        with torch.no_grad():
            fake = self.side.made(torch.randn(self.batch, LATENT))[0]
        real = self.real.clone().requires_grad_(penalised)
        on_real = self.side.judged(real)
        loss = F.softplus(-on_real).mean() + F.softplus(self.side.judged(fake)).mean()
        if penalised:
            loss = loss + squared_slopes(on_real, real).mean()
        self._step(loss, self.of_discriminator)

    def generate(self, penalised: bool) -> None:
        self.side.discriminator.requires_grad_(False)
        images, styles = self.side.made(torch.randn(self.batch, LATENT))
        loss = F.softplus(-self.side.judged(images)).mean()
        if penalised:
            loss = loss + (path_lengths(images, styles, torch.randn_like(images)) - 1).square().mean()
        self._step(loss, self.of_generator)
        self.side.discriminator.requires_grad_(True)

    def _step(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def the_package() -> Any:
    """Return the package's module; it is imported as if there were a GPU, and without its tracker."""
    available = torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    sys.modules.setdefault("aim", ModuleType("aim"))
    try:
        from stylegan2_pytorch import stylegan2_pytorch
    except ImportError as error:
        sys.exit(f"stylegan2-pytorch is not here ({error}); the first lines of this script say how to install it")
    finally:
        torch.cuda.is_available = available
    return stylegan2_pytorch


def seconds(act: Callable[[], None]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=16, help="steps between two looks at slopes")
    parser.add_argument("--path-every", type=int, default=8, help="steps between two looks at path lengths")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    sides = {"ours": Training(Ours(), settings.batch), "theirs": Training(Theirs(the_package()), settings.batch)}
    acts = {
        "discriminator": (lambda side: side.discriminate(False), 1 - 1 / settings.every),
        "discriminator with R1": (lambda side: side.discriminate(True), 1 / settings.every),
        "generator": (lambda side: side.generate(False), 1 - 1 / settings.path_every),
        "generator with path lengths": (lambda side: side.generate(True), 1 / settings.path_every),
    }
    taken: dict[str, dict[str, list[float]]] = {name: {act: [] for act in acts} for name in sides}
    for turn in range(settings.rounds + 1):
        for act, (does, _) in acts.items():
            for name, side in sides.items():
                once = seconds(lambda does=does, side=side: does(side))
                if turn:  # the first one warms up
                    taken[name][act].append(once)
    print(f"{settings.batch} pictures of {SIDE} x {SIDE}, {settings.threads} threads, medians of {settings.rounds}")
    for act in acts:
        ours, theirs = (statistics.median(taken[name][act]) for name in sides)
        print(f"{act:28} {1e3 * ours:7.0f} ms, package {1e3 * theirs:7.0f} ms, ratio {ours / theirs:.2f}")
    whole = [sum(statistics.median(taken[name][act]) * share for act, (_, share) in acts.items()) for name in sides]
    ratio = whole[0] / whole[1]
    print(
        f"{'a step':28} {1e3 * whole[0]:7.0f} ms, package {1e3 * whole[1]:7.0f} ms, ratio {ratio:.2f} (target {TARGET})"
    )
    sys.exit(ratio > TARGET)


if __name__ == "__main__":
    main()
