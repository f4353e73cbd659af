"""One look at every picture of a data set: what it is, how it looks, and two fingerprints, in a single pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""Pixels of a side of the small grey pictures that near duplicates are found by."""


@dataclass(frozen=True)
class Seen:
    """What one look at every picture found: N rows each, zeros where a picture could not be read.

    Attributes:
        reasons: why, by index, for pictures that cannot be read.
        warnings: what the decode door says, by index.
        size: (N, 2) int32 upright height and width.
        channels: (N,) uint8, 1 or 3; depth: (N,) uint8 bits of a channel: 8, 16 or 32.
        orientation: (N,) uint8, EXIF's number that was applied.
        brightness: (N,) float32 mean of the grey picture, in [0, 1]; contrast: (N,) float32, its standard deviation.
        sharpness: (N,) float32 variance of the Laplacian of the grey picture at a shorter side of at most 256 pixels,
            values in [0, 1], over its contrast squared.
        digest: (N, 16) uint8 hash of the upright pixels with their size, whatever file they came in.
        small: (N, SIDE, SIDE) uint8 grey, shrunk by area to SIDE x SIDE, whatever its shape.
    """

    reasons: Mapping[int, str]
    warnings: Mapping[int, tuple[str, ...]]
    size: NDArray[np.int32]
    channels: NDArray[np.uint8]
    depth: NDArray[np.uint8]
    orientation: NDArray[np.uint8]
    brightness: NDArray[np.float32]
    contrast: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    digest: NDArray[np.uint8]
    small: NDArray[np.uint8]
