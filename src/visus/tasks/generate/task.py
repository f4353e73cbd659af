"""Generation: pictures like those of the data, of a class or of all, made from random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.annotations import Annotation, Label
from visus.core.deployment import Deployed
from visus.core.errors import UsageError
from visus.core.recipe import Choice, Facts, Recipe
from visus.core.sample import Sample, Samples
from visus.core.seeds import Draws, derive
from visus.core.task import PICTURE, Batch, Prediction, Raw, Target, Term, Transform
from visus.losses import settled
from visus.models.extractors import Extractor, extractor
from visus.tasks._captions import UNJUDGED, captioned
from visus.tasks.generate.choices import choices
from visus.tasks.generate.feedback import Feedback
from visus.tasks.generate.fields import fields
from visus.tasks.generate.judging import MOST_AGAIN, MOST_ONCE, SCORES, Judged, Remembered, score_of
from visus.tasks.generate.penalties import distance_from_one, path_lengths, squared_slopes
from visus.tasks.generate.sheet import pixels_of, sheet

UNIT = "image"
AT_ONCE = 16
"""Pictures that are made at once where a user asks for some."""
CLASSES_SHOWN = 16
"""Rows of a sheet of samples."""


@dataclass(frozen=True)
class Made:
    """One generated picture.

    Attributes:
        label: the class that was asked for; empty where there are none.
        pixels: (H, W, C) uint8.
    """

    label: str
    pixels: NDArray[np.uint8]

    def home(self, frame: Tensor) -> Made:
        """Return itself: it shows no place of another picture."""
        return self

    def json(self) -> dict[str, Any]:
        """Return the class, and the size in pixels."""
        height, width, _ = self.pixels.shape
        return {"label": self.label, "height": height, "width": width}

    def rows(self) -> list[dict[str, Any]]:
        """Return one line."""
        return [self.json()]


class Generate:
    """Two players: a discriminator that tells real pictures from generated ones, and a generator that deceives it.

    A step is both, the discriminator first.  Each picture of a batch has a latent of its own for each player, drawn
    from (seed, step, player, row) alone; a generated picture is asked to be of the class of the real one of its row.
    A picture whose class is not known counts neither in a loss nor in its denominator.

    Every loss is a sum over pictures, so that a step does not depend on how its batch is split, but for networks whose
    pictures see each other: batch normalisation, and a discriminator's statistic over ``group`` pictures.

    Args:
        recipe: its settings; ``target.column`` says whether pictures have a class.
        classes: names, in the order of the labels.

    Raises:
        UsageError: a score that this task does not have.
    """

    name = "generate"
    reads = ("label", PICTURE)
    scores = SCORES
    players: Mapping[str, str] = {"discriminator": "discriminator.", "generator": "generator."}
    legend: Mapping[str, str] = {}
    command = "visus generate {model}"

    def __init__(self, recipe: Recipe, classes: Sequence[str]) -> None:
        self.recipe, self.settings = recipe, recipe.generate
        self.classes = tuple(classes) if recipe.target.column == "label" else ()
        self.group = 1
        _ = score_of(recipe.score, "", bool(self.classes))

    @staticmethod
    def defaults(facts: Facts) -> Iterator[Choice]:
        """Yield the settings this task would choose, each with its reason."""
        yield from choices(facts)

    def model(self) -> nn.Module:
        """Return both networks; asked as one, they are the generator.

        Raises:
            UsageError: also for settings that contradict each other, before anything is trained.
        """
        from visus.models.building import build

        recipe = self.recipe
        self._check()
        shape = len(self.classes), recipe.input.channels, recipe.input.size
        network: Any = build(recipe.model, *shape, recipe.data.accept, seed=recipe.seed)
        self.group = int(getattr(network.discriminator, "group", 1))
        network.feedback = Feedback(self.settings.p)
        pair: nn.Module = network
        return pair

    def transforms(self, train: bool) -> Transform:
        """Return what prepares pictures for training or for judging."""
        from visus.transforms.pipeline import build

        return build(self.recipe.input, self.recipe.augment if train else None)

    def collate(self, samples: Samples) -> Batch:
        """Return images (B, C, H, W) in [-1, 1] and, where pictures have classes, ``label`` (B,)."""
        assert isinstance(samples.images, Tensor), "the transform of this task makes all pictures one size"
        known = {"label": torch.as_tensor(samples.columns["label"]).long()} if "label" in samples.columns else {}
        targets = known if self.classes else {}
        return Batch(
            (samples.images,), targets, samples.ids, samples.indices, samples.frames, originals=samples.originals
        )

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return how many pictures are learned from: those whose class is known, where they have classes."""
        return {UNIT: self._known(batch).sum()}

    def losses(self, model: Any, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return what a player pays at this step, and what holds its slopes; nothing where it rests.

        The discriminator also tells the log its mean logits of real and of generated pictures and, with ``ada``, the
        chance of augmentation.
        """
        if player == "discriminator":
            return self._discriminate(model, batch, step)
        return self._generate(model, batch, step) if (step + 1) % self.settings.rival_steps == 0 else {}

    def raw(self, model: Any, batch: Batch) -> Raw:
        """Return what was made beside each picture of a batch, and what an extractor sees in both.

        ``images`` (B, C, H, W) in [-1, 1]; ``real`` and ``generated`` (B, D); ``asked`` (B,), where there are classes;
        ``seen`` (B,), where the extractor tells these classes apart; ``real_logits`` and ``fake_logits`` (B,).
        """
        (images,), known = batch.inputs, self._known(batch)
        draws = _draws(batch)
        labels = self._labels(batch)
        if self.classes:  # pictures of which nothing is known come with a class that is drawn
            drawn = torch.from_numpy(draws.uniform("class")[:, 0] * len(self.classes)).long().to(labels)
            labels = torch.where(known, labels, drawn)
        latents = _normal(draws, "judged", (model.generator.latent,), images)
        made = model.generator(latents, labels, noise=_noise(model.generator, draws, "judged", images))
        extract = self._extractor.to(images.device)
        generated, outputs = extract(made)
        said = {"images": made, "real": self._features(images, batch.seed), "generated": generated}
        p = float(model.feedback.p) if hasattr(model, "feedback") else self.settings.p  # no model file holds it
        for kind, shown in (("real", images), ("fake", made)):  # changed as those that the discriminator learned from
            changed = self._changed(shown, p, draws, f"{kind}/judged")
            said[f"{kind}_logits"] = model.discriminator(changed, labels)
        if self.classes:
            said["asked"] = labels
            if extract.classes == self.classes:
                said["seen"] = outputs.argmax(1)
        return said

    def most(self, split: str) -> int:
        """Return how many pictures of a part are judged, at most: more of them take longer and say hardly more."""
        return MOST_AGAIN if split == "val" else MOST_ONCE

    def merge(self, raws: Sequence[Raw]) -> Raw:
        """Return the first view: what is made does not depend on how a picture is looked at."""
        return raws[0]

    def decode(self, raw: Raw) -> list[Made]:
        """Return the picture that was made beside each of a batch."""
        return self.said(raw)

    def said(self, outputs: Raw) -> list[Made]:
        """Return one generated picture a row."""
        made = pixels_of(outputs["images"])
        asked = outputs["asked"].tolist() if "asked" in outputs else [-1] * len(made)
        return [Made(self.classes[k] if k >= 0 else "", each) for k, each in zip(asked, made, strict=True)]

    def deployed(self, network: nn.Module, *, deep: bool = False, size: tuple[int, int] | None = None) -> Deployed:
        """Refuse: what reads no picture cannot stand where pictures are read.

        Raises:
            UsageError: always.
        """
        raise UsageError("TASK-011", "what makes pictures cannot stand where pictures are read",
                         fix="visus generate MODEL")  # fmt: skip

    def targets(self, raw: Raw, label: str = "") -> list[Target]:
        """Refuse: nothing is said of a picture that could be explained.

        Raises:
            UsageError: always.
        """
        raise UsageError("TASK-011", "nothing is said of a picture that could be explained", fix="visus generate MODEL")

    def calibrate(self, said: Mapping[str, float]) -> None:
        """Take nothing: pictures are shown as they were made."""

    def annotations(self, columns: Mapping[str, Any], i: int) -> dict[str, Annotation]:
        """Return the class of record ``i``."""
        return {"label": Label(int(columns["label"][i]))} if self.classes and "label" in columns else {}

    def metric(self) -> Judged:
        """Return an empty metric."""
        found = self._extractor
        return Judged(self.classes, found.width, found.name, score=self.score, resamples=self.recipe.resamples)

    def draw(self, sample: Sample, prediction: Prediction) -> NDArray[np.uint8]:
        """Return the generated picture, with its class below it."""
        assert isinstance(prediction, Made)
        image = torch.from_numpy(prediction.pixels).movedim(2, 0)
        return captioned(image, [prediction.label] if prediction.label else [], UNJUDGED)

    def shown(self, model: Any) -> NDArray[np.uint8]:
        """Return a sheet of pictures of the same latents each time: a row a class, or rows of any."""
        each, rows = self.settings.shown, min(len(self.classes), CLASSES_SHOWN) or self.settings.shown
        labels = torch.arange(rows).repeat_interleave(each) if self.classes else torch.zeros(rows * each).long()
        pictures = [made for part in made_of(model, derive(self.recipe.seed, "shown"), labels) for made in part]
        return sheet(pictures, each)

    def _discriminate(self, model: Any, batch: Batch, step: int) -> dict[str, Term]:
        """Return what the discriminator pays for taking real pictures for generated ones, and the other way round."""
        (images,), labels, known = batch.inputs, self._labels(batch), self._known(batch)
        settings, draws, feedback = self.settings, _draws(batch), model.feedback
        with torch.no_grad():
            fake = self._made(model.generator, draws, labels, images, "discriminator")[0]
        if settings.augment == "ada" and settings.target:
            feedback.decide(step, settings.target, self.recipe.batch / settings.ramp)
        images, fake = (self._changed(each, float(feedback.p), draws, f"{kind}/discriminator")
                        for kind, each in (("real", images), ("fake", fake)))  # fmt: skip
        looks = step % settings.every == 0
        images = images.detach().requires_grad_(looks and settings.r1 > 0)
        fake = fake.detach().requires_grad_(looks and settings.r2 > 0)
        on_real, on_fake = model.discriminator(images, labels), model.discriminator(fake, labels)
        terms = {self.recipe.loss.name: _sum(self._loss(on_real, on_fake, player="discriminator"), known)}
        if looks and settings.r1:
            terms["r1"] = _sum(settings.r1 / 2 * settings.every * squared_slopes(on_real, images), known)
        if looks and settings.r2:
            terms["r2"] = _sum(settings.r2 / 2 * settings.every * squared_slopes(on_fake, fake), known)
        if looks and settings.penalty:
            share = _uniform(draws, "between", images)
            between = (share * images + (1 - share) * fake).detach().requires_grad_()
            far = distance_from_one(model.discriminator(between, labels), between)
            terms["penalty"] = _sum(settings.penalty * settings.every * far, known)
        if settings.augment == "ada":
            feedback.judged(on_real.detach()[known])
            p = feedback.p.float().expand(len(batch))
            terms["p"] = _sum(p, known, told=True)
        for name, logits in (("real", on_real), ("fake", on_fake)):
            terms[name] = _sum(logits.detach(), known, told=True)
        return terms

    def _generate(self, model: Any, batch: Batch, step: int) -> dict[str, Term]:
        """Return what the generator pays for pictures that are not taken for real."""
        (images,), labels, known = batch.inputs, self._labels(batch), self._known(batch)
        settings, draws, feedback = self.settings, _draws(batch), model.feedback
        made, styles, noise = self._made(model.generator, draws, labels, images, "generator")
        fake = self._changed(made, float(feedback.p), draws, "fake/generator")
        on_fake = model.discriminator(fake, labels)
        on_real = torch.zeros_like(on_fake)
        if self._compares:
            with torch.no_grad():
                on_real = model.discriminator(self._changed(images, float(feedback.p), draws, "real/generator"), labels)
        terms = {self.recipe.loss.name: _sum(self._loss(on_real, on_fake, player="generator"), known)}
        turn = step // settings.rival_steps  # of the generator, which does not rest now
        few = torch.arange(batch.start % 2, len(batch), 2, device=made.device)  # every second row of the whole batch
        if settings.path_length and turn % settings.path_every == 0 and len(few):
            feedback.settle(step)
            half = styles[few]
            drawn = model.generator.draw(half, None if noise is None else [field[few] for field in noise])
            directions = _normal(draws.rows(few.cpu().numpy()), "direction", tuple(made.shape[1:]), made)
            found = path_lengths(drawn, half, directions)
            feedback.measured(found.detach()[known[few]])
            far = (found - feedback.length).square() if feedback.length > 0 else 0 * found
            whole = batch.whole or len(batch)
            weight = settings.path_length * settings.path_every * whole / (whole - whole // 2)
            terms["path_length"] = _sum(weight * far, known[few])
        return terms

    def _made(
        self, generator: Any, draws: Draws, labels: Tensor, like: Tensor, player: str
    ) -> tuple[Tensor, Tensor, list[Tensor] | None]:
        """Return pictures of latents drawn for a player, and the styles and noise that they are of."""
        styles = generator.styles(_normal(draws, f"latents/{player}", (generator.latent,), like), labels, 1.0)
        if self.settings.mixing and styles.shape[1] > 1:
            others = generator.styles(_normal(draws, f"others/{player}", (generator.latent,), like), labels, 1.0)
            mixes = draws.chance(f"mixes/{player}", self.settings.mixing)
            layers = 1 + (draws.uniform(f"crossover/{player}")[:, 0] * (styles.shape[1] - 1)).astype(np.int64)
            first = torch.from_numpy(np.where(mixes, layers, styles.shape[1])).to(labels)
            own = torch.arange(styles.shape[1], device=styles.device) < first[:, None]
            styles = torch.where(own[..., None], styles, others)
        noise = _noise(generator, draws, player, like)
        return generator.draw(styles, noise), styles, noise

    def _changed(self, images: Tensor, p: float, draws: Draws, stream: str) -> Tensor:
        """Return pictures as the discriminator is shown them."""
        if self._augment is None:
            return images
        return self._augment(images, p, Draws(derive(draws.seed, stream), draws.epochs, draws.samples))

    def _labels(self, batch: Batch) -> Tensor:
        """Return (B,) classes, 0 where none is known."""
        return self._stated(batch).clamp(min=0)

    def _known(self, batch: Batch) -> Tensor:
        """Return (B,) whether a picture's class is known, or need not be."""
        return self._stated(batch) >= 0

    def _stated(self, batch: Batch) -> Tensor:
        """Return (B,) classes, -1 where one should be known and is not; 0 where there are none."""
        unknown = torch.full((len(batch),), -1 if self.classes else 0, device=batch.inputs[0].device)
        labels: Tensor = batch.targets.get("label", unknown) if self.classes else unknown
        return labels

    def _check(self) -> None:
        """Refuse settings that contradict each other.

        Raises:
            UsageError: they do.
        """
        zero = torch.zeros(1)
        here, there = (self._loss(logit, logit, player="discriminator") for logit in (zero, zero + 3))
        if self.settings.augment == "ada" and self.settings.target and torch.equal(here, there):
            raise UsageError(
                "TASK-010", f"ada reads the signs of logits: with the loss {self.recipe.loss.name!r} they mean nothing",
                fix="--set generate.target=0 keeps generate.p as it is; or --set loss=non_saturating",
            )  # fmt: skip
        _ = self._augment, self._extractor  # refuse a name that is none, and what reads no such pictures

    @property
    def score(self) -> str:
        """The metric that picks the best weights."""
        return score_of(self.recipe.score, self._extractor.name, bool(self.classes))

    @cached_property
    def _extractor(self) -> Extractor:
        return extractor(self.settings.extractor, self.recipe.input.channels, self.recipe.input.size)

    @cached_property
    def _features(self) -> Remembered:
        return Remembered(lambda images: self._extractor(images)[0])

    @cached_property
    def _loss(self) -> Callable[..., Tensor]:
        """The loss of the recipe: (real, fake, player=...) -> one value a pair of pictures."""
        return settled(self.recipe.loss, ("fake",))

    @cached_property
    def _compares(self) -> bool:
        """Whether the generator's loss depends on real pictures too, which then are judged for it."""
        nothing = torch.zeros(1)
        return not torch.equal(*(self._loss(real, nothing, player="generator") for real in (nothing, nothing + 1)))

    @cached_property
    def _augment(self) -> Callable[[Tensor, float, Draws], Tensor] | None:
        """What is done to pictures that the discriminator sees."""
        if self.settings.augment == "none":
            return None
        from visus.transforms import differentiable

        return differentiable.named(self.settings.augment)


@torch.no_grad()
def made_of(model: Any, seed: int, labels: Tensor, *, truncation: float = 1.0) -> Iterator[list[NDArray[np.uint8]]]:
    """Yield generated pictures, (H, W, C) uint8, some at once: each depends on seed, number and class alone.

    They are always made ``AT_ONCE``, each in its place, some of them for nothing: sums over another number of rows
    round otherwise.

    Args:
        model: both networks.
        seed: of the latents and the noise.
        labels: (N,) a class for each.
        truncation: of the latents.
    """
    was, like = model.training, next(model.parameters())
    model.eval()
    try:
        for start in range(0, len(labels), AT_ONCE):
            part = labels[start : start + AT_ONCE].to(like.device)
            many, part = len(part), torch.cat([part, part.new_zeros(AT_ONCE - len(part))])
            draws = Draws(seed, np.zeros(AT_ONCE, np.int64), start + np.arange(AT_ONCE))
            latents = _normal(draws, "latents", (model.generator.latent,), like)
            noise = _noise(model.generator, draws, "noise", like)
            yield pixels_of(model.generator(latents, part, truncation=truncation, noise=noise)[:many])
    finally:
        model.train(was)


def _draws(batch: Batch) -> Draws:
    """Return the random numbers of a batch's rows: the same however it is split."""
    rows = batch.start + np.arange(len(batch))
    return Draws(batch.seed, np.zeros(len(batch), np.int64), rows)


def _normal(draws: Draws, stream: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return (B, *shape) numbers of a normal distribution."""
    return torch.from_numpy(draws.normal(stream, int(np.prod(shape)))).to(like).view(len(draws), *shape)


def _uniform(draws: Draws, stream: str, like: Tensor) -> Tensor:
    """Return (B, 1, 1, 1) numbers in [0, 1)."""
    return torch.from_numpy(draws.uniform(stream)).to(like).view(-1, 1, 1, 1)


def _noise(generator: Any, draws: Draws, stream: str, like: Tensor) -> list[Tensor] | None:
    """Return (B, 1, h, w) of each noise that a generator takes, or None where it takes none."""
    shapes = generator.noise_shapes
    if not shapes:
        return None
    sizes = [height * width for height, width in shapes]
    parts = torch.split(fields(draws, f"noise/{stream}", sum(sizes), like), sizes, 1)
    return [part.reshape(len(draws), 1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def _sum(values: Tensor, known: Tensor, *, told: bool = False) -> Term:
    """Return the sum over the pictures that count."""
    return Term(torch.where(known, values, 0).sum(), UNIT, told)
