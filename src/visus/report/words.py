"""How a report writes numbers, durations and names, and what it says each score means."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from visus.core.errors import plain
from visus.core.scores import TOP, Score, WithoutLeaks, is_share

_NARROW = "\u202f"  # narrow no-break space, between a number and its unit

_SMALLER = "smaller is better"
_SCORES: Mapping[str, tuple[str, str]] = {
    "accuracy": ("accuracy", "share of pictures whose most probable class is the true one"),
    "balanced_accuracy": ("balanced accuracy", "share found of each class, mean over the classes"),
    "subset_accuracy": ("subset accuracy", "share of pictures with every single label right"),
    "precision_macro": ("precision, mean of classes", "of what was called a class, the share that is one"),
    "precision_micro": ("precision, all pooled", "of all answers given, the share that is right"),
    "recall_macro": ("recall, mean of classes", "of what is of a class, the share that was found"),
    "recall_micro": ("recall, all pooled", "of all that was there, the share that was found"),
    "f1_macro": ("F1, mean of classes", "harmonic mean of precision and recall; every class weighs the same"),
    "f1_micro": ("F1, all pooled", "harmonic mean of precision and recall over all answers at once"),
    "f1_weighted": ("F1, by class size", "harmonic mean of precision and recall; a class weighs by its items"),
    "roc_auc_macro": ("ROC AUC, mean of classes", "chance that a picture of a class is ranked above one that is not"),
    "average_precision_macro": ("average precision, mean of classes", "area under precision over recall"),
    "map": ("mean average precision", "area under precision over recall, mean of classes"),
    "map50": ("mean average precision, IoU 0.5", "a box counts when it overlaps the true one by half"),
    "map75": ("mean average precision, IoU 0.75", "a box counts when it overlaps the true one by three quarters"),
    "map_small": ("mean average precision, small", "of objects up to 32 x 32 pixels"),
    "map_medium": ("mean average precision, medium", "of objects from 32 x 32 to 96 x 96 pixels"),
    "map_large": ("mean average precision, large", "of objects from 96 x 96 pixels on"),
    "mar_small": ("mean recall, small", "share found of objects up to 32 x 32 pixels, mean of classes and overlaps"),
    "mar_medium": ("mean recall, medium", "share found of objects from 32 x 32 to 96 x 96 pixels"),
    "mar_large": ("mean recall, large", "share found of objects from 96 x 96 pixels on"),
    "voc_map50": ("VOC mean average precision", "area below the whole curve, IoU 0.5, matched as VOC does"),
    "voc07_map50": ("VOC 2007 mean average precision", "mean precision at eleven recalls, IoU 0.5"),
    "precision": ("precision", "of the boxes said at the best threshold of each class, the share that is right"),
    "recall": ("recall", "of the objects, the share found at the best threshold of each class"),
    "f1": ("F1", "harmonic mean of precision and recall, at the threshold of each class where it is best"),
    "miou": ("mean IoU", "overlap of predicted and true area, mean of classes"),
    "iou": ("IoU", "area that truth and answer share, over the area that either covers"),
    "dice": (
        "Dice",
        "twice the area that truth and answer share, over the sum of both areas",
    ),
    "pixel_accuracy": ("pixel accuracy", "share of pixels that were called what they are"),
    "mean_accuracy": ("mean accuracy", "share found of each class's pixels, mean over the classes"),
    "boundary_f": (
        "boundary F",
        "how well contours lie on the true ones, to 0.75 % of the picture's diagonal",
    ),
    "log_loss": ("log loss", f"mean surprise at the truth, in nats; {_SMALLER}"),
    "brier": ("Brier score", f"mean squared error of the probabilities; {_SMALLER}"),
    "calibration_error": ("calibration error", f"mean distance of stated and observed certainty; {_SMALLER}"),
    "hamming_loss": ("Hamming loss", f"share of single labels that are wrong; {_SMALLER}"),
    "r2": ("R²", "share of the variance explained; 0 is no better than always saying the mean"),
    "mae": ("mean absolute error", f"in units of the target; {_SMALLER}"),
    "rmse": ("root mean squared error", f"in units of the target; {_SMALLER}"),
    "real_logits": ("logit of real pictures", "what the discriminator says of pictures that are new to it, on average"),
    "fake_logits": ("logit of generated pictures", "what the discriminator says of these, on average"),
    "class_accuracy": ("class accuracy", "share of generated pictures that show the class that was asked for"),
}
_GENERATED: Mapping[str, tuple[str, str]] = {
    "fid": ("FID", f"Fréchet distance of real and generated pictures, by their features; {_SMALLER}"),
    "kid": ("KID", f"squared distance of their distributions, 0 where they are the same; {_SMALLER}"),
    "precision": ("precision", "share of the generated pictures that lie among real ones"),
    "recall": ("recall", "share of the real pictures that lie among generated ones"),
    "density": ("density", "how many real pictures a generated one is near to, of the usual number"),
    "coverage": ("coverage", "share of the real pictures that a generated one is near to"),
    "class_coverage": (
        "coverage within classes",
        "share of the real pictures that a generated one is near to which was asked to be of their class",
    ),
    "fidelity": ("fidelity", "1 where style and content are both as wanted: 1 / (1 + what training makes small)"),
    "style_fall": ("nearer style", "how many times nearer the painting's style is than the photo was"),
    "style_distance": ("style distance", f"of Gram matrices from the painting's, in units of its own; {_SMALLER}"),
    "content_distance": ("content distance", f"of features from the photo's, in units of their variance; {_SMALLER}"),
    "content_similarity": ("content similarity", "correlation of features with the photo's, place by place"),
    "authenticity": ("authenticity", "share of the generated pictures that copy no training picture; half is usual"),
}
"""Scores of features: ``fid (random convolutions, seed 0)`` bears the name of what made them."""
_RECALL = re.compile(r"mar_(\d+)")
SCARCE = 30
"""Items below which a bootstrap interval is not to be trusted."""
_LEAKS = {
    "same": "by the same pixels",
    "near": "by nearly the same picture",
    "stated_group": "by a stated group",
    "guessed_group": "by a group guessed from names",
}
_SPLITS = {"train": "training", "val": "validation"}
_OF_MASKS = "mask_"


def label(name: str) -> str:
    """Return what people call a score: ``f1_macro`` is "F1, mean of classes", ``iou/road`` "IoU, road"."""
    if top := TOP.fullmatch(name):
        return f"top-{top[1]} accuracy"
    if recall := _RECALL.fullmatch(name):
        return f"mean recall, {recall[1]} a class"
    kind, by, maker = name.partition(" (")
    if by and kind in _GENERATED:
        return f"{_GENERATED[kind][0]} ({maker}"
    kind, of_one, which = name.partition("/")
    if of_one:
        return f"{label(kind)}, {which}"
    if name.startswith(_OF_MASKS):
        return f"{label(name.removeprefix(_OF_MASKS))}, masks"
    return _SCORES[name][0] if name in _SCORES else name.replace("_", " ")


def meaning(name: str) -> str:
    """Return what a score says in one phrase, or nothing for an unknown one."""
    if top := TOP.fullmatch(name):
        return f"share of pictures whose true class is among the {top[1]} most probable ones"
    if recall := _RECALL.fullmatch(name):
        return f"share of objects found by the {recall[1]} surest boxes of a class, mean of classes and overlaps"
    if name.startswith(_OF_MASKS):
        return f"{meaning(name.removeprefix(_OF_MASKS))}, by the pixels they share"
    kind, by, _ = name.partition(" (")
    if by and kind in _GENERATED:
        return _GENERATED[kind][1]
    kind = name.partition("/")[0]
    return _SCORES[kind][1] if kind in _SCORES else ""


def overall(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Return the scores of everything together: those of one class or number stand in a table of their own."""
    return {name: score for name, score in scores.items() if "/" not in name} or dict(scores)


