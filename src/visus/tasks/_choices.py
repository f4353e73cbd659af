"""What a task on whole pictures chooses for the data and the machine at hand, each with its reason.

The numbers stand in ``small_images``, ``fine_tuning`` and ``from_scratch``; the rest says which of them applies.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from statistics import median

from visus.core.errors import UsageError
from visus.core.recipe import Choice, Facts, ModelSettings
from visus.models.origins import origin_of
from visus.models.weights import WeightCard, card_of

PRETRAINED = "efficientnet_lite0"
SMALL = 64
SMALL_NETWORK = {"widths": [32, 64, 128], "blocks": [1, 1, 1], "join": "before", "summary": "max", "scale": 0.125}
LONG, MANY = 10, 15
"""Minutes, or epochs, from which a small network sees each picture often enough to learn it by heart."""
SIZES = (224, 192, 160, 128, 96)
PLAIN_RATES = {"gd": 0.1, "sgd": 0.1, "momentum": 0.05, "nesterov": 0.05}
"""Learning rates from scratch of optimisers whose step is as long as the gradient."""
IMAGES_A_SECOND = 8.0
"""A core trains EfficientNet-Lite0 on about this many pictures of 224 x 224 a second (measured, AVX512, float32,
channels last)."""


def whole_pictures(facts: Facts) -> Iterator[Choice]:
    """Yield the settings for a network that says something of a whole picture."""
    name = str(facts.wanted.get("model.name", ""))
    weights = facts.wanted.get("model.weights")
    small = shorter_side(facts) <= SMALL
    yield Choice("input.channels", facts.channels, CHANNELS.get(facts.channels, f"the pictures have {facts.channels}"))
    if weights not in (None, "none"):
        yield from fine_tuning(facts, name or PRETRAINED, str(weights))
    elif name and weights is None and weights_at_hand(name) is not None:
        yield from fine_tuning(facts, name, "default")
    elif name not in ("", "resnet_small") or weights == "none":
        yield from small_images(facts) if small else from_scratch(facts)
    elif small:
        yield from small_images(facts)
    else:
        yield from fine_tuning(facts, PRETRAINED, "default")
    yield from mirroring(facts)


def small_images(facts: Facts) -> Iterator[Choice]:
    """Yield the settings for pictures of up to 64 pixels: a small network from scratch, at their own size.

    Attains on Fashion-MNIST what the first table of README.md says, printed by ``benchmarks/classify.py``.
    """
    size, why = own_size(facts)
    short = min(size)
    long = (facts.minutes or 0) >= LONG or float(facts.wanted.get("epochs") or 0) >= MANY
    yield Choice("input.size", list(size), why)
    yield Choice("input.fit", "squash", "nothing of a small picture is cut away")
    yield Choice("model.name", "resnet_small", f"pictures of {short} pixels: a small network from scratch")
    if facts.wanted.get("model.name", "resnet_small") == "resnet_small":
        stem = {"stem": 32, "stem_stride": 2} if short > 48 else {"stem": 0}
        yield Choice("model.options", {**stem, **SMALL_NETWORK}, "most accuracy a second among those tried")
    yield batch(facts, 256 if facts.train >= 10_000 else 64 if facts.train >= 1000 else 16)
    yield from optimiser(
        facts,
        Choice("optim.name", "muon", "learns more from few epochs than adamw or momentum"),
        Choice("optim.lr", 0.009, "found on validation pictures of Fashion-MNIST"),
        Choice("optim.momentum", 0.9, "found there too"),
        Choice("optim.weight_decay", 0.05, "found there too"),
        Choice("optim.clip", 0.0, "muon's step has a fixed length already"),
    )
    yield Choice("schedule.name", "linear", "ends at a rate of zero")
    yield Choice("schedule.decay", 0.7, "short runs gain from a long decay")
    yield Choice("augment.pad", 1, "shifts by a pixel keep the meaning")
    if long:
        yield Choice(
            "augment.erase", 0.4, "many looks at each picture: covering a part keeps it from learning by heart"
        )
        yield Choice("augment.erase_area", [0.02, 0.25], "up to a quarter of the picture")
    if facts.minutes is None:
        yield Choice("epochs", 10.0, "enough for a first answer")


def fine_tuning(facts: Facts, name: str, weights: str) -> Iterator[Choice]:
    """Yield the settings for a network that has already learned to see from other pictures.

    Args:
        facts: of the data.
        name: of the network.
        weights: ``default`` or a file.
    """
    card = card_of(ModelSettings(name=name, weights=weights))
    size, why = affordable_size(facts, card.size)
    mean, std = card.statistics(facts.channels)
    yield Choice("model.name", name, "features from ImageNet that come with visus")
    yield Choice("model.weights", weights, f"{card.name}, {card.licence}")
    yield Choice("input.size", [size, size], why)
    yield Choice("input.mean", list(mean), f"what {card.name} expects")
    yield Choice("input.std", list(std), f"what {card.name} expects")
    yield batch(facts, 32 if facts.train >= 2000 else 16)
    rate = (5e-3, f"learned most from few looks with {PRETRAINED}") if name == PRETRAINED else (1e-3, "usual for adamw")
    yield from optimiser(
        facts,
        Choice("optim.name", "adamw", "little to tune"),
        Choice("optim.lr", *rate),
        Choice("optim.weight_decay", 0.01, "usual for adamw"),
        share=0.1,
    )
    yield Choice("model.layer_decay", 0.7, "lower layers fit already and move less")
    yield Choice("schedule.name", "cosine", "ends at a rate of zero")
    yield Choice("schedule.warmup", 0.05, "the new last layer settles before the others move")
    if shorter_side(facts) <= SMALL:
        yield Choice("augment.crop", [0.8, 1.0], "a part of so small a picture shows little")
        yield Choice("augment.ratio", [0.9, 1.1], "nearly the shape it has")
    else:
        yield Choice("augment.crop", [0.35, 1.0], "parts of a photograph mean the same")
    yield Choice("augment.brightness", 0.2, "light varies")
    yield Choice("augment.contrast", 0.2, "light varies")
    if facts.minutes is None:
        yield Choice("epochs", 12.0, "enough for a first answer")


def from_scratch(facts: Facts) -> Iterator[Choice]:
    """Yield the settings for a network the user named that knows nothing yet, on pictures of more than 64 pixels."""
    size, why = affordable_size(facts, (224, 224))
    yield Choice("input.size", [size, size], why)
    yield batch(facts, 64 if facts.train >= 2000 else 32)
    yield from optimiser(
        facts,
        Choice("optim.name", "adamw", "little to tune"),
        Choice("optim.lr", 1e-3, "usual for adamw"),
        Choice("optim.weight_decay", 0.05, "usual for adamw"),
    )
    yield Choice("schedule.name", "cosine", "ends at a rate of zero")
    yield Choice("augment.crop", [0.35, 1.0], "parts of a photograph mean the same")
    yield Choice("ema", 0.99, "averaged weights judge better before the rate has fallen")
    yield Choice("ema_every", 4, "costs a quarter of an average at each step")
    if facts.minutes is None:
        yield Choice("epochs", 60.0, "a network that knows nothing needs many")


def batch(facts: Facts, usual: int) -> Choice:
    """Return the pictures a step: the usual number, and no more than there are to learn from."""
    return Choice("batch", max(1, min(usual, facts.train)), f"{facts.train:,} training pictures")


def optimiser(facts: Facts, ours: Choice, *found_for_it: Choice, share: float = 1.0) -> Iterator[Choice]:
    """Yield an optimiser with the settings found for it; for another one, which the user named, a usual rate alone.

    Args:
        facts: with what the user named.
        ours: the choice of an optimiser.
        found_for_it: further settings, which mean something else to others.
        share: of the usual rate from scratch that optimisers without adaptive steps take.
    """
    named = str(facts.wanted.get("optim.name", ours.value))
    if named == ours.value:
        yield from (ours, *found_for_it)
    elif named in PLAIN_RATES:
        yield Choice("optim.lr", PLAIN_RATES[named] * share, f"usual for {named}")
    else:
        yield Choice("optim.lr", 1e-3, f"a cautious start for {named}; --lr auto looks for a better one")
    if named == "rmsprop":
        yield Choice("optim.momentum", 0.0, "rmsprop as it was defined")


def mirroring(facts: Facts) -> Iterator[Choice]:
    """Yield whether pictures may be mirrored, as far as the names tell: letters, digits and sides may not."""
    if facts.annotation == "numbers":
        why = "a mirrored picture may show another number"
    elif _characters(facts.classes):
        why = "the classes look like letters or digits, which mirrored ones are not"
    elif side := next((name for name in facts.classes if _SIDE.search(name.lower())), ""):
        why = f"{side!r} may mean another class when mirrored"
    else:
        yield Choice("augment.flip", 0.5, "no class name speaks against a mirrored picture")
        if shorter_side(facts) <= SMALL:
            yield Choice(
                "flips", True, "the mean of a small picture and its mirror image is judged better, and costs little"
            )
        return
    yield Choice("augment.flip", 0.0, why)


def usual_weights(facts: Facts, name: str, known: Collection[str]) -> str:
    """Return the weights that the user named, or those that are at hand, or ``none``.

    Args:
        facts: of the data.
        name: of the network.
        known: names of networks on a backbone that the task has.
    """
    wanted = facts.wanted.get("model.weights")
    at_hand = weights_at_hand(name) is not None if name.partition(":")[0] in known else False
    return str(wanted) if wanted is not None else "default" if at_hand else "none"


def standing(
    facts: Facts,
    name: str,
    weights: str,
    pretrained: str,
    decay: tuple[float, str] = (0.85, "lower layers fit already and move less"),
) -> Iterator[Choice]:
    """Yield a network on a backbone, and what its weights expect of a picture.

    Args:
        facts: of the data.
        name: of the network.
        weights: ``none``, ``default`` or a file.
        pretrained: the task's usual network, on a backbone with weights of ImageNet.
        decay: of the rate from one stage to the one below it where it has weights, with the reason.
    """
    card = card_of(ModelSettings(name=name, weights=weights))
    mean, std = card.statistics(facts.channels)
    yield Choice("model.name", name, "features from ImageNet that come with visus, and a head of our own")
    yield Choice("model.weights", weights, f"{card.name}, {card.licence}" if weights != "none" else "starts fresh")
    yield Choice("input.mean", list(mean), f"what {card.name} expects" if weights != "none" else "usual")
    yield Choice("input.std", list(std), f"what {card.name} expects" if weights != "none" else "usual")
    if weights != "none":
        yield Choice("model.layer_decay", *decay)
    if (name, weights, facts.device) == (pretrained, "default", "cpu"):
        lowest = [f"backbone.body.{part}" for part in ("conv_stem", "bn1", "blocks.0", "blocks.1")]
        yield Choice("model.freeze", lowest, "they see edges in any picture, and half the time of a step is theirs")


def shorter_side(facts: Facts) -> float:
    """Return the median of the pictures' shorter sides, pixels; 224 where no picture was readable."""
    return median(min(size) for size in facts.sizes) if facts.sizes else 224.0


