"""A model card: what a model file says of itself, as sections of named rows for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from visus.core.scores import Score, is_share
from visus.report.makers import bare, makers
from visus.report.words import (
    interval_of,
    label,
    listed,
    looked_at,
    number,
    overall,
    plural,
    spoken,
    value_of,
)

if TYPE_CHECKING:
    from visus.core.modelfile import Card

Rows = list[tuple[str, str]]

STRIDE = 32
"""Of the coarsest map of segmenters: sides of what they look at are multiples of it."""

NAMED = 8
"""Classes up to which the threshold of each is told."""

_CHANNELS = {1: "grey", 3: "RGB"}
_FITS = {"squash": "squashed to that size", "crop": "scaled, the middle cut out", "pad": "scaled, then padded"}


def model_card(card: Card) -> list[tuple[str, Rows]]:
    """Return the sections of a model card, each a title and its (name, value) rows; empty sections are left out."""
    sections = [
        ("What it is", _model(card)),
        ("What it reads", _input(card)),
        ("How good it is", _scores(card)),
        ("Where it comes from", _origin(card)),
        ("Licences", sorted(card.licences.items())),
        ("What to keep in mind", _limits(card)),
    ]
    return [(title, rows) for title, rows in sections if rows]


def scores_of(card: Card) -> dict[str, Score]:
    """Return the scores that a card carries."""
    unknown = float("nan")
    return {
        name: Score(
            said.get("value", unknown), said.get("low", unknown), said.get("high", unknown), int(said.get("n", 0))
        )
        for name, said in card.scores.items()
    }


def _model(card: Card) -> Rows:
    network = card.architecture
    rows = [("task", card.task), ("network", network.name)]
    rows += [(f"option {key}", _value(value)) for key, value in network.options.items()]
    if network.source:
        rows.append(("source", f"{network.source}, SHA-256 {network.source_sha256[:12]}; not stored, never run"))
    rows.append(("outputs", number(network.outputs)))
    if card.classes:
        rows.append(("classes", f"{len(card.classes):,}: {listed(card.classes, 20)}"))
    return rows


def _input(card: Card) -> Rows:
    read = card.input
    channels = _CHANNELS.get(read.channels, plural(read.channels, "channel"))
    kept = f", {read.margin:.3g} of the shorter side kept" if read.fit == "crop" and read.margin < 1 else ""
    across = card.recipe.get("input.tiles")
    filled = tuple(-(-side // STRIDE) * STRIDE for side in read.size)
    fills = card.task.startswith("segment") and filled != read.size
    fit = f"tiles {across:,} pixels wide, scaled" if across else f"{_FITS[read.fit]}{kept}"
    ways = looked_at(card.recipe)
    return [
        ("pictures", f"{read.size[1]} × {read.size[0]} pixels, {channels}"),
        ("other sizes", f"{fit}, {read.interpolation}"),
        ("normalised by", f"mean {_value(read.mean)}, standard deviation {_value(read.std)} of pixels in [0, 1]"),
        *([("filled up", f"to {filled[1]} × {filled[0]} inside the network, and cut again")] if fills else []),
        *([("looked at", ways)] if ways else []),
    ]


def _scores(card: Card) -> Rows:
    rows, found = [], overall(scores_of(card))
    by = makers(found)
    for name, score in found.items():
        interval = interval_of(score, share=is_share(name))
        beside = f" ({interval})" if interval else ""
        rows.append((bare(label(name), by), f"{value_of(score, share=is_share(name))}{beside}, n = {score.n:,}"))
    if by:
        rows.append(("features", f"those of {by}"))
    if rows and card.split:
        rows.insert(0, ("measured on", f"the {spoken(card.split)} part, with 95 % intervals"))
    return rows


def _origin(card: Card) -> Rows:
    rows = [
        ("made by", f"visus {card.visus}, in {plural(card.step, 'optimiser step')}"),
        ("started from", card.weights or "random weights"),
    ]
    return rows + [
        ("data" if key == "name" else f"data, {spoken(key)}", _value(value)) for key, value in card.data.items()
    ]


def _limits(card: Card) -> Rows:
    rows = []
    if card.classes and card.task == "classify":
        known = plural(len(card.classes), "class")
        rows.append(
            ("closed world", f"it knows {known} and nothing else: a picture of anything else is given one of them")
        )
        temperature = card.calibration.get("temperature", 1.0)
        fitted = f"logits are divided by {temperature:.3g}, fitted on the validation part"
        rows.append(("certainty", fitted if temperature != 1 else "as the network says; no temperature was fitted"))
    if "threshold" in card.calibration:
        usual = card.calibration["threshold"]
        of_class = {name: card.calibration.get(f"threshold/{name}", usual) for name in card.classes}
        low, high = min(of_class.values(), default=usual), max(of_class.values(), default=usual)
        own = "; ".join(f"{name} {score:.2f}" for name, score in of_class.items()) if len(of_class) <= NAMED else ""
        shown = f"{low:.2f}" if low == high else own or f"{low:.2f} to {high:.2f}, by class"
        why = "the best F1 on the validation part" if card.step else "an even chance"
        rows.append(("threshold", f"objects are shown from a score on: {shown} ({why})"))
    if card.scores:
        part = f"the {spoken(card.split)} part" if card.split else "the measured part"
        rows.append(("reach", f"its scores hold for pictures like those of {part}, taken the same way"))
    else:
        rows.append(("reach", "nothing was measured: how good it is, nobody knows"))
    return rows


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return listed([_value(part) for part in value], 12)
    return number(value)
