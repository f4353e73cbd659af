"""How good pictures the plain command learns to make in a given time: ``visus train DATA --task generate --minutes M``.

DATA has classes, as Fashion-MNIST.  As many pictures are made as the test part has, up to 5,000, each of the class of a
test picture.  A classifier that visus trains on the same training part says in how many it sees the class that was
asked for; recall, coverage (k = 3) and the others are of its features, with 95 % bootstrap intervals over pairs of a
real picture and a generated one.  Prints them for ours and, with ``--against``, for a DCGAN in PyTorch that owes visus
nothing but its pictures, trained as long on the same machine; ``--trained FILE`` judges one of ours that was trained
before, and ``--theirs-alone`` none.

That one is the network of Radford et al., ICLR 2016, section 3, at 32 x 32 with 128 channels at the largest map, as the
paper trains it: batch normalisation in both, Adam at 2e-4 with a first moment of 0.5, batches of 128, normal weights of
deviation 0.02.  It gets classes as Mirza and Osindero 2014 give them: a vector of each class beside the latent, a plane
of each class beside the picture.  Its clock begins with the first step: loading is not counted against it.

    python benchmarks/generating.py DATA [--minutes 60] [--seeds 0] [--against] [--theirs-alone]
        [--classifier FILE] [--trained FILE] [--set KEY=VALUE ...] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from detection import trained
from torch import Tensor, nn

import visus
from visus.core.files import write_picture
from visus.core.recipe import DataSettings
from visus.core.task import Batch
from visus.data.dataset import Dataset
from visus.data.pixels import pictures
from visus.data.reading import open_data
from visus.metrics.generation import Generation
from visus.models.extractors import Extractor, extractor
from visus.tasks.generate.sheet import pixels_of, sheet

SIDE, MOST = 32, 5000
LATENT, WIDTH, BATCH = 100, 128, 128


class TheirGenerator(nn.Module):
    """Radford et al., figure 1, one doubling fewer."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, LATENT)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(2 * LATENT, 4 * WIDTH, 4, bias=False), nn.BatchNorm2d(4 * WIDTH), nn.ReLU(),
            nn.ConvTranspose2d(4 * WIDTH, 2 * WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * WIDTH), nn.ReLU(),
            nn.ConvTranspose2d(2 * WIDTH, WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, channels, 4, 2, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return pictures in [-1, 1]."""
        made: Tensor = self.layers(torch.cat([latents, self.classes(labels)], 1)[:, :, None, None])
        return made


class TheirDiscriminator(nn.Module):
    """The same the other way round, with a plane for each class beside the picture."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.classes = nn.Embedding(classes, SIDE * SIDE)
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, WIDTH, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * WIDTH), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * WIDTH, 4 * WIDTH, 4, 2, 1, bias=False), nn.BatchNorm2d(4 * WIDTH), nn.LeakyReLU(0.2),
            nn.Conv2d(4 * WIDTH, 1, 4), nn.Flatten(0),
        )  # fmt: skip

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return logits."""
        plane = self.classes(labels).view(-1, 1, SIDE, SIDE)
        said: Tensor = self.layers(torch.cat([images, plane], 1))
        return said


def prepared(dataset: Dataset, split: str, channels: int) -> tuple[Tensor, Tensor]:
    """Return the pictures of a part, (N, C, 32, 32) in [-1, 1], and their classes."""
    indices = dataset.indices(split)
    taken = pictures(dataset.images, channels).take(indices, lambda _: None)
    images = torch.stack([
        F.interpolate(image[None].float(), (SIDE, SIDE), mode="bilinear", antialias=True)[0] for image in taken.images
    ])  # fmt: skip
    return images / 127.5 - 1, torch.from_numpy(dataset.columns["label"][indices].astype(np.int64))


def their_generator(dataset: Dataset, channels: int, minutes: float, seed: int) -> tuple[nn.Module, int]:
    """Return the reference after so many minutes of training, and its steps."""
    torch.manual_seed(seed)
    images, labels = prepared(dataset, "train", channels)
    generator, discriminator = (
        kind(len(dataset.classes), channels) for kind in (TheirGenerator, TheirDiscriminator)
    )  # fmt: skip
    for network in (generator, discriminator):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
    optimisers = [torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (generator, discriminator)]
    began, steps, order = time.perf_counter(), 0, torch.randperm(len(images))
    while time.perf_counter() - began < 60 * minutes:
        if len(order) < BATCH:
            order = torch.randperm(len(images))
        rows, order = order[:BATCH], order[BATCH:]
        real, classes = images[rows], labels[rows]
        made = generator(torch.randn(BATCH, LATENT), classes)
        said = discriminator(real, classes), discriminator(made.detach(), classes)
        loss = F.softplus(-said[0]).mean() + F.softplus(said[1]).mean()
        discriminator.zero_grad()
        loss.backward()
        optimisers[1].step()
        generator.zero_grad()
        F.softplus(-discriminator(made, classes)).mean().backward()
        optimisers[0].step()
        steps += 1
    return generator.eval(), steps


@torch.no_grad()
def features(judge: Extractor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, D) features, and (N,) the class that is seen."""
    said = [judge(part) for part in images.split(250)]
    return torch.cat([found for found, _ in said]), torch.cat([out.argmax(1) for _, out in said])


