"""Stylization: photos painted in one pass in the style of a painting, or of any painting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from visus.core.annotations import Annotation
from visus.core.deployment import Deployed
from visus.core.errors import UsageError
from visus.core.recipe import Choice, Facts, Recipe
from visus.core.sample import Sample, Samples
from visus.core.seeds import Draws
from visus.core.task import PICTURE, Batch, Prediction, Raw, Target, Term, Transform
from visus.losses._style import ROUGH, alike, gram, style, total_variation
from visus.losses._style import content as content_distance
from visus.metrics.generation import named
from visus.metrics.stylization import KINDS, Stylization
from visus.models.perceptual import Features, features
from visus.models.stylizers import STYLIZERS
from visus.tasks._captions import rgb
from visus.tasks._choices import batch, optimiser, shorter_side
from visus.tasks._scores import chosen

UNIT = "image"
USUAL = "johnson"
SIDE, LEAST = 256, 64
PICTURES = 4000
"""Looks at photos that a run without a stated length takes: a style is there, if not in every detail."""
FEW = 4
"""Places a side of a map that is too small to leave any out."""
SHIFTS = 4
"""Pixels by which what features see of a picture moves, across and down: see ``Stylize``."""


@dataclass(frozen=True)
class Painted:
    """One painted picture, (H, W, 3) uint8."""

    pixels: NDArray[np.uint8]

    def home(self, frame: Tensor) -> Painted:
        """Return itself: it is shown at the size at which it was painted."""
        return self

    def json(self) -> dict[str, Any]:
        """Return the size in pixels."""
        height, width, _ = self.pixels.shape
        return {"height": height, "width": width}

    def rows(self) -> list[dict[str, Any]]:
        """Return one line."""
        return [self.json()]


class Stylize:
    """A network that paints photos in one pass; it learns from what fixed features say of what it paints.

    Minimised are the distance of the style from the painting's (Gram matrices), that of the content from the photo's,
    and total variation.  Each is one value a picture, so that a step does not depend on how its batch is split.

    Features see each picture moved by up to three pixels, drawn from (seed, step, row): a network that always sees the
    same of every second pixel would else learn to paint a grid that it does not see.

    The painting is no part of the data: whoever makes the task lets it ``study`` it.  A network of one style keeps it,
    so that a model file needs nothing else to be judged; one of any style is given paintings whenever it is asked.

    Args:
        recipe: its settings.
        classes: names of the data's classes, which mean nothing to it.

    Raises:
        UsageError: a score that this task does not have.
    """

    name = "stylize"
    reads = (PICTURE,)
    scores = KINDS
    players: Mapping[str, str] = {"model": ""}
    group = 1
    legend: Mapping[str, str] = {}

    def __init__(self, recipe: Recipe, classes: Sequence[str]) -> None:
        self.recipe, self.settings = recipe, recipe.stylize
        self.classes: tuple[str, ...] = ()
        self._kind = chosen(recipe.score, "fidelity", KINDS)
        self._paintings: Tensor | None = None
        self._photos: Tensor | None = None
        self._described: tuple[tuple[object, ...], Described] | None = None

    @staticmethod
    def defaults(facts: Facts) -> Iterator[Choice]:
        """Yield the settings this task would choose, each with its reason."""
        name = str(facts.wanted.get("model.name", USUAL))
        short = shorter_side(facts)
        side = SIDE if short >= SIDE * 3 / 4 else max(LEAST, 32 * round(short / 32))
        why = "usual for fast networks" if side == SIDE else f"the median shorter side is {short:g} pixels"
        yield Choice("input.size", [side, side], why)
        yield Choice("input.channels", 3, "it paints in colour")
        yield Choice("input.fit", "crop", "what is painted has the shape of what was seen")
        yield Choice("input.mean", [0.5], "pictures are painted in [-1, 1]")
        yield Choice("input.std", [0.5], "pictures are painted in [-1, 1]")
        yield Choice("model.name", name, "one style, small and quick" if name == USUAL else "as asked")
        yield Choice("augment.crop", [0.25, 1.0], "things of any size are painted")
        yield Choice("augment.flip", 0.5, "a mirrored photo is a photo")
        if name in STYLIZERS:
            for key, value in STYLIZERS[name].defaults.items():
                yield Choice(key, value, f"usual for {name}")
        yield batch(facts, 4)
        yield from optimiser(
            facts,
            Choice("optim.name", "adam", "usual for fast networks"),
            Choice("optim.lr", 3e-3, "a style is there after a few hundred steps"),
            Choice("optim.weight_decay", 0.0, "usual for fast networks"),
            Choice("optim.clip", 1.0, "the first steps are long"),
        )
        yield Choice("schedule.name", "cosine", "ends at a rate of zero")
        yield Choice("ema", 0.99, "averaged weights paint more evenly")
        yield Choice("precision", "float32", "distances of Gram matrices need the digits")
        yield Choice("data.leaks", False, "a photo tells nothing of another one's picture")
        if facts.minutes is None:
            yield Choice("epochs", float(max(1, round(PICTURES / max(1, facts.train)))), f"about {PICTURES:,} looks")

    def model(self) -> nn.Module:
        """Return the network, with the painting where it keeps one.

        Raises:
            UsageError: STYLE-025, it is no network that paints, STYLE-026, several paintings for a network of one
                style, STYLE-028, photos too small to see a style on; features that cannot tell style.
        """
        from visus.models.building import build

        recipe = self.recipe
        if recipe.model.name not in STYLIZERS:
            raise UsageError("STYLE-025", f"{recipe.model.name} does not paint", done="nothing was trained",
                             fix=f"--model {', or '.join(STYLIZERS)}")  # fmt: skip
        if min(recipe.input.size) < LEAST:
            raise UsageError("STYLE-028", f"photos of {min(recipe.input.size)} pixels are too small to see a style on",
                             done="nothing was trained", fix=f"--size {LEAST} or more")  # fmt: skip
        _ = self._features
        network: Any = build(
            recipe.model, 0, recipe.input.channels, recipe.input.size, recipe.data.accept, seed=recipe.seed
        )
        if self._paintings is not None and not self.any_style:
            if len(self._paintings) > 1:
                many = f"{len(self._paintings):,} paintings"
                raise UsageError(
                    "STYLE-026", f"{recipe.model.name} learns one style, and {many} are given",
                    done="nothing was trained", fix="--set style=PAINTING.jpg, or --model adain, which learns any",
                )  # fmt: skip
            network.painting.copy_(self._paintings[0])
        made: nn.Module = network
        return made

    @property
    def command(self) -> str:
        """What is asked of a trained network, as it is typed: one of any style is given a painting, too."""
        name = self.recipe.model.name
        return f"visus stylize PHOTO {'PAINTING ' * (name in STYLIZERS and STYLIZERS[name].any_style)}--model {{model}}"

    @property
    def any_style(self) -> bool:
        """Whether its network is given paintings whenever it is asked."""
        return STYLIZERS[self.recipe.model.name].any_style

    def study(self, paintings: UInt8[Tensor, "N 3 H W"], photos: UInt8[Tensor, "M 3 H W"]) -> None:
        """Take the paintings to learn from, and a few photos to show it by; both of the size of the input."""
        self._paintings, self._photos = paintings, photos

    def transforms(self, train: bool) -> Transform:
        """Return what prepares photos for training or for judging."""
        from visus.transforms.pipeline import build

        return build(self.recipe.input, self.recipe.augment if train else None)

    def collate(self, samples: Samples) -> Batch:
        """Return images (B, 3, H, W) in [-1, 1]."""
        assert isinstance(samples.images, Tensor), "the transform of this task makes all pictures one size"
        return Batch((samples.images,), {}, samples.ids, samples.indices, samples.frames, originals=samples.originals)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Return how many pictures there are."""
        return {UNIT: torch.tensor(len(batch))}

    def losses(self, model: Any, batch: Batch, player: str, step: int) -> dict[str, Term]:
        """Return the distances of style and content, and what is not smooth, each times its factor."""
        (images,) = batch.inputs
        draws = Draws(batch.seed, np.zeros(len(batch), np.int64), batch.start + np.arange(len(batch)))
        which = torch.from_numpy(draws.uniform("painting")[:, 0])
        made, wanted = self._painted(model, images, which)
        offsets = torch.from_numpy(draws.uniform("shift", 2) * SHIFTS).long()
        with _wide(images):
            with torch.no_grad():
                photo = self._maps(_moved(images, offsets))
            values = self._distances(self._maps(_moved(made, offsets)), photo, made, wanted)
        return {name: Term(each.sum(), UNIT) for name, each in values.items()}

    def raw(self, model: Any, batch: Batch) -> Raw:
        """Return ``images`` (B, 3, H, W) in [-1, 1], and what features say of them: see ``Stylization.update``."""
        (images,) = batch.inputs
        which = batch.indices.double().mul(0.6180339887498949).frac()  # evenly spread, the same at each look
        made, wanted = self._painted(model, images, which)
        with _wide(images):
            maps, photo = self._maps(made), self._maps(images)
            objective = torch.stack(list(self._distances(maps, photo, made, wanted).values())).sum(0)
            before, after = (style([gram(each) for each in seen], wanted.grams) for seen in (photo, maps))
            now, was = maps[self._features.content], photo[self._features.content]
            return {"images": made, "objective": objective, "before": before, "after": after,
                    "content": content_distance(now, was), "similarity": alike(now, was)}  # fmt: skip

    def merge(self, raws: Sequence[Raw]) -> Raw:
        """Return the first view: what is painted is a picture, and no mean of several."""
        return raws[0]

    def decode(self, raw: Raw) -> list[Painted]:
        """Return the picture that was painted of each photo of a batch."""
        return self.said(raw)

    def said(self, outputs: Raw) -> list[Painted]:
        """Return one painted picture a row."""
        levels = ((outputs["images"].float().nan_to_num(-1) + 1) * 127.5).round().clamp(0, 255).byte()
        return [Painted(each) for each in levels.permute(0, 2, 3, 1).cpu().numpy()]

    def deployed(self, network: nn.Module, *, deep: bool = False, size: tuple[int, int] | None = None) -> Deployed:
        """Refuse: pictures of any size are painted by ``visus stylize``.

        Raises:
            UsageError: always.
        """
        raise UsageError("TASK-014", "what paints pictures cannot stand where something is said of them",
                         fix=self.command.format(model="MODEL"))  # fmt: skip

    def targets(self, raw: Raw, label: str = "") -> list[Target]:
        """Refuse: nothing is said of a picture that could be explained.

        Raises:
            UsageError: always.
        """
        raise UsageError("TASK-014", "what paints pictures says nothing of them that could be explained",
                         fix=self.command.format(model="MODEL"))  # fmt: skip

    def calibrate(self, said: Mapping[str, float]) -> None:
        """Take nothing: pictures are shown as they were painted."""

    def annotations(self, columns: Mapping[str, Any], i: int) -> dict[str, Annotation]:
        """Return nothing: nothing needs to be known of a photo."""
        return {}

    @property
    def score(self) -> str:
        """The metric that picks the best weights, with the name of the features behind it."""
        return named(self._kind, self._features.named.name)

    def metric(self) -> Stylization:
        """Return an empty metric."""
        return Stylization(self._features.named.name, resamples=self.recipe.resamples)

    def draw(self, sample: Sample, prediction: Prediction) -> NDArray[np.uint8]:
        """Return the photo, and beside it what was painted."""
        assert isinstance(prediction, Painted)
        from PIL import Image, ImageOps

        height, width, _ = prediction.pixels.shape
        photo = ImageOps.fit(Image.fromarray(rgb(sample.image)), (width, height))
        return np.concatenate([np.asarray(photo), prediction.pixels], 1)

    @torch.no_grad()
    def shown(self, model: Any) -> NDArray[np.uint8]:
        """Return photos and, below each, what is painted of it now; the painting at the left.

        Raises:
            UsageError: STYLE-020, it has not studied any.
        """
        paintings, photos = self._studied()
        like = next(model.parameters())
        was = model.training
        model.eval()
        try:
            images = _unit(photos).to(like.device, like.dtype)
            which = torch.linspace(0, 1, len(images) + 1, dtype=torch.float64)[:-1]
            made = self._painted(model, images, which)[0]
        finally:
            model.train(was)
        painted = [each.pixels for each in self.said({"images": made})]
        columns = [list(pair) for pair in zip(_pixels(photos), painted, strict=True)]
        if self.any_style:
            given = _pixels(paintings[_chosen(which, len(paintings))])
            columns = [[each, *pair] for each, pair in zip(given, columns, strict=True)]
        else:
            (painting,) = _pixels(paintings)
            columns.insert(0, [painting, np.full_like(painting, 255)])
        return np.concatenate([np.concatenate(column, 0) for column in columns], 1)

    def _painted(self, model: Any, images: Tensor, which: Tensor) -> tuple[Tensor, Described]:
        """Return painted pictures, and what features say of the paintings; ``which`` (B,) in [0, 1) chooses some."""
        if not self.any_style:
            return model(images), self._of_one(model.painting, images)
        paintings = self._studied()[0]
        some = _unit(paintings[_chosen(which, len(paintings))]).to(images.device, images.dtype)
        return model(images, some), self._described_as(some)

    def _studied(self) -> tuple[Tensor, Tensor]:
        """Return paintings and photos.

        Raises:
            UsageError: STYLE-020.
        """
        if self._paintings is None or self._photos is None:
            raise UsageError("STYLE-020", "which paintings are meant is not said", done="nothing was painted",
                             fix="--set stylize.style=PAINTING.jpg, or a folder of paintings")  # fmt: skip
        return self._paintings, self._photos

    def _of_one(self, painting: Tensor, like: Tensor) -> Described:
        """Return what features say of the one painting of a network: looked at once on a device."""
        key = like.device, like.dtype
        if self._described is None or self._described[0] != key:
            self._described = key, self._described_as(_unit(painting[None]).to(like.device, like.dtype))
        return self._described[1]

    @torch.no_grad()
    def _described_as(self, paintings: Float[Tensor, "B 3 H W"]) -> Described:
        with _wide(paintings):
            maps = self._maps(paintings)
            rough = total_variation((paintings + 1) / 2).clamp(min=ROUGH)
            return Described([gram(each) for each in maps], rough)

    def _distances(
        self, maps: Sequence[Tensor], photo: Sequence[Tensor], made: Tensor, wanted: Described
    ) -> dict[str, Tensor]:
        """Return (B,) each: what is learned from, times its factor.

        Args:
            maps: features of what was painted.
            photo: features of the photos.
            made: what was painted.
            wanted: what features say of the paintings.
        """
        at, settings = self._features.content, self.settings
        apart = style([gram(each) for each in maps], wanted.grams)
        content = content_distance(maps[at], photo[at])
        rough = total_variation((made + 1) / 2) / wanted.rough
        return {"style": apart, "content": settings.content_gain * content, "smooth": settings.smooth_gain * rough}

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Return maps of pictures in [-1, 1], of large ones without their outermost places.

        These see the zeros that features add beyond an edge, against which a network would learn to paint a rim.
        """
        wide = images.to(torch.promote_types(images.dtype, torch.float32))
        found = self._features.to(wide).maps((wide + 1) / 2)
        return [each[..., 1:-1, 1:-1] if min(each.shape[2:]) > FEW else each for each in found]

    @cached_property
    def _features(self) -> Features:
        return features(self.settings.features, accept=self.recipe.data.accept)


@dataclass(frozen=True)
class Described:
    """What features say of paintings: Gram matrices of each layer, and (B,) their total variation."""

    grams: list[Tensor]
    rough: Tensor


def _wide(images: Tensor) -> torch.autocast:
    """Return what keeps sums of many products out of half precision."""
    return torch.autocast(images.device.type, enabled=False)


def _moved(images: Float[Tensor, "B C H W"], offsets: Int[Tensor, "B 2"]) -> Float[Tensor, "B C h w"]:
    """Return the part of each picture that begins at its own offset, all of one size."""
    height, width = (side - SHIFTS + 1 for side in images.shape[2:])
    places = zip(images, offsets.tolist(), strict=True)
    return torch.stack([image[:, y : y + height, x : x + width] for image, (y, x) in places])


def _chosen(which: Float[Tensor, "B"], n: int) -> Int[Tensor, "B"]:
    """Return which of ``n`` things numbers in [0, 1) mean."""
    return (which * n).long().clamp(max=n - 1)


def _unit(pixels: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Return pixels in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def _pixels(pictures: UInt8[Tensor, "B 3 H W"]) -> list[NDArray[np.uint8]]:
    """Return (H, W, 3) each."""
    return list(pictures.permute(0, 2, 3, 1).cpu().numpy())


TASK = Stylize
