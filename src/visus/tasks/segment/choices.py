"""What segmentation chooses for the data and the machine at hand, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from visus.core.recipe import Choice, Facts
from visus.models.segmenters import SEGMENTERS
from visus.tasks._choices import CHANNELS, STEP, batch, mirroring, optimiser, standing, usual_weights
from visus.tasks.segment.colours import written

PRETRAINED = "fast:efficientnet_lite0"
LONGEST = {"cpu": 512}
"""Pixels of the longer side at which pictures are read at most, by device; elsewhere ``LARGEST``."""
LARGEST = 1024
SHRUNK = 2.0
"""How often pictures may be shrunk before tiles are better."""
UNKNOWN = 320.0


def choices(facts: Facts) -> Iterator[Choice]:
    """Yield the settings for a network that says a class of every pixel."""
    size, why = picture_size(facts)
    across = facts.wanted.get("input.tiles", 0)
    if across == "auto":
        across, why_tiles = tile_width(facts)
        yield Choice("input.tiles", across, why_tiles, settles="auto")
    if across:
        side = STEP * max(1, round(min(across, LONGEST.get(facts.device, LARGEST)) / STEP))
        size, why = (side, side), f"a tile is {across} pixels wide"
    yield Choice("input.channels", facts.channels, CHANNELS.get(facts.channels, f"the pictures have {facts.channels}"))
    yield Choice("input.size", list(size), why)
    yield Choice("input.fit", "pad", "nothing of a picture is cut away, and all in it keeps its shape")
    yield Choice("loss.name", "cross_entropy", "one class a pixel")
    if facts.counts:
        some = "" if facts.counted >= facts.train else f" on {facts.counted:,} of {facts.train:,} training pictures"
        yield Choice("target.counts", list(facts.counts), f"pixels of each class{some}, by which rare ones are known")
    if len(set(facts.palette)) == len(facts.classes):
        yield Choice("segment.palette", written(facts.palette), "the colours of the data's own masks")
    name = str(facts.wanted.get("model.name", "")) or PRETRAINED
    yield from standing(facts, name, usual_weights(facts, name, SEGMENTERS), PRETRAINED)
    yield batch(facts, 16 if facts.train >= 2000 else 8)
    yield from optimiser(
        facts,
        Choice("optim.name", "adamw", "little to tune"),
        Choice("optim.lr", 2e-3, "usual for a fresh decoder on a backbone that moves less"),
        Choice("optim.weight_decay", 0.05, "few pictures: large weights are held back"),
    )
    yield Choice("schedule.name", "cosine", "ends at a rate of zero")
    yield Choice("schedule.warmup", 0.05, "the fresh decoder settles before the backbone moves")
    yield Choice("ema", 0.995, "averaged weights judge better before the rate has fallen")
    yield from _moves(facts, bool(across))
    yield from mirroring(facts)
    if facts.minutes is None:
        yield Choice("epochs", 40.0, "enough for a first answer")


def picture_size(facts: Facts) -> tuple[tuple[int, int], str]:
    """Return (height, width) at which pictures are read, with the reason: near their own, in multiples of 32."""
    height, width = _usual(facts)
    longest = LONGEST.get(facts.device, LARGEST)
    scale = min(1.0, longest / max(height, width))
    high, wide = (max(STEP, STEP * round(side * scale / STEP)) for side in (height, width))
    own = f"pictures are about {height:g} x {width:g}"
    return (high, wide), own if scale == 1 else f"{own}; of more than {longest} pixels each step would take long"


def tile_width(facts: Facts) -> tuple[int, str]:
    """Return how many of their pixels a tile of such pictures is wide, 0 where they are read whole, and why."""
    longest = LONGEST.get(facts.device, LARGEST)
    read = facts.wanted.get("input.size") or (longest, longest)
    shrunk = max(own / side for own, side in zip(_usual(facts), read, strict=True))
    if shrunk <= SHRUNK:
        how = f"at 1/{shrunk:.2g} of" if shrunk > 1 else "near"
        return 0, f"whole pictures are read {how} their own size"
    return int(read[1]), f"whole pictures would be read at 1/{shrunk:.2g} of their size, and lose what is thin"


def _moves(facts: Facts, in_tiles: bool) -> Iterator[Choice]:
    """Yield random crops of nearly the pictures' own shape, where tiles are none already, zoom and light."""
    height, width = _usual(facts)
    shape = width / height
    if not in_tiles:
        yield Choice("augment.crop", [0.3, 1.0], "a part of a picture, larger, shows the same classes")
        yield Choice("augment.ratio", [round(0.8 * shape, 3), round(1.25 * shape, 3)], "nearly the pictures' own shape")
    yield Choice("augment.scale", [0.75, 1.25], "things are met nearer and farther")
    for light in ("brightness", "contrast", "saturation"):
        yield Choice(f"augment.{light}", 0.2, "light varies")


def _usual(facts: Facts) -> tuple[float, float]:
    """Return the median height and width of the pictures."""
    if not facts.sizes:
        return UNKNOWN, UNKNOWN
    return median(size[0] for size in facts.sizes), median(size[1] for size in facts.sizes)
