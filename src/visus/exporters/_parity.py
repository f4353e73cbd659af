"""The parity gate: an exported file against the weights it was made of, on the user's own pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from visus.core.boxes import pairwise_iou
from visus.core.deployment import Contract, Deployed
from visus.core.scores import Score
from visus.core.task import Layered, Located, Mapped, Prediction
from visus.exporters import Exporter

TOLERANCE = 1e-4
"""Of numbers, as a share of the largest of an output."""
SAME_PLACE = 0.99
"""Overlap from which on two boxes are the same one."""
SAME_OBJECT = 0.5
"""Overlap from which on one of two boxes of the same score may hide the other."""
PIXELS = 1e-4
"""Share of the pixels whose class may change: of two that score alike to rounding, either may be said."""
LEAST = 32
"""Pictures on which a file is compared with its weights."""


@dataclass(frozen=True)
class Parity:
    """What was measured between a file and the float32 weights.

    Attributes:
        pictures: on how many.
        outputs: name -> largest difference, as a share of the output's largest number.
        changed: labels, boxes or pixels that are others; ``of``: how many there are; ``unit``: what they are.
        score: name of the headline score.
        weights, file: its value with its interval for both; None where the pictures define none.
        layer: the first of the network's modules that says something else, where the file fails.
        allowed: how many may change.
    """

    pictures: int
    outputs: Mapping[str, float]
    changed: int
    of: int
    unit: str
    score: str = ""
    weights: Score | None = None
    file: Score | None = None
    layer: str = ""
    allowed: int = 0

    @property
    def holds(self) -> bool:
        """Whether the file says what the weights say."""
        within = all(difference <= TOLERANCE for difference in self.outputs.values())  # false for NaN
        return within and self.changed <= self.allowed

    def json(self) -> dict[str, Any]:
        """Return plain values."""
        told = {name: value for name, value in vars(self).items() if name not in ("weights", "file")}
        both = {name: score.json() for name, score in (("weights", self.weights), ("file", self.file)) if score}
        return {**told, "outputs": dict(self.outputs), **both, "tolerance": TOLERANCE, "holds": self.holds}


class Differences:
    """The largest difference of each output over all pictures, as a share of its largest number.

    Of objects, boxes and scores of those that are in both are compared so: ``changes`` tells of the others.
    """

    def __init__(self) -> None:
        self._apart: dict[str, float] = {}
        self._top: dict[str, float] = {}

    def add(self, reference: Mapping[str, Tensor], said: Mapping[str, Tensor]) -> None:
        """Compare the outputs for some pictures."""
        if "boxes" in reference:
            reference, said = _paired(reference, said)
        for name in reference:
            if reference[name].is_floating_point():
                right = reference[name].double()
                self._top[name] = max(self._top.get(name, 0.0), _top(right))
                self._apart[name] = _larger(self._apart.get(name, 0.0), _apart(right, said[name].double()))

    def found(self) -> dict[str, float]:
        """Return the shares by name; NaN where one is finite and the other is not."""
        return {name: apart / max(self._top[name], _LEAST) for name, apart in self._apart.items()}


@dataclass(frozen=True)
class Candidates:
    """What the weights could have said of one picture, before it was seen which boxes are the same object.

    Attributes:
        boxes: (T, 4) xyxy in pixels of the picture.
        labels: (T,) names of classes.
        scores: (T,).
    """

    boxes: Tensor
    labels: tuple[str, ...]
    scores: Tensor


def changes(
    weights: Sequence[Prediction], file: Sequence[Prediction], known: Sequence[Candidates] = ()
) -> tuple[int, int, str]:
    """Return how many labels, boxes or pixels are others, of how many, and which of these they are.

    Args:
        weights, file: what both say of each picture.
        known: of each picture, where boxes were chosen from candidates of the weights.
    """
    changed = of = 0
    unit = "labels"
    for row, (one, other) in enumerate(zip(weights, file, strict=True)):
        if isinstance(one, Mapped) and isinstance(other, Mapped):
            unit = "pixels"
            of += one.class_map.numel()
            changed += int((one.class_map != other.class_map).sum())
        elif isinstance(one, Layered) and isinstance(other, Layered):
            unit = "pixels"
            of += max((layer.numel() for layer in one.layers.values()), default=0)
            changed += _pixels_apart(one.layers, other.layers)
        elif isinstance(one, Located) and isinstance(other, Located):
            unit = "boxes"
            of += len(one.labels)
            changed += _boxes_apart(one, other, known[row] if known else None)
        else:
            told, answered = one.json(), other.json()
            if "label" in told:
                of += 1
                changed += (told["label"], told.get("labels")) != (answered["label"], answered.get("labels"))
    return changed, of, unit


def first_layer(exporter: Exporter, path: Path, module: Deployed, pictures: Tensor, contract: Contract) -> str:
    """Return the first of the network's modules, in the order of their work, whose answer is another one in the file.

    Where a file does not tell what happens in it, another one is written whose outputs are those of the modules: it
    shows what the exporter, not what the file, does otherwise.
    """
    expected = _answers(module, pictures)
    if exporter.layers is not None:
        said = exporter.layers(path, pictures)
    else:
        probe = _Probe(module, list(expected))
        place = path.with_name("probe" + exporter.suffix)
        exporter.export(probe, pictures, contract.model_copy(update={"outputs": probe.outputs}), place)
        said = exporter.load(place)(pictures)
    for name, right in expected.items():
        found = said.get(name)
        if found is None or found.shape != right.shape:
            continue  # it was joined with another one
        if not _apart(right.double(), found.double()) / max(_top(right), _LEAST) <= TOLERANCE:
            return name
    return "what follows the network"


class _Probe(Deployed):
    """A module whose outputs are those of its own modules."""

    def __init__(self, module: Deployed, names: Sequence[str]) -> None:
        super().__init__(module.prepare, module.network, module.read, dict.fromkeys(names, ""))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return what each module says."""
        said = _answers(self, pictures, super().forward)
        return tuple(said[name] for name in self.outputs)


