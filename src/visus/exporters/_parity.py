"""The parity gate: an exported file against the weights it was made of, on the user's own pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visus.core.boxes import pairwise_iou
from visus.core.deployment import Contract, Deployed
from visus.core.scores import Score
from visus.core.task import Located, Mapped, Prediction
from visus.exporters import Exporter

TOLERANCE = 1e-4
"""Of numbers, as a share of the largest of an output."""
SAME_PLACE = 0.99
"""Overlap from which on two boxes are the same one."""
SAME_OBJECT = 0.5
"""Overlap from which on boxes of the same score are over the same object."""
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

    Of objects only the scores are compared so, of those that are in both at the same place: which of two of the same
    score hides the other is chance.
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


def changes(weights: Sequence[Prediction], file: Sequence[Prediction]) -> tuple[int, int, str]:
    """Return how many labels, boxes or pixels are others, of how many, and which of these they are."""
    changed = of = 0
    unit = "labels"
    for one, other in zip(weights, file, strict=True):
        if isinstance(one, Mapped) and isinstance(other, Mapped):
            unit = "pixels"
            of += one.class_map.numel()
            changed += int((one.class_map != other.class_map).sum())
        elif isinstance(one, Located) and isinstance(other, Located):
            unit = "boxes"
            of += len(one.labels)
            changed += max(_unmatched(one, other), _unmatched(other, one))
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
    """Return the scores of the objects of one picture that are in both, in the same order."""
    rows, others = one["scores"][0] >= 0, other["scores"][0] >= 0
    overlap = pairwise_iou(one["boxes"][0][rows].double(), other["boxes"][0][others].double())
    same = one["labels"][0][rows][:, None] == other["labels"][0][others]
    if not overlap.numel():
        return {"scores": one["scores"][0][:0]}, {"scores": other["scores"][0][:0]}
    best, at = overlap.where(same, -1.0).max(1)
    found = best >= SAME_PLACE
    return {"scores": one["scores"][0][rows][found]}, {"scores": other["scores"][0][others][at[found]]}


def _unmatched(one: Located, other: Located) -> int:
    """Return how many boxes of one have none in the other of the same class at the same place, each taken once.

    Of boxes over the same object whose scores are the same to rounding, either may have hidden the other.
    """
    if not len(one.labels):
        return 0
    if not len(other.labels):
        return len(one.labels)
    overlap = pairwise_iou(one.boxes.double(), other.boxes.double())
    same = torch.tensor([[a == b for b in other.labels] for a in one.labels])
    tied = (one.scores.double()[:, None] - other.scores.double()).abs() <= TOLERANCE
    overlap = torch.where(same & ((overlap >= SAME_PLACE) | (tied & (overlap >= SAME_OBJECT))), overlap, -1.0)
    missing = 0
    for row in range(len(one.labels)):
        best, at = overlap[row].max(0)
        missing += bool(best < 0)
        if best >= 0:
            overlap[:, at] = -1.0
    return missing
