"""What detection chooses for the data and the machine at hand, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median, quantiles

from visus.core.boxes import OVERLAPS
from visus.core.errors import UsageError
from visus.core.recipe import Choice, Facts, ModelSettings
from visus.models.detectors import DETECTORS
from visus.models.origins import backbone_of
from visus.models.weights import card_of
from visus.tasks._choices import CHANNELS, STEP, batch, mirroring, optimiser, standing, usual_weights
from visus.transforms.tiles import Tiling

PRETRAINED = "anchor_free:efficientnet_lite0"
SIDES = (64, 96, 128, 160, 192, 224, 256, 320, 416, 512, 640, 768, 896, 1024, 1280)
USUAL = 320
"""Pixels of the longer side that larger pictures have at least."""
CLEAR = 24.0
"""Pixels that nearly all objects should have across when whole pictures are read."""
SEEN = 20.0
"""Pixels that the smaller objects should have across in tiles."""
FEW_DRAWN, FEW_PROPOSED = 128, 300
"""Proposals of a picture that learn, and that are judged, where there is no graphics card: each costs a network."""
FOCAL = (
    Choice("loss.name", "binary_focal", "nearly all places are background, and most of it is easy"),
    Choice("loss.alpha", 0.25, "found for it by its authors"),
    Choice("detect.box_gain", 1.0, "a box counts as much as its class"),
)
PROPOSALS = (
    Choice("loss.name", "cross_entropy", "the proposals have sorted out most of the background"),
    Choice("detect.box_loss", "huber", "proposals are near already, and corrected by small offsets"),
    Choice("detect.box_gain", 1.0, "found for it by its authors"),
)
LOSSES = {
    "places": (Choice("loss.name", "varifocal", "learns from every place, and dwells on those that matter"),),
    "anchors": FOCAL,
    "centres": FOCAL,
    "proposals": PROPOSALS,
    "masks": PROPOSALS,
    "queries": (
        Choice("loss.name", "varifocal", "a query says how well its box fits, so that the best of several wins"),
        Choice("detect.candidates", 300, "found for it by its authors"),
    ),
}
"""Losses by how a network's answer is read, each with its reason."""
PROPOSING = ("proposals", "masks")
"""Readings of networks that first propose and then judge."""
PLACES = (
    Choice("optim.name", "adamw", "little to tune"),
    Choice("optim.lr", 2e-3, "learned most on blood cells"),
    Choice("optim.weight_decay", 0.05, "usual for adamw from scratch"),
    Choice("optim.clip", 10.0, "early gradients are large: few places know an object"),
)
QUERIES = (
    Choice("optim.name", "adamw", "little to tune, and what its authors use"),
    Choice("optim.weight_decay", 1e-4, "found for it by its authors"),
    Choice("optim.clip", 0.1, "found for it by its authors: who is matched with whom changes suddenly"),
)
"""Optimiser and its settings, for networks of queries and for all others."""
TRAINED = Choice("optim.lr", 2e-4, "found for it by its authors: what has learned to see is torn by larger steps")
FRESH = Choice("optim.lr", 8e-4, "nothing has learned to see yet; learned more than 0.0002 of drawn shapes")
"""Learning rates of networks of queries, by what they start from."""
FEW_PICTURES = 5000
"""Training pictures below which each is met often enough to be learned by heart."""
TINY = 12.0
"""Pixels across below which they are better read in tiles."""
MANY = 3000
"""Objects of a picture in tiles, at most."""
TILE = (320, 416, 512, 640)
"""Sides of a tile, as the network reads it."""
WITHIN = 3.0
"""How often the larger objects should fit into a side of a tile."""
ENLARGED = 2.0
"""Scale beyond which a picture shows nothing more."""


