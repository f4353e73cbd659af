"""The recipe: every setting of a run, typed, frozen, and each with where it came from.

Three layers make one: the schema's defaults, what the task chooses for the data at hand (with its reason), and what the
user said.  The user's word always stands; a key that does not exist is an error with the nearest name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from visus.core.errors import UsageError, nearest
from visus.core.wording import accepted, described

Scalar: TypeAlias = bool | int | float | str | None
Fraction = Annotated[float, Field(ge=0, le=1)]
OPTIONS = "model.options"


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    """Refuse a range that ends before it starts."""
    if bounds[0] > bounds[1]:
        raise ValueError("the first number should not be larger than the second")
    return bounds


def _pair(value: object) -> object:
    """Accept one number for a square, and "224x320" for (height, width)."""
    if isinstance(value, str):
        sides = value.split("x")
        value = sides[0] if len(sides) == 1 else sides
    return (value, value) if isinstance(value, int | str) else value


_Side = Annotated[int, Field(gt=0, le=16_384)]
Size = Annotated[
    tuple[_Side, _Side],
    BeforeValidator(_pair),
    Field(description="one side, or HEIGHTxWIDTH, in pixels from 1 to 16,384: 96, 224x320"),
]

_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(gt=0, le=1)]
Range = Annotated[tuple[_Positive, _Positive], AfterValidator(_rising)]
ShareRange = Annotated[tuple[_Share, _Share], AfterValidator(_rising)]


class Settings(BaseModel):
    """A group of settings: frozen, typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: object, about: ValidationInfo) -> object:
        """Refuse true and false where a setting is no switch: Python would take them for 1 and 0."""
        parts = value if isinstance(value, list | tuple) else (value,)
        is_switch = cls.model_fields[str(about.field_name)].annotation is bool
        if not is_switch and any(isinstance(part, bool) for part in parts):
            raise ValueError("true and false are no numbers")
        return value


class ModelSettings(Settings):
    """Which network, from which weights, and what of it is trained.

    Attributes:
        name: a name of ``visus list models``, any of timm's, ``torchvision:NAME``, ``FILE.py:Class``, or
            ``hub:FOLDER:entry`` (a local torch.hub folder).
        weights: ``default`` (what the name carries offline), ``none``, or a file.
        options: keyword arguments of the network: ``{"widths": [32, 64]}``.
        freeze: prefixes of parameters that stay as they are; ``["backbone"]`` means all but the last layer.
        unfreeze: when ``freeze`` ends: a fraction of the run, or above 1 the step number; 1 keeps it to the end.
        layer_decay: factor of the learning rate from one stage to the one below it; 1 trains all alike.
    """

    name: str = "resnet_small"
    weights: str = "none"
    options: dict[str, Scalar | list[Scalar]] = {}
    freeze: tuple[str, ...] = ()
    unfreeze: Fraction | Annotated[int, Field(gt=1)] = 1.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class LossSettings(Settings):
    """Which loss, and its numbers.

    Attributes:
        name: a name of ``visus list losses``.
        smoothing: share of the target spread evenly over the classes (cross entropy).
        class_weights: ``none``, ``balanced`` (inverse frequency), or one number a class.
        gamma: focusing power of the focal losses.
        alpha: factor of what is shown (binary focal) or of what is not (varifocal), or weight of false alarms against
            misses (Tversky); negative for the loss's own: none, 0.75 and 0.3.
        delta: where the Huber loss turns from squares to lines, in units of each target's standard deviation.
    """

    name: str = "cross_entropy"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    gamma: Annotated[float, Field(ge=0)] = 2.0
    alpha: float = -1.0
    delta: Annotated[float, Field(gt=0)] = 1.0


class OptimSettings(Settings):
    """How weights move.

    Attributes:
        name: ``sgd``, ``momentum``, ``nesterov``, ``rmsprop``, ``adam``, ``adamw``, ``muon``, ``gd`` (full batch), or
            any timm name.
        lr: learning rate of a step, or ``auto`` for a range test.
        momentum: share of the last step that is kept, of the optimisers that have one.
        betas: decay of the two moments of Adam's family.
        eps: added to denominators, so that none is zero.
        weight_decay: pull of the weights towards zero, decoupled where the optimiser's is; norms and biases are spared.
        clip: largest L2 norm of the gradient; 0 for no clipping.
    """

    name: str = "adamw"
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(ge=0)] = 1.0


