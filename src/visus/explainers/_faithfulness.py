"""Whether a map tells the truth about a model: does the answer follow what it marks, and does it follow the model?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import Tensor

from visus.core.seeds import derive
from visus.core.task import Target
from visus.explainers._asking import Asking

STEPS = 12
"""Parts in which a picture is covered, or uncovered, the most important places first."""
RANDOM = 5
"""Random maps that a map is compared with."""
BLUR = 16
"""A blurred picture's sigma is its shorter side divided by this."""
LIKE = 0.75
"""Rank correlation with the map of an untrained network from which on a map does not depend on the model."""

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Faithfulness:
    """What was measured of one map.

    Attributes:
        shares: (S,) of the picture that were covered or uncovered, from 0 to 1.
        deletion: (S,) strength of the answer while the most important places are covered first: a good one falls.
        insertion: (S,) while they are uncovered first in a blurred picture: a good one rises.
        random_deletion, random_insertion: (R, S) the same for random maps as smooth as this one.
        correlation: rank correlation with the maps of untrained networks, the mean; 1 is the same order.
        similarity: structural similarity with them, the mean.
    """

    shares: Curve
    deletion: Curve
    insertion: Curve
    random_deletion: NDArray[np.float64]
    random_insertion: NDArray[np.float64]
    correlation: float
    similarity: float

    @property
    def gain(self) -> float:
        """Area below insertion less that below deletion, less what random maps reach on the average."""
        return float(self._margin(self.insertion, self.deletion) - self._random().mean())

    @property
    def beaten(self) -> int:
        """Random maps that are worse."""
        return int((self._margin(self.insertion, self.deletion) > self._random()).sum())

    @property
    def depends(self) -> bool:
        """The map is another one when the network has learned nothing."""
        return self.correlation < LIKE

    def _random(self) -> Curve:
        return self._margin(self.random_insertion, self.random_deletion)

    def _margin(self, insertion: Curve, deletion: Curve) -> Curve:
        return np.asarray(np.trapezoid(insertion - deletion, self.shares, axis=-1))


def curves(
    asking: Asking, target: Target, evidence: Float[Tensor, "H W"], seed: int
) -> tuple[Curve, Curve, Curve, NDArray[np.float64], NDArray[np.float64]]:
    """Return shares, deletion, insertion, and both of random maps; see ``Faithfulness``.

    What is covered takes the usual level of its channel; what is not yet uncovered is blurred.

    Args:
        asking: the picture.
        target: what is asked about.
        evidence: the map, of the picture's size.
        seed: of the random maps.

    Source:
        Petsiuk, Das and Saenko, RISE, BMVC 2018, section 4.1.
    """
    maps = [evidence, *(alike(evidence, derive(seed, "random map", i)) for i in range(RANDOM))]
    image = asking.image
    sigma = max(1.0, min(image.shape[2:]) / BLUR)
    blurred = torch.from_numpy(gaussian_filter(image.cpu().numpy(), (0, 0, sigma, sigma))).to(image)
    ends = asking.strengths(target, torch.cat([image, torch.zeros_like(image), blurred])).numpy()
    found = np.empty((2, len(maps), STEPS + 1))
    found[0, :, 0], found[0, :, -1], found[1, :, 0], found[1, :, -1] = ends[0], ends[1], ends[2], ends[0]
    for i, each in enumerate(maps):
        rank = importance(each).to(image.device)
        first = torch.stack([rank < round(each.numel() * step / STEPS) for step in range(1, STEPS)])[:, None]
        found[0, i, 1:-1] = asking.strengths(target, image.where(~first, 0.0)).numpy()
        found[1, i, 1:-1] = asking.strengths(target, image.where(first, blurred)).numpy()
    shares = np.linspace(0, 1, STEPS + 1)
    return shares, found[0, 0], found[1, 0], found[0, 1:], found[1, 1:]


def importance(evidence: Float[Tensor, "H W"]) -> Int[Tensor, "H W"]:
    """Return the rank of each pixel: 0 is marked the most.

    Of equal ones, such as the many zeros of a sparse map, those come first around which more is marked.
    """
    values = evidence.cpu().double().numpy()
    around = gaussian_filter(values, max(1.0, min(values.shape) / (2 * BLUR)))
    order = np.lexsort((-around.ravel(), -values.ravel()))
    rank = np.empty(values.size, np.int64)
    rank[order] = np.arange(values.size)
    return torch.from_numpy(rank.reshape(values.shape))


def alike(evidence: Float[Tensor, "H W"], seed: int) -> Float[Tensor, "H W"]:
    """Return a random map exactly as smooth as another: the strengths of its waves, at random phases.

    Source:
        Theiler et al., Testing for nonlinearity in time series: the method of surrogate data, Physica D 1992.
    """
    noise = torch.randn(evidence.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    phases = torch.fft.rfft2(noise)
    waves = torch.fft.rfft2(evidence.cpu().double()).abs()
    found: Tensor = torch.fft.irfft2(waves * phases / phases.abs().clamp(min=1e-12), s=evidence.shape)
    return found.to(evidence)


def rank_correlation(a: Float[Tensor, "H W"], b: Float[Tensor, "H W"]) -> float:
    """Return Spearman's rank correlation of two maps; 0 where one of them is the same everywhere."""
    if a.max() == a.min() or b.max() == b.min():
        return 0.0
    return float(spearmanr(a.flatten().cpu().numpy(), b.flatten().cpu().numpy()).statistic)


def structural_similarity(a: Float[Tensor, "H W"], b: Float[Tensor, "H W"]) -> float:
    """Return the structural similarity of two maps in [0, 1]: 1 where they are the same.

    Source:
        Wang et al., Image quality assessment: from error visibility to structural similarity, TIP 2004, equation 13,
        with windows of sigma 1.5.
    """

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = gaussian_filter(values, 1.5, truncate=3.5)
        return found

    x, y = a.cpu().double().numpy(), b.cpu().double().numpy()
    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    one, two = 0.01**2, 0.03**2
    return float((((2 * mx * my + one) * (2 * vxy + two)) / ((mx * mx + my * my + one) * (vx + vy + two))).mean())