def choices(facts: Facts) -> Iterator[Choice]:
    """Yield the settings for a network that finds objects.

    Raises:
        UsageError: USE-068, a network of masks and data without any.
    """
    if reading_of(facts) == "masks" and not facts.masks:
        raise UsageError(
            "USE-068", f"{network_name(facts)} learns the pixels of each object, and this data states only boxes",
            where="no object has a polygon or a mask: in COCO files, a segmentation",
            fix="--model faster_rcnn finds boxes; or name data with outlines",
        )  # fmt: skip
    size, why = picture_size(facts)
    tiles, why_tiles = tiling(facts, size)
    if facts.wanted.get("input.tiles") == "auto":
        yield Choice("input.tiles", tiles.across, why_tiles, settles="auto")
    if across := facts.wanted.get("input.tiles"):
        if across != "auto":
            size, why = (_multiple(min(across, TILE[-1])),) * 2, f"a tile is {across} pixels wide"
        elif tiles.across:
            size, why = tiles.size, "the larger objects fit into a tile several times"
            yield Choice("input.seam", tiles.seam, "two tiles have the larger objects in common")
        if across != "auto" or tiles.across:
            yield Choice("detect.most", MANY, "a picture in tiles may show many objects")
    yield Choice("input.channels", facts.channels, CHANNELS.get(facts.channels, f"the pictures have {facts.channels}"))
    yield Choice("input.size", list(size), why)
    yield Choice("input.fit", "pad", "nothing of a picture is cut away, and objects keep their shape")
    yield from losses(facts)
    yield from _network(facts)
    yield batch(facts, 16 if facts.train >= 1000 else 8)
    queries = reading_of(facts) == "queries"
    rate = FRESH if weights_of(facts) == "none" else TRAINED
    yield from optimiser(facts, *((*QUERIES, rate) if queries else PLACES))
    if queries and facts.device == "cuda":
        yield Choice("deterministic", False, "no kernel of a graphics card reads maps as queries do to the same bit")
    yield Choice("schedule.name", "cosine", "ends at a rate of zero")
    yield Choice("schedule.warmup", 0.05, "which place learns what is decided by the network itself")
    yield Choice("ema", 0.998, "averaged weights judge better before the rate has fallen")
    yield Choice("augment.scale", [0.7, 1.4], "objects are met nearer and farther")
    if facts.train < FEW_PICTURES:
        yield Choice("augment.mosaic", 0.5, "with few pictures, each is also met as a quarter of one, in other company")
    yield Choice("augment.brightness", 0.2, "light varies")
    yield Choice("augment.contrast", 0.2, "light varies")
    yield Choice("augment.saturation", 0.2, "light varies")
    yield from (choice for choice in mirroring(facts) if not queries or choice.key != "flips")
    if facts.minutes is None:
        yield Choice("epochs", 100.0, "a detector needs many looks at each picture")


def losses(facts: Facts) -> Iterator[Choice]:
    """Yield the losses that the network learns by, without numbers that another loss, which the user named, lacks."""
    detector, reading = backbone_of(network_name(facts))[0], reading_of(facts)
    for key, value in DETECTORS[detector].settings.items() if detector else ():
        yield Choice(key, value, "found for it by its authors")
    usual, *numbers = LOSSES[reading]
    of_overlap = facts.wanted.get("detect.box_loss") in OVERLAPS
    yield usual
    for choice in numbers:
        if choice.key == "loss.alpha" and facts.wanted.get("loss.name", usual.value) != usual.value:
            continue
        if choice.key == "detect.box_gain" and reading in PROPOSING and of_overlap:
            choice = Choice(choice.key, 10.0, "few boxes learn, and their sum is divided by all proposals drawn")
        yield choice
    if reading == "queries" and not facts.wanted.get("flips"):
        yield Choice("detect.suppression", "none", "each object is learned by one query, and found by one")
    if reading in PROPOSING and facts.device == "cpu":
        yield Choice("detect.drawn", FEW_DRAWN, "a processor judges few proposals a second")
        yield Choice("model.options", {"proposals": FEW_PROPOSED}, "a processor judges few proposals a second")


def reading_of(facts: Facts) -> str:
    """Return how the network is learned from and read: the name of a file of this folder."""
    detector = backbone_of(network_name(facts))[0]
    return DETECTORS[detector].reading if detector else "places"


