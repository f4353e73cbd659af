"""What a generator chooses for the data and the machine at hand, each with its reason."""

from __future__ import annotations

from collections.abc import Container, Iterator

from visus.core.errors import UsageError
from visus.core.recipe import Choice, Facts, Recipe
from visus.models.generators import GENERATORS
from visus.tasks._choices import CHANNELS, batch, optimiser, shorter_side

USUAL = "dcgan"
ADAM = "adam"
BATCH = 64
REMEMBERED = 20_000
"""Pictures after which half of an older average is forgotten (measured on
Fashion-MNIST; Karras et al., NeurIPS 2020, table 6, have 10,000 to 500,000)."""


def choices(facts: Facts) -> Iterator[Choice]:
    """Yield the settings for a generator and its discriminator, from scratch.

    Raises:
        UsageError: TASK-012, classes are asked for that the data has not.
    """
    name = str(facts.wanted.get("model.name", USUAL))
    asked = facts.wanted.get("generate.conditional", "auto")
    if asked == "yes" and facts.annotation != "label":
        raise UsageError("TASK-012", "generate.conditional = yes, and the data has no class for each picture",
                         fix="a folder for each class: DATA/cat/, DATA/dog/")  # fmt: skip
    conditional = facts.annotation == "label" and asked != "no"
    if conditional:
        yield Choice("target.column", "label", f"pictures of {len(facts.classes):,} classes, each made when asked for")
    side, why = _side(facts)
    yield Choice("input.size", [side, side], why)
    yield Choice("input.channels", facts.channels, CHANNELS.get(facts.channels, f"the pictures have {facts.channels}"))
    yield Choice("input.fit", "crop", "what is made has the shape of what was seen")
    yield Choice("input.mean", [0.5], "pictures are made in [-1, 1]")
    yield Choice("input.std", [0.5], "pictures are made in [-1, 1]")
    yield Choice("model.name", name, "small and quick")
    if facts.wanted.get("generate.augment") == "diffaugment":
        yield Choice("generate.p", 1.0, "as its authors have it")
    yield Choice("augment.flip", 0.0, "what is shown is what is learned to be made")
    if facts.wanted.get("generate.augment") == "ada" and facts.wanted.get("generate.target") != 0:
        yield Choice(
            "loss.name", "non_saturating", "ada reads the signs of logits, which a loss of differences gives no meaning"
        )
    if name in GENERATORS:
        other = facts.wanted.get("optim.name", ADAM) != ADAM  # to which the rate that was found means something else
        made = min(facts.wanted.get("input.size") or (side,))
        yield from (
            choice for choice in GENERATORS[name].choices(facts.device, made)
            if not (other and choice.key.startswith("optim."))
        )  # fmt: skip
    yield batch(facts, BATCH)
    size = int(facts.wanted.get("batch", min(BATCH, max(1, facts.train))))
    steps = int(facts.wanted.get("generate.rival_steps", 1))
    yield Choice(
        "ema", round(0.5 ** (size * steps / REMEMBERED), 6), "the mean of many generators makes better pictures"
    )
    yield from optimiser(
        facts,
        Choice("optim.name", ADAM, "usual for generators"),
        Choice("optim.lr", 2e-4, "usual for generators"),
        Choice("optim.betas", [0.0, 0.99], "two players answer each other: what was right before is no guide"),
        Choice("optim.weight_decay", 0.0, "usual for generators"),
        Choice("optim.clip", 0.0, "usual for generators"),
    )
    yield Choice("schedule.name", "linear", "ends at a rate of zero")
    yield Choice("schedule.warmup", 0.0, "usual for generators")
    if facts.minutes is not None:
        yield Choice("schedule.decay", 0.4, "the last pictures settle")
    yield Choice("loss.name", "non_saturating", "with R1 it settles")
    yield Choice("precision", "float32", "slopes of slopes need the digits")
    yield Choice("data.leaks", False, "two sets are compared, not picture by picture")
    if facts.minutes is None:
        yield Choice("epochs", 30.0, "enough for a first answer")


def check(recipe: Recipe, said: Container[str]) -> None:
    """Refuse a setting that somebody asked for and that would change nothing.

    Args:
        recipe: all settings.
        said: keys of those of ``generate`` that somebody asked for: ``["mixing"]``.

    Raises:
        UsageError: GEN-015, there is one.
    """
    settings, name = recipe.generate, recipe.model.name
    ada = settings.augment == "ada"
    several = ", ".join(each for each in GENERATORS if GENERATORS[each].layered)
    idle = (
        ("mixing", settings.mixing > 0 and name in GENERATORS and not GENERATORS[name].layered,
         f"{name} has one style for the whole picture", f"--model {several}"),
        ("every", not (settings.r1 or settings.r2 or settings.penalty), "no slope is looked at",
         "--set generate.r1=1"),
        ("path_every", not settings.path_length, "no path length is looked at", "--set generate.path_length=2"),
        ("p", settings.p > 0 and settings.augment == "none", "no picture is augmented", "--set generate.augment=ada"),
        ("target", not ada, "ada alone has one", "--set generate.augment=ada"),
        ("ramp", not (ada and settings.target), "the chance of augmentation does not move",
         "--set generate.augment=ada" + " --set generate.target=0.6" * (not settings.target)),
    )  # fmt: skip
    for key, vain, why, fix in idle:
        if key in said and vain:
            raise UsageError("GEN-015", f"generate.{key} changes nothing: {why}", done="nothing was trained",
                             fix=f"leave it out, or {fix}")  # fmt: skip


def _side(facts: Facts) -> tuple[int, str]:
    """Return the side of the pictures that are made, a power of two, with the reason."""
    short, largest = shorter_side(facts), 64 if facts.device == "cpu" else 256
    side = 16
    while side < min(short, largest):
        side *= 2
    shown = f"the median shorter side is {short:g} pixels"
    return side, f"{shown}: the next power of two" if side >= short else f"{shown}: what a processor trains in hours"