def few(scores: Mapping[str, Score], split: str) -> str:
    """Return what to know of scores of fewer than SCARCE items, whose bootstrap intervals are too narrow; or nothing.

    Source:
        Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927, for shares.
    """
    n = max((score.n for score in scores.values()), default=0)
    if not 0 < n < SCARCE:
        return ""
    told = f"{plural(n, 'picture')} in {part(split)}: too few to judge a model by"
    shares = [name for name in scores if is_share(name)]
    if not shares:
        return f"{told}; the intervals are too narrow" if n > 1 else f"{told}, and for an interval"
    score, square = scores[shares[0]], 1.959964**2
    middle = (score.value + square / (2 * n)) / (1 + square / n)
    half = math.sqrt(square * (score.value * (1 - score.value) / n + square / (4 * n * n))) / (1 + square / n)
    low, high = min(score.low, middle - half), max(score.high, middle + half)
    return f"{told}; the {label(shares[0])} may be anything from {100 * low:.0f} to {percent(high)}"


def sampled(judged: int, there: int, split: str) -> str:
    """Return what to know of a part of which only a sample was judged; or nothing."""
    few = f"{judged:,} of {there:,} pictures of {part(split)} were judged, evenly through their order"
    return few if judged < there else ""


def leaking(found: WithoutLeaks, split: str) -> str:
    """Return what to know of pictures of a part that others give away, with the score without them; or nothing."""
    if found.unknown:
        return f"{part(split)} was not compared with the others ({found.unknown}): visus check DATA does it"
    if not found.left_out:
        return ""
    kinds = [f"{found.kinds[kind]:,} {told}" for kind, told in _LEAKS.items() if found.kinds.get(kind)]
    told = f"{found.left_out:,} of {plural(found.judged, 'picture')} in {part(split)} {_are(found.left_out)} given away"
    told += f" by other parts: {listed(kinds, len(kinds))}"
    if found.score not in found.scores:
        return f"{told}; without these there is {f'no {label(found.score)}' if found.scores else 'nothing to judge by'}"
    score, share = found.scores[found.score], is_share(found.score)
    value, interval = value_of(score, share=share), interval_of(score, share=share)
    interval = f" ({interval})" if interval else ""
    return f"{told}; without these the {label(found.score)} is {value}{interval}, n = {score.n:,}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def part(split: str) -> str:
    """Return the part of the data that a split is: "the validation part", or "all" of it."""
    return "all" if split == "all" else f"the {spoken(split)} part"