def _answers(module: nn.Module, pictures: Tensor, forward: Any = None) -> dict[str, Tensor]:
    """Return the answer of each module that gives a tensor of floats, by its name, in the order of their work."""
    said: dict[str, Tensor] = {}

    def listening(name: str) -> Any:
        def hear(_: nn.Module, __: Any, answer: Any) -> None:
            first = answer[0] if isinstance(answer, tuple | list) and answer else answer
            if isinstance(first, Tensor) and first.is_floating_point():
                said.pop(name, None)
                said[name] = first.clone()  # what follows may work in place

        return hear

    hooks = [part.register_forward_hook(listening(name)) for name, part in module.named_modules() if name]
    try:
        with torch.no_grad():
            (forward or module)(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    return said


_LEAST = 1e-12
_NEVER = 1e3  # more than all scores of a picture are apart


def _top(values: Tensor) -> float:
    return float(values.double().nan_to_num(0, 0, 0).abs().max()) if values.numel() else 0.0


def _larger(one: float, other: float) -> float:
    """Return the larger of two numbers; NaN where one is."""
    return one + other if math.isnan(one + other) else max(one, other)


def _apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference; NaN where one is finite and the other is not, or their shapes differ."""
    if one.shape != other.shape or bool((one.isfinite() != other.isfinite()).any()):
        return float("nan")
    return float((one - other).nan_to_num(0, 0, 0).abs().max()) if one.numel() else 0.0


def _paired(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return what is said in numbers of the objects that are in both, in the same order."""
    names = [name for name, values in one.items() if values.shape[:2] == one["scores"].shape and name != "shown"]
    found: tuple[dict[str, list[Tensor]], ...] = ({name: [] for name in names}, {name: [] for name in names})
    for row in range(len(one["scores"])):
        real = [{name: said[name][row][said["scores"][row] >= 0] for name in names} for said in (one, other)]
        same = real[0]["labels"][:, None] == real[1]["labels"]
        rows = _pairs(_alike(real[0], real[1], same), real[0]["scores"], real[1]["scores"])
        for side, said, at in zip(found, real, rows, strict=True):
            for name in names:
                side[name].append(said[name][at])
    first, second = ({name: torch.cat(parts) for name, parts in side.items()} for side in found)
    return first, second


def _boxes_apart(one: Located, other: Located, known: Candidates | None) -> int:
    """Return how many boxes of the weights and of a file have none of the same class at the same place in the other.

    Of two candidates of the weights over one object whose scores are the same to rounding, either may hide the other: a
    box of the file that is such a candidate is none of these if it stands in for the box that it hides.
    """
    said, told = ({"boxes": each.boxes, "scores": each.scores, "labels": each.labels} for each in (one, other))
    same = _same(one.labels, other.labels)
    rows, columns = _pairs(_alike(said, told, same), one.scores, other.scores)
    lost = sorted({*range(len(one.labels))} - {*rows.tolist()})
    new = sorted({*range(len(other.labels))} - {*columns.tolist()})
    tied = 0
    if lost and new and known is not None:
        hidden = _alike(told, vars(known), _same(other.labels, known.labels), tied=True).any(1)
        instead = _alike(said, told, same & hidden, SAME_OBJECT, tied=True)[lost][:, new]
        tied = len(_pairs(instead, one.scores[lost], other.scores[new])[0])
    return max(len(lost), len(new)) - tied


def _same(labels: Sequence[str], others: Sequence[str]) -> Tensor:
    return torch.tensor([[a == b for b in others] for a in labels], dtype=torch.bool).reshape(len(labels), len(others))


def _alike(
    one: Mapping[str, Any], other: Mapping[str, Any], same: Tensor, overlap: float = SAME_PLACE, *, tied: bool = False
) -> Tensor:
    """Return (N, M) bool, which boxes of one and of the other are at the same place.

    Args:
        one, other: ``boxes`` (N, 4) and (M, 4) xyxy, and ``scores``.
        same: (N, M) bool, whether the classes are.
        overlap: from which on the place is the same.
        tied: their scores are the same, too.
    """
    alike = same & (pairwise_iou(one["boxes"].double(), other["boxes"].double()) >= overlap)
    apart = (one["scores"].double()[:, None] - other["scores"].double()).abs()
    return alike & (apart <= TOLERANCE) if tied else alike


def _pairs(alike: Tensor, scores: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows of one and of the other that belong together, each once: the most pairs, the least apart in score."""
    apart = (scores.double()[:, None] - others.double()).abs()
    rows, columns = (torch.from_numpy(at) for at in linear_sum_assignment(torch.where(alike, apart, _NEVER).numpy()))
    real = alike[rows, columns]
    return rows[real], columns[real]


def _pixels_apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> int:
    """Return how many pixels are not in the same layers; a class without a layer is nowhere."""
    layers = {**one, **other}
    if not layers:
        return 0
    nowhere = torch.zeros_like(next(iter(layers.values())))
    return int(torch.stack([one.get(name, nowhere) ^ other.get(name, nowhere) for name in layers]).any(0).sum())