class ScheduleSettings(Settings):
    """How the learning rate goes through a run.

    Attributes:
        name: ``constant``, ``step``, ``cosine``, ``one_cycle`` or ``linear``; a run bounded in minutes warms up, is
            constant, and decays by the same curve over its last part, see ``decay``; ``one_cycle`` is ``cosine`` there.
        warmup: fraction of the run over which the rate rises along a line; the rise of ``one_cycle`` is its own.
        start: share of the rate from which it rises.
        final: share of the rate at which ``cosine``, ``linear`` and ``one_cycle`` end.
        milestones: where the schedule ``step`` multiplies the rate by ``factor``: fractions of what follows the
            warm-up, and of the decay alone in a run bounded in minutes.
        factor: by which the schedule ``step`` multiplies the rate at each of ``milestones``.
        decay: fraction of a budget in minutes over which the rate decays.
    """

    name: str = "cosine"
    warmup: Fraction = 0.05
    start: Fraction = 0.0
    final: Fraction = 0.0
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    decay: Annotated[float, Field(gt=0, le=0.9)] = 0.5


class AugmentSettings(Settings):
    """What training does to a picture, all of it derived from (seed, epoch, sample).

    Attributes:
        crop: share of the picture's area a random crop keeps, from and to; (1, 1) for none.  Of pictures that are
            read in tiles a tile is kept instead, and ``rare`` and ``majority`` are about tiles.
        ratio: width over height of a random crop, from and to.
        rare: chance that a random crop is laid about a pixel of a class, of rarer ones more often, where each has one.
        majority: share of the known pixels of a random crop that one class may take, or another is drawn, up to ten
            times; 1 for any.
        pad: pixels by which a picture is reflected outward before a random crop of its own size.
        flip: chance of a left-right flip.
        flip_vertical: chance of an upside-down flip.
        rotate: largest angle, in radians, to either side.
        shear: largest angle by which a picture is slanted, in radians.
        perspective: largest shift of a corner, as a share of the side.
        scale: zoom, from and to.
        brightness: largest relative change of the brightness.
        contrast: largest relative change of the contrast.
        saturation: largest relative change of the saturation.
        hue: largest shift of the hue, in turns: a rotation in YIQ, which keeps the luma; not torchvision's HSV hue.
        policy: ``none``, ``randaugment`` or ``trivialaugment``, before the others; its colours change after all moves.
        operations: how many operations RandAugment applies to a picture.
        magnitude: how strong RandAugment's operations are.
        erase: chance that a rectangle is filled with the mean colour.
        erase_area: share of the area that the erased rectangle takes, from and to.
        mixup: alpha of MixUp's Beta distribution; 0 for none.
        cutmix: alpha of CutMix's Beta distribution; 0 for none.  Where both are given, each picture tosses a coin.
        mix: chance that a picture is mixed by MixUp or CutMix, where one of them is given.
        mosaic: chance that a picture with boxes is put together with three others, each in a quarter of its own.
        mosaic_epochs: epochs after which no more mosaics are made, so that training ends on whole pictures; 0: never.
        copy_paste: chance that objects of another picture are pasted into a picture with boxes.
        visible: share of its box that must be left to be seen of an object, or it is no longer looked for; regions of
            many objects stay while anything of them is seen.
    """

    crop: ShareRange = (1.0, 1.0)
    ratio: Range = (0.75, 4 / 3)
    rare: Fraction = 0.0
    majority: _Share = 1.0
    pad: Annotated[int, Field(ge=0)] = 0
    flip: Fraction = 0.0
    flip_vertical: Fraction = 0.0
    rotate: Annotated[float, Field(ge=0, le=math.pi)] = 0.0
    shear: Annotated[float, Field(ge=0, lt=math.pi / 2)] = 0.0
    perspective: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    scale: Range = (1.0, 1.0)
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    policy: Literal["none", "randaugment", "trivialaugment"] = "none"
    operations: Annotated[int, Field(ge=1)] = 2
    magnitude: Annotated[float, Field(ge=0, le=30)] = 9.0
    erase: Fraction = 0.0
    erase_area: ShareRange = (0.02, 0.33)
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    mix: Fraction = 1.0
    mosaic: Fraction = 0.0
    mosaic_epochs: Annotated[float, Field(ge=0)] = 0.0
    copy_paste: Fraction = 0.0
    visible: Fraction = 0.1