def told(name: str, judge: Extractor, real: Tensor, made: Tensor, labels: Tensor) -> str:
    """Return a line with what the classifier says of generated pictures."""
    metric, n = Generation(judge.classes, judge.width, judge.name), len(real)
    (generated, seen), (known, _) = features(judge, made), features(judge, real)
    raw = {"real": known, "generated": generated, "asked": labels, "seen": seen}
    nowhere = torch.eye(3).expand(n, 3, 3)
    metric.update(raw, Batch((made,), {"label": labels}, tuple(map(str, range(n))), torch.arange(n), nowhere))
    scores = metric.compute().items()
    return f"{name}: " + ", ".join(
        f"{key.split(' (')[0]} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" for key, score in scores
    )


def in_colour_of(images: list[np.ndarray]) -> Tensor:
    """Return files' pixels, (H, W, C) uint8 each, as (N, C, H, W) in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).movedim(3, 1).float() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", action="extend", default=[], metavar="KEY=VALUE", help="of visus train")
    parser.add_argument("--against", action="store_true", help="also train the DCGAN of the paper")
    parser.add_argument("--theirs-alone", action="store_true", help="with --against: leave ours out, it was run before")
    parser.add_argument("--trained", type=Path, help="a model file of ours to judge instead of training one")
    parser.add_argument("--classifier", type=Path, help="a model file; else one is trained for 3 minutes")
    parser.add_argument("--keep", type=Path, help="folder for model files and sheets")
    given = parser.parse_args()
    torch.set_num_threads(2)
    place = Path(tempfile.mkdtemp())
    classifier = given.classifier
    if classifier is None:
        said, _ = trained(given.data, 3.0, 0, place / "classifier", [])
        classifier = place / "classifier"
        print(f"classifier: accuracy {said['scores']['accuracy']['value']:.4f} on the test part")
    dataset = open_data(given.data, DataSettings())
    channels = 1 if dataset.images.read(0).ndim == 2 else 3
    judge = extractor(str(classifier), channels, (SIDE, SIDE))
    real, labels = (part[:MOST] for part in prepared(dataset, "test", channels))
    own, _ = (part[:MOST] for part in prepared(dataset, "train", channels))
    print(f"{len(real):,} pictures, {judge.name}")
    print(told("as many training pictures, classes aside", judge, real, own, labels))
    asked = [dataset.classes[k] for k in labels.tolist()]
    for seed in given.seeds:
        if not given.theirs_alone:
            out, about = given.trained, str(given.trained)
            if out is None:
                out = place / f"ours-{seed}"
                _, seconds = trained(given.data, given.minutes, seed, out, ["task=generate", *given.set])
                about = f"visus, seed {seed}, {seconds:,.0f} s"
            made = visus.generate(out, count=len(real), seed=1, label=asked)
            print(told(about, judge, real, in_colour_of(list(made.pictures)), labels))
            if given.keep is not None and given.trained is None:
                given.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(out / "best.safetensors", given.keep / f"ours-{seed}.safetensors")
                shutil.copytree(out / "samples", given.keep / f"samples-{seed}", dirs_exist_ok=True)
        if given.against:
            network, steps = their_generator(dataset, channels, given.minutes, seed)
            with torch.no_grad():
                parts = [network(torch.randn(len(part), LATENT), part) for part in labels.split(250)]
            levels = pixels_of(torch.cat(parts))
            print(told(f"DCGAN, seed {seed}, {steps:,} steps", judge, real, in_colour_of(levels), labels))
            if given.keep is not None:
                given.keep.mkdir(parents=True, exist_ok=True)
                write_picture(given.keep / f"dcgan-{seed}.png", sheet(levels[:100], 10))


if __name__ == "__main__":
    main()
