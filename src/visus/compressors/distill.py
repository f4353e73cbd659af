"""A smaller network learns to answer as the trained one does: not only the truth, but how sure its teacher is of it."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

from torch import nn

from visus.compressors import Candidate, Compressor, Proposals, Subject
from visus.core.errors import UsageError
from visus.core.recipe import DistillSettings, ModelSettings
from visus.core.task import Task
from visus.models.building import architecture_of
from visus.models.describing import multiply_adds
from visus.models.origins import backbone_of, origin_of, torchvision_zoo, upper_of, user_code
from visus.models.origins.own import options_of
from visus.models.weights import card_of
from visus.tasks import TASKS
from visus.tasks._taught import check_teachable, with_teacher

WORK = 0.7
"""Share of the teacher's multiplications that a student of its family may take."""

NAMED = ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "huge")
"""Words for sizes in the names of networks, from the smallest on."""


def propose(subject: Subject) -> Proposals:
    """Propose the student that the user names, or the largest of the teacher's family that saves enough.

    It starts from its own weights where these are on this machine, and learns at the rate its teacher was trained with.

    Raises:
        UsageError: COMPRESS-034, no student is known, or it is no smaller; COMPRESS-033, such answers cannot be
            imitated.

    Source:
        Hinton et al., Distilling the knowledge in a neural network, 2015; per pixel, Liu et al., Structured knowledge
        distillation, CVPR 2019; place by place, Yang et al., Bridging cross-task protocol inconsistency, ICCV 2023.
    """
    check(subject.task)
    settings, network = student(subject)
    recipe = subject.recipe.model_copy(update={"model": settings})
    task = TASKS[subject.card.task](recipe, subject.card.classes)
    teaching = {key.removeprefix("distill."): value for key, value in subject.wanted.items() if "distill." in key}
    learned = with_teacher(task, copy.deepcopy(subject.network), DistillSettings(**teaching))
    subject.fit(network, learned, rate=1.0)
    said = {f"model.{key}": value for key, value in settings.model_dump(mode="json").items()}
    yield Candidate(
        {"student": told(settings)}, network=network,
        architecture=architecture_of(settings, len(subject.card.classes)), recipe=said,
    )  # fmt: skip


def check(task: Task) -> None:
    """Refuse a task whose answers cannot be imitated.

    Raises:
        UsageError: COMPRESS-033.
    """
    check_teachable(task, fix="another method: visus list compressors")


def student(subject: Subject) -> tuple[ModelSettings, nn.Module]:
    """Return the settings and the network of a student, with the weights that it starts from."""
    teacher, size = subject.recipe.model, subject.card.input
    most = multiply_adds(subject.network, size.channels, size.size)
    wanted = {key.removeprefix("model."): value for key, value in subject.wanted.items() if key.startswith("model.")}
    if wanted:
        asked = ModelSettings.model_validate({"name": teacher.name, **wanted})
        network = _network(subject, asked)
        if multiply_adds(network, size.channels, size.size) >= most:
            raise _no_student(teacher, f"{told(asked)} takes as many multiplications as its teacher")
        return asked, network
    for settings in smaller(teacher):
        network = _network(subject, with_weights(settings))
        if multiply_adds(network, size.channels, size.size) <= WORK * most:
            return with_weights(settings), network
    raise _no_student(teacher, f"no smaller network of the family of {teacher.name} is known")


def smaller(settings: ModelSettings) -> Iterator[ModelSettings]:
    """Yield smaller networks of the same family, without weights, the largest first."""
    name, options = settings.name, dict(settings.options)
    if user_code.is_code(name):  # no code is run that nobody named
        return
    upper, backbone = backbone_of(name)
    known = _options(name)
    scales = list(_scales(name))
    if scales and (not upper or backbone == upper_of(upper).backbone):
        at = scales.index(str(options.get("scale", known["scale"])))
        for scale in reversed(scales[:at]):
            yield ModelSettings(name=name, options={**options, "scale": scale})
    if "widths" in known:
        for share in (0.75, 0.5):
            narrow = {key: _narrowed(options.get(key, known[key]), share) for key in ("widths", "stem") if key in known}
            yield ModelSettings(name=name, options=options | narrow)
    elif isinstance(known.get("width"), float):
        for share in (0.75, 0.5):
            yield ModelSettings(name=name, options={**options, "width": options.get("width", known["width"]) * share})
    for lower in _lower(backbone or name):
        yield ModelSettings(name=f"{upper}:{lower}" if upper else lower, options=options)