def network_name(facts: Facts) -> str:
    """Return the network that the user named, or ours."""
    return str(facts.wanted.get("model.name", "")) or PRETRAINED


def weights_of(facts: Facts) -> str:
    """Return the weights that the user named, or those that are at hand, or ``none``."""
    return usual_weights(facts, network_name(facts), DETECTORS)


def picture_size(facts: Facts) -> tuple[tuple[int, int], str]:
    """Return (height, width) at which pictures are read, with the reason.

    The shape is that of the median picture, and the longer side the smallest at which nineteen of twenty objects are at
    least 24 pixels across, at most twice that of the pictures themselves.
    """
    height = median(size[0] for size in facts.sizes) if facts.sizes else 320.0
    width = median(size[1] for size in facts.sizes) if facts.sizes else 320.0
    longer = max(height, width)
    across = sorted(min(size) for size in facts.objects if min(size) > 0)
    small = quantiles(across, n=20)[0] if len(across) > 1 else CLEAR * longer / USUAL
    affordable = [side for side in SIDES if min(USUAL, longer) <= side <= 2 * longer] or [SIDES[0]]
    side = next((side for side in affordable if small * side / longer >= CLEAR), affordable[-1])
    high, wide = (_multiple(side * part / longer) for part in (height, width))
    return (high, wide), f"nineteen of twenty objects are {small * side / longer:.0f} pixels across or more"


def tiling(facts: Facts, size: tuple[int, int]) -> tuple[Tiling, str]:
    """Return how pictures would be read in tiles, a width of 0 for not at all, and why.

    They are where less than nine of ten objects are 12 pixels across when whole pictures of ``size`` are read: then at
    the scale that makes them 20, at most twice enlarged, in tiles of which each side holds the larger objects three
    times, and which have as much in common as the larger objects are long.
    """
    if not facts.sizes or not facts.objects:
        return Tiling(size, 0, 0.0), "no object is known"
    height, width = (median(each[i] for each in facts.sizes) for i in (0, 1))
    across = [min(each) for each in facts.objects]
    small, large = _decile(across, 1), _decile([max(each) for each in facts.objects], 9)
    wished = facts.wanted.get("input.size")
    size = (wished[0], wished[1]) if wished else size
    whole = min(size[0] / height, size[1] / width)
    if small * whole >= TINY:
        return Tiling(size, 0, 0.0), f"nine of ten objects are {small * whole:.0f} pixels across or more without"
    scale = min(SEEN / small, ENLARGED)
    side = next((side for side in TILE if side >= WITHIN * large * scale), TILE[-1])
    shape = size if wished else (side, side)
    if max(height * scale / shape[0], width * scale / shape[1]) <= 1:
        return Tiling(size, 0, 0.0), "one tile would hold a whole picture"
    seam = min(max(round(large * scale / min(shape), 2), 0.1), 0.5)
    told = f"nine of ten objects are {small * whole:.0f} pixels across or more when whole pictures are read"
    return Tiling(shape, round(shape[1] / scale), seam), f"{told}, {small * scale:.0f} in tiles"


def _decile(values: Sequence[float], which: int) -> float:
    """Return the first to ninth decile of numbers that are not 0."""
    real = sorted(value for value in values if value > 0)
    return quantiles(real, n=10)[which - 1] if len(real) > 1 else real[0] if real else 1.0


def _multiple(side: float) -> int:
    return max(STEP, STEP * round(side / STEP))


def _network(facts: Facts) -> Iterator[Choice]:
    """Yield the network and what its weights expect of a picture."""
    name, weights = network_name(facts), weights_of(facts)
    decay = [(0.5, "found for it by its authors: the backbone moves much less")] * (reading_of(facts) == "queries")
    yield from standing(facts, name, weights, PRETRAINED, *decay)
    card = card_of(ModelSettings(name=name, weights=weights))
    if backbone_of(name)[0] == "retinanet" and weights in ("none", "default") and card.trained_on != "COCO":
        yield Choice("model.options", {"version": 2}, "a fresh head learns much sooner where it is normalised")
