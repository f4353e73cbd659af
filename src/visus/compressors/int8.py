"""Weights and activations in 8 bits, computed in whole numbers: a quarter of the size, and fast on processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from torch import nn

from visus.compressors import Candidate, Compressor, Proposals, Subject
from visus.compressors._quantising import (
    CALIBRATIONS,
    Ranges,
    expect,
    layers,
    quantised,
    read_by,
    unlike,
    with_types,
)

BLOCKS = 24
"""Groups of neighbouring layers at most whose sensitivity is measured."""

ASKED = 8
"""Training pictures on which it is measured, and which calibration comes first."""


def propose(subject: Subject) -> Proposals:
    """Propose all layers in 8 bits, with ranges by each calibration; then without ever more of the most sensitive."""
    yield from in_whole_numbers(subject, subject.network, CALIBRATIONS)


def in_whole_numbers(
    subject: Subject, network: nn.Module, calibrations: Sequence[str], learned: Mapping[str, tuple[float, float]] = {}
) -> Proposals:
    """Propose a network in 8 bits until one keeps the promise, with at most half of its layers in float32.

    Args:
        subject: whose pictures tell which numbers to expect.
        network: its own, or one with other weights.
        calibrations: how ranges are chosen; the one whose answers to training pictures are nearest is tried first.
        learned: ranges of what modules read, by their names, where these are known.
    """
    model = with_types(subject.exported(network))
    expected, few = expect(model, subject.pictures()), list(islice(subject.pictures(), ASKED))
    ranges = [expected.ranges(calibration) | read_by(model, learned) for calibration in calibrations]
    order = np.argsort(unlike(model, (quantised(model, each) for each in ranges), few), kind="stable")
    for at in order:
        if (yield _candidate(network, ranges[at], calibrations[at], ())):
            return
    first = order[0]
    blocks = [list(map(str, block)) for block in np.array_split(layers(model), BLOCKS) if len(block)]
    noise = unlike(model, (quantised(model, ranges[first], only=block) for block in blocks), few)
    worst = [blocks[i] for i in np.argsort(noise)[::-1]]
    count = 1
    while count <= len(worst) // 2:
        kept = [name for block in worst[:count] for name in block]
        if (yield _candidate(network, ranges[first], calibrations[first], kept)):
            return
        count *= 2


def _candidate(network: nn.Module, ranges: Ranges, calibration: str, in_float: Sequence[str]) -> Candidate:
    def rewritten(file: Path) -> bytes:
        data: bytes = quantised(with_types(file), ranges, but=in_float).SerializeToString()
        return data

    told = {"calibration": calibration, **({"layers in float32": len(in_float)} if in_float else {})}
    return Candidate(told, network, rewritten)


COMPRESSOR = Compressor(
    propose, ".onnx", trains=False,
    summary="weights and activations in 8 bits, ranges from your pictures",
    source="Jacob et al., Quantization and training of neural networks, CVPR 2018; ranges: Nagel et al., 2021",
)  # fmt: skip