def own_size(facts: Facts) -> tuple[tuple[int, int], str]:
    """Return the pictures' own (height, width), or a square close to it, with the reason."""
    if len(set(facts.sizes)) == 1:
        height, width = facts.sizes[0]
        return (height, width), f"all pictures are {height} x {width}"
    side = min(SMALL, max(16, 8 * round(shorter_side(facts) / 8)))
    return (side, side), f"sizes vary; the median shorter side is {shorter_side(facts):g} pixels"


def affordable_size(facts: Facts, usual: tuple[int, int]) -> tuple[int, str]:
    """Return the side at which the network reads pictures, with the reason.

    It is the usual one; on a processor with a budget, the largest at which each training picture is seen four times.
    The time of a picture is reckoned, never measured, so that the same data and budget give the same recipe.

    Args:
        facts: of the data.
        usual: (height, width) of the weights.
    """
    largest = usual[0]
    if shorter_side(facts) <= SMALL:
        return 96, "small pictures, enlarged to what the network was made for"
    if facts.device != "cpu":
        return largest, "the size of the weights"
    if facts.minutes is None:
        return min(160, largest), "a processor without a graphics card: half the pixels of 224, twice the pictures"
    for side in SIZES:
        seen = facts.minutes * 60 * facts.cores * IMAGES_A_SECOND * (224 / side) ** 2
        if side <= largest and seen >= 4 * facts.train:
            return side, f"about {seen / max(1, facts.train):.0f} looks at each picture in {facts.minutes:g} minutes"
    return min(SIZES[-1], largest), f"{facts.train:,} pictures in {facts.minutes:g} minutes leave time for no more"


def weights_at_hand(name: str) -> WeightCard | None:
    """Return the card of a network's default weights, where they lie on this machine and may be used for anything."""
    try:
        card = origin_of(name).card(name)
    except UsageError:
        return None  # it has none, or there is no such network, which building it will say better
    return card if card.file is not None and card.commercial else None


STEP = 32
"""Pixels that divide both sides of what a network of several maps reads: the stride of its coarsest one."""
CHANNELS = {1: "every picture looked at is grey", 3: "colour pictures"}
_SIDE = re.compile(r"\b(left|right|clockwise|counterclockwise)\b|_(left|right)|(left|right)_")
_DIGITS = frozenset({"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"})


def _characters(names: tuple[str, ...]) -> bool:
    """Tell whether most names are single characters, numbers or number words."""
    like = [len(name) == 1 or name.isdigit() or name.lower() in _DIGITS for name in names]
    return bool(names) and sum(like) > len(names) / 2