class InputSettings(Settings):
    """What the network reads: the contract that travels with the weights.

    Attributes:
        size: (height, width); one number for a square, or "224x320".
        channels: 1 grey, 3 RGB, or as many as the data has.
        fit: ``squash`` to the size, ``crop`` the middle at the right shape, or ``pad`` to it.
        margin: with ``crop``, share of the shorter side that is kept when judging.
        mean: of each channel, for pixels in [0, 1]; it is subtracted.
        std: of each channel, for pixels in [0, 1]; it divides.
        interpolation: ``bilinear`` or ``bicubic``; antialiased when shrinking.
        tiles: pixels of a picture that a tile is wide, where pictures are read in overlapping tiles at one scale, in
            training and in judging (detection, segmentation); 0 reads whole pictures, ``auto`` decides by the data.
        seam: share of a tile's sides that its neighbour sees too; an object up to that size is never cut in both.
    """

    size: Size = (224, 224)
    channels: Annotated[int, Field(gt=0, le=1024)] = 3
    fit: Literal["squash", "crop", "pad"] = "crop"
    margin: Annotated[float, Field(gt=0, le=1)] = 1.0
    mean: tuple[float, ...] = (0.5,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (0.5,)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    tiles: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    seam: Annotated[float, Field(ge=0, le=0.5)] = 0.25


class DataSettings(Settings):
    """How the data is read and split.

    Attributes:
        format: a name of ``visus list formats``, or ``auto`` to recognise it.
        validation: share of the training part carved out where the data has no validation part.
        test: share carved out where it has no test part.
        cache: ``off``, ``memory``, ``disk``, or ``auto`` for what pays.
        workers: processes that read and augment; 0 works in the main one.  The bits do not depend on it.
        stored: shorter side at which pictures are kept for training; 0 keeps them as they are.
        max_bad: share of unreadable files, of all that the data set has, beyond which the run stops; one file is always
            left out rather than stopped at, unless it is 0.
        max_pixels: largest picture that is decoded.
        accept: licences accepted beyond the permissive ones: ``["nc"]``.
        trace: the model file remembers hashes of 64 training pictures, by which ``visus evaluate`` knows them again.
        leaks: after the run, pictures that were judged are compared with those of the other parts, and the scores are
            given also without what these give away.
    """

    format: str = "auto"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(ge=0, lt=1)] = 0.2
    cache: Literal["auto", "off", "memory", "disk"] = "auto"
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    stored: Annotated[int, Field(ge=0)] = 0
    max_bad: Fraction = 0.01
    max_pixels: Annotated[int, Field(gt=0)] = 100_000_000
    accept: tuple[str, ...] = ()
    trace: bool = True
    leaks: bool = True

    def most_bad(self, pictures: int) -> int:
        """Return how many pictures of a data set of so many may be unreadable: the share, but one at least if any."""
        return max(1, math.floor(self.max_bad * pictures + 1e-9)) if self.max_bad else 0