def with_weights(settings: ModelSettings) -> ModelSettings:
    """Return the settings with the weights that the name carries, where these are on this machine and free to use."""
    try:
        card = card_of(settings.model_copy(update={"weights": "default"}))
    except UsageError:  # it carries none
        return settings
    bundled = card.file is not None or not card.bytes
    return settings.model_copy(update={"weights": "default"}) if card.commercial and bundled else settings


def told(settings: ModelSettings) -> str:
    """Return a network in a few words: its name and the options by which it differs from its usual form."""
    options = ", ".join(f"{key} {value}" for key, value in settings.options.items())
    return f"{settings.name} ({options})" if options else settings.name


def _network(subject: Subject, settings: ModelSettings) -> nn.Module:
    recipe = subject.recipe.model_copy(update={"model": settings})
    return TASKS[subject.card.task](recipe, subject.card.classes).model().eval()


def _options(name: str) -> dict[str, Any]:
    """Return the options of a network of our own with their defaults; none of other libraries' networks."""
    build = _build(name)
    return options_of(build) if build is not None else {}


def _scales(name: str) -> tuple[str, ...]:
    """Return the words that the option ``scale`` takes, from the smallest on; none where there is no such option."""
    build = _build(name)
    if build is None:
        return ()
    parameter = inspect.signature(build, eval_str=True).parameters.get("scale")
    return tuple(word for word in get_args(parameter.annotation) if isinstance(word, str)) if parameter else ()


def _build(name: str) -> Any:
    from visus.models.backbones import BACKBONES

    upper = backbone_of(name)[0]
    if upper:
        return upper_of(upper).build
    return BACKBONES[name].build if name in BACKBONES else None


def _narrowed(widths: Any, share: float) -> Any:
    """Return channels as a share of what they were, in whole eights."""
    if isinstance(widths, list | tuple):
        return [_narrowed(width, share) for width in widths]
    return max(8, 8 * round(widths * share / 8)) if widths else widths


def _lower(name: str) -> Iterator[str]:
    """Yield names of a library's family that differ in the word for the size or in the first number, largest first."""
    prefix, _, plain = name.rpartition(":")
    prefix += ":" * bool(prefix)
    plain = plain.partition(".")[0]
    words = re.split(r"(_)", plain)
    for place, word in enumerate(words):
        if word in NAMED:
            for other in reversed(NAMED[: NAMED.index(word)]):
                candidate = prefix + "".join([*words[:place], other, *words[place + 1 :]])
                if _known(candidate):
                    yield candidate
    number = re.search(r"\d+", plain)
    if number is not None:
        start, end = number.span()
        for size in range(int(number[0]) - 1, -1, -1):
            digits = f"{size:0{len(number[0])}d}" if number[0].startswith("0") else str(size)
            candidate = f"{prefix}{plain[:start]}{digits}{plain[end:]}"
            if _known(candidate):
                yield candidate


def _known(name: str) -> bool:
    try:
        return origin_of(name) is not torchvision_zoo or torchvision_zoo.knows(name)
    except UsageError:
        return False


def _no_student(teacher: ModelSettings, why: str) -> UsageError:
    return UsageError("COMPRESS-034", why, where=f"the teacher is {told(teacher)}", done="nothing was trained",
                      fix="name a smaller one: --set model.name=NAME")  # fmt: skip


COMPRESSOR = Compressor(
    propose, ".safetensors", trains=True, check=check,
    summary="a smaller network that learns from this one: the most to gain, and the longest to train",
    source="Hinton et al., Distilling the knowledge in a neural network, 2015",
)  # fmt: skip