def spoken(split: str) -> str:
    """Return a split as people say it: ``val`` is "validation"."""
    return _SPLITS.get(split, split)


def number(value: object) -> str:
    """Return a number with four significant digits, an integer with separators, NaN and None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, Real):
        return plain(str(value))
    if isinstance(value, Integral):
        return f"{int(value):,}".replace("-", "−")
    value = float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "−")


def decimals(score: Score) -> int:
    """Return how many decimals a score deserves: one beyond the first digit of its interval's width, 2 to 4."""
    width = score.high - score.low
    if not width > 0 or math.isinf(width):
        return 4 if score.n >= 10_000 else 3
    return min(4, max(2, math.ceil(-math.log10(width)) + 1))


def shared_decimals(scores: Iterable[Score]) -> int:
    """Return the decimals for a column of scores: what the least certain of them deserves."""
    return min((decimals(score) for score in scores if score.high > score.low), default=3)


def value_of(score: Score, *, share: bool = False, digits: int | None = None) -> str:
    """Return a score without its interval: ``91.4 %`` for a share of items, else ``0.914``."""
    return _written(score.value, decimals(score) if digits is None else digits, share)


def interval_of(score: Score, *, share: bool = False) -> str:
    """Return "90.8 to 91.9 %"; an empty string where there is no interval."""
    if not score.bounded:
        return ""
    low, high = (_written(end, decimals(score), share) for end in (score.low, score.high))
    return f"{low.removesuffix(f'{_NARROW}%')} to {high}"


def percent(part: float, digits: int = 0) -> str:
    """Return a share in percent; a small one is not rounded to nothing."""
    if not math.isfinite(part):
        return "–"
    if 0 < part < 0.5 * 10 ** (-2 - digits):
        return f"<{_NARROW}{10**-digits:g}{_NARROW}%"
    return f"{100 * part:.{digits}f}{_NARROW}%"


def duration(seconds: float) -> str:
    """Return a time as people say it: "2 min 31 s"."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 0.0995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return "a, b and c", or "a, b, c and 7 more"."""
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most:,} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def looked_at(settings: Mapping[str, Any]) -> str:
    """Return in which ways pictures are looked at for an answer, by a recipe's settings; nothing for once and whole."""
    tiles, scales = settings.get("input.tiles") or 0, settings.get("segment.scales") or (1.0,)
    ways = [f"in tiles {tiles:,} pixels wide"] if tiles else []
    if list(scales) != [1.0]:
        ways.append(f"at {listed([f'{scale:g}' for scale in scales], len(scales))} times the size")
    return ", ".join([*ways, *["as they are and mirrored"] * bool(settings.get("flips"))])


def plural(n: int, noun: str) -> str:
    """Return "1 item", "12,000 items"."""
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + ("es" if noun.endswith("s") else "s")
    return f"{n:,} {noun if n == 1 else many}"


def _written(value: float, digits: int, share: bool) -> str:
    if not math.isfinite(value):
        return number(value)
    exact = Decimal(repr(float(value)))  # so that 0.6955 is rounded alike in percent and in decimals
    if share:
        return f"{exact.scaleb(2):.{max(digits - 2, 0)}f}{_NARROW}%"
    return number(float(value)) if abs(value) >= 1000 else f"{exact:.{digits}f}".replace("-", "−")