class TargetSettings(Settings):
    """What is learned, and what the training part says of it beforehand; it travels with the weights.

    Attributes:
        column: of the data: ``label``, ``labels``, ``numbers``; empty for the task's usual one.
        counts: training pictures that show each class, or their pixels where each has one; ``balanced`` class weights
            are made from them.
        mean: of each number over the training part; numbers are learned standardised by it.
        std: standard deviation of each number over the training part; numbers are learned standardised by it.
    """

    column: str = ""
    counts: tuple[Annotated[int, Field(ge=0)], ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[_Positive, ...] = ()


class DetectSettings(Settings):
    """How objects are learned and found.

    Attributes:
        box_loss: name of the loss of a box: ``iou``, ``giou``, ``diou`` or ``ciou``; of networks of anchors and
            proposals also ``huber`` or ``absolute_error``, of the offsets from these to the object.
        box_gain: factor of that loss beside the one of the classes.
        places: how many places learn an object, at most.
        alpha: power of the score of an object's class, in choosing the places that learn it.
        beta: power of the overlap with the object, in choosing the places that learn it.
        drawn: proposals of a picture that learn, at most, and twice the anchors that do (``faster_rcnn``).
        candidates: pairs of place and class of a picture, or of each of its tiles, those of the highest scores, that go
            on to suppression.
        least: score below which nothing is found; what is shown has the score of the best F1 on the validation part.
        suppression: of boxes of the same object: a name of ``visus list suppressions``.
        overlap: from which on two boxes are taken for one object.
        most: objects in a picture.
    """

    box_loss: str = "giou"
    box_gain: Annotated[float, Field(ge=0)] = 2.0
    places: Annotated[int, Field(ge=1)] = 13
    alpha: Annotated[float, Field(ge=0)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 6.0
    drawn: Annotated[int, Field(ge=2)] = 512
    candidates: Annotated[int, Field(ge=1)] = 1000
    least: Annotated[float, Field(ge=0, lt=1)] = 0.01
    suppression: str = "nms"
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.6
    most: Annotated[int, Field(ge=1)] = 300


class SegmentSettings(Settings):
    """How the classes of pixels are learned and shown.

    Attributes:
        region_loss: a loss of whole regions beside that of pixels: a name of ``visus list losses``; empty for none.
        region_gain: factor of that loss beside the one of pixels.
        palette: colour of each class, ``#rrggbb``; none for twelve colours that most eyes tell apart, and more.
        scales: judge with the mean of a picture at these scales, of what the network reads.
    """

    region_loss: str = ""
    region_gain: Annotated[float, Field(ge=0)] = 1.0
    palette: tuple[Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")], ...] = ()
    scales: Annotated[tuple[Annotated[float, Field(gt=0, le=8)], ...], Field(min_length=1)] = (1.0,)


class GenerateSettings(Settings):
    """How pictures are learned to be made, by a generator from what a discriminator says of them.

    Attributes:
        conditional: of which class a picture is, is said to both; ``auto`` where the data has classes.
        rival_steps: steps of the discriminator to one of the generator.
        r1: weight of half the squared slope of the discriminator at real pictures.
        r2: the same at generated pictures.
        every: steps between two looks at these slopes; their weights are multiplied by it.
        penalty: weight of how far the slope is from 1, between real and generated pictures (``wasserstein``).
        path_length: weight of how far the generator's pictures move unevenly as its styles do (``stylegan2``).
        path_every: steps between two looks at that.
        mixing: chance that a picture's styles are those of two latents, from some layer on of the second one.
        augment: what is done to every picture that the discriminator sees, real or generated: ``none``, or a name of
            ``transforms/differentiable.py``: ``ada``, ``diffaugment``.
        p: chance of each of these changes; of ``ada`` the chance that it begins with.
        target: how often the discriminator takes real pictures for real, less how often it does not: above it ``p``
            rises, below it ``p`` falls; 0 keeps ``p``.  Of ``ada`` alone.
        ramp: pictures in which ``p`` may go from 0 to 1.
        extractor: what makes the features that pictures are judged by: ``random`` (convolutions that learned nothing),
            ``imagenet`` (the pretrained network that comes with visus), or the model file of a classifier.
        shown: pictures a row of the sheet of samples, and rows where there are no classes.
    """

    conditional: Literal["auto", "yes", "no"] = "auto"
    rival_steps: Annotated[int, Field(ge=1)] = 1
    r1: Annotated[float, Field(ge=0)] = 0.0
    r2: Annotated[float, Field(ge=0)] = 0.0
    every: Annotated[int, Field(ge=1)] = 1
    penalty: Annotated[float, Field(ge=0)] = 0.0
    path_length: Annotated[float, Field(ge=0)] = 0.0
    path_every: Annotated[int, Field(ge=1)] = 4
    mixing: Fraction = 0.0
    augment: str = "none"
    p: Fraction = 0.0
    target: Fraction = 0.6
    ramp: Annotated[int, Field(ge=1)] = 500_000
    extractor: str = "random"
    shown: Annotated[int, Field(ge=1, le=64)] = 8


class StylizeSettings(Settings):
    """How a network learns to paint in a style.

    Attributes:
        style: a painting, or a folder of paintings for networks of any style (``adain``); ``style`` alone means this.
        sha256: of the paintings, which a resumed run must find again; filled in when the run begins.
        content_gain: factor of the distance of content, beside the one of style.
        smooth_gain: factor of total variation, in units of the painting's own.
        features: by which style and content are told: a network whose weights are at hand, ``random``, or ``auto``; see
            ``models/perceptual.py``.
        features_sha256: of their weights, which a resumed run must find again; filled in when the run begins.
        shown: photos on the sheet that shows how painting is learned.
    """

    style: str = ""
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    content_gain: Annotated[float, Field(ge=0)] = 0.2
    smooth_gain: Annotated[float, Field(ge=0)] = 0.05
    features: str = "auto"
    features_sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    shown: Annotated[int, Field(ge=1, le=16)] = 4


class DistillSettings(Settings):
    """What is learned from another network, beside the truth: its answers to the same pictures.

    Attributes:
        teacher: a model file of the same task, classes and input; empty for none.  It is only asked.
        sha256: of that file, which a resumed run must find again; filled in when the run begins.
        temperature: by which both networks' scores of classes are divided, so that small ones count too.
        share: of the loss that the teacher's answers have; the rest is the truth's.
    """

    teacher: str = ""
    sha256: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    share: Fraction = 0.5


class Recipe(Settings):
    """All that is needed to repeat a run, except the data and the code.

    Attributes:
        task: a name of ``visus list tasks``.
        seed: from which every random number of the run derives.
        batch: images a step, over all ranks.
        micro: images a forward pass; 0 for the whole batch.  Smaller ones accumulate the exact gradient of the batch.
        minutes: length of the run by the clock, for the whole command; only one of minutes, epochs and steps is set.
        epochs: length of the run in looks at each training picture.
        steps: length of the run in steps of the optimiser.
        evaluate_every: epochs between validations; 0 for at most ten in a run, one an epoch, and about a tenth of
            the time, or for at most four in a run bounded in minutes.
        patience: validations without a better score after which training ends; 0 for never.
        score: the score that picks the best weights; empty for the task's own.
        ema: decay of the averaged weights a step; 0 for none.
        ema_every: steps between updates of the average.
        precision: ``float32`` or ``bfloat16`` (autocast).
        memory_format: ``contiguous`` or ``channels_last``.
        threads: of PyTorch's kernels; part of the recipe because sums depend on it.
        device: ``cpu``, ``cuda`` or ``mps``.
        deterministic: only kernels that give the same bits every time; without them a resume is no longer exact.
        save_every: seconds between saves of the whole state.
        log_every: steps between lines of log.jsonl.
        flips: judge with the mean of a picture and its mirror image.
        resamples: of the bootstrap behind each interval.
        tensorboard: also write TensorBoard events.
        origins: dotted key -> where its value came from.
    """

    task: str = "classify"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    minutes: Annotated[float, Field(gt=0)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Annotated[int, Field(gt=0)] | None = None
    batch: Annotated[int, Field(gt=0)] = 64
    micro: Annotated[int, Field(ge=0)] = 0
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    optim: OptimSettings = OptimSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    augment: AugmentSettings = AugmentSettings()
    data: DataSettings = DataSettings()
    target: TargetSettings = TargetSettings()
    detect: DetectSettings = DetectSettings()
    segment: SegmentSettings = SegmentSettings()
    generate: GenerateSettings = GenerateSettings()
    stylize: StylizeSettings = StylizeSettings()
    distill: DistillSettings = DistillSettings()
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ema_every: Annotated[int, Field(gt=0)] = 1
    evaluate_every: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[int, Field(ge=0)] = 0
    score: str = ""
    precision: Literal["float32", "bfloat16"] = "float32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    threads: Annotated[int, Field(gt=0, le=1024)] = 1
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    deterministic: bool = True
    save_every: Annotated[float, Field(ge=0)] = 60.0
    log_every: Annotated[int, Field(gt=0)] = 1
    flips: bool = False
    resamples: Annotated[int, Field(gt=0)] = 1000
    tensorboard: bool = False
    origins: dict[str, str] = {}

    def flat(self) -> dict[str, Any]:
        """Return {dotted key: value} without the origins."""
        return dict(_flatten(self.model_dump(mode="json", exclude={"origins"}), SECTIONS))

    def write(self) -> str:
        """Return the recipe as YAML; ``Recipe.read`` gives it back."""
        plain = self.model_dump(mode="json")
        return yaml.dump(plain, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120)

    def show(self) -> str:
        """Return one line a setting: key, value and where it came from."""
        rows = [(key, _one_line(value), self.origins.get(key, "default")) for key, value in self.flat().items()]
        wide = max(len(key) for key, *_ in rows), max(min(len(text), 32) for _, text, _ in rows)
        return "\n".join(f"{key:{wide[0]}}  {text:{wide[1]}}  {origin}" for key, text, origin in rows)

    @classmethod
    def read(cls, text: str, where: str = "recipe") -> Recipe:
        """Return a recipe that ``write`` wrote.

        Raises:
            UsageError: an unknown key, a wrong type, or no YAML at all.
        """
        try:
            return cls.model_validate(_read_yaml(text))
        except (ValidationError, yaml.YAMLError) as error:
            raise _refused(error, where) from error


SECTIONS = {
    name: field.annotation
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
}


@dataclass(frozen=True)
class Choice:
    """A setting somebody chose: dotted key, value, and the reason or place in one phrase.

    ``asked`` is false where it stands in a whole recipe, of which not every value was meant; ``settles`` is the word by
    which the user leaves the setting to this choice.
    """

    key: str
    value: Any
    why: str
    asked: bool = True
    settles: str = ""

    def sets(self) -> list[str]:
        """Return the dotted keys it sets: several where its value is a mapping."""
        return [key for key, _ in _expand(self.key, self.value)]


@dataclass(frozen=True)
class Facts:
    """What a task may know when it chooses its settings.

    Attributes:
        annotation: name of the data set's main column: ``label``, ``labels``, ``numbers``.
        classes: names, in dense order.
        counts: training samples that show each class; of objects, how many there are; of class maps, pixels.
        counted: how many training samples ``counts`` is of.
        objects: (height, width) of up to 2,000 training objects, in pixels of their pictures.
        masks: polygons or masks of some objects are stated.
        means, deviations: of each number over the training part, standard deviations.
        train: training samples.
        palette: (R, G, B) of each class, where the data states colours; else none.
        sizes: (N, 2) int (height, width) of up to 200 training pictures.
        channels: 1 where every looked-at picture is grey, else 3 (or what the data has).
        dtype: ``uint8``, ``uint16`` or ``float32``.
        device: ``cpu``, ``cuda`` or ``mps``; ``cores``: of the processor.
        fast_bfloat16: the hardware multiplies bfloat16 matrices faster than float32 ones.
        minutes: of the budget, or None.
        wanted: what the user fixed: {dotted key: value}.
    """

    annotation: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    train: int
    sizes: tuple[tuple[int, int], ...]
    channels: int
    dtype: str = "uint8"
    device: str = "cpu"
    cores: int = 1
    fast_bfloat16: bool = False
    minutes: float | None = None
    means: tuple[float, ...] = ()
    deviations: tuple[float, ...] = ()
    objects: tuple[tuple[float, float], ...] = ()
    masks: bool = False
    palette: tuple[tuple[int, int, int], ...] = ()
    counted: int = 0
    wanted: Mapping[str, Any] = field(default_factory=dict)


class Draft:
    """A recipe in the making.  What the user said stands; every other choice brings its reason.

    Args:
        wanted: the user's settings by dotted key, later ones winning.

    Raises:
        UsageError: a key that no recipe has, or a value of the wrong type.
    """

    def __init__(self, wanted: Iterable[Choice] = ()) -> None:
        self._chosen: dict[str, Choice] = {}
        self._stands: set[str] = set()
        for choice in wanted:
            for key, value in _expand(choice.key, choice.value):
                if key == OPTIONS and key in self._chosen and isinstance(value, Mapping):
                    value = {**self._chosen[key].value, **value}
                self._chosen[key] = Choice(key, value, choice.why)
                self._stands.add(key)
        self.finish()

    def choose(self, choice: Choice) -> None:
        """Take a choice, unless the user (or an earlier one) has settled the key."""
        for key, value in _expand(choice.key, choice.value):
            if key not in self._chosen:
                self._chosen[key] = Choice(key, value, choice.why)
            elif key == OPTIONS:  # option by option: the user may have settled one of several
                settled = self._chosen[key]
                self._chosen[key] = Choice(key, {**value, **settled.value}, f"{settled.why}; {choice.why}")
            elif choice.settles and self._chosen[key].value == choice.settles:
                self._chosen[key] = Choice(key, value, f"{self._chosen[key].why}: {choice.why}")

    def wanted(self) -> dict[str, Any]:
        """Return what the user fixed, as the recipe holds it: numbers as numbers, however they were written."""
        settled = self.finish().flat()
        return {key: settled[key] for key in self._stands}

    def finish(self) -> Recipe:
        """Return the recipe with an origin for every key.

        Raises:
            UsageError: unknown key or wrong type.
        """
        nested: dict[str, Any] = {}
        for key, choice in self._chosen.items():
            section, _, name = key.partition(".")
            if name:
                nested.setdefault(section, {})[name] = choice.value
            else:
                nested[section] = choice.value
        try:
            recipe = Recipe.model_validate(nested)
        except ValidationError as error:
            key = ".".join(str(part) for part in error.errors()[0]["loc"][:2])
            choice_of = self._chosen.get(key) or self._chosen.get(key.partition(".")[0])
            said = (choice_of.why, choice_of.value) if choice_of else ("settings",)
            raise _refused(error, *said) from error
        origins = {key: self._chosen[key].why if key in self._chosen else "default" for key in recipe.flat()}
        return recipe.model_copy(update={"origins": origins})


def parse_set(text: str) -> Choice:
    """Return the choice in ``key=value``; the value is read as YAML.

    Raises:
        UsageError: no ``=``, an unknown key, or a value that is no YAML.
    """
    key, value = parse_option(text)
    list(_expand(key, value))
    return Choice(key, value, f"--set {_short(text)}")


def parse_option(text: str) -> tuple[str, Any]:
    """Return the name and value in ``name=value``, whatever the name; the value is read as YAML.

    Raises:
        UsageError: no ``=``, or a value that is no YAML.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(
            "USE-002", f"--set {_short(text)}: there is no '='", fix="--set NAME=VALUE, as in --set batch=32"
        )
    try:
        return name.strip(), _read_yaml(value)
    except yaml.YAMLError as error:
        raise UsageError(
            "USE-002", f"--set {_short(text)}: the value is no YAML", fix="quote it: --set 'name=\"value\"'"
        ) from error


def read_settings(path: Path) -> list[Choice]:
    """Return the choices of a user's own recipe file: any part of a recipe, nested or dotted.

    Raises:
        UsageError: the file is missing, is no YAML mapping, or names an unknown key.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise UsageError("USE-003", f"{path}: {what}", fix="a recipe is a YAML file, such as a run's recipe.yaml")
    try:
        loaded = _read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError("USE-003", f"{path}: cannot be read as a recipe", where=str(error).splitlines()[0]) from error
    if not isinstance(loaded, dict):
        raise UsageError(
            "USE-003", f"{path}: a recipe is a mapping of settings", fix="as in: {optim: {lr: 3e-4}, batch: 128}"
        )
    loaded.pop("origins", None)
    return [Choice(str(key), value, str(path), asked=False) for key, value in loaded.items()]


def keys() -> list[str]:
    """Return every dotted key of a recipe."""
    return list(Recipe().flat())


@dataclass(frozen=True)
class Explained:
    """A setting in words: its dotted key, the default, which values it takes, and what it means."""

    key: str
    default: str
    takes: str
    meaning: str


def explained() -> list[Explained]:
    """Return every setting in words, in the order of the recipe."""
    words = {"": described(Recipe), **{name: described(group) for name, group in SECTIONS.items()}}
    rows = []
    for key, default in Recipe().flat().items():
        section, _, name = key.rpartition(".")
        rows.append(Explained(key, _one_line(default), accepted(_field(key)), words[section][name]))
    return rows


def _expand(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield dotted leaves: a section given as a mapping, or by its name alone (``loss=focal``), is taken apart."""
    if key in SECTIONS:
        if not isinstance(value, Mapping):
            value = {"size" if key == "input" else "name": value}
        for name, part in value.items():
            yield from _expand(f"{key}.{name}", part)
        return
    key = _SHORT.get(key, key)
    if key.startswith(OPTIONS + "."):
        yield OPTIONS, {key.removeprefix(OPTIONS + "."): value}
        return
    if key not in _KNOWN:
        raise UsageError("USE-001", f"there is no setting {key!r}", fix=_closest(key))
    yield key, value


_SHORT = {"size": "input.size", "style": "stylize.style"}
"""What is so usual that it is said without its section."""


def _flatten(values: Mapping[str, Any], sections: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key in sections:
            yield from ((f"{key}.{name}", part) for name, part in value.items())
        else:
            yield key, value


_KNOWN = frozenset(keys())


def _closest(key: str) -> str:
    """Return a fix line: a key with the same last name, else the nearest one, of its section where that is known."""
    section, _, name = key.partition(".")
    same = sorted(known for known in _KNOWN if known.rpartition(".")[2] == key.rpartition(".")[2])
    if not same and name and section in SECTIONS:
        near = nearest(name, SECTIONS[section].model_fields)
        return f"did you mean '{section}.{near}'?" if near else f"visus list settings {section} shows what there is"
    near = same[0] if same else nearest(key, _KNOWN)
    return f"did you mean {near!r}?" if near else "visus list settings shows what there is"


def _field(key: str) -> FieldInfo:
    section, _, name = key.rpartition(".")
    return SECTIONS[section].model_fields[name] if section else Recipe.model_fields[name]


def _refused(error: Exception, where: str, given: object = None) -> UsageError:
    """Return what to say of a recipe that does not hold; ``given`` is the value that was said, where it is known."""
    if not isinstance(error, ValidationError):
        return UsageError("USE-003", f"{where} is no YAML", where=str(error).splitlines()[0])
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if not path:
        return UsageError("USE-003", f"{where}: a recipe is a mapping of settings", fix="visus list settings")
    if first["type"] == "extra_forbidden":
        return UsageError(
            "USE-001", f"there is no setting {'.'.join(path)!r}", where=where, fix=_closest(".".join(path))
        )
    key = next((known for known in (".".join(path[:2]), path[0]) if known in _KNOWN), "")
    if not key:
        return UsageError("USE-003", f"{path[0]} is a section of settings", where=where, fix=_closest(path[0] + ".x"))
    said, takes = _short(str(first["input"] if given is None else given)), accepted(_field(key))
    why = first["msg"].removeprefix("Value error, ") if first["type"] == "value_error" else ""
    what = f"{key} = {said}: it takes {takes}" + (f"; {why}" if why else "")
    return UsageError("USE-003", what, where=where, fix=f"visus list settings {key} tells what it means")


class _Reader(yaml.SafeLoader):
    """YAML as people mean it, the core schema of YAML 1.2: ``off`` is a word, ``3e-4`` a number, nothing is a date."""


class _Writer(yaml.SafeDumper):
    """Quotes the strings that ``_Reader`` would take for something else."""


_SCHEMA = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
)
for _yaml in (_Reader, _Writer):
    _yaml.yaml_implicit_resolvers = {}
    for _tag, _pattern, _first in _SCHEMA:
        _yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Writer.add_representer(
    str,  # a line separator of Unicode would be folded away, and is read back only from double quotes
    lambda writer, text: writer.represent_scalar("tag:yaml.org,2002:str", text, None if text.isprintable() else '"'),
)
_Reader.add_constructor("tag:yaml.org,2002:int", lambda reader, node: int(node.value))
_Reader.add_constructor("tag:yaml.org,2002:float", lambda reader, node: float(node.value))


def _read_yaml(text: str) -> Any:
    """Return plain values.

    Raises:
        yaml.YAMLError: not YAML, or nested deeper or numbers longer than Python reads.
    """
    try:
        reader = _Reader(text)
        try:
            return reader.get_single_data()
        finally:
            reader.dispose()
    except (ValueError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from error


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _one_line(value: object) -> str:
    text = yaml.dump(value, Dumper=_Writer, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()
